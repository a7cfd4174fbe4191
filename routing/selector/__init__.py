"""Stage 2: TaskAnalysis → ModelSelection, a pure function of task, analysis and catalog.

    constraints.py   who can take the task at all, and why the others cannot
    matrix.py        whom the decision matrix names for it
    outlook.py       who is expected to do as well for less, by what was measured
    this page        the choice: the matrix's model where it can take the task, else the next best by the same criteria, and in
                     its place a cheaper one that the outlook prefers

The criteria: a model is *good enough* when its tier is at least the one that the registry asks for this category and
complexity. ``cheapest`` and ``balanced`` take the cheapest good enough, ``best_quality`` the best tier and, within it, the
highest measured quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from routing.catalog import Catalog
from routing.errors import NoEligibleModel
from routing.pricing import spoken_usd
from routing.registry import Model
from routing.selector.constraints import Requirements, expected_cost, quality_of, rejection, stays_here
from routing.selector.matrix import HIGH_COMPLEXITY, cell_for
from routing.selector.outlook import NO_OUTLOOK, Outlook, Preference, preferred
from routing.types import (
    Category,
    CostPreference,
    ModelSelection,
    Rejection,
    SelectionPolicy,
    SensitivePolicy,
    Task,
    TaskAnalysis,
)

_MOST_FALLBACKS = 3
_MOST_REASONS = 8
_UNCERTAIN_TIER = 2
"""Where the analyzer is not sure, the standard tier takes the task (design: confidence below the threshold)."""

_THRIFTIER: dict[CostPreference, CostPreference] = {"best_quality": "balanced"}

_SCORE_FIELD: dict[Category, str] = {
    "deep_reasoning": "reasoning_score",
    "complex_coding": "coding_score",
    "agentic_tool_use": "instruction_following",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """The eligible models in order of preference, why the first of them is first, and who would be without an outlook."""

    ranked: Sequence[Model]
    reasoning: str
    policy: SelectionPolicy = "matrix"
    reference: str | None = None
    propensity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Chooses models. ``confidence_threshold`` is the analyzer's confidence below which a task is treated as uncertain.

    ``sensitive`` says what becomes of tasks that hold a secret or personal data.
    """

    confidence_threshold: float = 0.7
    sensitive: SensitivePolicy = "allow"

    def select(
        self,
        task: Task,
        analysis: TaskAnalysis,
        catalog: Catalog,
        *,
        low_budget: str | None = None,
        outlook: Outlook = NO_OUTLOOK,
    ) -> ModelSelection:
        """Choose a model and its fallbacks; a cheaper one than otherwise where ``low_budget`` says that little is left.

        With nothing in ``outlook``, the decision matrix and the registry's facts decide alone.

        Raises:
            NoEligibleModel: nothing meets the constraints; the message says what stood in the way.

        """
        needs = Requirements(
            task=_thriftier(task) if low_budget else task,
            analysis=analysis,
            catalog=catalog,
            input_tokens=analysis.estimated_input_tokens,
            low_budget=low_budget,
            outlook=outlook,
            sensitive=self.sensitive,
        )
        catalog.check_providers(sorted(task.constraints.allowed_providers | task.constraints.denied_providers))
        if task.constraints.force_model:
            return _forced(task.constraints.force_model, replace(needs, forced=True))
        reasons = _reasons(needs)
        if None not in reasons.values():
            needs = replace(needs, input_tokens=analysis.estimated_input_tokens - analysis.history_tokens)
            reasons = _reasons(needs)
        eligible = [catalog.models[model_id] for model_id, reason in reasons.items() if reason is None]
        if not eligible:
            raise NoEligibleModel(_nothing_left(needs, reasons))
        return _selection(self._choose(eligible, needs), needs, reasons)

    def stronger(self, task: Task, analysis: TaskAnalysis, catalog: Catalog, *, than: str) -> ModelSelection | None:
        """The cheapest eligible model of a better tier than this one, with fallbacks; ``None`` where there is none."""
        weak = catalog.models[than]
        if task.constraints.force_model:
            return None
        return self._cheapest(
            task, analysis, catalog, weak.tier - 1, f"stronger than {weak.display_name}", not_like=weak
        )

    def judge(self, task: Task, analysis: TaskAnalysis, catalog: Catalog, *, of: str) -> ModelSelection | None:
        """The cheapest eligible model of at least its tier that is another one; ``None`` where there is none."""
        author = catalog.models[of]
        return self._cheapest(
            task, analysis, catalog, author.tier, f"another one and as good as {author.display_name}", not_like=author
        )

    def _cheapest(
        self, task: Task, analysis: TaskAnalysis, catalog: Catalog, tier: int, what: str, *, not_like: Model
    ) -> ModelSelection | None:
        """The cheapest eligible model of at least a tier, with fallbacks; ``not_like`` is none, at other providers neither."""
        needs = Requirements(
            task=task,
            analysis=analysis,
            catalog=catalog,
            input_tokens=analysis.estimated_input_tokens,
            sensitive=self.sensitive,
        )
        reasons = {
            model_id: f"not {what}" if model.tier > tier or _bare_name(model) == _bare_name(not_like) else why
            for (model_id, why), model in zip(_reasons(needs).items(), catalog.models.values(), strict=True)
        }
        eligible = [catalog.models[model_id] for model_id, why in reasons.items() if why is None]
        if not eligible:
            return None
        ranked = _ranked(eligible, replace(needs, task=_balanced(task)), tier)
        reasoning = f"{ranked[0].display_name} is the cheapest that is {what}"
        return _selection(_Choice(ranked=ranked, reasoning=reasoning), needs, reasons)

    def may_see(self, model: Model, analysis: TaskAnalysis, catalog: Catalog) -> bool:
        """Whether a model may be shown such a task, whatever it is asked about it."""
        return self.sensitive != "local_only" or not analysis.sensitive or stays_here(model, catalog)

    def _choose(self, eligible: Sequence[Model], needs: Requirements) -> _Choice:
        choice = self._by_matrix(eligible, needs)
        if needs.constraints.cost_preference == "best_quality" or choice.ranked[0].last_resort:
            return choice
        if needs.role is not None and needs.outlook.given_up:
            return choice
        return self._by_outlook(choice, eligible, needs)

    def _by_outlook(self, choice: _Choice, eligible: Sequence[Model], needs: Requirements) -> _Choice:
        """The choice with the model in front that is expected to do as well as the matrix's and costs less."""
        if needs.outlook.given_up:
            return _given_up(choice, eligible, needs.outlook)
        reference = choice.ranked[0]
        current = [model for model in eligible if not (model.last_resort or model.superseded_by)]
        if self._is_uncertain(needs) or needs.role is not None:
            current = [model for model in current if model.tier <= self._required_tier(needs)]
        found = preferred(reference, current, needs.outlook, lambda model: expected_cost(model, needs))
        if found is None:
            return choice
        choice = replace(choice, reference=reference.model_id, propensity=found.propensity)
        if found.model == reference:
            return choice
        return replace(
            choice,
            ranked=_without_repeats([found.model, *choice.ranked]),
            policy="explored" if found.explored else "learned",
            reasoning=_why_preferred(found, reference, needs.outlook),
        )

    def _by_matrix(self, eligible: Sequence[Model], needs: Requirements) -> _Choice:
        usual = [model for model in eligible if not model.last_resort] or list(eligible)
        row = needs.catalog.registry.policy(needs.catalog.policy).matrix[needs.analysis.category]
        column, named = cell_for(row, needs.task, needs.analysis)
        tier = self._required_tier(needs)
        ranked = _ranked(usual, needs, tier)
        chosen = next((model for model in usual if model.model_id == named), None)
        if chosen is not None and not self._overruled(chosen, needs):
            fallback = [
                model for model in usual if model.model_id == row.fallback.model and not self._overruled(model, needs)
            ]
            order = _without_repeats([chosen, *fallback, *ranked])
            return _Choice(ranked=order, reasoning=f"{needs.analysis.category}/{column} names {chosen.display_name}")
        best = ranked[0]
        return _Choice(ranked=ranked, reasoning=f"{_why_ranked_first(best, needs, tier)}{_matrix_miss(named, usual)}")

    def _is_uncertain(self, needs: Requirements) -> bool:
        return not needs.task.texts and needs.analysis.confidence < self.confidence_threshold

    def _required_tier(self, needs: Requirements) -> int:
        """The weakest tier that is good enough: a number from 1 (strongest) to 4."""
        analysis, preference = needs.analysis, needs.constraints.cost_preference
        floor = needs.catalog.registry.categories[analysis.category].tier_floor[analysis.complexity - 1]
        if role := needs.role:
            strongest = 1 if preference == "best_quality" else role.strongest
            return min(max(floor, strongest), role.weakest)
        if preference == "best_quality" and analysis.complexity >= HIGH_COMPLEXITY:
            return 1
        if preference != "cheapest" and self._is_uncertain(needs):
            return min(floor, _UNCERTAIN_TIER)
        return floor

    def _overruled(self, named: Model, needs: Requirements) -> bool:
        """Whether a rule is stronger than the matrix: a role's tiers, best quality on hard tasks, doubt about the category."""
        preference = needs.constraints.cost_preference
        if needs.role is not None:
            return named.tier > self._required_tier(needs) or named.tier < needs.role.strongest
        if preference == "best_quality" and needs.analysis.complexity >= HIGH_COMPLEXITY:
            return named.tier > 1
        return preference == "balanced" and self._is_uncertain(needs) and named.tier > _UNCERTAIN_TIER


