"""The arguments that describe a task and what is insisted on, the same in every tool that takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Base64Bytes, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from routing.pricing import microusd
from routing.router import MAX_PROMPT_CHARS
from routing.settings import Settings, preference_of
from routing.types import Constraints, CostPreference, Image, Message, VerifyMode

Prompt = Annotated[str, Field(description="The task, complete in itself", min_length=1, max_length=MAX_PROMPT_CHARS)]
System = Annotated[str | None, Field(description="Replaces the system prompt of the category")]
SessionId = Annotated[str | None, Field(description="From an earlier result: continues that conversation")]
Preference = Annotated[
    CostPreference | None, BeforeValidator(preference_of), Field(description="Default: the server's setting")
]
ForceModel = Annotated[str | None, Field(description="A model id of list_models; nothing else is tried", min_length=1)]
SelfHostedOnly = Annotated[bool | None, Field(description="Only models with open weights")]
Allowed = Annotated[list[str] | None, Field(description="Only these providers")]
Denied = Annotated[list[str] | None, Field(description="None of these providers")]
MaxTokens = Annotated[int | None, Field(description="Longest answer, in tokens", ge=1, le=128_000)]
MaxCost = Annotated[
    float | None, Field(description="Most it may be expected to cost", ge=0, le=1000, allow_inf_nan=False)
]
MaxLatency = Annotated[int | None, Field(description="Most it may be expected to take", ge=1, le=3_600_000)]
MinQuality = Annotated[
    float | None, Field(description="Least quality index (0-100)", ge=0, le=100, allow_inf_nan=False)
]
Deadline = Annotated[float, Field(description="Then get_answer has the answer", gt=0, le=3600)]
Verify = Annotated[VerifyMode, Field(description="Mends or escalates what fails")]
Tests = Annotated[str | None, Field(description="Python, for code")]
Criteria = Annotated[str | None, Field(description="For custom")]
BatchVerify = Annotated[Annotated[VerifyMode, WithJsonSchema({"type": "string"})] | None, Field(description="Likewise")]
"""The modes of route_and_answer, which a second list would make every host pay for twice."""

PatternOf = Annotated[
    dict[str, Any] | None,
    Field(description="Several calls: kind chain, sections, best_of, orchestrate or evaluate; {} tells their forms"),
]
Detach = Annotated[bool, Field(description="Go on if the connection is lost")]
DEADLINE_SECONDS = 50.0
"""Hosts give up at 60."""


MOST_IMAGE_BYTES = 5_000_000
"""Largest picture that is accepted, base64 decoded: what the strictest of the vendors takes."""


class HistoryMessage(BaseModel):
    """One earlier turn."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["user", "assistant"]
    content: str = Field(max_length=MAX_PROMPT_CHARS)


class ImageArgument(BaseModel):
    """A picture."""

    model_config = ConfigDict(extra="forbid")

    media_type: Literal["image/png", "image/jpeg", "image/webp", "image/gif"]
    data: Base64Bytes = Field(max_length=MOST_IMAGE_BYTES)


Images = Annotated[list[ImageArgument] | None, Field(description="Pictures for the task, base64", max_length=8)]
LoopTool = Literal[
    "web_search", "fetch_url", "execute_python", "validate_python_syntax", "memory_store", "memory_search"
]
Tools = Annotated[list[LoopTool] | None, Field(description="That the model may use; default: what fits the task")]
Texts = Annotated[
    list[str] | None,
    Field(
        description="To embed: prompt asks for vectors or similar pairs, or is a query to rank by",
        max_length=256,
    ),
]
History = Annotated[
    list[HistoryMessage] | None,
    Field(description="Earlier turns, oldest first; used instead of the session's", max_length=200),
]


def messages_of(history: Sequence[HistoryMessage] | None) -> tuple[Message, ...] | None:
    """The history as the router takes it."""
    return None if history is None else tuple(Message(role=turn.role, content=turn.content) for turn in history)


def images_of(images: Sequence[ImageArgument] | None) -> tuple[Image, ...]:
    """The pictures as the router takes them."""
    return tuple(Image(media_type=image.media_type, data=image.data) for image in images or ())


def constraints_of(settings: Settings, **given: Any) -> Constraints:
    """The constraints that were given, with the server's settings where nothing was said."""
    stated = {name: value for name, value in given.items() if value is not None}
    return Constraints(
        cost_preference=stated.get("cost_preference", settings.cost_preference),
        self_hosted_only=settings.self_hosted_only or stated.get("self_hosted_only", False),
        force_model=stated.get("force_model"),
        allowed_providers=frozenset(stated.get("allowed_providers", ())),
        denied_providers=frozenset(stated.get("denied_providers", ())),
        max_tokens=stated.get("max_tokens"),
        max_cost_microusd=microusd(stated["max_cost_usd"]) if "max_cost_usd" in stated else None,
        max_latency_ms=stated.get("max_latency_ms"),
        min_quality=stated.get("min_quality"),
        deadline_seconds=stated.get("deadline_seconds"),
    )
