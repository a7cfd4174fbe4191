"""The composition: what the tools need, made of the settings.

    environment and .env files → settings → registry, store, embedded model → the five stages → `Services`

`server.py` serves them as MCP, `cli.py` to a person at a terminal.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import anyio
import platformdirs

from routing.analyzer import RulesAnalyzer
from routing.analyzer.cascade import CascadeAnalyzer
from routing.analyzer.model_backed import SecondOpinion
from routing.answers import AnswerCache
from routing.assembler import Assembler
from routing.batches import BatchRunner
from routing.budgets import Wallet
from routing.catalog import CatalogSource
from routing.context.plan import Planner
from routing.context.reading import Reader
from routing.dispatch.breaker import Breakers
from routing.dispatch.engine import DispatchEngine
from routing.dispatch.providers import ProviderPool
from routing.dispatch.retry import RetryPolicy
from routing.dispatch.sharing import Sharing
from routing.dispatch.tool_loop import ToolLoop
from routing.embedded.assets import MULTILINGUAL_E5_SMALL, QWEN_CODER_HALF_BILLION, fetch
from routing.embedded.embedder import LocalEmbedder
from routing.embedded.runtime import EmbeddedRuntime
from routing.errors import AssetError, SettingsError
from routing.forecasts import Forecasts
from routing.guard import LedgerGuard
from routing.jobs import JobRunner
from routing.learning.quality import SHIPPED
from routing.pricing import microusd
from routing.profiles import Apply, ProfilingAnalyzer, as_it_is, with_profile
from routing.recorder import Recorder
from routing.registry import RegistryFile
from routing.router import Admit, Router, open_door
from routing.selector import Selector
from routing.settings import Settings, load_settings
from routing.shadow import Shadows
from routing.state import Answers, Budgets, Embedder, Feedback, Store
from routing.state.sqlite import SqliteStore
from routing.telemetry import Observer, Telemetry
from routing.tokens import TokenCounter
from routing.types import Analyzer, OnProgress
from tools import loop_tools, offered_tools
from tools.base import Services
from tools.fetching.addresses import Allowed
from tools.fetching.late import LateFetcher
from tools.readiness import can_run_code, can_search, run_tests
from tools.sandbox import Sandbox
from tools.sandbox.backends import backends
from tools.searching import WebSearch, engines_of
from tools.searching.paid import PaidSearch
from tools.searching.prices import MICROUSD_PER_SEARCH
from tools.toolbox import ServerToolbox

if TYPE_CHECKING:
    from routing.state.postgres import PostgresStore

HERE = Path(__file__).resolve().parent
SHIPPED_REGISTRY = HERE / "registry.json"


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings, from the environment and the ``.env`` files beside this file and in the home folder.

    A variable that is there and empty hides no file's: hosts pass on keys that were never filled in.

    Raises:
        SettingsError: a variable is misspelt or its value is not allowed.

    """
    default_home = platformdirs.user_data_path("pointsman", appauthor=False)
    home = Path(environment.get("POINTSMAN_HOME") or default_home).expanduser()
    written = {**_written(HERE / ".env"), **_written(home / ".env")}
    said = {name: value for name, value in environment.items() if value.strip() or name not in written}
    return load_settings({**written, **said}, default_home)


async def weights(settings: Settings, on_progress: OnProgress) -> Path:
    """The embedded model's file: the user's own, or the shipped choice, fetched where it is not here yet.

    Raises:
        AssetError: it is not there, or no mirror has it.

    """
    if settings.local_model == "auto":
        folder, hub = settings.models_folder, settings.hub_endpoint
        return await fetch(QWEN_CODER_HALF_BILLION, folder, on_progress, hub_endpoint=hub)
    own = Path(settings.local_model)
    if not await anyio.Path(own).is_file():
        raise AssetError(f"POINTSMAN_LOCAL_MODEL names {own}, which is no file. Name a GGUF file, or unset it.")
    return own


async def fetched_embedder(settings: Settings, embedder: LocalEmbedder, on_progress: OnProgress) -> LocalEmbedder:
    """The embedder of this machine, its weights fetched where they are not here yet.

    Raises:
        AssetError: no mirror has them.

    """
    if not embedder.available():
        await fetch(MULTILINGUAL_E5_SMALL, settings.models_folder, on_progress, hub_endpoint=settings.hub_endpoint)
    return embedder


def forecasts_of(settings: Settings, feedback: Feedback, guard: LedgerGuard) -> Forecasts | None:
    """What looks ahead for the selector; nothing where the matrix alone is to choose."""
    if settings.selection == "matrix":
        return None
    folder = settings.quality_weights or SHIPPED
    return Forecasts(feedback, max_loss=settings.max_loss, exploration=settings.exploration, guard=guard, folder=folder)


