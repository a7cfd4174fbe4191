"""registry.json → `Registry`: providers, models, prices, task categories and the decision matrix, as checked data.

A user's own file overlays the shipped one row by row and field by field; ``null`` in place of a row removes the row. A
mistake is named by file, row and field, and is never guessed around. The pydantic models here are also the source of
``registry.schema.json``, which an editor uses to help with either file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self, cast, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from routing.errors import RegistryError
from routing.types import CATEGORIES, Category, Complexity, CostPreference, Effort, MachineCheck, Role, Tier

SCHEMA_FILE = Path(__file__).with_name("registry.schema.json")
_SHOWN_PROBLEMS = 5
_LOOK_EVERY_SECONDS = 1.0

ModelKind = Literal["chat", "embedding"]
WireProtocol = Literal["openai", "openai-chat", "anthropic", "google", "embedded"]
Thinking = Literal["none", "adaptive", "effort", "budget", "level", "always"]
Tokenizer = Literal["o200k_base", "cl100k_base", "anthropic", "gemini", "llama", "qwen", "deepseek", "mistral", "grok"]


class _Twice:
    """Stands where a JSON object has one key twice; no field accepts it, so its place is reported."""


def _number(value: object) -> object:
    """Refuse what only looks like a number: pydantic would read ``"3"`` as 3 and ``true`` as 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise PydanticCustomError("number_type", "Input should be a number")
    return value


_HIGHEST_PRICE = 1_000_000
"""Dollars per million tokens: a dollar a token is no price but a slip of the hand."""
_Count = Annotated[int, Field(strict=True, ge=0)]
_Size = Annotated[int, Field(strict=True, gt=0)]
_Score = Annotated[float, BeforeValidator(_number), Field(ge=0, le=100, allow_inf_nan=False)]
_Speed = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
_PRICE_SCHEMA = WithJsonSchema({"type": "number", "minimum": 0, "maximum": _HIGHEST_PRICE})
_Price = Annotated[Decimal, BeforeValidator(_number), Field(ge=0, le=_HIGHEST_PRICE), _PRICE_SCHEMA]
_ModelId = Annotated[str, Field(pattern=r"^[^/\s]+/.+$")]


