from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from routing.errors import NoEligibleModel
from routing.selector import Selector
from routing.types import ModelSelection, Task
from tests.builders import analysis, catalog, model, task

LARGE = model("acme/large", prices={"input": 10, "output": 20}, tier=1, speed_tokens_per_sec=100, quality_index=80)
SMALL = model("tiny/small", provider="tiny", tier=2, context_window=5_000, quality_index=60, self_hosted=True)


def reasons(selection: ModelSelection) -> dict[str, str]:
    return {rejection.model_id: rejection.reason for rejection in selection.rejections}


def select(a_task: Task, *models: Any, configured: set[str] | None = None, **facts: Any) -> ModelSelection:
    return Selector().select(a_task, analysis(**facts), catalog(*(models or (LARGE, SMALL)), configured=configured))


@pytest.mark.parametrize(
    ("constraints", "rejected", "reason"),
    [
        ({"denied_providers": frozenset({"acme"})}, "acme/large", "denied_providers names acme"),
        ({"allowed_providers": frozenset({"tiny"})}, "acme/large", "allowed_providers leaves out acme"),
        ({"self_hosted_only": True}, "acme/large", "its weights are not open"),
        ({"max_cost_microusd": 1_000}, "acme/large", "expected cost $0.0030 is over max_cost_usd $0.0010"),
        ({"max_latency_ms": 5_000}, "tiny/small", "its speed was never measured"),
        ({"min_quality": 70.0}, "tiny/small", "quality 60 is under min_quality 70"),
    ],
)
def test_a_model_that_breaks_a_constraint_is_rejected_with_the_reason(
    constraints: dict[str, Any], rejected: str, reason: str
) -> None:
    selection = select(task(**constraints))

    assert rejected not in selection.candidates
    assert reason in reasons(selection)[rejected]


def test_a_provider_without_a_key_says_which_variable_is_missing() -> None:
    selection = select(task(), configured={"tiny"})

    assert reasons(selection)["acme/large"] == "acme is not configured: set ACME_API_KEY"


def test_a_task_that_does_not_fit_a_window_goes_to_one_that_holds_it() -> None:
    selection = select(task(), estimated_input_tokens=6_000)

    assert selection.primary_model == "acme/large"
    assert reasons(selection)["tiny/small"] == "needs 6,100 tokens, its window holds 5,000"


def test_history_that_fits_no_window_does_not_count_because_it_can_be_left_out() -> None:
    selection = select(task(), SMALL, estimated_input_tokens=6_000, history_tokens=5_800)

    assert selection.primary_model == "tiny/small"


def test_a_model_of_unknown_price_is_never_chosen_by_cost_but_can_be_forced() -> None:
    unpriced = model("acme/unpriced", prices={})

    assert select(task(), unpriced, SMALL).primary_model == "tiny/small"
    forced = select(task(force_model="acme/unpriced"), unpriced, SMALL)
    assert forced.primary_model == "acme/unpriced"
    assert forced.estimated_cost_microusd is None
    assert "cost cannot be told" in forced.notices[0]


def test_a_schema_is_never_asked_of_a_model_that_cannot_be_held_to_one() -> None:
    free = model("acme/free", capabilities={"tools": True, "json_schema": False})
    wanted = replace(task(), response_schema={"type": "object"})

    assert select(wanted, free, SMALL).primary_model == "tiny/small"


def test_forcing_an_unknown_model_offers_the_nearest_names() -> None:
    with pytest.raises(NoEligibleModel, match=r"no model 'acme/larg'.*acme/large"):
        select(task(force_model="acme/larg"))


def test_forcing_a_model_of_an_unconfigured_provider_says_which_key_is_missing() -> None:
    with pytest.raises(NoEligibleModel, match="acme is not configured: set ACME_API_KEY"):
        select(task(force_model="acme/large"), configured={"tiny"})


def test_forcing_a_model_that_another_constraint_forbids_names_the_constraint() -> None:
    with pytest.raises(NoEligibleModel, match="denied_providers names acme"):
        select(task(force_model="acme/large", denied_providers=frozenset({"acme"})))


def test_a_forced_model_is_found_by_the_providers_own_name_and_nothing_else_is_tried() -> None:
    selection = select(task(force_model="large"))

    assert selection.candidates == ("acme/large",)


def test_a_misspelt_provider_is_refused_because_it_might_have_been_denied() -> None:
    with pytest.raises(NoEligibleModel, match=r"no provider 'amce'. Did you mean acme\?"):
        select(task(denied_providers=frozenset({"amce"})))


def test_constraints_that_nobody_meets_are_each_named() -> None:
    with pytest.raises(NoEligibleModel, match=r"acme/large: self_hosted_only.*tiny/small: quality 60 is under"):
        select(task(self_hosted_only=True, min_quality=99.0))


def test_with_no_provider_at_all_the_error_says_what_to_set() -> None:
    with pytest.raises(NoEligibleModel, match="no provider is configured: set a key"):
        select(task(), configured=set())