def analyzer_of(settings: Settings, registry: RegistryFile, counter: TokenCounter) -> Analyzer:
    """What understands tasks: rules, weights over them and, unless profiles are off, which of them a task is for."""
    cascade = CascadeAnalyzer(RulesAnalyzer(counter), mode=settings.analyzer, threads=settings.local_threads)
    if settings.profiles == "off":
        return cascade
    return ProfilingAnalyzer(inner=cascade, profiles=lambda: registry.current().profiles)


def profiles_of(settings: Settings) -> Apply:
    """What becomes of a task whose profile was found."""
    return functools.partial(with_profile, usual=settings.cost_preference) if settings.profiles == "apply" else as_it_is


def answers_of(settings: Settings, store: Answers, embedder: LocalEmbedder) -> AnswerCache | None:
    """What gives answers again; nothing where that is off."""
    if settings.answer_cache == "off":
        return None
    return AnswerCache(
        store=store,
        mode=settings.answer_cache,
        ttl_seconds=settings.answer_cache_ttl_seconds,
        threshold=settings.answer_cache_threshold,
        most_rows=settings.answer_cache_rows,
        most_bytes=settings.answer_cache_mb * 1_000_000,
        embedder=embedder,
    )


def wallet_of(settings: Settings, store: Budgets, search: WebSearch) -> Wallet:
    """The budgets of the settings, and the most that a call of a paid tool costs."""
    hour, month, session, all_hour, all_month = (
        None if dollars is None else microusd(dollars)
        for dollars in (
            settings.hourly_budget_usd,
            settings.monthly_budget_usd,
            settings.session_budget_usd,
            settings.all_callers_hourly_budget_usd,
            settings.all_callers_monthly_budget_usd,
        )
    )
    dearest = max((MICROUSD_PER_SEARCH.get(engine, 0) for engine in search.engines), default=0)
    return Wallet(
        store=store,
        hour_microusd=hour,
        month_microusd=month,
        session_microusd=session,
        all_hour_microusd=all_hour,
        all_month_microusd=all_month,
        tool_microusd={"web_search": dearest},
    )


def store_of(settings: Settings, embedder: Embedder) -> SqliteStore | PostgresStore:
    """The store that the settings name, not opened yet.

    Raises:
        SettingsError: it is PostgreSQL's, and what is needed for that is not installed.

    """
    options: StoreOptions = {
        "session_ttl_seconds": settings.session_ttl_seconds,
        "ledger_days": settings.ledger_days,
        "embedder": embedder,
    }
    if settings.database_url is None:
        return SqliteStore(settings.database, **options)
    try:
        from routing.state.postgres import PostgresStore  # noqa: PLC0415 - psycopg is not wanted without it
    except ImportError as missing:
        raise SettingsError(
            f"POINTSMAN_DATABASE_URL needs psycopg, and {missing}. Install pointsman[postgres], or unset it."
        ) from missing
    return PostgresStore(settings.database_url.get_secret_value(), **options)


class StoreOptions(TypedDict):
    """What every store is told."""

    session_ttl_seconds: int
    ledger_days: int | None
    embedder: Embedder


@asynccontextmanager
async def open_store(settings: Settings, embedder: Embedder) -> AsyncGenerator[tuple[Store, Admit]]:
    """The store, open, and what is asked before a task is begun. One that is elsewhere may go away, so it is guarded."""
    async with store_of(settings, embedder) as store:
        if settings.database_url is None:
            yield store, open_door
            return
        from routing.state.outage import GuardedStore  # noqa: PLC0415 - as above

        guarded = GuardedStore(store, settings.store_outage)
        try:
            yield guarded, guarded.admit
        finally:
            await guarded.lifeline.aclose()


def sharing_of(settings: Settings) -> AbstractAsyncContextManager[Sharing | None]:
    """Where limits and breakers are shared with other servers: Redis, else the database; nowhere where there is none.

    Raises:
        SettingsError: what is needed for it is not installed.

    """
    if settings.redis_url is not None:
        if importlib.util.find_spec("redis") is None:
            raise SettingsError("POINTSMAN_REDIS_URL needs redis-py. Install pointsman[redis], or unset it.")
        from routing.dispatch.sharing_redis import connect_redis  # noqa: PLC0415 - who serves one person needs none

        return Sharing(connect_redis(settings.redis_url.get_secret_value()), where="Redis")
    if settings.database_url is not None:
        from routing.dispatch.sharing_postgres import connect_postgres  # noqa: PLC0415 - as above

        return Sharing(connect_postgres(settings.database_url.get_secret_value()), where="PostgreSQL")
    return nullcontext()