class _Row(BaseModel):
    """What every part of the file has in common: it cannot be changed, and knows no other fields than its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _PriceRow(_Row):
    input: _Price | None = Field(
        default=None, description="Dollars per million input tokens; null is unknown, not free"
    )
    output: _Price | None = Field(default=None, description="Dollars per million output tokens, reasoning included")
    cache_read: _Price | None = Field(default=None, description="Dollars per million input tokens read from the cache")
    cache_write: _Price | None = Field(
        default=None, description="Dollars per million input tokens written to the cache"
    )


class LongContextPrices(_PriceRow):
    """Prices that hold for the whole request once its input is longer than a step."""

    above_input_tokens: _Count = Field(description="The step: input longer than this many tokens pays these prices")


class Prices(_PriceRow):
    """What a model costs, in dollars per million tokens."""

    long_context: tuple[LongContextPrices, ...] = Field(
        default=(), description="Prices of long requests, shortest step first"
    )

    @property
    def known(self) -> bool:
        """Whether a cost can be told: input and output both have a price."""
        return self.input is not None and self.output is not None


class Capabilities(_Row):
    """What a model can do beyond answering in text."""

    tools: StrictBool = Field(default=False, description="Calls tools")
    vision: StrictBool = Field(default=False, description="Reads images")
    json_schema: StrictBool = Field(default=False, description="Its answer can be held to a JSON schema")
    streaming: StrictBool = Field(default=True, description="Sends its answer piece by piece")
    thinking: Thinking = Field(
        default="none",
        description="How reasoning is asked for: not at all, left to the model, by effort, by a budget of tokens, by "
        "level, or it always reasons",
    )


class Model(_Row):
    """One model at one provider."""

    model_id: _ModelId = Field(description="Our name for it, vendor/name; in the file, the key of the row")
    api_model_id: str = Field(min_length=1, description="The provider's name for it")
    display_name: str = Field(min_length=1, description="Its name for people")
    provider: str = Field(description="Id of the provider row that serves it")
    kind: ModelKind = Field(default="chat", description="What it makes: answers or vectors")
    tier: Tier = Field(description="1 frontier reasoning, 2 high-performance efficiency, 3 workhorse, 4 lightweight")
    quality_index: _Score | None = Field(
        default=None, description="Overall quality, 0 to 100; null where never measured"
    )
    reasoning_score: _Score | None = Field(default=None, description="Reasoning, 0 to 100")
    coding_score: _Score | None = Field(default=None, description="Coding, 0 to 100")
    instruction_following: _Score | None = Field(default=None, description="Instruction following, 0 to 100")
    speed_tokens_per_sec: _Speed | None = Field(default=None, description="Output tokens per second")
    context_window: _Size = Field(description="Tokens of input and output together")
    max_output_tokens: _Count = Field(description="Tokens of the longest answer, reasoning included; 0 for vectors")
    prices: Prices = Field(description="What it costs")
    capabilities: Capabilities = Field(description="What it can do")
    is_reasoning_model: StrictBool = Field(description="Sold as a reasoning model: spends output tokens on reasoning")
    self_hosted: StrictBool = Field(description="Its weights are open, so that one can run it oneself")
    tokenizer: Tokenizer = Field(description="What to count its tokens with; the nearest kin of an unpublished one")
    superseded_by: str | None = Field(
        default=None, description="Id of the model that took its place; it is then chosen only by a policy or by force"
    )
    last_resort: StrictBool = Field(default=False, description="Chosen only when nothing else is eligible")
    strengths: tuple[str, ...] = Field(default=(), description="What it is known to be good at")
    prices_checked: date | None = Field(description="Day on which the prices were last compared with the source")
    source: str = Field(min_length=1, description="Where prices and scores come from")


class Provider(_Row):
    """Who serves models, over which wire, and how one gets in."""

    provider_id: str = Field(pattern=r"^[a-z0-9_-]+$", description="Our name for it; in the file, the key of the row")
    display_name: str = Field(min_length=1, description="Its name for people")
    protocol: WireProtocol = Field(description="The wire that it speaks")
    protocol_elsewhere: WireProtocol | None = Field(
        None, description="The wire spoken at an address of the user's own, where that is another one"
    )
    base_url: str = Field(default="", description="Its address; empty where only the user can know it")
    api_path: str = Field(default="", description="Appended to an address that comes without it")
    base_url_variable: str | None = Field(default=None, description="Environment variable that replaces the address")
    key_variables: tuple[str, ...] = Field(
        default=(), description="Environment variables of its key, the usual one first"
    )
    key_optional: StrictBool = Field(default=False, description="It may be called without a key")
    self_hosted: StrictBool = Field(default=False, description="It runs on the user's own machine")
    discover: StrictBool = Field(default=False, description="Its models are asked from the running server")
    max_tokens_parameter: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="Its name for the bound on output tokens"
    )
    requests_per_minute: _Size | None = Field(
        default=None, description="Limit that we keep; null leaves it to the provider"
    )
    tokens_per_minute: _Size | None = Field(
        default=None, description="Limit that we keep; null leaves it to the provider"
    )
    console_url: str | None = Field(default=None, description="Page where one gets a key")


class CategoryFacts(_Row):
    """What the router knows of one category of tasks."""

    system_prompt: str = Field(min_length=1, description="System prompt of tasks that bring none; short and stable")
    max_output_tokens: Annotated[int, Field(strict=True, gt=0, le=16_000)] = Field(
        description="Bound on the answer where the caller names none, reasoning included"
    )
    tier_floor: tuple[Tier, Tier, Tier, Tier, Tier] = Field(
        description="The weakest tier that is good enough at complexity 1 to 5"
    )
    tools: tuple[str, ...] = Field(default=(), description="Tools that a model is granted in this category")
    verify: tuple[MachineCheck, ...] = Field(default=(), description="Checks of its answers that need no model")
    repair: StrictBool = Field(default=True, description="An answer that fails a check goes back to its model once")
    escalations: Annotated[int, Field(strict=True, ge=0, le=3)] = Field(
        default=2, description="How many stronger models may be asked, one after the other, where answers fail"
    )
    cheapest_first: StrictBool = Field(
        default=False,
        description="Where a caller's tests will decide, the cheapest model begins at cost preference balanced",
    )
    samples: Annotated[int, Field(strict=True, ge=3, le=7)] = Field(
        default=3, description="How many answers are compared where a caller wants them to agree"
    )


class RoleFacts(_Row):
    """What a role in a pattern asks for, whatever the category of its task."""

    strongest: Tier = Field(default=1, description="No stronger tier is needed, however hard the task reads")
    weakest: Tier = Field(default=4, description="No weaker tier is good enough, however easy the task reads")


EffortRow = tuple[Effort, Effort, Effort, Effort, Effort]


class Cell(_Row):
    """One cell of the decision matrix: a model, and the one cost preference that it is kept for, if any."""

    model: str = Field(description="Id of the model")
    only_at: CostPreference | None = Field(default=None, description="The cell counts at this cost preference only")


def _cell(value: object) -> object:
    return {"model": value} if isinstance(value, str) else value


_Cell = Annotated[Cell, BeforeValidator(_cell, json_schema_input_type=str | Cell)]


class MatrixRow(_Row):
    """The models of one category, by what the task or its caller asks for."""

    default: _Cell = Field(description="Where nothing below applies")
    cost_optimized: _Cell = Field(description="At cost preference cheapest")
    self_hosted: _Cell = Field(description="Where only open weights will do")
    fallback: _Cell = Field(description="Tried when the chosen model fails")
    long_context: _Cell | None = Field(default=None, description="Where the task needs a long context window")
    high_quality: _Cell | None = Field(default=None, description="At cost preference best_quality")
    high_complexity: _Cell | None = Field(default=None, description="At complexity 4 and 5")
    math_heavy: _Cell | None = Field(default=None, description="Where the task is mathematics")

    def cells(self) -> Iterator[tuple[str, Cell]]:
        """Yield the cells that are filled, by name."""
        for name in MatrixRow.model_fields:
            cell: Cell | None = getattr(self, name)
            if cell is not None:
                yield name, cell


class Policy(_Row):
    """A decision matrix: category and what is asked for → model."""

    matrix: Mapping[Category, MatrixRow] = Field(description="One row for each of the eight categories")


class Profile(_Row):
    """A specialised agent: which messages are its own, and how they are answered where profiles are applied."""

    description: str = Field(default="", description="What its messages are about")
    examples: tuple[str, ...] = Field(
        min_length=1, description="Messages that are its own; the more varied, the better"
    )
    keywords: tuple[str, ...] = Field(
        default=(), description="Words and phrases that speak for it; * at a word's end stands for any ending"
    )
    system_prompt: str | None = Field(default=None, description="System prompt of messages that bring none")
    cost_preference: CostPreference | None = Field(
        default=None, description="Preference of messages that name none; null leaves it to the settings"
    )
    min_quality: _Score | None = Field(default=None, description="Weakest model that is asked, by quality index")
    fallback: StrictBool = Field(
        default=False, description="Takes messages that nothing can be told of: no emoji, no word in Latin letters"
    )
    tools: tuple[str, ...] | None = Field(
        default=None, description="Tools that its model may use; null leaves it to the task"
    )


class Registry(_Row):
    """Everything that registry.json says, checked, with the user's own file laid over it."""

    schema_uri: str = Field(default="", alias="$schema", description="Where an editor finds the schema of this file")
    version: Literal[1] = Field(description="Version of this file's format")
    default_policy: str = Field(description="The policy that is used where the user names none")
    providers: Mapping[str, Provider] = Field(description="Providers by id")
    models: Mapping[str, Model] = Field(description="Models by id")
    categories: Mapping[Category, CategoryFacts] = Field(description="Facts of the eight categories")
    thinking_effort: tuple[EffortRow, EffortRow, EffortRow, EffortRow] = Field(
        description="How hard a model that can reason is asked to: a row for each tier 1 to 4, of complexity 1 to 5"
    )
    roles: Mapping[Role, RoleFacts] = Field(
        default={}, description="What the steps of a pattern ask for beyond their category, by role"
    )
    policies: Mapping[str, Policy] = Field(description="Decision matrices by name")
    profiles: Mapping[str, Profile] = Field(default_factory=dict, description="Specialised agents by name")

    @model_validator(mode="before")
    @classmethod
    def _name_the_rows(cls, document: object) -> object:
        """Give each row the id that is its key in the file."""
        if (sections := _object(document)) is None:
            return document
        named = {section: _named(sections.get(section), key) for section, key in _ROW_KEYS.items()}
        return {**sections, **{section: rows for section, rows in named.items() if section in sections}}

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if problems := tuple(_contradictions(self)):
            raise PydanticCustomError("contradiction", "{problems}", {"problems": _listed(problems)})
        return self

    def effort_for(self, model: Model, complexity: Complexity) -> Effort:
        """How hard a model should reason about a task; ``none`` where it cannot be asked to."""
        if model.capabilities.thinking == "none":
            return "none"
        return self.thinking_effort[model.tier - 1][complexity - 1]

    def model(self, model_id: str) -> Model:
        """Find the model of that id. Raises `RegistryError` with the nearest names where there is none."""
        if found := self.models.get(model_id):
            return found
        raise RegistryError(f"there is no model {model_id!r}{_hint(self.nearest(model_id))}")

    def policy(self, name: str) -> Policy:
        """Find the policy of that name. Raises `RegistryError` with the names there are where there is none."""
        if found := self.policies.get(name):
            return found
        raise RegistryError(f"there is no policy {name!r}. There are: {', '.join(self.policies)}")

    def nearest(self, text: str, n: int = 3) -> tuple[str, ...]:
        """Ids of up to ``n`` models whose id, provider's name or display name comes closest, best first."""
        ids = {name.lower(): row.model_id for row in self.models.values() for name in _names_of(row)}
        matches = get_close_matches(text.lower(), ids, n=n * 4, cutoff=0.5)
        return tuple(dict.fromkeys(ids[name] for name in matches))[:n]


