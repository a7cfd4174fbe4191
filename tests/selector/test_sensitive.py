"""Tasks that hold a secret or personal data, under each policy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import NoEligibleModel
from routing.selector import Selector
from routing.types import ModelSelection, SensitivePolicy
from tests.builders import analysis, catalog, model, provider, task

THEIRS = model("acme/cheap", prices={"input": 1, "output": 1})
OURS = model("home/small", provider="home", prices={"input": 5, "output": 5}, self_hosted=True)
OPEN = model("acme/open", prices={"input": 1, "output": 1}, self_hosted=True)
HOUSE = catalog(THEIRS, OURS, OPEN, providers={"home": provider(self_hosted=True)})


def select(policy: SensitivePolicy, *, sensitive: bool = True, **constraints: Any) -> ModelSelection:
    return Selector(sensitive=policy).select(task(**constraints), analysis(sensitive=sensitive), HOUSE)


def test_a_sensitive_task_goes_anywhere_unless_that_is_forbidden() -> None:
    selection = select("allow")
    assert selection.primary_model == "acme/cheap"
    assert selection.notices == ()


def test_where_it_must_stay_here_only_models_on_the_users_own_machines_take_it() -> None:
    selection = select("local_only")
    assert selection.candidates == ("home/small",)
    reasons = {rejection.model_id: rejection.reason for rejection in selection.rejections}
    assert "POINTSMAN_SENSITIVE=local_only" in reasons["acme/cheap"]
    assert "POINTSMAN_SENSITIVE=local_only" in reasons["acme/open"]


def test_a_caller_cannot_force_it_out() -> None:
    with pytest.raises(NoEligibleModel, match="POINTSMAN_SENSITIVE=local_only"):
        select("local_only", force_model="acme/cheap")


@pytest.mark.parametrize("forced", [None, "acme/cheap"])
def test_a_notice_says_that_it_leaves(forced: str | None) -> None:
    [notice] = select("notice", force_model=forced).notices
    assert "goes to acme" in notice


@pytest.mark.parametrize("policy", ["notice", "local_only"])
def test_of_what_stays_or_is_not_sensitive_nothing_is_said(policy: SensitivePolicy) -> None:
    assert select(policy, force_model="home/small").notices == ()
    assert select(policy, sensitive=False) == select("allow", sensitive=False)


@given(policy=st.sampled_from(["allow", "notice", "local_only"]), sensitive=st.booleans())
def test_who_may_see_a_task_is_who_may_be_chosen_for_it(policy: SensitivePolicy, *, sensitive: bool) -> None:
    selector, facts = Selector(sensitive=policy), analysis(sensitive=sensitive)
    taken = selector.select(task(), facts, HOUSE).candidates
    assert {one.model_id for one in (THEIRS, OURS, OPEN) if selector.may_see(one, facts, HOUSE)} == set(taken)
