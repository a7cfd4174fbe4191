"""What is expected of each model: outcomes, a caller's scores, and how its calls went."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from routing.forecasts import EXPERIENCE_LASTS_SECONDS, Forecasts
from routing.learning.policy import Verdict
from routing.learning.quality import SHIPPED
from routing.selector.outlook import NO_OUTLOOK, Outlook
from routing.state import Experience, Feedback, Runs, Scored
from routing.types import Task
from tests.builders import analysis, catalog, model, task

pytestmark = pytest.mark.anyio

LARGE = model("acme/large", tier=2)
LIGHT = model("acme/light", tier=4, prices={"input": 0.1, "output": 0.2})
ROWS = catalog(LARGE, LIGHT)


@dataclass(slots=True, kw_only=True)
class Past:
    """A room of feedback that holds this, and counts how often it is read."""

    experience_of: dict[str, Experience] = field(default_factory=dict[str, Experience])
    reads: int = 0
    broken: bool = False

    async def experience(self, caller: str, *, half_life_seconds: float, since: float) -> Experience:
        self.reads += 1
        if self.broken:
            raise OSError("the disk is gone")
        return self.experience_of.get(caller, Experience())


@dataclass(slots=True)
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def forecasts(past: Past, clock: Clock | None = None, **changes: Any) -> Forecasts:
    facts: dict[str, Any] = {"max_loss": 0.02, "exploration": 0.1, "folder": SHIPPED, "clock": clock or Clock()}
    room: Feedback = past  # type: ignore[assignment] # the one method of it that is used
    return Forecasts(room, **{**facts, **changes})


def scored(model_id: str, weight: float, mean: float, complexity: int = 2, category: str = "qa_retrieval") -> Scored:
    return Scored(category=category, complexity=complexity, model_id=model_id, weight=weight, good=weight * mean)


async def outlook_of(past: Past, a_task: Task | None = None, key: str = "rte_1", **changes: Any) -> Outlook:
    return await forecasts(past, **changes).outlook(a_task or task(), analysis(), ROWS, key=key)


async def test_without_outcomes_or_scores_of_any_model_nothing_is_expected() -> None:
    found = await outlook_of(Past())

    assert not found.forecasts
    assert found.exploration == 0
    assert not found.notices


async def test_a_forced_model_and_texts_to_embed_need_no_outlook() -> None:
    past = Past()

    assert await outlook_of(past, task(force_model="acme/large")) == NO_OUTLOOK
    assert await outlook_of(past, Task(prompt="like these", texts=("a", "b"))) == NO_OUTLOOK
    assert past.reads == 0


async def test_good_scores_lift_a_model_and_enough_of_them_make_it_measured() -> None:
    few = Past(experience_of={"local": Experience(scored=(scored("acme/light", 7, 1.0),))})
    many = Past(experience_of={"local": Experience(scored=(scored("acme/light", 40, 1.0),))})

    after_few, after_many = await outlook_of(few), await outlook_of(many)

    one, other = after_few.forecasts["acme/light"], after_many.forecasts["acme/light"]
    assert one.prior < one.quality < other.quality
    assert one.sure is None
    assert other.sure is not None
    assert one.prior < other.sure < other.quality
    assert other.doubt < one.doubt
    assert after_many.exploration == 0.1


async def test_scores_count_half_for_the_next_complexity_and_not_at_all_beyond_or_elsewhere() -> None:
    def past(**kind: Any) -> Past:
        return Past(experience_of={"local": Experience(scored=(scored("acme/light", 40, 1.0, **kind),))})

    exact, near = await outlook_of(past()), await outlook_of(past(complexity=3))
    half = await outlook_of(Past(experience_of={"local": Experience(scored=(scored("acme/light", 20, 1.0),))}))
    far, elsewhere = await outlook_of(past(complexity=4)), await outlook_of(past(category="complex_coding"))

    assert near.forecasts["acme/light"] == half.forecasts["acme/light"]
    assert near.forecasts["acme/light"].quality < exact.forecasts["acme/light"].quality
    assert far.forecasts["acme/light"].quality == far.forecasts["acme/light"].prior
    assert elsewhere.forecasts["acme/light"].quality == elsewhere.forecasts["acme/light"].prior


async def test_another_callers_scores_say_nothing() -> None:
    past = Past(experience_of={"eve": Experience(scored=(scored("acme/light", 40, 1.0),))})

    assert not (await outlook_of(past)).forecasts


async def test_a_model_whose_calls_fail_is_expected_to_do_worse_and_one_failure_says_little() -> None:
    def runs(answered: int, failed: int) -> Experience:
        went = Runs(
            model_id="acme/large",
            answered=answered,
            failed=failed,
            latency_ms=1_000,
            first_token_ms=400,
            output_tokens=60,
        )
        return Experience(scored=(scored("acme/light", 8, 1.0),), runs=(went,))

    once = (await outlook_of(Past(experience_of={"local": runs(0, 1)}))).forecasts["acme/large"]
    often = await outlook_of(Past(experience_of={"local": runs(20, 40)}))

    assert once.quality > 0.95 * once.prior
    assert often.forecasts["acme/large"].quality == pytest.approx(0.5 * once.prior)
    assert often.speeds["acme/large"].latency_ms(30) == 400 + 300


async def test_too_few_calls_tell_no_speed() -> None:
    went = Runs(model_id="acme/large", answered=4, failed=0, latency_ms=10, first_token_ms=4, output_tokens=6)

    assert not (await outlook_of(Past(experience_of={"local": Experience(runs=(went,))}))).speeds


@dataclass(slots=True, kw_only=True)
class Guard:
    """A guard with this verdict."""

    outcome: str
    chosen: str

    async def verdict(self, caller: str) -> Verdict:
        outcome: Any = self.outcome
        return Verdict(
            chosen=self.chosen, outcome=outcome, rival="x", gain=0, lowest=0, highest=0, reason=f"{self.chosen} it is"
        )


@pytest.mark.parametrize(
    ("outcome", "chosen", "given_up", "instead"),
    [
        ("policy", "learned", None, None),
        ("fixed", "matrix", "matrix it is", None),
        ("fixed", "acme/large", "acme/large it is", "acme/large"),
    ],
)
async def test_what_the_guard_gives_up_is_not_expected_any_more(
    outcome: str, chosen: str, given_up: str | None, instead: str | None
) -> None:
    past = Past(experience_of={"local": Experience(scored=(scored("acme/light", 40, 1.0),))})

    found = await outlook_of(past, guard=Guard(outcome=outcome, chosen=chosen))

    assert (found.given_up, found.instead) == (given_up, instead)
    assert bool(found.forecasts) is (given_up is None)


async def test_experience_is_read_again_after_a_while_and_not_before() -> None:
    past, clock = Past(), Clock()
    ahead = forecasts(past, clock)

    for now in (0.0, EXPERIENCE_LASTS_SECONDS - 1, EXPERIENCE_LASTS_SECONDS + 1):
        clock.now = now
        await ahead.outlook(task(), analysis(), ROWS, key="")

    assert past.reads == 2


async def test_a_store_that_fails_leaves_the_matrix_to_choose() -> None:
    assert not (await outlook_of(Past(broken=True))).forecasts


async def test_damaged_weights_are_named_and_scores_still_count(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    past = Past(experience_of={"local": Experience(scored=(scored("acme/light", 40, 1.0),))})

    found = await outlook_of(past, folder=tmp_path)

    assert found.notices
    assert "no quality model can be read" in found.notices[0]
    assert found.forecasts["acme/light"].sure is not None
    assert found.allowance == 0


async def test_the_same_key_draws_the_same_and_keys_spread_evenly() -> None:
    ahead = forecasts(Past())
    draws = [(await ahead.outlook(task(), analysis(), ROWS, key=f"rte_{place}")).draw for place in range(500)]
    again = (await ahead.outlook(task(), analysis(), ROWS, key="rte_7")).draw

    assert again == draws[7]
    assert sum(draw < 0.2 for draw in draws) / 500 == pytest.approx(0.2, abs=0.06)