def _written(file: Path) -> dict[str, str]:
    """The variables of a ``.env`` file; none where there is no such file."""
    if not file.is_file():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 - most users have no such file

    try:
        return {name: value for name, value in dotenv_values(file).items() if value is not None}
    except UnicodeDecodeError as problem:
        raise SettingsError(f"{file} is not UTF-8: {problem.reason}. Save it as UTF-8, or remove it.") from problem


def check_registry(settings: Settings) -> RegistryFile:
    """The registry and the user's file over it.

    Raises:
        RegistryError: a file is broken, or the policy or a model of the settings is not in it.

    """
    file = RegistryFile(SHIPPED_REGISTRY, settings.overlay)
    registry = file.current()
    registry.policy(settings.policy or registry.default_policy)
    for name in (settings.baseline_model, settings.host_model, settings.shadow_model):
        if name:
            registry.model(name)
    for provider in registry.providers.values():
        settings.key_of(provider)
    return file


@asynccontextmanager
async def composed(settings: Settings, *observers: Observer) -> AsyncGenerator[Services]:
    """The services over these settings, closed at the end; ``observers`` are told what happens in them.

    Raises:
        RegistryError: a registry file is broken.
        SettingsError: the home folder or the database cannot be used, or a tool is to be disabled that there is not.

    """
    registry = check_registry(settings)
    offered = offered_tools(settings)
    counter = TokenCounter(settings.vocabularies)
    catalog = CatalogSource(settings, registry)
    runtime = EmbeddedRuntime(
        functools.partial(weights, settings), log_path=settings.home / "llama.log", threads=settings.local_threads
    )
    embedder = LocalEmbedder(settings.models_folder, threads=settings.local_threads)
    providers = ProviderPool(runtime, functools.partial(fetched_embedder, settings, embedder))
    sandbox = Sandbox(backends(settings), variables=settings.variables)
    fetcher = LateFetcher(Allowed.of(settings.fetch_allow))
    search = WebSearch(engines_of(settings))
    telemetry = Telemetry(prompts=settings.trace_prompts, observers=observers)
    toolbox = ServerToolbox(loop_tools(offered), able={"web_search": can_search, "execute_python": can_run_code})
    async with open_store(settings, embedder) as (store, admit), sharing_of(settings) as sharing:
        wallet = wallet_of(settings, store.budgets, search)
        guard = LedgerGuard(store.reports, catalog, max_loss=settings.max_loss)
        dispatcher = DispatchEngine(
            providers=providers,
            counter=counter,
            tool_loop=ToolLoop(toolbox=telemetry.toolbox(toolbox)),
            policy=RetryPolicy(most_retries=settings.max_retries),
            watch=telemetry.attempt,
            breakers=Breakers(board=sharing),
            sharing=sharing,
        )
        shadows = Shadows(dispatcher, wallet, store.ledger, share=settings.shadow_share, model_id=settings.shadow_model)
        selector = Selector(confidence_threshold=settings.confidence_threshold, sensitive=settings.sensitive)
        planner = Planner(
            selector=selector,
            overflow=settings.overflow == "parts",
            compress_above=settings.compress_above_tokens,
        )
        router = Router(
            catalog=catalog,
            sessions=store.sessions,
            analyzer=analyzer_of(settings, registry, counter),
            second_opinion=SecondOpinion(threshold=settings.confidence_threshold, mode=settings.analyzer),
            selector=selector,
            assembler=Assembler(counter=counter, toolbox=toolbox),
            dispatcher=dispatcher,
            recorder=Recorder(
                ledger=store.ledger,
                baseline_model=settings.baseline_model,
                keep_prompts=settings.keep_prompts,
                watch=telemetry.route,
            ),
            wallet=wallet,
            forecasts=forecasts_of(settings, store.feedback, guard),
            run_tests=functools.partial(run_tests, sandbox),
            may_test=lambda: sandbox.may_hold,
            shadows=shadows,
            apply_profile=profiles_of(settings),
            answers=answers_of(settings, store.answers, embedder),
            reader=Reader(planner=planner, dispatcher=dispatcher, counter=counter),
            admit=admit,
        )
        jobs = JobRunner(router, store.jobs)
        batches = BatchRunner(router, store.jobs, store.ledger, concurrency=settings.batch_concurrency)
        try:
            services = Services(
                settings=settings,
                catalog=catalog,
                router=router,
                store=store,
                jobs=jobs,
                batches=batches,
                runtime=runtime,
                sandbox=sandbox,
                fetcher=fetcher,
                search=PaidSearch(search, wallet),
                offered=offered,
                telemetry=telemetry,
                guard=guard,
            )
            toolbox.serve(replace(services, search=search))  # a route pays for its searches from its own purse
            yield services
        finally:
            await jobs.aclose()
            await batches.aclose()
            await shadows.aclose()
            await search.aclose()
            await fetcher.aclose()
            await sandbox.aclose()
            await providers.aclose()
            await runtime.aclose()