def _reasons(needs: Requirements) -> dict[str, str | None]:
    """Per model why it cannot take the task, or ``None``."""
    return {model.model_id: rejection(model, needs) for model in needs.catalog.models.values()}


def _forced(name: str, needs: Requirements) -> ModelSelection:
    model = needs.catalog.find(name)
    if rejection(model, needs):
        without_history = replace(needs, input_tokens=needs.input_tokens - needs.analysis.history_tokens)
        if reason := rejection(model, without_history):
            raise NoEligibleModel(f"force_model {model.model_id} cannot take this task: {reason}.")
    cost = expected_cost(model, needs)
    unpriced = () if cost is not None else (f"The price of {model.model_id} is unknown: its cost cannot be told.",)
    return ModelSelection(
        primary_model=model.model_id,
        provider=model.provider,
        fallback_models=(),
        estimated_cost_microusd=cost,
        reasoning="forced by the caller; nothing else is tried",
        notices=(*unpriced, *_told_of_secrets(model, needs)),
        policy="forced",
    )


def _ranked(models: Sequence[Model], needs: Requirements, tier: int) -> list[Model]:
    """The models by the criteria of the task's cost preference, the best first."""
    if needs.constraints.cost_preference == "best_quality":
        return sorted(models, key=lambda model: _by_quality(model, needs))
    return sorted(models, key=lambda model: _by_cost(model, needs, tier))


