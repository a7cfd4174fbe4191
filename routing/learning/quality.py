"""How well will a model answer this prompt: the learned half of selection.

    score(prompt, weak, strong)      by how much the strong one should be preferred; only its order counts
    probability(prompt, model)       P(the model answers well), 0 to 1

A *gap* model exists for pairs that were trained as such: the shipped weights know ``mixtral-8x7b-instruct`` against
``gpt-4-1106-preview``. For any other pair the score is the difference of two probabilities. A probability is that of the
Rasch model (`routing.learning.abilities`): the prompt's predicted difficulty against the model's ability. A model without
outcomes has the ability that its facts in the registry suggest. Models with most outcomes have a `Record` of their own instead:
how well they did on each source of outcomes, weighed by how much the prompt looks like that source, and what that misses.

numpy is imported when the weights are loaded, not with this module.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import pi, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast
from zipfile import BadZipFile

from routing.errors import AssetError
from routing.learning.policy import Calibration, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from routing.learning.features import Features
    from routing.learning.recogniser import Recogniser
    from routing.learning.ridge import Ridge

    Floats = NDArray[np.float64]
    Lazy = Callable[[], Floats]

SHIPPED = Path(__file__).with_name("weights")
WEIGHTS_FILE = "quality.npz"
MANIFEST_FILE = "manifest.json"
FORMAT = 2

_LOWEST, _HIGHEST = 0.01, 0.99
"""No prompt is certain, whatever the arithmetic says."""

_STRANGE, _FAMILIAR = 0.25, 0.5
"""Chance of a familiar source: up to the one, an open prompt is judged by its kind alone; from the other on by ``open``."""

_TIER_INDEX: Mapping[int, float] = {1: 78.0, 2: 73.0, 3: 66.5, 4: 57.0}
"""The middle quality index of each tier in the shipped registry."""


class Facts(Protocol):
    """What the registry knows of a model; `routing.registry.Model` is one."""

    @property
    def model_id(self) -> str: ...

    @property
    def tier(self) -> int: ...

    @property
    def quality_index(self) -> float | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """By how much the strong model of one pair is ahead, for prompts with options, and for open ones.

    An open prompt is judged by ``open`` as far as it looks like the sources that this was learned from (``familiar``), and
    by the level of its ``kind`` for the rest.
    """

    choice: Ridge | None
    open: Ridge | None
    kind: Ridge
    familiar: tuple[str, ...] = ()

    def predict(self, features: Sequence[Features], recogniser: Recogniser) -> Floats:
        """One gap for each prompt, about −0.5 to 0.5."""
        import numpy as np  # noqa: PLC0415 - loaded with the weights

        gaps = self._open_gaps(features, recogniser)
        if self.choice is None:
            return gaps
        offers = np.array([one.choice for one in features], bool)
        return np.where(offers, self.choice.predict(features), gaps)

    def _open_gaps(self, features: Sequence[Features], recogniser: Recogniser) -> Floats:
        levels = self.kind.predict(features)
        if self.open is None:
            return levels
        known = ((recogniser.likeness(features, self.familiar) - _STRANGE) / (_FAMILIAR - _STRANGE)).clip(0, 1)
        return known * self.open.predict(features) + (1 - known) * levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of one model by its own outcomes.

    ``means`` is its mean score by source, a guess where it was not ``tried`` there; ``correction`` is what the prompt adds to
    that, and counts as far as the prompt looks like those where the model was tried.
    """

    means: tuple[float, ...]
    tried: tuple[bool, ...]
    correction: Ridge

    def predict(self, features: Sequence[Features], likeness: Floats) -> Floats:
        """P(well) before it is clipped, from the prompts and the probabilities of their sources."""
        import numpy as np  # noqa: PLC0415 - loaded with the weights

        known: Floats = likeness @ np.array(self.tried, float)
        chance: Floats = likeness @ np.array(self.means) + known * self.correction.predict(features)
        return chance


