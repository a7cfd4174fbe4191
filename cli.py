"""The terminal face: a command for each thing a person does by hand; without one it serves MCP.

What a command is for goes to stdout (for people, or with ``--json`` for programs); signs of life and errors go to stderr.
"""

from __future__ import annotations

import functools
import json
import operator
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast, get_args

import anyio
import anyio.to_thread
import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, SpinnerColumn, TaskID, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from access.tokens import TokenFile
from composition import SHIPPED_REGISTRY, composed, settings_of
from hosts.install import added, copied, made, removed, snippet
from hosts.launch import Running, launch_of
from hosts.machine import Machine
from hosts.table import HOSTS, HostName
from routing.catalog import Catalog
from routing.doctor import Finding, examine, knock
from routing.embedded.pull import pull as pulled
from routing.errors import InvalidTask, NoEligibleModel, TrainingError, UnknownHandle
from routing.estimate import estimates
from routing.export import csv_rows, json_rows
from routing.guard import decided as decided_rows
from routing.guard import prices_of
from routing.price_refresh import refresh_overlay
from routing.pricing import microusd, spoken_usd
from routing.registry import Model, RegistryFile
from routing.replay import NAMED_POLICIES, Estimate, Replay, replayed
from routing.report import Breakdown, Period, Report, Window, window_of, window_since
from routing.settings import PREFIX, TOOLSETS, Settings
from routing.state import Reports, new_handle
from routing.types import LOCAL_CALLER, CostPreference, OnProgress, Progress, Task, VerifyMode
from tools.arguments import constraints_of
from tools.base import Services
from tools.models import health_of, models_result
from tools.readiness import findings as tools_found
from tools.report import GroupResult, ReportResult, reported, spoken, told
from tools.results import AnalysisResult, EstimateResult, HealthResult, ModelsResult, RouteResult
from tools.route import MOST_INPUT_TOKENS, MOST_OUTPUT_TOKENS, MOST_TURNS, by_pattern, decided, estimated

if TYPE_CHECKING:
    from routing.learning.outcomes import Dataset
    from routing.learning.quality import QualityModel