_ROW_KEYS = {"models": "model_id", "providers": "provider_id"}


def _names_of(model: Model) -> tuple[str, str, str, str]:
    return (model.model_id, model.api_model_id, model.display_name, model.model_id.partition("/")[2])


def _hint(nearest: Sequence[str]) -> str:
    return f". Nearest: {', '.join(nearest)}" if nearest else ""


# What one row says against another


def _contradictions(registry: Registry) -> Iterator[str]:
    yield from _misnamed(registry)
    for model in registry.models.values():
        for field, problem in _model_contradictions(model, registry):
            yield f"{_place(('models', model.model_id, field))}: {problem}"
    yield from _same_api_id(registry.models.values())
    yield from _category_contradictions(registry)
    yield from _role_contradictions(registry)
    yield from _matrix_contradictions(registry)


def _misnamed(registry: Registry) -> Iterator[str]:
    ids = {key: model.model_id for key, model in registry.models.items()}
    for key, own in {**ids, **{key: row.provider_id for key, row in registry.providers.items()}}.items():
        if key != own:
            yield f"row {key!r} calls itself {own!r}: leave the id out, the key says it"


def _model_contradictions(model: Model, registry: Registry) -> Iterator[tuple[str, str]]:
    if model.provider not in registry.providers:
        yield "provider", f"there is no provider {model.provider!r}. There are: {', '.join(registry.providers)}"
    if model.superseded_by == model.model_id:
        yield "superseded_by", "a model cannot take its own place"
    elif model.superseded_by is not None and model.superseded_by not in registry.models:
        yield (
            "superseded_by",
            f"there is no model {model.superseded_by!r}{_hint(registry.nearest(model.superseded_by))}",
        )
    if model.is_reasoning_model and model.capabilities.thinking == "none":
        yield "capabilities.thinking", "a reasoning model cannot have 'none'"
    if model.kind == "embedding" and (model.capabilities.thinking != "none" or model.capabilities.tools):
        yield "capabilities", "an embedding model neither thinks nor calls tools"


