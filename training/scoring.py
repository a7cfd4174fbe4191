# ruff: noqa: INP001 - a folder of programs, no package
"""Measuring the classifier on labelled prompts that it was not trained on."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routing.analyzer.learned import LearnedClassifier
from routing.analyzer.rules import classify
from routing.types import CATEGORIES
from training.labelled import UNKNOWN, Labelled

_TEMPERATURES = np.geomspace(0.4, 2.5, 60)
_BINS = 10
_Z = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A labelled prompt and what the weights, and the rules alone, made of it."""

    labelled: Labelled
    odds: NDArray[np.float32]
    complexity: int
    tools: bool
    length: int
    rules: str
    rules_complexity: int

    @property
    def category(self) -> str:
        """The likeliest category."""
        return CATEGORIES[int(self.odds.argmax())]

    @property
    def right(self) -> bool:
        """Whether that is the label."""
        return self.category == self.labelled.category


def judged_by(classifier: LearnedClassifier, labelled: Labelled) -> Judged:
    """Ask the weights and the rules."""
    found = classify(labelled.prompt)
    category, _, tools, length = classifier.odds(labelled.prompt, found)
    return Judged(
        labelled=labelled,
        odds=category,
        complexity=classifier.understand(labelled.prompt, found).complexity,
        tools=bool(tools.argmax()),
        length=int(length.argmax()),
        rules=found.category,
        rules_complexity=found.complexity,
    )


def figures_of(judged: Sequence[Judged]) -> dict[str, Any]:
    """The figures: shares of prompts with their 95 % intervals, ``[share, low, high, prompts]``."""
    languages, styles = _by(judged, lambda one: one.labelled.language), _by(judged, lambda one: one.labelled.style)
    fully = [one for one in judged if one.labelled.complexity != UNKNOWN]
    english, others = languages.get("en", []), [one for one in judged if one.labelled.language != "en"]
    return {
        "category": _share(one.right for one in judged),
        "category_english": _share(one.right for one in english),
        "category_elsewhere": _share(one.right for one in others),
        "category_by_language": {name: _share(one.right for one in some) for name, some in languages.items()},
        "category_by_style": {name: _share(one.right for one in some) for name, some in styles.items()},
        "category_by_category": {
            name: _share(one.right for one in some)
            for name, some in _by(judged, lambda one: one.labelled.category).items()
        },
        "complexity_within_one": _share(abs(one.complexity - one.labelled.complexity) <= 1 for one in fully),
        "complexity_exact": _share(one.complexity == one.labelled.complexity for one in fully),
        "tools": _share(one.tools == one.labelled.tools for one in fully),
        "length": _share(one.length == one.labelled.length for one in fully),
        "paraphrase_agreement": _share(paraphrases_agree(judged)),
        "paraphrase_pairs": round(pairs_agree(judged), 4),
        "calibration_error": round(crossed_calibration_error(judged), 4),
        "rules_category": _share(one.rules == one.labelled.category for one in judged),
        "rules_complexity_within_one": _share(
            abs(one.rules_complexity - one.labelled.complexity) <= 1 for one in fully
        ),
        "majority_category": max(len(some) for some in _by(judged, lambda one: one.labelled.category).values())
        / len(judged),
    }


def paraphrases_agree(judged: Sequence[Judged]) -> list[bool]:
    """For each group of prompts that say the same, whether all got the same category."""
    groups = _by(judged, lambda one: one.labelled.group).values()
    return [len({one.category for one in group}) == 1 for group in groups if len(group) > 1]


def pairs_agree(judged: Sequence[Judged]) -> float:
    """The share of pairs of a group that got the same category, averaged over groups; what one paraphrase may count on."""
    groups = [group for group in _by(judged, lambda one: one.labelled.group).values() if len(group) > 1]
    shares = [
        statistics.fmean(one.category == other.category for one, other in itertools.combinations(group, 2))
        for group in groups
    ]
    return statistics.fmean(shares) if shares else 0.0


def temperature_of(judged: Sequence[Judged]) -> float:
    """The temperature at which the right categories are likeliest."""
    odds, right = _arrays(judged)
    return float(
        min(_TEMPERATURES, key=lambda each: -np.log(_shares(odds / each)[np.arange(len(right)), right]).mean())
    )


def crossed_calibration_error(judged: Sequence[Judged]) -> float:
    """Expected calibration error in ten bins; each half of the prompts takes the temperature of the other."""
    halves = [[one for one in judged if one.labelled.in_fold(half, 2)] for half in (0, 1)]
    confidence, right = list[float](), list[bool]()
    for mine, other in (halves, halves[::-1]):
        odds, _ = _arrays(mine)
        confidence += _shares(odds / temperature_of(other)).max(1).tolist()
        right += [one.right for one in mine]
    return calibration_error(np.array(confidence), np.array(right))


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """The mean distance of confidence and accuracy over ten bins of confidence (arXiv 1706.04599)."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    met = [bins == at for at in range(_BINS) if (bins == at).any()]
    return float(sum(abs(confidence[these].mean() - right[these].mean()) * these.mean() for these in met))


def _share(hits: Any) -> list[float]:
    """A share of hits with its Wilson interval at 95 %, and of how many."""
    found = list(hits)
    count = len(found)
    if not count:
        return [0.0, 0.0, 1.0, 0]
    share = sum(found) / count
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    reach = _Z / (1 + _Z**2 / count) * np.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return [round(share, 4), round(middle - reach, 4), round(middle + reach, 4), count]


def _by(judged: Sequence[Judged], key: Callable[[Judged], str]) -> dict[str, list[Judged]]:
    groups: defaultdict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        groups[key(one)].append(one)
    return dict(sorted(groups.items()))


def _arrays(judged: Sequence[Judged]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    odds = np.array([one.odds for one in judged], np.float64)
    return odds, np.array([one.labelled.answers[0] for one in judged])


def _shares(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(odds - odds.max(1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return shares