out = Console()
err = Console(stderr=True)
app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Send each task to the cheapest model that is good enough. Without a command: serve MCP.",
)
T = TypeVar("T")
_BAD_ERROR_RATE = 0.2
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Cost = Annotated[CostPreference | None, typer.Option("--cost", help="What to prefer where models differ.")]
ForcedModel = Annotated[str | None, typer.Option("--model", help="Use this model and no other.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The MCP server; handed in by `server.py`, because importing that here would load it twice."""

    serve: Callable[[Literal["stdio", "sse", "streamable-http"], str, int], None]
    version: str


def run(server: Server) -> None:
    """Do what the command line says. Raises the `RoutingError` of what went wrong."""
    app(obj=server)


@app.callback(invoke_without_command=True)
def serve(
    ctx: typer.Context,
    transport: Annotated[
        Literal["stdio", "sse", "streamable-http"], typer.Option(help="How MCP clients connect.")
    ] = "stdio",
    host: Annotated[str, typer.Option(help="Address to listen on (HTTP).")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on (HTTP).", min=1, max=65_535)] = 8484,
    toolsets: Annotated[
        str | None, typer.Option(help=f"Offer only these, comma-separated: {', '.join(TOOLSETS)}.", metavar="NAMES")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Offer only tools that change nothing.")] = False,
    disable_tools: Annotated[
        str | None, typer.Option(help="Do not offer these tools, comma-separated.", metavar="NAMES")
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Send each task to the cheapest model that is good enough. Without a command: serve MCP."""
    server: Server = ctx.obj
    said = {"TOOLSETS": toolsets, "READ_ONLY": "true" if read_only else None, "DISABLE_TOOLS": disable_tools}
    os.environ.update({f"{PREFIX}{name}": value for name, value in said.items() if value is not None})
    if version:
        out.print(server.version, highlight=False)
    elif ctx.invoked_subcommand is None:
        server.serve(transport, host, port)


@app.command()
def ask(
    prompt: Annotated[str, typer.Argument(help="The task; - reads it from standard input.")],
    model: ForcedModel = None,
    session: Annotated[str | None, typer.Option(help="Continue this session; last is the latest one.")] = None,
    cost: Cost = None,
    system: Annotated[str | None, typer.Option(help="Replaces the category's system prompt.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.", min=1)] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--text", help="A text to embed; the task ranks them, or asks for vectors.")
    ] = None,
    schema: Annotated[
        Path | None, typer.Option(help="JSON schema that the answer must follow, from this file.")
    ] = None,
    verify: Annotated[VerifyMode, typer.Option(help="How the answer is checked.")] = "auto",
    tests: Annotated[
        Path | None, typer.Option(help="Python assertions that its code must pass, from this file.")
    ] = None,
    criteria: Annotated[str, typer.Option(help="What another model judges it by; with --verify custom.")] = "",
    samples: Annotated[
        int | None, typer.Option(help="How many answers are compared; with --verify self.", min=3, max=7)
    ] = None,
    pattern: Annotated[
        Path | None, typer.Option(help="A JSON file that says in which steps: docs/guides/patterns.md.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Route a task and print the answer."""
    text = sys.stdin.read() if prompt == "-" else prompt
    wish = Task(
        prompt=text,
        system=system,
        session_id=session,
        texts=tuple(texts or ()),
        response_schema=_object_in(schema) if schema else None,
        verify=verify,
        tests=_text_in(tests) if tests else "",
        criteria=criteria,
        samples=samples,
    )

    async def asked(services: Services, on_progress: OnProgress) -> RouteResult:
        constraints = constraints_of(services.settings, cost_preference=cost, force_model=model, max_tokens=max_tokens)
        task = replace(wish, constraints=constraints)
        if session == "last":
            task = replace(task, session_id=await _latest_session(services))
        if pattern is None:
            return RouteResult.of(await services.router.route(task, on_progress))
        work = by_pattern(_object_in(pattern), services)
        return RouteResult.of(await work(task, on_progress, new_handle("rte")))

    result = _with_services(asked, quiet=as_json)
    _print_json(result) if as_json else _print_answer(result)


@app.command()
def classify(
    prompt: Annotated[str | None, typer.Argument(help="The task.")] = None,
    jsonl: Annotated[
        str | None, typer.Option(help="One JSON object with prompt a line, from this file or - (standard input).")
    ] = None,
    cost: Cost = None,
    as_json: AsJson = False,
) -> None:
    """Say what kind of task it is and which model would take it."""
    if jsonl is not None:
        _with_services(functools.partial(_classify_lines, source=jsonl), quiet=True)
        return
    if prompt is None:
        raise InvalidTask('give a prompt, as in: classify "Translate this to French", or --jsonl FILE.')

    async def classified(services: Services, _: OnProgress) -> Any:
        task = Task(prompt=prompt, constraints=constraints_of(services.settings, cost_preference=cost))
        return decided(task, await services.router.decide(task), services)

    result = _with_services(classified, quiet=as_json)
    if as_json:
        _print_json(result)
        return
    analysis, selection = result.task_analysis, result.model_selection
    _print_pairs(
        ("category", analysis.category),
        ("complexity", str(analysis.complexity)),
        ("confidence", f"{analysis.confidence:.2f}"),
        ("profile", analysis.profile or "not looked for"),
        ("tokens", f"{analysis.estimated_input_tokens} in, about {analysis.estimated_output_tokens} out"),
        ("because", analysis.reasoning),
        ("model", selection.primary_model),
        ("because", selection.reasoning),
        ("then", ", ".join(selection.fallback_models) or "nothing"),
        ("expected cost", _dollars(selection.estimated_cost_usd)),
        ("delegate", "yes" if result.delegate else "no"),
        ("because", result.delegate_reason),
    )


@app.command()
def estimate(
    prompt: Annotated[str | None, typer.Argument(help="The task; or give both token counts.")] = None,
    input_tokens: Annotated[int | None, typer.Option(help="Input tokens a turn.", min=0, max=MOST_INPUT_TOKENS)] = None,
    output_tokens: Annotated[
        int | None, typer.Option(help="Output tokens a turn.", min=0, max=MOST_OUTPUT_TOKENS)
    ] = None,
    turns: Annotated[int, typer.Option(help="How often it is done.", min=1, max=MOST_TURNS)] = 1,
    model: Annotated[list[str] | None, typer.Option(help="A model to price; may be repeated.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also models that are not configured.")] = False,
    as_json: AsJson = False,
) -> None:
    """Price a task on every model, without calling one."""
    if prompt is None and (input_tokens is None or output_tokens is None):
        raise InvalidTask("give a prompt, or both --input-tokens and --output-tokens.")

    async def priced(services: Services, _: OnProgress) -> EstimateResult:
        task = None if prompt is None else Task(prompt=prompt, constraints=constraints_of(services.settings))
        catalog = await services.catalog.current()
        names = [row.model_id for row in catalog.models.values() if row.kind == "chat"] if everything else model
        return estimated(
            await estimates(
                services.router,
                task,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                turns=turns,
                models=names,
            )
        )

    result = _with_services(priced, quiet=as_json)
    if as_json:
        _print_json(result)
        return
    table = _table("model", "tier", "cost", "seconds", "")
    for row in result.models:
        seconds = "?" if row.latency_ms is None else f"{row.latency_ms / 1000:.1f}"
        note = "chosen" if row.chosen else "" if row.configured else "not configured"
        table.add_row(row.model_id, str(row.tier), _dollars(row.cost_usd), seconds, note)
    out.print(table)
    counted = "counted" if result.input_tokens_exact else "estimated"
    out.print(f"{result.turns} × ({result.input_tokens} input, {counted}, + {result.output_tokens} output tokens)")


@app.command()
def models(
    everything: Annotated[bool, typer.Option("--all", help="Also models that are not configured.")] = False,
    provider: Annotated[str | None, typer.Option(help="Only this provider's models.")] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="First bring prices up to date in your own registry.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the models and their prices."""
    if refresh:
        _refresh_prices()

    async def listed(services: Services, _: OnProgress) -> ModelsResult:
        catalog = await services.catalog.current()
        catalog.check_providers([provider] if provider else [])
        health = await health_of(services, catalog, LOCAL_CALLER)
        return models_result(catalog, health, include_unconfigured=everything, provider=provider, today=_today())

    result = _with_services(listed, quiet=as_json)
    if as_json:
        _print_json(result)
        return
    table = _table("model", "tier", "$ in", "$ out", "window", "prices of", "")
    for row in result.models:
        age = f"{row.prices_checked or ''}{' (old)' if row.prices_are_old else ''}"
        prices = (_per_million(row.input_usd_per_million), _per_million(row.output_usd_per_million))
        note = "" if row.configured else row.how_to_configure or ""
        table.add_row(row.model_id, str(row.tier), *prices, f"{row.context_window:,}", age, note)
    out.print(table)
    if not everything:
        for missing, what in result.not_configured.items():
            out.print(f"[dim]{missing}: {escape(what)}[/]")


@app.command()
def report(
    period: Annotated[
        Period | None, typer.Option(help="Up to now, in whole hours or days (UTC). [default: week]")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Instead: from this day on (UTC)."),
    ] = None,
    by: Annotated[Breakdown, typer.Option(help="What to break it down by.")] = "model",
    as_json: AsJson = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Export the ledger instead, all of it or --since: a line for every call.")
    ] = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="The same export as JSON, one object a line.")] = False,
) -> None:
    """Say what was spent and saved, how fast and how good it was; or export the ledger."""
    window = _window_of(period, since)
    if as_csv or as_jsonl:
        export = functools.partial(
            _export, rows=csv_rows if as_csv else json_rows, since=_export_since(window, period, since)
        )
        _with_services(export, quiet=True)
        return

    async def summed(services: Services, _: OnProgress) -> tuple[Report, ReportResult]:
        found = await reported(services, LOCAL_CALLER, window)
        return found, await told(services, LOCAL_CALLER, found)

    found, result = _with_services(summed, quiet=as_json)
    if as_json:
        _print_json(result)
        return
    out.print(spoken(found), highlight=False, markup=False, soft_wrap=True)
    if found.totals.routes:
        out.print(_table_of_groups(result.groups[by], by))


@app.command()
def feedback(
    route_id: Annotated[str, typer.Argument(help="The route_id of an answer, or last.")],
    score: Annotated[float, typer.Argument(help="From 0 (useless) to 1 (perfect).", min=0, max=1)],
    note: Annotated[str | None, typer.Option(help="Why, for yourself: it is kept as long as the route.")] = None,
) -> None:
    """Score an answer; selection learns from it. Scoring it again replaces the score."""

    async def scored(services: Services, _: OnProgress) -> str:
        ledger, named = services.store.ledger, route_id
        if route_id == "last":
            named = next((one.route_id for one in await ledger.recent(LOCAL_CALLER, 1)), route_id)
        await services.store.feedback.record(LOCAL_CALLER, named, score, note)
        return named

    err.print(f"{_with_services(scored, quiet=False)} is scored {score:g}", highlight=False)


@app.command()
def replay(
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="matrix, learned, cheapest, best_quality, or a model's id; may be repeated. [default: all four]"
        ),
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(help="Quality that learned may give up; by default what it chose at the time.", min=0, max=1),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="A day (UTC), or hour, day, week, month. [default: everything]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what other policies would have cost and earned on the tasks of the ledger."""
    start = _replay_since(since)

    async def played(services: Services, _: OnProgress) -> Replay:
        catalog = await services.catalog.current()
        prices = prices_of(catalog)
        names = [_policy_of(name, catalog) for name in policy or NAMED_POLICIES]
        rows = [row async for row in decided_rows(services.store.reports, LOCAL_CALLER, start)]
        return await anyio.to_thread.run_sync(functools.partial(replayed, rows, names, prices, max_loss=max_loss))

    result = _with_services(played, quiet=as_json)
    if as_json:
        sys.stdout.write(json.dumps(asdict(result), indent=2) + "\n")
        return
    _print_replay(result)


@app.command()
def doctor(
    live: Annotated[
        bool, typer.Option("--live", help="Also ask every configured provider for a sign of life.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is configured, what is reachable, how old the prices are, and where the data lies."""

    async def examined(services: Services, on_progress: OnProgress) -> list[Finding]:
        settings, store = services.settings, services.store
        findings = await examine(settings, services.catalog, _today(), kept_in=store.place)
        findings += await tools_found(services)
        if not live:
            return findings
        catalog = await services.catalog.current()
        answers = await knock(catalog, services.router.dispatcher.providers, on_progress)
        return [*findings, *answers, *_seen(await health_of(services, catalog, LOCAL_CALLER))]

    findings = _with_services(examined, quiet=as_json)
    if as_json:
        out.print_json(json.dumps([{"subject": f.subject, "state": f.state, "detail": f.detail} for f in findings]))
        return
    colour = {"ok": "green", "note": "yellow", "problem": "red"}
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        state = f"[{colour[finding.state]}]{finding.state:<7}[/]"
        out.print(f"{state} {finding.subject:<{width}}  {escape(finding.detail)}", highlight=False, soft_wrap=True)


@app.command()
def pull(as_json: AsJson = False) -> None:
    """Fetch the embedded model's weights and the vocabularies, so that nothing is downloaded later."""
    settings = settings_of(os.environ)
    with signs_of_life(quiet=as_json) as on_progress:
        files = anyio.run(pulled, settings, on_progress)
    if as_json:
        out.print_json(json.dumps({name: str(path) for name, path in files.items()}))
        return
    _print_pairs(*((name, str(path)) for name, path in files.items()))


@app.command()
def migrate(
    to: Annotated[str, typer.Option(help="postgresql://user@host/name, or sqlite:PATH. It must be empty.")],
    source: Annotated[
        str, typer.Option("--from", help="home (the file in the home folder), or as --to.", metavar="TEXT")
    ] = "home",
    as_json: AsJson = False,
) -> None:
    """Move everything that is kept into another database, and check that it arrived. Stop the servers of both before."""
    from routing.state.moving import move  # noqa: PLC0415 - only this command moves anything

    settings = settings_of(os.environ)
    with signs_of_life(quiet=as_json) as on_progress:
        counts = anyio.run(move, _store_place(source, settings), _store_place(to, settings), on_progress)
    if as_json:
        out.print_json(json.dumps(counts))
        return
    _print_pairs(*((table, f"{rows:,}") for table, rows in counts.items()))


def _store_place(named: str, settings: Settings) -> str:
    """The path or the address of a store as a person names it."""
    if named == "home":
        return str(settings.database)
    if named.startswith("sqlite:"):
        return str(Path(named.removeprefix("sqlite:")).expanduser().absolute())
    if named.startswith(("postgresql://", "postgres://")):
        return named
    raise InvalidTask("name a store as home, sqlite:PATH or postgresql://user@host/name.")


@app.command()
def install(
    ctx: typer.Context,
    host: Annotated[
        Literal[HostName, "json"], typer.Argument(help="The MCP host; json prints the lines for any other.")
    ],
    with_key: Annotated[
        list[str] | None, typer.Option(help="Copy this variable's present value into the host's file. Repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Take Pointsman out of the host's file.")] = False,
) -> None:
    """Add Pointsman to an MCP host's own configuration, or take it out."""
    server: Server = ctx.obj
    home, variables = settings_of(os.environ).home, copied(with_key or [], os.environ)
    launch = launch_of(Running(here=SHIPPED_REGISTRY.parent, version=server.version, uvx=shutil.which("uvx")))
    if host == "json":
        if uninstall:
            raise InvalidTask("json only prints lines for you to paste, so there is nothing to take out.")
        sys.stdout.write(snippet(launch, variables))
        return
    row, machine = HOSTS[host], Machine(home=Path.home(), platform=sys.platform, environment=os.environ)
    path = machine.file_of(row)
    change = removed(row, path) if uninstall else added(row, path, launch, variables)
    if dry_run or change.is_none:
        sys.stdout.write(change.diff() or f"{path} needs no change.\n")
        return
    backup = made(change, datetime.now(UTC))
    _print_pairs(("wrote", str(path)), ("backup", str(backup or "none: the file is new")), ("next", row.afterwards))
    if variables:
        err.print(f"[yellow]{', '.join(variables)}: copied into that file, where whoever can read it can use them.[/]")
    elif not uninstall:
        err.print(
            f"Keys are read from {home / '.env'}; --with-key NAME copies one into the host's file.", soft_wrap=True
        )


@app.command()
def token(
    action: Annotated[Literal["add", "list", "revoke"], typer.Argument(help="What to do.")],
    name: Annotated[str | None, typer.Argument(help="Whose token: one for each caller.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make, list or revoke the bearer tokens of a team's server. A server that runs heeds it at once."""
    settings = settings_of(os.environ)
    file = TokenFile(settings.tokens)
    if action == "list":
        rows = [{"name": row.name, "created_at": _spoken_date(row.created_at)} for row in file.kept()]
        if as_json:
            out.print_json(json.dumps(rows))
        else:
            _print_pairs(*((row["name"], row["created_at"]) for row in rows))
        return
    if name is None:
        raise InvalidTask(f"token {action} needs the name of whoever the token is for.")
    if action == "revoke":
        file.revoke(name)
        err.print(f"the token of {name} is refused from now on", highlight=False)
        return
    made_now = file.add(name, time.time())
    sys.stdout.write(f"{json.dumps({'name': name, 'token': made_now}) if as_json else made_now}\n")
    err.print(
        f"This is the only time that the token of {name} is shown; {settings.tokens} has its hash.", soft_wrap=True
    )
    if "tokens" not in settings.auth:
        err.print("[yellow]The server asks for tokens only where POINTSMAN_AUTH=tokens is set.[/]", soft_wrap=True)


def _spoken_date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _with_services(work: Callable[[Services, OnProgress], Awaitable[T]], *, quiet: bool) -> T:
    """Do some work over the services, with signs of life on stderr while it lasts."""

    async def main(on_progress: OnProgress) -> T:
        settings = settings_of(os.environ).model_copy(update={"shadow_share": 0.0})
        async with composed(settings) as services:  # a command ends with its answer, and would cut every shadow off
            return await work(services, on_progress)

    with signs_of_life(quiet=quiet) as on_progress:
        return anyio.run(main, on_progress)


@contextmanager
def signs_of_life(*, quiet: bool) -> Generator[OnProgress]:
    """Show a spinner, or a bar where there are bytes to count, on stderr; nothing where nobody watches."""
    bar = Bar(console=err, transient=True, disable=quiet or not err.is_terminal)
    with bar:
        life = _Life(bar=bar, shown=bar.add_task("starting", total=None))
        yield life.on_progress


_SPINNER = (SpinnerColumn(), TextColumn("{task.description}"))
_BYTES = (*_SPINNER, BarColumn(), DownloadColumn(), TransferSpeedColumn())


@dataclass(slots=True, kw_only=True)
class _Life:
    bar: Bar
    shown: TaskID

    async def on_progress(self, progress: Progress) -> None:
        """Move the bar where there are bytes to count, else show what is going on."""
        counted = progress.unit == "byte"
        self.bar.columns = _BYTES if counted else _SPINNER
        self.bar.update(
            self.shown,
            description=progress.message,
            completed=int(progress.done) if counted else 0,
            total=progress.total if counted else None,
        )


def _window_of(period: Period | None, since: datetime | None) -> Window:
    if period is not None and since is not None:
        raise InvalidTask("give --period or --since, not both.")
    now = time.time()
    return (
        window_of(period or "week", now) if since is None else window_since(since.replace(tzinfo=UTC).timestamp(), now)
    )


def _replay_since(since: str | None) -> float | None:
    """Where a replay begins, in seconds since the epoch: at a day, or with a period of `report`."""
    if since is None:
        return None
    if since in get_args(Period):
        return window_of(cast("Period", since), time.time()).since
    try:
        return datetime.fromisoformat(since).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise InvalidTask(
            f"--since {since} is neither a day, as in 2026-11-21, nor one of {', '.join(get_args(Period))}."
        ) from None


def _policy_of(name: str, catalog: Catalog) -> str:
    """A policy's name, or the id of the model that is to take everything.

    Raises:
        NoEligibleModel: there is no such model, or its price is unknown.

    """
    if name in NAMED_POLICIES:
        return name
    model = catalog.find(name)
    if not model.prices.known:
        raise NoEligibleModel(
            f"the price of {model.model_id} is unknown, so it cannot be said what it would have cost."
        )
    return model.model_id


def _print_replay(result: Replay) -> None:
    if not result.routes:
        out.print("The ledger has no answered tasks of that time whose cost is known.")
        return
    table = _table("policy", "cost", "against done", "same model", "forecast", "quality", "against done ", "support")
    table.columns[0].overflow = "fold"
    for row in (result.done, *result.policies):
        money = (_spoken_money(row.cost_microusd), _spoken_money(row.cost_difference_microusd, signed=True))
        quality = (_spoken_quality(row.quality), _spoken_quality(row.quality_difference, signed=True))
        forecast = "" if row.predicted is None else f"{row.predicted:.3f}"
        table.add_row(escape(row.policy), *money, f"{row.agreement:.0%}", forecast, *quality, f"{row.support:,.0f}")
    out.print(table)
    for line in _replay_notes(result):
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def _replay_notes(result: Replay) -> Iterable[str]:
    scored = f"{result.scored:,} of them scored" if result.scored else "none of them scored: quality is only forecast"
    yield f"{result.routes:,} tasks, {scored}. In brackets: 95 % intervals over tasks. Support: scored answers of its own."
    if result.unpriced:
        yield f"{result.unpriced:,} tasks of unknown cost are left out."
    for row in result.policies:
        if row.undecided:
            yield f"{row.policy}: {row.undecided:,} tasks do not tell what it would have done, and count as they were."
    for model_id, times in result.gone.items():
        yield f"{model_id} is no longer in the registry; {times:,} tasks name it."


def _spoken_money(estimate: Estimate, *, signed: bool = False) -> str:
    values = (estimate.value, estimate.lowest, estimate.highest)
    value, lowest, highest = (f"{amount / 1e6:{'+' if signed else ''},.6f}" for amount in values)
    return f"$ {value} [{lowest}, {highest}]" if estimate.lowest < estimate.highest else f"$ {value}"


def _spoken_quality(estimate: Estimate | None, *, signed: bool = False) -> str:
    if estimate is None:
        return ""
    value, lowest, highest = (
        f"{part:{'+' if signed else ''}.3f}" for part in (estimate.value, estimate.lowest, estimate.highest)
    )
    return f"{value} [{lowest}, {highest}]"


def _export_since(window: Window, period: Period | None, since: datetime | None) -> float | None:
    """The moment itself where one is given; everything where nothing is."""
    if since is not None:
        return since.replace(tzinfo=UTC).timestamp()
    return None if period is None else window.since


async def _export(
    services: Services,
    _: OnProgress,
    *,
    rows: Callable[[Reports, str, float | None], AsyncIterator[str]],
    since: float | None,
) -> None:
    async for text in rows(services.store.reports, LOCAL_CALLER, since):
        sys.stdout.write(text)
    sys.stdout.flush()


def _table_of_groups(groups: Sequence[GroupResult], by: Breakdown) -> Table:
    table = _table(by, "tasks", "$ spent", "$ saved", "p50 ms", "p95 ms", "failed", "score")
    table.columns[0].overflow = "fold"
    for row in groups:
        failed = "" if row.error_rate is None else f"{row.error_rate:.1%}"
        score = "" if row.mean_score is None else f"{row.mean_score:.2f} of {row.scored}"
        times = ("" if row.p50_ms is None else str(row.p50_ms), "" if row.p95_ms is None else str(row.p95_ms))
        money = (f"{row.cost_usd:,.6f}", f"{row.saved_usd:,.6f}")
        table.add_row(escape(row.name or "no answer"), f"{row.tasks:,}", *money, *times, failed, score)
    return table


def _refresh_prices() -> None:
    """Write what genai-prices lists today into the user's own registry, and say what changed."""
    overlay = settings_of(os.environ).overlay
    with err.status("comparing prices"):
        changes = refresh_overlay(SHIPPED_REGISTRY, overlay, _today())
    for change in changes:
        prices = f"{change.before.input}/{change.before.output} → {change.after.input}/{change.after.output}"
        note = "" if change.applied else " (kept: the row has a source of its own)"
        err.print(f"{change.model_id}: {prices}{note}", highlight=False, soft_wrap=True)
    err.print(f"prices of {_today()} are in {overlay}", highlight=False, soft_wrap=True)


def _seen(health: Mapping[str, HealthResult]) -> list[Finding]:
    """What the ledger saw of each model in the last day."""
    return [
        Finding(
            subject=model_id,
            state="problem" if row.breaker == "open" or (row.error_rate or 0) > _BAD_ERROR_RATE else "ok",
            detail=f"{row.attempts} calls in a day, {row.error_rate or 0:.0%} failed, p50 {row.p50_latency_ms or '?'} ms, "
            f"p95 {row.p95_latency_ms or '?'} ms, breaker {row.breaker}",
        )
        for model_id, row in health.items()
    ]


@app.command()
def score(
    pair: Annotated[str, typer.Option(help="WEAK,STRONG: the names of two models.")],
    jsonl: Annotated[
        str, typer.Option(help="One JSON object with prompt a line, from this file or - (standard input).")
    ],
    weights: Annotated[Path | None, typer.Option(help="A folder that train wrote; by default the shipped one.")] = None,
) -> None:
    """Print for each prompt, in order, by how much the strong model of a pair should be preferred."""
    from routing.learning.quality import SHIPPED, QualityModel  # noqa: PLC0415 - most commands learn nothing
    from routing.learning.train import score_lines  # noqa: PLC0415 - as above

    model = QualityModel.load(weights or SHIPPED)
    weak, strong = (name if model.knows(name) else _registered(name) for name in _two_in(pair))
    with _opened(jsonl) as lines:
        for line in score_lines(model, lines, weak, strong):
            sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@app.command()
def train(
    into: Annotated[Path, typer.Option("--out", help="Folder for the weights and their manifest.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of outcomes: JSON lines of prompt, scores and costs by model.")
    ] = None,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Learn from the scores in your ledger, whose prompts were kept.")
    ] = False,
) -> None:
    """Learn from outcomes which prompts need a strong model, and test what choosing by it loses. Always the same weights."""
    from routing.learning.train import train as learned  # noqa: PLC0415 - most commands learn nothing

    dataset = _outcomes(data, ledger=ledger)
    command = f"python server.py train{f' --data {data}' if data else ''}{' --ledger' if ledger else ''} --out {into}"
    with err.status("learning; this takes a minute for every 10,000 outcomes, and two for testing what was learned"):
        model = learned(dataset, command=command, date=_today().isoformat())
        model.save(into)
    err.print(f"learned the abilities of {len(model.abilities)} models; the weights are in {into}", highlight=False)
    for line in _calibration_lines(model):
        err.print(line, highlight=False, markup=False, soft_wrap=True)


def _outcomes(data: Path | None, *, ledger: bool) -> Dataset:
    """What is to be learned from: files, the ledger, or both."""
    from routing.learning.outcomes import ledger_dataset, read_dataset  # noqa: PLC0415 - most commands learn nothing

    if data is None and not ledger:
        raise InvalidTask("give --data FOLDER, --ledger, or both: there is nothing to learn from.")
    parts = [read_dataset(data)] if data else []
    if ledger:
        of_ledger = _with_services(
            lambda services, _: ledger_dataset(services.store.reports, LOCAL_CALLER), quiet=False
        )
        if not of_ledger.outcomes:
            raise TrainingError(
                "no route of the ledger has both a score and its prompt. Set POINTSMAN_KEEP_PROMPTS=true, and score answers "
                "with record_feedback."
            )
        parts.append(of_ledger)
    return functools.reduce(operator.add, parts)


def _calibration_lines(model: QualityModel) -> Iterator[str]:
    """What was calibrated, or why nothing was."""
    from routing.learning.quality import CALIBRATION  # noqa: PLC0415 - most commands learn nothing

    calibration = model.calibration
    if calibration is None:
        yield f"nothing is calibrated: {model.manifest.left_out[CALIBRATION]}"
        return
    passed = ", ".join(f"{allowance:g} for a loss of {loss:.0%}" for loss, allowance in calibration.allowances.items())
    yield f"allowances on {calibration.prompts} prompts at 95 % confidence: {passed or 'none passed the test'}"
    yield f"the guard: {calibration.verdict.reason}"


def _two_in(pair: str) -> tuple[str, str]:
    match [name.strip() for name in pair.split(",")]:
        case [str(weak), str(strong)] if weak and strong:
            return weak, strong
        case _:
            raise InvalidTask(f"--pair names two models, as in WEAK,STRONG; {pair!r} does not.")


def _registered(name: str) -> Model:
    """A model that was not learned of, by what the registry knows of it."""
    registry = RegistryFile(SHIPPED_REGISTRY, settings_of(os.environ).overlay).current()
    found = next((row for key, row in registry.models.items() if name in (key, row.api_model_id)), None)
    if found is None:
        raise NoEligibleModel(f"nothing is known of a model {name!r}. Nearest: {', '.join(registry.nearest(name))}.")
    return found


async def _classify_lines(services: Services, _: OnProgress, *, source: str) -> None:
    """Print one analysis a line, in the order of the prompts."""
    with _opened(source) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                prompt = _prompt_of(line, f"{source}:{number}")
                analysis = await services.router.analyzer.analyze(Task(prompt=prompt))
                sys.stdout.write(AnalysisResult.of(analysis).model_dump_json() + "\n")
    sys.stdout.flush()


@contextmanager
def _opened(source: str) -> Generator[Iterable[str]]:
    """The lines of a file, or of standard input; a byte order mark is passed over."""
    if source == "-":
        yield (line.removeprefix("\ufeff") for line in sys.stdin)
        return
    try:
        text = Path(source).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise InvalidTask(f"{source} cannot be read: {problem}.") from None
    yield text.splitlines()


def _prompt_of(line: str, place: str) -> str:
    try:
        row: object = json.loads(line)
    except json.JSONDecodeError as problem:
        raise InvalidTask(f"{place} is not JSON: {problem.msg}.") from None
    except RecursionError:
        raise InvalidTask(f"{place} is nested too deeply.") from None
    match row:
        case {"prompt": str(prompt)} if prompt.strip():
            return prompt
        case _:
            raise InvalidTask(f'{place} has no prompt: each line is an object such as {{"prompt": "…"}}.')


async def _latest_session(services: Services) -> str:
    latest = await services.store.sessions.latest(LOCAL_CALLER)
    if latest is None:
        raise UnknownHandle("there is no session to continue yet. Leave --session out to start one.")
    return latest


def _print_answer(result: RouteResult) -> None:
    out.print(result.response, markup=False, highlight=False, soft_wrap=True)
    out.print()
    baseline = f", {_dollars(result.savings_usd)} less than {result.baseline_model}" if result.savings_usd else ""
    analysis = result.task_analysis
    task = f"{analysis.category} (complexity {analysis.complexity})" if analysis else "not analysed"
    err.print(
        f"[dim]{result.model_used} · {task} · "
        f"{result.actual_input_tokens} + {result.actual_output_tokens} tokens · {_dollars(result.actual_cost_usd)}{baseline}"
        f" · {result.latency_ms / 1000:.1f} s · --session {result.session_id}[/]",
        highlight=False,
        soft_wrap=True,
    )
    for step in result.steps:
        by = f"{step.model_used} · {_dollars(step.cost_usd)}" if step.model_used else step.detail
        err.print(
            f"[dim]{escape(step.name)} ({step.role}) {step.status} · {escape(by)}[/]", highlight=False, soft_wrap=True
        )
    for check in result.verification:
        found = "; ".join(check.failed) or ", ".join(check.checked)
        err.print(
            f"[dim]{check.kind} · {check.model_id} · {check.verdict}: {escape(found)} · {_dollars(check.cost_usd)}[/]",
            highlight=False,
            soft_wrap=True,
        )
    for notice in result.notices:
        err.print(f"[yellow]{escape(notice)}[/]", highlight=False, soft_wrap=True)


def _text_in(file: Path) -> str:
    """What a file holds.

    Raises:
        InvalidTask: it cannot be read, or is no text.

    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise InvalidTask(f"{file} cannot be read: {problem}") from problem


def _object_in(file: Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        InvalidTask: it cannot be read, or is no JSON object.

    """
    try:
        document: Any = json.loads(_text_in(file))
    except ValueError as problem:
        raise InvalidTask(f"{file} cannot be read as JSON: {problem}.") from problem
    if not isinstance(document, dict):
        raise InvalidTask(f"{file} must hold one JSON object.")
    return cast("dict[str, Any]", document)


def _print_json(result: BaseModel) -> None:
    """As JSON, indented; plain where nobody watches."""
    if out.is_terminal:
        out.print_json(result.model_dump_json())
    else:
        sys.stdout.write(result.model_dump_json(indent=2) + "\n")


def _print_pairs(*pairs: tuple[str, str]) -> None:
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        out.print(f"[bold]{name:<{width}}[/]  {escape(value)}", highlight=False, soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(
            column, justify="right" if column in ("cost", "seconds", "$ in", "$ out", "window") else "left"
        )
    return table


def _dollars(amount: float | None) -> str:
    return spoken_usd(None if amount is None else microusd(amount))


def _per_million(price: float | None) -> str:
    return "?" if price is None else f"{price:g}"


def _today() -> date:
    return date.today()  # noqa: DTZ011 - prices are dated by calendar day
