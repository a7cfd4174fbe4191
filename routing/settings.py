"""Environment variables → `Settings`.

Vendors' keys and addresses have their usual names, which the registry's provider rows list; ours begin with
``POINTSMAN_``. Nothing here reads the environment by itself: `server.py` passes it in, together with what stands in the
``.env`` files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, cast, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from routing.embedded.mirrors import OFFICIAL_HUB
from routing.errors import SettingsError
from routing.logs import LogFormat
from routing.registry import Provider
from routing.types import Access, AnalyzerMode, CostPreference, OutagePolicy, SensitivePolicy

PREFIX = "POINTSMAN_"
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
SearchEngine = Literal["brave", "tavily", "exa", "searxng", "duckduckgo"]
Authentication = Literal["tokens", "oauth"]
SEARCH_ENGINES: tuple[SearchEngine, ...] = get_args(SearchEngine)
Toolset = Literal["routing", "web", "code", "memory", "report"]
"""Tools that are offered or left out together; `tools` says which are in which."""
TOOLSETS: tuple[Toolset, ...] = get_args(Toolset)
_PREFERENCE_ALIASES = {"cost_optimized": "cheapest", "quality_optimized": "best_quality"}


def preference_of(value: object) -> object:
    """Translate the names that other routers use for a cost preference into ours."""
    return _PREFERENCE_ALIASES.get(value, value) if isinstance(value, str) else value


def listed(value: object) -> object:
    """Split a list at its commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def names_of(value: object) -> object:
    """Split names at commas, each once and in lower case."""
    if not isinstance(value, str):
        return value
    return tuple(dict.fromkeys(name.strip().lower() for name in value.split(",") if name.strip()))


def check_names(names: Iterable[str], known: Sequence[str], what: str) -> None:
    """Refuse a name that is not ``known``, and offer the nearest right one.

    Raises:
        ValueError: the first such name.

    """
    for name in names:
        if name not in known:
            nearest = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
            raise ValueError(f"{name!r} is no {what} ({hint})")


def chosen_from(known: Sequence[str], what: str) -> BeforeValidator:
    """Read names that are all ``known``."""

    def chosen(value: object) -> object:
        names = names_of(value)
        if isinstance(value, str):
            check_names(cast("tuple[str, ...]", names), known, what)
        return names

    return BeforeValidator(chosen)


def _is_postgresql(address: SecretStr) -> SecretStr:
    if urlsplit(address.get_secret_value()).scheme not in ("postgresql", "postgres"):
        raise ValueError("it begins with postgresql://; SQLite's file is in POINTSMAN_HOME")
    return address


def _is_redis(address: SecretStr) -> SecretStr:
    if urlsplit(address.get_secret_value()).scheme not in ("redis", "rediss", "unix"):
        raise ValueError("it begins with redis://, rediss:// or unix://")
    return address