CALIBRATION = "calibration"
"""The name under which a manifest keeps what was calibrated, or why nothing was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Where weights come from: everything that is needed to make them again.

    ``data`` is name, sha256 and number of rows of each file; ``left_out`` says of which model nothing was learned, and why,
    and under `CALIBRATION` why nothing was calibrated.
    """

    command: str
    date: str
    seed: int
    data: tuple[Mapping[str, object], ...]
    outcomes: int
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityModel:
    """Predictions for prompts. Threads may share it.

    ``doubt`` is the standard deviation of what the predicted difficulty misses; ``tiers`` is the ability of a middling
    model of tiers 1 to 4; ``records`` are by canonical name of the model, ``gaps`` by canonical names (weak, strong);
    ``calibration`` is ``None`` where there were too few outcomes with costs to test what a choice by predictions loses.
    """

    difficulty: Ridge
    doubt: float
    abilities: Mapping[str, float]
    tiers: tuple[float, float, float, float]
    recogniser: Recogniser
    records: Mapping[str, Record]
    gaps: Mapping[tuple[str, str], Gap]
    calibration: Calibration | None
    manifest: Manifest

    @classmethod
    def load(cls, folder: Path = SHIPPED) -> QualityModel:
        """Read weights and manifest from a folder, about 50 ms.

        Raises:
            AssetError: they are not there, damaged, or of another version.

        """
        try:
            document = cast("object", json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8")))
            content = (folder / WEIGHTS_FILE).read_bytes()
        except (OSError, ValueError) as failure:
            raise AssetError(f"no quality model can be read from {folder}: {failure}. {_REMEDY}") from failure
        try:
            return _parsed(document, content)
        except (KeyError, TypeError, ValueError, IndexError, BadZipFile) as failure:
            raise AssetError(f"the quality model in {folder} is damaged: {failure}. {_REMEDY}") from failure

    def save(self, folder: Path) -> None:
        """Write weights and manifest; the same model gives the same bytes, but for the manifest's date."""
        content = _packed(self)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS_FILE).write_bytes(content)
        text = json.dumps(_document(self, content), indent=1, ensure_ascii=False)
        (folder / MANIFEST_FILE).write_text(f"{text}\n", encoding="utf-8")

    def knows(self, model: str) -> bool:
        """Whether outcomes of this model were trained on, so that its facts are not needed."""
        return _canonical(model) in self.abilities

    def score(self, prompt: str, weak: str | Facts, strong: str | Facts) -> float:
        """By how much the strong model should be preferred for this prompt. See `scores`."""
        return self.scores([prompt], weak, strong)[0]

    def scores(self, prompts: Sequence[str], weak: str | Facts, strong: str | Facts) -> list[float]:
        """By how much the strong model should be preferred, for each prompt in order.

        Raises:
            AssetError: there are no outcomes of a model that is given by name alone.

        """
        features = _features_of(prompts)
        gap = self.gaps.get((_canonical(_name_of(weak)), _canonical(_name_of(strong))))
        if gap is not None:
            return [float(value) for value in gap.predict(features, self.recogniser)]
        both = self._probabilities(features, (weak, strong))
        return [float(weaker_stronger[1] - weaker_stronger[0]) for weaker_stronger in both]

    def probability(self, prompt: str, model: str | Facts) -> float:
        """P(the model answers this prompt well). See `probabilities`."""
        return float(self.probabilities([prompt], [model])[0, 0])

    def probabilities(self, prompts: Sequence[str], models: Sequence[str | Facts]) -> Floats:
        """P(a model answers a prompt well): a row for each prompt, a column for each model.

        Raises:
            AssetError: there are no outcomes of a model that is given by name alone.

        """
        return self._probabilities(_features_of(prompts), models)

    def ability(self, model: str | Facts) -> float:
        """The model's place on the scale of `routing.learning.abilities`.

        Raises:
            AssetError: there are no outcomes of a model that is given by name alone.

        """
        measured = self.abilities.get(_canonical(_name_of(model)))
        if measured is not None:
            return measured
        if isinstance(model, str):
            raise AssetError(
                f"the quality model has no outcomes of {model}: give the model's row of the registry, train with outcomes of "
                f"it, or name one of {', '.join(sorted(self.abilities)[:8])}, …"
            )
        return self.tiers[model.tier - 1] + self._per_index() * _ahead_of_tier(model)

    def _per_index(self) -> float:
        """Ability per point of the registry's quality index."""
        return max(0.0, (self.tiers[0] - self.tiers[3]) / (_TIER_INDEX[1] - _TIER_INDEX[4]))

    def _probabilities(self, features: Sequence[Features], models: Sequence[str | Facts]) -> Floats:
        import numpy as np  # noqa: PLC0415 - loaded with the weights

        difficulties = functools.cache(lambda: self.difficulty.predict(features))  # the same for every model
        likeness = functools.cache(lambda: self.recogniser.predict(features))
        columns = [self._column(model, features, difficulties, likeness) for model in models]
        return np.array(columns).reshape(len(models), len(features)).T.clip(_LOWEST, _HIGHEST)

    def _column(self, model: str | Facts, features: Sequence[Features], difficulties: Lazy, likeness: Lazy) -> Floats:
        record = self.records.get(_canonical(_name_of(model)))
        if record is None:
            return chance_of(self.ability(model), difficulties(), self.doubt)
        return record.predict(features, likeness())