def _same_api_id(models: Iterable[Model]) -> Iterator[str]:
    seen: dict[tuple[str, str], str] = {}
    for model in models:
        first = seen.setdefault((model.provider, model.api_model_id), model.model_id)
        if first != model.model_id:
            yield f"{_place(('models', model.model_id, 'api_model_id'))}: {first} has the same one at {model.provider}"


def _category_contradictions(registry: Registry) -> Iterator[str]:
    for category in CATEGORIES:
        facts = registry.categories.get(category)
        if facts is None:
            yield f"{_place(('categories', category))}: the row is missing"
        elif list(facts.tier_floor) != sorted(facts.tier_floor, reverse=True):
            yield f"{_place(('categories', category, 'tier_floor'))}: a harder task cannot do with a weaker tier"


def _role_contradictions(registry: Registry) -> Iterator[str]:
    for role, facts in registry.roles.items():
        if facts.strongest > facts.weakest:
            yield f"{_place(('roles', role, 'strongest'))}: tier {facts.strongest} is weaker than weakest, {facts.weakest}"


def _matrix_contradictions(registry: Registry) -> Iterator[str]:
    if registry.default_policy not in registry.policies:
        yield f"field default_policy: there is no such policy. There are: {', '.join(registry.policies)}"
    for name, policy in registry.policies.items():
        for category in CATEGORIES:
            if category not in policy.matrix:
                yield f"{_place(('policies', name, 'matrix', category))}: the row is missing"
        for category, row in policy.matrix.items():
            for cell_name, cell in row.cells():
                if cell.model not in registry.models:
                    place = _place(("policies", name, "matrix", category, cell_name))
                    yield f"{place}: there is no model {cell.model!r}{_hint(registry.nearest(cell.model))}"