class Settings(BaseModel):
    """What the user configured; each field is the variable ``POINTSMAN_<FIELD>``."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    home: Path = Field(description="Folder for the database, the weights and the user's own registry.json")
    registry: Path | None = Field(None, description="A registry file that overlays the shipped one")
    database_url: Annotated[SecretStr, AfterValidator(_is_postgresql)] | None = Field(
        None, description="A PostgreSQL database to keep everything in, which several servers can share"
    )
    policy: str | None = Field(None, description="Decision matrix to use: current or classic")
    cost_preference: Annotated[CostPreference, BeforeValidator(preference_of)] = Field(
        "balanced", description="Preference of tasks that name none"
    )
    self_hosted_only: bool = Field(default=False, description="Only models with open weights")
    session_ttl_seconds: int = Field(86_400, gt=0, description="A session ends after this long without use")
    selection: Literal["learned", "matrix"] = Field(
        "learned", description="learned: the cheapest model predicted to do as well; matrix: what the registry says"
    )
    max_loss: float = Field(
        0.02, ge=0, le=1, description="Quality (0 to 1) that learned selection may give up on average"
    )
    quality_weights: Path | None = Field(None, description="Folder that `train` wrote, instead of the shipped weights")
    exploration: float = Field(
        0.05, ge=0, le=0.5, description="Share of tasks that may try another model that is good enough, to learn"
    )
    shadow_share: float = Field(0.0, ge=0, le=1, description="Share of tasks that a second model answers unseen")
    shadow_model: str | None = Field(None, description="That second model; the matrix's own choice where none is named")
    analyzer: AnalyzerMode = Field(
        "auto", description="Who tells what kind of task it is: rules, learned weights, a model, or auto"
    )
    confidence_threshold: float = Field(
        0.7, ge=0, le=1, description="Below this, a cheap model is asked, or the task goes to tier 2 or better"
    )
    profiles: Literal["off", "report", "apply"] = Field(
        "report", description="Agent profiles: off, report which one a task is for, or apply its prompt and preferences"
    )
    overflow: Literal["parts", "refuse"] = Field(
        "parts", description="A prompt longer than every window: read in parts by a cheap model, or refused"
    )
    compress_above_tokens: int | None = Field(
        None, ge=2_000, description="Longer prompts are read in parts where that is expected to cost less"
    )
    answer_cache: Literal["off", "exact", "semantic"] = Field(
        "off", description="Answers given again: never, to the very same question, or to one of the same meaning"
    )
    answer_cache_ttl_seconds: int = Field(3_600, gt=0, description="How long an answer may be given again")
    answer_cache_threshold: float = Field(
        0.97, ge=0.8, le=1, description="Least cosine of two questions that mean the same"
    )
    answer_cache_rows: int = Field(10_000, ge=1, le=1_000_000, description="Answers that are kept for a caller")
    answer_cache_mb: int = Field(64, ge=1, le=10_000, description="Megabytes of answers that are kept for a caller")
    sensitive: SensitivePolicy = Field(
        "allow", description="Tasks that hold a secret or personal data: allow, notice, or local_only"
    )
    max_retries: int = Field(2, ge=0, le=10, description="How often a model is asked again before the next one")
    hourly_budget_usd: float | None = Field(
        None, ge=0, le=1e6, description="Most that a caller spends in an hour (UTC), in dollars"
    )
    monthly_budget_usd: float | None = Field(
        None, ge=0, le=1e6, description="Most that a caller spends in a month (UTC), in dollars"
    )
    session_budget_usd: float | None = Field(None, ge=0, le=1e6, description="Most to spend in a session, in dollars")
    all_callers_hourly_budget_usd: float | None = Field(
        None, ge=0, le=1e6, description="Most that all callers together spend in an hour (UTC), in dollars"
    )
    all_callers_monthly_budget_usd: float | None = Field(
        None, ge=0, le=1e6, description="Most that all callers together spend in a month (UTC), in dollars"
    )
    batch_concurrency: int = Field(5, ge=1, le=100, description="Tasks of a batch that are under way at once")
    baseline_model: str | None = Field(None, description="Model that savings are measured against")
    host_model: str | None = Field(None, description="The model of your own host, for the whole-loop savings")
    ledger_days: int | None = Field(None, gt=0, description="Let routes go after so many days; their sums stay")
    keep_prompts: bool = Field(
        default=False, description="Keep prompts in the ledger, for its export and for training; otherwise their hashes"
    )
    local_model: str = Field("auto", description="auto, off, or the path of a GGUF file of your own")
    local_threads: int | None = Field(None, ge=1, le=256, description="Threads of the embedded model")
    discover: bool = Field(default=True, description="Look for model servers on loopback (Ollama, LM Studio, …)")
    search_order: Annotated[tuple[SearchEngine, ...], chosen_from(SEARCH_ENGINES, "search engine")] = Field(
        SEARCH_ENGINES, min_length=1, description="Search engines in the order they are asked; one left out is not used"
    )
    sandbox: str = Field("auto", description="Where code runs: auto, off, or the name of one sandbox")
    sandbox_image: str | None = Field(None, description="Container image with Python that code may run in")
    sandbox_runtime: str | None = Field(
        None, description="Container runtime that isolates more, such as runsc (gVisor)"
    )
    fetch_allow: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        (), description="Hosts and networks that fetch_url may read although they are not public"
    )
    toolsets: Annotated[tuple[Toolset, ...], chosen_from(TOOLSETS, "toolset")] = Field(
        TOOLSETS, min_length=1, description="The toolsets that are offered"
    )
    read_only: bool = Field(default=False, description="Offer only tools that change nothing")
    disable_tools: Annotated[tuple[str, ...], BeforeValidator(names_of)] = Field(
        (), description="Tools that are not offered"
    )
    auth: Annotated[tuple[Authentication, ...], BeforeValidator(listed)] = Field(
        (), description="How callers over HTTP prove who they are: tokens, oauth, or both"
    )
    behind_tls_proxy: bool = Field(default=False, description="A proxy before this server ends TLS")
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        (), description="Names by which clients may call over HTTP, besides those of this machine"
    )
    open_probes: bool = Field(default=False, description="/metrics and /readyz answer without credentials")
    oauth_issuer: str | None = Field(None, description="The authorization server, as its tokens name it in iss")
    oauth_jwks_url: str | None = Field(None, description="Where the authorization server publishes its keys")
    oauth_resource: str | None = Field(None, description="This server's own address, as clients know it")
    oauth_audience: str | None = Field(None, description="What tokens name in aud; by default the resource")
    oauth_scopes: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        (), description="Scopes that a token must grant"
    )
    caller_concurrency: int = Field(8, ge=1, le=10_000, description="Calls of one caller that run at once, over HTTP")
    caller_queue: int = Field(32, ge=0, le=100_000, description="Calls of one caller that may wait for their turn")
    caller_calls_per_minute: int | None = Field(
        None, ge=1, le=1_000_000, description="Calls that one caller may begin in a minute, over HTTP"
    )
    store_outage: OutagePolicy = Field(
        "closed", description="While the store is away, tasks are refused (closed), or answered and booked later (open)"
    )
    redis_url: Annotated[SecretStr, AfterValidator(_is_redis)] | None = Field(
        None,
        description="Redis or Valkey at which several servers share limits and breakers; else they do in the database",
    )
    drain_seconds: float = Field(
        20.0, ge=0, le=3_600, description="After SIGTERM, calls under way have this long to end"
    )
    log_level: LogLevel = Field("WARNING", description="Of the log on stderr")
    log_format: LogFormat = Field("text", description="Of the log on stderr: text or json")
    trace_prompts: bool = Field(default=False, description="Put prompts and answers on OpenTelemetry spans")
    variables: Mapping[str, str] = Field(default_factory=dict, repr=False, description="The whole environment")

    @property
    def database(self) -> Path:
        """The SQLite file, where no other database is named."""
        return self.home / "pointsman.db"

    @property
    def tokens(self) -> Path:
        """The file of bearer tokens, as hashes."""
        return self.home / "tokens.json"

    @property
    def overlay(self) -> Path:
        """The user's own registry file; it need not exist unless it was named."""
        return self.registry or self.home / "registry.json"

    @property
    def hub_endpoint(self) -> str:
        """Address of the model hub that weights are fetched from; a mirror's where HF_ENDPOINT names one."""
        return self.variables.get("HF_ENDPOINT", "").strip() or OFFICIAL_HUB

    @property
    def models_folder(self) -> Path:
        """Where the embedded model's weights lie."""
        return self.home / "models"

    @property
    def vocabularies(self) -> Path:
        """Where tokenizer vocabularies lie, under the names that tiktoken's own cache uses."""
        named = self.variables.get("TIKTOKEN_CACHE_DIR")
        return Path(named) if named else self.home / "vocabularies"

    def key_of(self, provider: Provider) -> str | None:
        """The provider's key, from the first of its variables that is set.

        Raises:
            SettingsError: it holds characters that no key has and no HTTP header can carry.

        """
        return next((key for name in provider.key_variables if (key := self.secret(name))), None)

    def secret(self, name: str) -> str | None:
        """The key that a variable holds; ``None`` where it is empty. Raises as `key_of` does."""
        key = self.variables.get(name, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise SettingsError(f"{name} holds characters that no key has. Copy the key again, without quotes or dots.")
        return key or None

    def access_to(self, provider: Provider) -> Access | None:
        """How to reach a provider by its configured address and key; ``None`` where one of them is missing."""
        base_url = self.variables.get(provider.base_url_variable or "", "").strip()
        key = self.key_of(provider)
        needs_key = bool(provider.key_variables) and not provider.key_optional
        if (needs_key and key is None) or not (base_url or provider.base_url):
            return None
        if base_url and not _is_address(base_url):
            raise SettingsError(
                f"{provider.base_url_variable} is no address: {base_url!r}. It begins with http:// or https://."
            )
        return Access(
            protocol=(base_url and provider.protocol_elsewhere) or provider.protocol,
            base_url=full_address(base_url or provider.base_url, provider.api_path),
            api_key=key,
        )


def _is_address(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def full_address(base_url: str, api_path: str) -> str:
    """Join an address and the path of its API, which users write with or without that path."""
    base_url = base_url.rstrip("/")
    return base_url if base_url.endswith(api_path) else base_url + api_path


def load_settings(variables: Mapping[str, str], default_home: Path) -> Settings:
    """Read and check the settings.

    Raises:
        SettingsError: a variable is misspelt (the nearest right one is offered) or its value is not allowed.

    """
    fields = {PREFIX + name.upper(): name for name in Settings.model_fields if name != "variables"}
    ours = {name: value for name, value in variables.items() if name.startswith(PREFIX)}
    for name in ours.keys() - fields.keys():
        raise SettingsError(_unknown_variable(name, list(fields)))
    given: dict[str, object] = {fields[name]: value for name, value in ours.items() if value.strip()}
    given["home"] = Path(str(given.get("home", default_home))).expanduser().absolute()
    if given.get("local_model", "auto") not in ("auto", "off"):
        given["local_model"] = str(Path(str(given["local_model"])).expanduser().absolute())
    if (named := given.get("registry")) and not Path(str(named)).expanduser().is_file():
        raise SettingsError(f"POINTSMAN_REGISTRY names {named}, which is no file. Correct it, or unset it.")
    try:
        return Settings.model_validate({**given, "variables": dict(variables)})
    except ValidationError as invalid:
        problems = "; ".join(
            f"{PREFIX}{error['loc'][0]!s}".upper() + f": {error['msg'].removeprefix('Value error, ')}"
            for error in invalid.errors()
        )
        raise SettingsError(f"{problems}. Correct the variable, or unset it to take the default.") from None


def _unknown_variable(name: str, known: list[str]) -> str:
    nearest = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean {nearest[0]}?" if nearest else f"Known are: {', '.join(sorted(known))}."
    return f"{name} is no setting. {hint}"