def _by_quality(model: Model, needs: Requirements) -> tuple[bool, int, float, int, str]:
    superseded = model.superseded_by is not None
    return superseded, model.tier, -_score(model, needs), expected_cost(model, needs) or 0, model.model_id


def _by_cost(model: Model, needs: Requirements, tier: int) -> tuple[bool, bool, int, int, str]:
    superseded, shortfall = model.superseded_by is not None, max(0, model.tier - tier)
    return shortfall > 0, superseded, shortfall, expected_cost(model, needs) or 0, model.model_id


def _score(model: Model, needs: Requirements) -> float:
    measured: float | None = getattr(model, _SCORE_FIELD.get(needs.analysis.category, "quality_index"))
    return quality_of(model, needs.catalog) if measured is None else measured


def _selection(choice: _Choice, needs: Requirements, reasons: dict[str, str | None]) -> ModelSelection:
    primary, *rest = choice.ranked
    fallbacks = _spread_over_providers(primary, rest)[:_MOST_FALLBACKS]
    if needs.low_budget:
        fallbacks = _with_the_cheapest(fallbacks, choice.ranked, needs)
    cost = expected_cost(primary, needs)
    taken = {primary.model_id, *(model.model_id for model in fallbacks)}
    rejections = [
        Rejection(
            model_id=model_id,
            reason=reasons[model_id] or _why_not_chosen(model, primary, needs),
            configured=needs.catalog.is_configured(model),
        )
        for model_id, model in needs.catalog.models.items()
        if model_id not in taken
    ]
    return ModelSelection(
        primary_model=primary.model_id,
        provider=primary.provider,
        fallback_models=tuple(model.model_id for model in fallbacks),
        estimated_cost_microusd=cost,
        reasoning=choice.reasoning,
        rejections=tuple(rejections),
        notices=_notices(primary, needs),
        policy=choice.policy,
        reference_model=choice.reference,
        forecasts=_weighed(choice, needs),
        propensity=choice.propensity,
    )


def _weighed(choice: _Choice, needs: Requirements) -> dict[str, float]:
    """The expected qualities of those that could have been chosen, for the ledger."""
    forecasts = needs.outlook.forecasts
    return {
        model.model_id: round(forecasts[model.model_id].quality, 4)
        for model in choice.ranked
        if model.model_id in forecasts and choice.reference is not None
    }


def _spread_over_providers(primary: Model, rest: Sequence[Model]) -> list[Model]:
    """Put first, for each further provider, its best model: a provider's bad day should not end the chain."""
    seen, first, others = {primary.provider}, list[Model](), list[Model]()
    for model in rest:
        (others if model.provider in seen else first).append(model)
        seen.add(model.provider)
    return [*first, *others]


def _bare_name(model: Model) -> str:
    """What providers call a model, those included that put its maker before it."""
    return model.api_model_id.rpartition("/")[2]


def _balanced(task: Task) -> Task:
    return replace(task, constraints=replace(task.constraints, cost_preference="balanced"))


def _thriftier(task: Task) -> Task:
    """The task with a preference that is one step nearer to the cheapest."""
    preference = _THRIFTIER.get(task.constraints.cost_preference, "cheapest")
    return replace(task, constraints=replace(task.constraints, cost_preference=preference))