def chance_of(ability: float, difficulty: Floats, doubt: float) -> Floats:
    """The Rasch model's chance where the difficulty is known to ± ``doubt`` only (MacKay 1992)."""
    from routing.learning.abilities import sigmoid  # noqa: PLC0415 - brings numpy

    return sigmoid((ability - difficulty) / sqrt(1 + pi * doubt**2 / 8))


_REMEDY = "Train it again with `server.py train`; until then the rules and the decision matrix choose."


def _name_of(model: str | Facts) -> str:
    return model if isinstance(model, str) else model.model_id


def _features_of(prompts: Sequence[str]) -> list[Features]:
    from routing.learning.features import features_of  # noqa: PLC0415 - word lists that nobody needs before the weights

    return [features_of(prompt) for prompt in prompts]


def _canonical(name: str) -> str:
    from routing.learning.abilities import canonical  # noqa: PLC0415 - brings numpy

    return canonical(name)


def _ahead_of_tier(model: Facts) -> float:
    """Points of the quality index by which a model differs from the middle of its tier; 0 where it was never measured."""
    return 0.0 if model.quality_index is None else model.quality_index - _TIER_INDEX[model.tier]


def _ridges(model: QualityModel) -> dict[str, Ridge]:
    """Every regression of the model by the name under which it is stored."""
    ridges = {"difficulty": model.difficulty}
    ridges |= {f"record/{name}": record.correction for name, record in model.records.items()}
    for (weak, strong), gap in model.gaps.items():
        parts = {"choice": gap.choice, "open": gap.open, "kind": gap.kind}
        ridges |= {f"gap/{weak},{strong}/{part}": ridge for part, ridge in parts.items() if ridge is not None}
    return ridges


