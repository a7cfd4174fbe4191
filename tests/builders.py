"""Values for tests, each with sensible parts that a test overrides where it matters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from routing.catalog import Catalog
from routing.registry import Model, Registry
from routing.types import Access, Constraints, Message, ModelRequest, Target, Task, TaskAnalysis, Usage

CATEGORY = {
    "system_prompt": "Answer.",
    "max_output_tokens": 1000,
    "tier_floor": [4, 4, 3, 2, 1],
    "tools": ["web_search", "memory_search"],
}
CATEGORY_NAMES = (
    "deep_reasoning",
    "complex_coding",
    "long_document",
    "agentic_tool_use",
    "qa_retrieval",
    "text_generation",
    "classification",
    "embedding",
)


def model(model_id: str, **changes: Any) -> Model:
    """A tier-2 chat model of provider ``acme`` at $1 in and $2 out per million tokens."""
    row: dict[str, Any] = {
        "model_id": model_id,
        "api_model_id": model_id.split("/")[1],
        "display_name": model_id.split("/")[1].title(),
        "provider": "acme",
        "tier": 2,
        "context_window": 100_000,
        "max_output_tokens": 8_000,
        "prices": {"input": 1, "output": 2},
        "capabilities": {"tools": True, "json_schema": True},
        "is_reasoning_model": False,
        "self_hosted": False,
        "tokenizer": "o200k_base",
        "prices_checked": date(2026, 11, 1),
        "source": "test",
    }
    return Model.model_validate({**row, **changes})


def provider(**changes: Any) -> dict[str, Any]:
    """A provider row that needs a key."""
    return {
        "display_name": "Acme",
        "protocol": "openai-chat",
        "base_url": "http://127.0.0.1:1/v1",
        "key_variables": ["ACME_API_KEY"],
        **changes,
    }


def registry(*models: Model, matrix: Mapping[str, str] | None = None, **changes: Any) -> Registry:
    """A registry of these models whose every matrix cell names the first one, unless ``matrix`` says otherwise."""
    first = models[0].model_id
    row = {"default": first, "cost_optimized": first, "self_hosted": first, "fallback": first, **(matrix or {})}
    providers = {name: provider() for name in {one.provider for one in models}}
    return Registry.model_validate(
        {
            "version": 1,
            "default_policy": "current",
            "providers": {**providers, **changes.pop("providers", {})},
            "models": {one.model_id: one.model_dump(exclude={"model_id"}) for one in models},
            "thinking_effort": [("low", "low", "medium", "high", "high")] * 4,
            "categories": dict.fromkeys(CATEGORY_NAMES, CATEGORY),
            "policies": {"current": {"matrix": dict.fromkeys(CATEGORY_NAMES, row)}},
            **changes,
        }
    )


def catalog(*models: Model, configured: set[str] | None = None, **changes: Any) -> Catalog:
    """A catalog of these models, all providers configured unless ``configured`` names some."""
    rows = registry(*models, **changes)
    names = rows.providers if configured is None else configured
    access = {
        name: Access(protocol="openai-chat", base_url="http://127.0.0.1:1/v1", api_key="sk-canary") for name in names
    }
    return Catalog(registry=rows, access=access, policy="current")


def analysis(**changes: Any) -> TaskAnalysis:
    """A sure analysis of a simple question."""
    facts: dict[str, Any] = {
        "category": "qa_retrieval",
        "complexity": 2,
        "confidence": 0.95,
        "estimated_input_tokens": 100,
        "estimated_output_tokens": 100,
        "input_tokens_exact": True,
    }
    return TaskAnalysis(**{**facts, **changes})


def task(prompt: str = "What is rust?", **constraints: Any) -> Task:
    """A task with these constraints."""
    return Task(prompt=prompt, constraints=Constraints(**constraints))


def request(prompt: str = "What is rust?", **changes: Any) -> ModelRequest:
    """A request of one user message."""
    parts: dict[str, Any] = {
        "messages": (Message(role="user", content=prompt),),
        "system": "Answer.",
        "max_output_tokens": 500,
    }
    return ModelRequest(**{**parts, **changes})


def target(**changes: Any) -> Target:
    """A target that takes ``max_tokens``."""
    facts: dict[str, Any] = {
        "model_id": "acme/large",
        "provider": "acme",
        "api_model_id": "large-1",
        "max_output_tokens": 8_000,
        "max_tokens_parameter": "max_tokens",
        "json_schema": True,
    }
    return Target(**{**facts, **changes})


def usage(input_tokens: int, output_tokens: int, **details: Any) -> Usage:
    """A usage."""
    return Usage(input_tokens=input_tokens, output_tokens=output_tokens, **details)