def _with_the_cheapest(fallbacks: Sequence[Model], ranked: Sequence[Model], needs: Requirements) -> list[Model]:
    """The fallbacks with the cheapest of all at their end: it is what may still fit when the others do not."""
    cheapest = min(ranked, key=lambda model: expected_cost(model, needs) or 0)
    if cheapest in (ranked[0], *fallbacks):
        return list(fallbacks)
    return [*fallbacks[: _MOST_FALLBACKS - 1], cheapest]


def _without_repeats(models: Sequence[Model]) -> list[Model]:
    return list({model.model_id: model for model in models}.values())


def _why_ranked_first(best: Model, needs: Requirements, tier: int) -> str:
    if best.last_resort:
        return f"{best.display_name} on this machine: no other model can take the task"
    if needs.constraints.cost_preference == "best_quality":
        return f"{best.display_name} is the best tier ({best.tier}) that can take the task"
    if best.tier > tier:
        return f"{best.display_name} (tier {best.tier}) comes nearest to tier {tier}, which nobody eligible has"
    return f"{best.display_name} is the cheapest of tier {tier} or better"


def _given_up(choice: _Choice, eligible: Sequence[Model], outlook: Outlook) -> _Choice:
    """The matrix's choice, or that of the guard where it can take the task."""
    fixed = [model for model in eligible if model.model_id == outlook.instead]
    if not fixed:
        return replace(choice, reasoning=f"{choice.reasoning}; {outlook.given_up}")
    return replace(choice, ranked=_without_repeats([*fixed, *choice.ranked]), reasoning=str(outlook.given_up))


def _why_preferred(found: Preference, reference: Model, outlook: Outlook) -> str:
    quality = outlook.forecasts[found.model.model_id].quality
    if found.explored:
        return f"tried to learn about it: {found.model.display_name} is expected to do this well enough ({quality:.2f})"
    return (
        f"{found.model.display_name} costs less than {reference.display_name} of the matrix, and its expected quality "
        f"({quality:.2f}) clears the floor ({found.floor:.2f})"
    )


def _matrix_miss(named: str, usual: Sequence[Model]) -> str:
    overruled = any(model.model_id == named for model in usual)
    return f"; it overrules {named} of the matrix" if overruled else f"; {named} of the matrix is not available"


def _why_not_chosen(model: Model, primary: Model, needs: Requirements) -> str:
    if model.last_resort:
        return "only used when nothing else can take the task"
    if model.superseded_by:
        return f"superseded by {model.superseded_by}"
    cost, chosen = expected_cost(model, needs), expected_cost(primary, needs)
    if model.tier > primary.tier:
        return f"tier {model.tier}, the chosen one is tier {primary.tier}"
    return f"expected {spoken_usd(cost)}, the chosen one {spoken_usd(chosen)}"


def _notices(primary: Model, needs: Requirements) -> tuple[str, ...]:
    notices: list[str] = [*needs.catalog.problems, *needs.outlook.notices]
    if needs.low_budget:
        notices.append(f"Cheaper models are preferred: {needs.low_budget}.")
    if primary.last_resort:
        notices.append(
            f"Answered by {primary.display_name}, a very small model on this machine's CPU: check what it says. For better "
            "answers set a provider's key (OPENAI_API_KEY, ANTHROPIC_API_KEY, GOOGLE_API_KEY, …) or start Ollama."
        )
    if needs.analysis.requires_vision and not needs.task.images:
        notices.append("The task mentions an image and brings none: pass it in images.")
    notices += _told_of_secrets(primary, needs)
    if needs.constraints.self_hosted_only and not needs.catalog.registry.providers[primary.provider].self_hosted:
        notices.append(f"{primary.display_name} has open weights, but {primary.provider} runs it on its own machines.")
    return tuple(notices)


def _told_of_secrets(model: Model, needs: Requirements) -> tuple[str, ...]:
    if needs.sensitive != "notice" or not needs.analysis.sensitive or stays_here(model, needs.catalog):
        return ()
    holds = f"The task holds what looks like a secret or personal data, and goes to {model.provider}."
    return (f"{holds} POINTSMAN_SENSITIVE=local_only keeps such tasks on machines of your own.",)


def _nothing_left(needs: Requirements, reasons: dict[str, str | None]) -> str:
    """Name what stood in the way, the commonest reason among configured models first."""
    configured = {key: why for key, why in reasons.items() if needs.catalog.is_configured(needs.catalog.models[key])}
    if not configured:
        return "no provider is configured: set a key such as OPENAI_API_KEY, start Ollama, or set POINTSMAN_LOCAL_MODEL=auto."
    lines = "; ".join(f"{key}: {why}" for key, why in list(configured.items())[:_MOST_REASONS])
    more = f"; and {len(configured) - _MOST_REASONS} more" if len(configured) > _MOST_REASONS else ""
    return f"no configured model meets the constraints. Relax one, or configure another provider. {lines}{more}."
