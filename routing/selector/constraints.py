"""Hard constraints: the one line why a model cannot take a task, or ``None`` where it can.

The checks run in the order of `CHECKS`, and the first that fails is the reason given. Each is monotone in what it limits:
raising a limit never rejects a model that a lower one let through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from routing.catalog import Catalog
from routing.pricing import cost_microusd, spoken_usd
from routing.registry import Model, RoleFacts
from routing.selector.outlook import NO_OUTLOOK, Outlook
from routing.types import Constraints, SensitivePolicy, Task, TaskAnalysis, Usage

_FEWEST_CACHED_TOKENS = 1_024
"""No provider caches less (https://platform.openai.com/docs/guides/prompt-caching; Anthropic's smallest is the same)."""

_TIME_TO_FIRST_TOKEN_MS = 800
"""A round figure for the wait before the first token, where the ledger has none of late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What a task needs of a model. ``forced`` models skip the checks that only guide an automatic choice.

    ``low_budget`` says how little of a budget is left, where it is little: then what is cheap comes first. ``outlook`` is what
    is known beyond the registry: how fast models were, and which one has the conversation in its cache.
    """

    task: Task
    analysis: TaskAnalysis
    catalog: Catalog
    input_tokens: int
    forced: bool = False
    low_budget: str | None = None
    outlook: Outlook = NO_OUTLOOK
    sensitive: SensitivePolicy = "allow"

    @property
    def constraints(self) -> Constraints:
        return self.task.constraints

    @property
    def role(self) -> RoleFacts | None:
        """What the task's role in a pattern asks for, where it has one that asks for something."""
        return self.catalog.registry.roles.get(self.task.role) if self.task.role else None

    @property
    def wants_tools(self) -> bool:
        """Whether the task needs tools, and the caller did not forbid them."""
        return self.task.tools is None and self.analysis.requires_tool_use and not self.task.texts


def expected_output_tokens(model: Model, needs: Requirements) -> int:
    """Tokens the model is expected to write: the analyzer's estimate within the caller's and the model's bounds."""
    bound = needs.constraints.max_tokens or model.max_output_tokens
    return min(needs.analysis.estimated_output_tokens, bound, model.max_output_tokens)


def expected_cost(model: Model, needs: Requirements) -> int | None:
    """Expected cost of the task on a model, in micro-dollars; ``None`` where its price is unknown.

    The model that gave the session's last answer reads the conversation from its provider's cache; another pays for all of it.
    """
    warm = min(needs.analysis.history_tokens, needs.input_tokens) if model.model_id == needs.outlook.warm_model else 0
    usage = Usage(
        input_tokens=needs.input_tokens,
        output_tokens=expected_output_tokens(model, needs),
        cache_read_tokens=warm if warm >= _FEWEST_CACHED_TOKENS else 0,
    )
    return cost_microusd(usage, model.prices)


def latency_ms(model: Model, output_tokens: int) -> int | None:
    """Expected time to the last token, in milliseconds; ``None`` where the model's speed was never measured."""
    if not model.speed_tokens_per_sec:
        return None
    return _TIME_TO_FIRST_TOKEN_MS + round(1000 * output_tokens / model.speed_tokens_per_sec)


def quality_of(model: Model, catalog: Catalog) -> float:
    """The model's quality index (0–100); an unmeasured one counts as the lowest that was measured in its tier."""
    if model.quality_index is not None:
        return model.quality_index
    measured = [
        other.quality_index
        for other in catalog.models.values()
        if other.tier == model.tier and other.quality_index is not None
    ]
    return 0.0 if model.last_resort else min(measured, default=0.0)


def rejection(model: Model, needs: Requirements) -> str | None:
    """Why the model cannot take the task, or ``None``."""
    return next((reason for check in CHECKS if (reason := check(model, needs))), None)


def _not_configured(model: Model, needs: Requirements) -> str | None:
    if needs.catalog.is_configured(model):
        return None
    return f"{model.provider} is not configured: {needs.catalog.how_to_configure(model.provider)}"


def _wrong_kind(model: Model, needs: Requirements) -> str | None:
    if needs.task.texts:
        return "it makes text, not embeddings" if model.kind != "embedding" else None
    return "it makes embeddings, not text" if model.kind != "chat" else None


def _provider_unwanted(model: Model, needs: Requirements) -> str | None:
    allowed, denied = needs.constraints.allowed_providers, needs.constraints.denied_providers
    if model.provider in denied:
        return f"denied_providers names {model.provider}"
    if allowed and model.provider not in allowed:
        return f"allowed_providers leaves out {model.provider}"
    return None


def _model_unwanted(model: Model, needs: Requirements) -> str | None:
    return "another model than this one is wanted" if model.model_id in needs.constraints.denied_models else None


def _not_self_hosted(model: Model, needs: Requirements) -> str | None:
    return (
        "self_hosted_only: its weights are not open"
        if needs.constraints.self_hosted_only and not model.self_hosted
        else None
    )


def stays_here(model: Model, catalog: Catalog) -> bool:
    """Whether what the model is told stays on machines of the user's own."""
    return catalog.registry.providers[model.provider].self_hosted


def _must_stay_here(model: Model, needs: Requirements) -> str | None:
    if needs.sensitive != "local_only" or not needs.analysis.sensitive or stays_here(model, needs.catalog):
        return None
    return "POINTSMAN_SENSITIVE=local_only: the task holds a secret or personal data, and the model runs elsewhere"


def _lacks_capability(model: Model, needs: Requirements) -> str | None:
    if needs.task.images and not model.capabilities.vision:
        return "it cannot see images"
    if (needs.task.tools or needs.wants_tools) and not model.capabilities.tools:
        return "it cannot call tools"
    if needs.task.response_schema is not None and not model.capabilities.json_schema:
        return "it cannot be held to a JSON schema"
    return None


def _too_small(model: Model, needs: Requirements) -> str | None:
    needed = needs.analysis.longest_text_tokens or needs.input_tokens + expected_output_tokens(model, needs)
    if needed <= model.context_window:
        return None
    return f"needs {needed:,} tokens, its window holds {model.context_window:,}"


def _price_unknown(model: Model, needs: Requirements) -> str | None:
    if expected_cost(model, needs) is not None:
        return None
    if needs.constraints.max_cost_microusd is not None:
        return "max_cost_usd is set and its price is unknown"
    return None if needs.forced else "its price is unknown, so it is never chosen by cost (force_model takes it)"


def _too_dear(model: Model, needs: Requirements) -> str | None:
    limit, cost = needs.constraints.max_cost_microusd, expected_cost(model, needs)
    if limit is None or cost is None or cost <= limit:
        return None
    return f"expected cost {spoken_usd(cost)} is over max_cost_usd {spoken_usd(limit)}"


def _too_slow(model: Model, needs: Requirements) -> str | None:
    limit = needs.constraints.max_latency_ms
    if limit is None:
        return None
    tokens, speed = expected_output_tokens(model, needs), needs.outlook.speeds.get(model.model_id)
    latency = speed.latency_ms(tokens) if speed else latency_ms(model, tokens)
    if latency is None:
        return "max_latency_ms is set and its speed was never measured"
    return f"expected {latency:,} ms is over max_latency_ms {limit:,}" if latency > limit else None


def _too_weak(model: Model, needs: Requirements) -> str | None:
    wanted = needs.constraints.min_quality
    if wanted is None or quality_of(model, needs.catalog) >= wanted:
        return None
    return f"quality {quality_of(model, needs.catalog):g} is under min_quality {wanted:g}"


CHECKS: tuple[Callable[[Model, Requirements], str | None], ...] = (
    _not_configured,
    _wrong_kind,
    _provider_unwanted,
    _model_unwanted,
    _not_self_hosted,
    _must_stay_here,
    _lacks_capability,
    _too_small,
    _price_unknown,
    _too_dear,
    _too_slow,
    _too_weak,
)