def _packed(model: QualityModel) -> bytes:
    import numpy as np  # noqa: PLC0415 - the server starts without numpy

    arrays = model.recogniser.arrays()
    for name, ridge in _ridges(model).items():
        arrays |= ridge.arrays(name)
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def _document(model: QualityModel, content: bytes) -> dict[str, object]:
    manifest = model.manifest
    return {
        "format": FORMAT,
        "weights": {"file": WEIGHTS_FILE, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
        "command": manifest.command,
        "date": manifest.date,
        "seed": manifest.seed,
        "data": list(manifest.data),
        "outcomes": manifest.outcomes,
        "left_out": dict(manifest.left_out),
        "doubt": model.doubt,
        "tiers": list(model.tiers),
        "sources": list(model.recogniser.sources),
        "records": {
            name: {"means": list(record.means), "tried": list(record.tried)} for name, record in model.records.items()
        },
        "gaps": [
            {"weak": weak, "strong": strong, "familiar": gap.familiar} for (weak, strong), gap in model.gaps.items()
        ],
        "abilities": dict(model.abilities),
        CALIBRATION: None if model.calibration is None else _calibration_facts(model.calibration),
    }


def _calibration_facts(calibration: Calibration) -> dict[str, object]:
    return {
        "allowances": {str(loss): allowance for loss, allowance in calibration.allowances.items()},
        "verdict": asdict(calibration.verdict),
        "prompts": calibration.prompts,
        "models": list(calibration.models),
    }


def _parsed(document: object, content: bytes) -> QualityModel:
    import numpy as np  # noqa: PLC0415 - the server starts without numpy

    from routing.learning.recogniser import Recogniser  # noqa: PLC0415 - brings numpy
    from routing.learning.ridge import Ridge  # noqa: PLC0415 - brings numpy

    facts = cast("dict[str, object]", document)
    if facts["format"] != FORMAT:
        raise ValueError(f"it has format {facts['format']}, this version reads format {FORMAT}")
    weights = cast("dict[str, object]", facts["weights"])
    if hashlib.sha256(content).hexdigest() != weights["sha256"]:
        raise ValueError(f"{WEIGHTS_FILE} is not the file that the manifest names")
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    tiers = cast("list[float]", facts["tiers"])
    return QualityModel(
        difficulty=Ridge.from_arrays(arrays, "difficulty"),
        doubt=float(cast("float", facts["doubt"])),
        abilities=cast("dict[str, float]", facts["abilities"]),
        tiers=(tiers[0], tiers[1], tiers[2], tiers[3]),
        recogniser=Recogniser.from_arrays(arrays, cast("list[str]", facts["sources"])),
        records={
            name: _parsed_record(record, Ridge.from_arrays(arrays, f"record/{name}"))
            for name, record in cast("dict[str, dict[str, object]]", facts["records"]).items()
        },
        gaps=dict(_parsed_gap(gap, arrays) for gap in cast("list[dict[str, object]]", facts["gaps"])),
        calibration=_parsed_calibration(facts[CALIBRATION]),
        manifest=_parsed_manifest(facts),
    )


def _parsed_record(facts: Mapping[str, object], correction: Ridge) -> Record:
    return Record(
        means=tuple(cast("list[float]", facts["means"])),
        tried=tuple(cast("list[bool]", facts["tried"])),
        correction=correction,
    )


def _parsed_gap(facts: Mapping[str, object], arrays: Mapping[str, NDArray[np.generic]]) -> tuple[tuple[str, str], Gap]:
    from routing.learning.ridge import Ridge  # noqa: PLC0415 - brings numpy

    pair = (str(facts["weak"]), str(facts["strong"]))

    def part(name: str) -> Ridge | None:
        stored = f"gap/{pair[0]},{pair[1]}/{name}"
        return Ridge.from_arrays(arrays, stored) if f"{stored}/buckets" in arrays else None

    return pair, Gap(
        choice=part("choice"),
        open=part("open"),
        kind=Ridge.from_arrays(arrays, f"gap/{pair[0]},{pair[1]}/kind"),
        familiar=tuple(cast("list[str]", facts["familiar"])),
    )


def _parsed_calibration(stored: object) -> Calibration | None:
    if stored is None:
        return None
    facts = cast("dict[str, object]", stored)
    return Calibration(
        allowances={
            float(loss): float(allowance) for loss, allowance in cast("dict[str, float]", facts["allowances"]).items()
        },
        verdict=Verdict(**cast("dict[str, Any]", facts["verdict"])),
        prompts=int(cast("int", facts["prompts"])),
        models=tuple(cast("list[str]", facts["models"])),
    )


def _parsed_manifest(facts: Mapping[str, object]) -> Manifest:
    return Manifest(
        command=str(facts["command"]),
        date=str(facts["date"]),
        seed=int(cast("int", facts["seed"])),
        data=tuple(cast("list[dict[str, object]]", facts["data"])),
        outcomes=int(cast("int", facts["outcomes"])),
        left_out=cast("dict[str, str]", facts["left_out"]),
    )