# Reading the files


def load_registry(path: Path, overlay: Path | None = None) -> Registry:
    """Read the shipped file and, where it exists, the user's own file over it.

    Raises:
        RegistryError: a file cannot be read, or is wrong; the message names file, row and field, and what is allowed.

    """
    shipped = _read(path)
    if overlay is None or not overlay.exists():
        return _validated(shipped, path)
    merged = _merged(shipped, _read(overlay))
    try:
        return _validated(merged, overlay)
    except RegistryError:
        _validated(shipped, path)  # raises in its own name where the shipped file is the one at fault
        raise


def with_models(registry: Registry, models: Iterable[Model]) -> Registry:
    """Add rows that were discovered at run time; a row of the files wins over a discovered one of the same id."""
    discovered = {model.model_id: model for model in models if model.model_id not in registry.models}
    return registry.model_copy(update={"models": {**registry.models, **discovered}})


class RegistryFile:
    """The registry as its files are now: `current` looks at most once a second whether one of them changed.

    A broken edit keeps the last good registry, and ``problem`` says what is wrong with it. Raises `RegistryError` on
    construction where there is no good registry yet.
    """

    def __init__(self, path: Path, overlay: Path | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._overlay = overlay
        self._clock = clock
        self._looked_at = clock()
        self._stamps = self._stamps_now()
        self._registry = load_registry(path, overlay)
        self.problem: str | None = None

    def current(self) -> Registry:
        """Return the registry of the last good edit."""
        now = self._clock()
        if now - self._looked_at >= _LOOK_EVERY_SECONDS:
            self._looked_at = now
            self._look()
        return self._registry

    def _look(self) -> None:
        stamps = self._stamps_now()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._registry = load_registry(self._path, self._overlay)
        except RegistryError as broken:
            self.problem = f"{broken} Until then the last good registry is used."
        else:
            self.problem = None

    def _stamps_now(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._path, self._overlay) if path is not None)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _read(path: Path) -> dict[str, object]:
    try:
        document: object = json.loads(
            path.read_bytes().decode("utf-8-sig"),
            parse_float=Decimal,
            parse_constant=Decimal,  # NaN and Infinity, which a field then refuses by its own name
            object_pairs_hook=_unique,
        )
    except OSError as unreadable:
        raise RegistryError(f"{path}: cannot be read ({unreadable.strerror}).") from unreadable
    except UnicodeDecodeError as garbled:
        raise RegistryError(f"{path}: not UTF-8 at byte {garbled.start}. Save it as UTF-8.") from garbled
    except json.JSONDecodeError as broken:
        where = f"line {broken.lineno}, column {broken.colno}"
        raise RegistryError(f"{path}: not JSON at {where}: {broken.msg}.") from broken
    except RecursionError as deep:
        raise RegistryError(f"{path}: nested too deeply to be a registry.") from deep
    if (sections := _object(document)) is None:
        raise RegistryError(f"{path}: the file must hold one JSON object.")
    return sections


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        found[key] = _Twice() if key in found else value
    return found


