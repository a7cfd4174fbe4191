"""When a host should do a task itself: by what it would cost, and by what only the host has seen."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.delegation import advice_on
from routing.pricing import spoken_usd
from routing.registry import Prices
from routing.report import Host
from routing.router import Decision
from routing.types import Image, Message, ModelSelection, Task
from tests.builders import analysis, catalog, model

HOST = Host(model_id="acme/host", prices=Prices(input=Decimal(2), output=Decimal(8)), schema_tokens=4_000)
TASK = Task(prompt="Write a limerick on a pointsman.")


def decision(*, written: int, answer: int, upstream: int | None = 100, category: str = "text_generation") -> Decision:
    return Decision(
        analysis=analysis(category=category, estimated_input_tokens=written, estimated_output_tokens=answer),
        selection=ModelSelection(
            primary_model="acme/small",
            provider="acme",
            fallback_models=(),
            estimated_cost_microusd=upstream,
            reasoning="",
        ),
        catalog=catalog(model("acme/small")),
    )


@pytest.mark.parametrize(
    ("written", "answer", "verdict", "itself", "delegated"),
    [
        # itself: 50×2 + 100×8 = 900; delegated: 100 + (4,000 + 100)×2 + 50×8 = 100 + 8,600
        pytest.param(50, 100, "Do it yourself", 900, 8_700, id="a short answer does not pay for the schemas"),
        # itself: 100×2 + 4,000×8 = 32,200; delegated: 100 + (4,000 + 4,000)×2 + 100×8 = 100 + 16,800
        pytest.param(100, 4_000, "It stands alone", 32_200, 16_900, id="a long answer does"),
        # itself: 20,000×2 + 1,000×8 = 48,000; delegated: 100 + (4,000 + 1,000)×2 + 20,000×8 = 100 + 170,000
        pytest.param(
            20_000, 1_000, "Do it yourself", 48_000, 170_100, id="a long text costs more to write down than to read"
        ),
    ],
)
def test_the_dearer_way_is_advised_against_with_both_sums(
    written: int, answer: int, verdict: str, itself: int, delegated: int
) -> None:
    advice = advice_on(TASK, decision(written=written, answer=answer), HOST)

    assert advice.delegate is (verdict == "It stands alone")
    assert f"about {spoken_usd(itself)} on acme/host, {spoken_usd(delegated)} delegated" in advice.reason
    assert f"of which {spoken_usd(delegated - 100)} are yours" in advice.reason
    assert advice.reason.startswith(verdict)


def test_at_equal_cost_it_is_delegated() -> None:
    """Itself: 100×2 + 2,000×8 = 16,200; delegated: 3,400 + (4,000 + 2,000)×2 + 100×8 = 3,400 + 12,800."""
    assert advice_on(TASK, decision(written=100, answer=2_000, upstream=3_400), HOST).delegate
    assert not advice_on(TASK, decision(written=100, answer=2_000, upstream=3_401), HOST).delegate


@given(
    written=st.integers(0, 100_000),
    answer=st.integers(0, 100_000),
    cost=st.integers(0, 10**7),
    more=st.integers(0, 10**7),
)
def test_a_dearer_model_never_makes_delegating_advisable(written: int, answer: int, cost: int, more: int) -> None:
    cheap = advice_on(TASK, decision(written=written, answer=answer, upstream=cost), HOST)
    dear = advice_on(TASK, decision(written=written, answer=answer, upstream=cost + more), HOST)

    assert cheap.delegate or not dear.delegate


def test_what_cannot_be_compared_is_delegated_and_the_reason_says_what_is_missing() -> None:
    unpriced = replace(HOST, prices=Prices())

    assert "POINTSMAN_HOST_MODEL" in advice_on(TASK, decision(written=9, answer=9), None).reason
    assert "price of acme/host is unknown" in advice_on(TASK, decision(written=9, answer=9), unpriced).reason
    unknown = advice_on(TASK, decision(written=9, answer=9, upstream=None), HOST)
    assert unknown.delegate
    assert "price of acme/small is unknown" in unknown.reason


def test_vectors_are_never_the_hosts_own_work() -> None:
    assert advice_on(TASK, decision(written=9, answer=0, category="embedding"), HOST).delegate


@pytest.mark.parametrize(
    "prompt",
    [
        "As we discussed, write the summary for the board.",
        "Use the format that you mentioned earlier and list the risks.",
        "Rewrite your previous answer in French.",
        "Continue where we left off.",
        "Add tests for the function we just wrote.",
        "Fix this bug.",
        "Please summarise this for me",
        "Translate the text above into Spanish.",
        "Schreib es um, wie besprochen, aber kürzer.",
        "Escribe el resumen como acordamos.",
        "Traduis ta réponse précédente en anglais.",
        "Напиши письмо, как мы договорились.",
        "把你刚才写的函数改短一点",
    ],
)
def test_a_task_that_speaks_of_the_conversation_is_the_hosts_own(prompt: str) -> None:
    advice = advice_on(Task(prompt=prompt), decision(written=100, answer=4_000), HOST)

    assert not advice.delegate
    assert "is only known in your conversation" in advice.reason


@pytest.mark.parametrize(
    "prompt",
    [
        "Write an email that tells Anna that we agreed to meet on Monday.",
        "Fix this bug:\n```python\nprint(x\n```",
        "Summarise this: The board met on Tuesday and agreed on the budget.",
        "Write a function that adds two numbers. This function should raise on overflow.",
        "What is the capital of France?",
        'Translate into Spanish: "as we discussed, the train leaves at nine"',
        "Review this plan. It has three steps. First we buy the rails, then we lay them, then we wait.",
        "Describe this year's trends in rail freight in Europe, with figures and sources.",
    ],
)
def test_a_task_that_brings_what_it_speaks_of_can_be_delegated(prompt: str) -> None:
    assert advice_on(Task(prompt=prompt), decision(written=100, answer=4_000), HOST).delegate


def test_what_goes_along_counts_as_seen() -> None:
    history = (Message(role="user", content="Hi"), Message(role="assistant", content="Hello."))
    picture = Image(media_type="image/png", data=b"\x89PNG")
    for task in (
        Task(prompt="Rewrite your previous answer in French.", history=history),
        Task(prompt="Rewrite your previous answer in French.", session_id="ses_1"),
        Task(prompt="Describe this.", images=(picture,)),
    ):
        assert advice_on(task, decision(written=100, answer=4_000), HOST).delegate