def _object(value: object) -> dict[str, object] | None:
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _named(rows: object, key: str) -> object:
    if (by_id := _object(rows)) is None:
        return rows
    return {name: row if (fields := _object(row)) is None else {key: name, **fields} for name, row in by_id.items()}


def _merged(shipped: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """Lay one file over the other; a section's row that is ``null`` is removed."""
    laid = _laid_over(shipped, own)
    return {
        name: section if (rows := _object(section)) is None else _without_null(rows) for name, section in laid.items()
    }


def _laid_over(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    laid = dict(below)
    for key, value in above.items():
        old, new = _object(laid.get(key)), _object(value)
        laid[key] = value if old is None or new is None else _laid_over(old, new)
    return laid


def _without_null(rows: Mapping[str, object]) -> dict[str, object]:
    return {key: row for key, row in rows.items() if row is not None}


# Saying what is wrong


def _validated(document: Mapping[str, object], file: Path) -> Registry:
    try:
        return Registry.model_validate(document)
    except ValidationError as invalid:
        problems = [_problem(error) for error in invalid.errors(include_url=False)]
        raise RegistryError(f"{file}: {_listed(problems)}. Correct the file.") from None


def _listed(problems: Sequence[str]) -> str:
    more = len(problems) - _SHOWN_PROBLEMS
    return "; ".join(problems[:_SHOWN_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


def _problem(error: ErrorDetails) -> str:
    if error["type"] == "contradiction":
        return error["msg"]
    place = _place(error["loc"])
    if isinstance(error["input"], _Twice):
        return f"{place}: stands twice, keep one"
    match error["type"]:
        case "missing":
            return f"{place}: is missing"
        case "dict_type" | "model_type":
            return f"{place}: must be an object, not {_shown(error['input'])}"
        case "extra_forbidden":
            return f"{place}: there is no such field{_right_names(error['loc'])}"
        case _:
            return f"{place}: {error['msg']}, not {_shown(error['input'])}"


def _place(location: Sequence[str | int]) -> str:
    section, *inner = location
    if section not in Registry.model_fields or not inner:
        return f"field {section}"
    row, *field = (str(step) for step in inner)
    return f"{section} {row!r}" + (f", field {'.'.join(field)}" if field else "")


def _shown(value: object) -> str:
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else f"{value!s}"


def _right_names(location: Sequence[str | int]) -> str:
    """Name the nearest field that is allowed where a wrong one stands, or all of them."""
    allowed = list(_class_at(location[:-1]).model_fields)
    nearest = get_close_matches(str(location[-1]), allowed, n=1, cutoff=0.5)
    return f". Did you mean {nearest[0]}?" if nearest else f". Known are: {', '.join(allowed)}"


def _class_at(location: Sequence[str | int]) -> type[BaseModel]:
    """Follow a location to the class of its part of the file; keys and list positions stay within one type."""
    found: type[BaseModel] = Registry
    for step in location:
        if field := found.model_fields.get(str(step)):
            found = _model_within(field.annotation) or found
    return found


def _model_within(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model_within(argument))), None)


# The schema


def schema() -> dict[str, object]:
    """JSON schema (2020-12) of registry.json, whose rows have their ids as keys instead of fields."""
    generated = Registry.model_json_schema()
    for title, key in (("Model", "model_id"), ("Provider", "provider_id")):
        row = generated["$defs"][title]
        del row["properties"][key]
        row["required"].remove(key)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **generated}


def write_schema(path: Path = SCHEMA_FILE) -> None:
    """Write the schema where registry.json points to it; run after any change of the classes above."""
    path.write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")
