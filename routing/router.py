"""The pipeline. `Router.route` reads as its five lines."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import anyio
import anyio.to_thread

from routing.analyzer.model_backed import SecondOpinion, analyst_of, asking, question
from routing.answers import AnswerCache, Hit, Question, may_be_kept
from routing.assembler import Assembler
from routing.budgets import Purse, Wallet, lowest, spoken
from routing.catalog import Catalog, CatalogSource
from routing.context.plan import Plan, with_room
from routing.context.reading import Reader
from routing.dispatch.engine import Dispatch, DispatchEngine
from routing.embeddings import embeddings_of, texts_in, wanted_of
from routing.errors import DeadlineExceeded, InvalidTask, NoEligibleModel
from routing.escalation import Checked, Escalation, no_tests
from routing.forecasts import Forecasts
from routing.inspection import RunTests
from routing.profiles import Apply, as_it_is
from routing.recorder import OpenRoute, Recorder
from routing.registry import Model
from routing.selector import Selector
from routing.selector.outlook import NO_OUTLOOK, Outlook
from routing.shadow import Shadows
from routing.state import Sessions
from routing.types import (
    Analyzer,
    Answer,
    ModelRequest,
    ModelSelection,
    OnProgress,
    Progress,
    RouteRecord,
    Task,
    TaskAnalysis,
)
from routing.verification.modes import check_request

MAX_PROMPT_CHARS = 2_000_000
"""Longest prompt, system prompt or message that is accepted: about half a million tokens."""


_CACHE_LASTS_SECONDS = 300.0
"""How long providers keep a prompt at least (https://platform.claude.com/docs/en/build-with-claude/prompt-caching)."""

_NO_TEXTS = (
    "This reads like a task for an embedding model and lists no texts, so a chat model took it. To get vectors or a ranking "
    "by meaning, pass the texts in texts."
)
_NO_EMBEDDING_MODEL = (
    "A chat model took this task: no embedding model can. Run `python server.py pull` for the local one, or set OPENAI_API_KEY "
    "or GOOGLE_API_KEY."
)


Admit = Callable[[], Awaitable[None]]
"""Asked before a task is begun; it raises where none should be."""


async def open_door() -> None:
    """Let every task in."""


def _never() -> bool:
    """Nothing can run tests."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What would be done with a task, without doing it."""

    analysis: TaskAnalysis
    selection: ModelSelection
    catalog: Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """What stays the same while a task is answered. ``low_budget`` is what to say of the emptiest one, where little is left."""

    route: OpenRoute
    catalog: Catalog
    purse: Purse | None
    low_budget: str | None
    on_progress: OnProgress

    def dispatch(self, analysis: TaskAnalysis, selection: ModelSelection) -> Dispatch:
        """What a dispatch carries, its calls booked on the route and paid from its purse."""
        return Dispatch(
            catalog=self.catalog,
            selection=selection,
            analysis=analysis,
            book=self.route.book,
            book_tool=self.route.book_tool,
            on_progress=self.on_progress,
            purse=self.purse,
            caller=self.route.task.caller,
        )

    def forget(self) -> None:
        """Forget what the purse says of the calls so far; what they cost stays."""
        if self.purse is not None:
            self.purse.forget()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Brief:
    """What models are chosen for. ``cost_microusd`` is what the whole is expected to cost, where it was read in parts."""

    task: Task
    analysis: TaskAnalysis
    outlook: Outlook
    cost_microusd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """The models for a task, whose texts are known now where it is one for an embedding model."""

    task: Task
    selection: ModelSelection


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """The five stages, joined."""

    catalog: CatalogSource
    sessions: Sessions
    analyzer: Analyzer
    selector: Selector
    assembler: Assembler
    dispatcher: DispatchEngine
    recorder: Recorder
    wallet: Wallet = field(default_factory=Wallet)
    forecasts: Forecasts | None = None
    run_tests: RunTests = no_tests
    may_test: Callable[[], bool] = _never
    second_opinion: SecondOpinion = field(default_factory=lambda: SecondOpinion(threshold=0))
    shadows: Shadows | None = None
    apply_profile: Apply = as_it_is
    reader: Reader | None = None
    answers: AnswerCache | None = None
    admit: Admit = open_door

    async def route(self, task: Task, on_progress: OnProgress, route_id: str | None = None) -> RouteRecord:
        """Answer a task, under the ``route_id`` that its caller was told, or a new one.

        Raises:
            InvalidTask: the prompt is empty or too long, or the history is malformed.
            StoreUnavailable: nothing could be booked now.
            UnknownHandle: the session is not one of this caller's.
            NoEligibleModel, ContextOverflow: no model can take it.
            AllModelsFailed, AssetError: a model was chosen, and none answered.
            BudgetExceeded: a model was chosen, and none that could answer fits what may be spent.
            DeadlineExceeded: ``deadline_seconds`` passed first.

        """
        validate(task)
        await self.admit()
        async with self.recorder.recording(task, route_id) as route:
            with anyio.move_on_after(task.constraints.deadline_seconds) as deadline:
                await self.answer(task, route, on_progress, self.purse_of(route))
            if deadline.cancelled_caught:
                raise DeadlineExceeded(
                    f"no answer within deadline_seconds={task.constraints.deadline_seconds:g}. Allow more time, ask for less "
                    "text with max_tokens, or force a faster model."
                )
        assert route.record is not None  # noqa: S101 - recording() leaves it where the block ended well
        return route.record

    async def answer(self, task: Task, route: OpenRoute, on_progress: OnProgress, purse: Purse | None) -> None:
        """Answer a task on a route that is being recorded, from this purse. Raises as `route` does, but for the deadline."""
        task = await self.resumed(task, route)
        course = await self._course(task, route, on_progress, purse)
        task, analysis = await self._understood(task, course)
        question = await self.answers.question(task, analysis, course.catalog) if self.answers else None
        if question is not None and await self._given_again(question, course):
            return
        analysis = await self._reconsidered(task, course)
        brief = await self._read(task, analysis, course)
        choice = self._chosen(brief, course)
        request = await self._requested(choice.task, course)
        await self._answered(choice.task, request, course, course.dispatch(brief.analysis, choice.selection))
        if question is not None and may_be_kept(task, brief.analysis):
            await self._keep(question, route)
        if self.shadows is not None and task.parent_id is None:
            self.shadows.consider(route, choice.task, request, course.catalog)

    async def _course(self, task: Task, route: OpenRoute, on_progress: OnProgress, purse: Purse | None) -> _Course:
        return _Course(
            route=route,
            catalog=await self.catalog.current(),
            purse=purse,
            low_budget=await self._low_budget(task.caller, route.session_id or route.new_session_id),
            on_progress=on_progress,
        )

    async def _given_again(self, question: Question, course: _Course) -> bool:
        """Answer with what was answered before, where there is such."""
        assert self.answers is not None  # noqa: S101 - the question is theirs
        hit = await self.answers.find(question, course.catalog)
        if hit is not None:
            _give_again(hit, course.route, course.catalog)
        return hit is not None

    async def _read(self, task: Task, analysis: TaskAnalysis, course: _Course) -> _Brief:
        """What the models are chosen for: the task, or notes in its place where it was read in parts."""
        await course.on_progress(Progress(message=f"{analysis.category}, complexity {analysis.complexity}"))
        route = course.route
        outlook = await self._outlook(task, analysis, course.catalog, key=route.route_id)
        plan = self._plan(task, analysis, course.catalog, low=course.low_budget, outlook=outlook)
        if plan is None or self.reader is None:
            return _Brief(task=task, analysis=analysis, outlook=outlook)
        found = await self.reader.read(task, plan, course.dispatch(analysis, plan.readers))
        course.forget()
        route.notices += found.notices
        route.whole_input_tokens = analysis.estimated_input_tokens  # the baseline is that of the whole prompt
        return _Brief(task=found.task, analysis=found.analysis, outlook=outlook, cost_microusd=plan.cost_microusd)

    def _plan(
        self, task: Task, analysis: TaskAnalysis, catalog: Catalog, *, low: str | None, outlook: Outlook
    ) -> Plan | None:
        """How to read the prompt in parts, where it is too long or that pays."""
        if self.reader is None:
            return None

        def select(analysis: TaskAnalysis) -> ModelSelection:
            return self.selector.select(task, analysis, catalog, low_budget=low, outlook=outlook)

        return self.reader.planner.plan(task, analysis, catalog, select)

    def _chosen(self, brief: _Brief, course: _Course) -> _Choice:
        """The models for a brief, noted on the route with what its savings are measured against."""
        task, selection = self._selected(
            brief.task, brief.analysis, course.catalog, low=course.low_budget, outlook=brief.outlook
        )
        if not task.texts:
            selection = with_room(selection, brief.analysis, course.catalog)
        course.route.selection = selection
        if brief.cost_microusd is not None:
            course.route.selection = replace(selection, estimated_cost_microusd=brief.cost_microusd)
        course.route.baseline = self.recorder.baseline_of(course.catalog, "embedding" if task.texts else "chat")
        return _Choice(task=task, selection=selection)

    def purse_of(self, route: OpenRoute) -> Purse | None:
        """What a route pays from; ``None`` where nothing limits it."""
        task = route.task
        return self.wallet.purse(
            task.caller,
            task.session_id or route.new_session_id,
            call_microusd=task.constraints.max_cost_microusd,
            beyond_budgets=task.beyond_budgets,
        )

    async def _requested(self, task: Task, course: _Course) -> ModelRequest:
        """The request for the models that were chosen, with the tools that can be run at the moment."""
        route = course.route
        assert route.analysis is not None  # noqa: S101 - it was understood before it was chosen for
        assert route.selection is not None  # noqa: S101 - as above
        if task.tools or route.analysis.requires_tool_use:
            await self.assembler.toolbox.look()
        request = self.assembler.assemble(task, route.analysis, route.selection, course.catalog)
        route.notices += [*route.selection.notices, *request.notices]
        return request

    async def _answered(self, task: Task, request: ModelRequest, course: _Course, dispatch: Dispatch) -> None:
        """Have the request answered and its answer checked, and note all of it on the route."""
        answering = Escalation(dispatcher=self.dispatcher, run_tests=self.run_tests)
        stronger, judge = (functools.partial(choose, task, dispatch) for choose in (self._stronger, self._judge))
        checked = await answering.answer(task, request, dispatch, stronger, judge)
        route = course.route
        route.conversation, route.verification = checked.conversation, checked.steps
        answer = checked.conversation.answer
        if vectors := answer.response.vectors:
            route.embeddings = await anyio.to_thread.run_sync(embeddings_of, wanted_of(task), vectors)
        route.notices += [*_notices_on(answer, dispatch.selection, dispatch.purse, checked), *checked.notices]

    def _stronger(self, task: Task, dispatch: Dispatch, model_id: str) -> ModelSelection | None:
        return self.selector.stronger(task, dispatch.analysis, dispatch.catalog, than=model_id)

    def _judge(self, task: Task, dispatch: Dispatch, model_id: str) -> ModelSelection | None:
        return self.selector.judge(task, dispatch.analysis, dispatch.catalog, of=model_id)

    async def decide(self, task: Task) -> Decision:
        """Analyse a task and choose a model, without calling any. Raises as `route` does, up to the choice."""
        validate(task)
        if task.session_id is not None and task.history is None:
            task = replace(task, history=await self.sessions.history(task.session_id, task.caller))
        catalog = await self.catalog.current()
        analysis = await self.analyzer.analyze(task)
        task = self.apply_profile(task, analysis, catalog.registry)
        low = await self._low_budget(task.caller, task.session_id)
        outlook = replace(await self._outlook(task, analysis, catalog, key=""), exploration=0.0)
        plan = self._plan(task, analysis, catalog, low=low, outlook=outlook)
        if plan is not None:
            short = replace(analysis, estimated_input_tokens=plan.answer_tokens, history_tokens=0)
            selection = self._selected(task, short, catalog, low=low, outlook=outlook)[1]
            notices = (*selection.notices, plan.notice)
            selection = replace(selection, estimated_cost_microusd=plan.cost_microusd, notices=notices)
        else:
            selection = self._selected(task, analysis, catalog, low=low, outlook=outlook)[1]
        return Decision(analysis=analysis, selection=selection, catalog=catalog)

    async def _outlook(self, task: Task, analysis: TaskAnalysis, catalog: Catalog, *, key: str) -> Outlook:
        """What is expected of the models; nothing where the matrix alone is to choose."""
        if self.forecasts is None:
            return NO_OUTLOOK
        warm = None
        if task.session_id is not None and analysis.history_tokens:
            warm = await self.sessions.answered_by(task.session_id, task.caller, within_seconds=_CACHE_LASTS_SECONDS)
        return await self.forecasts.outlook(task, analysis, catalog, key=key, warm_model=warm)

    def _analyst(self, task: Task, analysis: TaskAnalysis, catalog: Catalog) -> Model | None:
        """Who may be asked what kind of task this is."""
        return analyst_of(
            (
                model
                for model in catalog.models.values()
                if catalog.is_configured(model) and self.selector.may_see(model, analysis, catalog)
            ),
            task.constraints,
        )

    async def _keep(self, question: Question, route: OpenRoute) -> None:
        """Keep the answer to be given again, unless tools had a part in it."""
        if self.answers is not None and route.conversation is not None and not route.tools:
            await self.answers.keep(question, route.conversation, route.verification)

    async def _understood(self, task: Task, course: _Course) -> tuple[Task, TaskAnalysis]:
        """The analysis, and the task with what its profile brings."""
        analysis = await self.analyzer.analyze(task)
        if task.pattern is not None:
            analysis = replace(analysis, pattern=task.pattern, role=task.role or "single")
        course.route.analysis = analysis
        course.route.notices += self.analyzer.notices
        return self.apply_profile(task, analysis, course.catalog.registry), analysis

    async def _reconsidered(self, task: Task, course: _Course) -> TaskAnalysis:
        """The analysis, after a second opinion where it is uncertain; nobody is paid for one where little money is left."""
        analysis = course.route.analysis
        assert analysis is not None  # noqa: S101 - it was understood before
        if task.role is not None or not self.second_opinion.wanted(task, analysis):
            return analysis
        analyst = None if course.low_budget is not None else self._analyst(task, analysis, course.catalog)

        async def ask(request: ModelRequest) -> str:
            assert analyst is not None  # noqa: S101 - nobody asks where there is none
            dispatch = replace(course.dispatch(question(analysis), asking(analyst)), on_progress=_unheard)
            return (await self.dispatcher.dispatch(request, dispatch)).answer.response.text

        opinion = await self.second_opinion.on(task, analysis, ask if analyst else None)
        course.forget()
        course.route.notices += opinion.notices
        course.route.analysis = opinion.analysis
        return opinion.analysis

    async def _low_budget(self, caller: str, session_id: str | None) -> str | None:
        """What to say of the emptiest budget, where little of it is left."""
        emptiest = lowest(await self.wallet.standings(caller, session_id))
        return spoken(emptiest) if emptiest else None

    def _selected(
        self, task: Task, analysis: TaskAnalysis, catalog: Catalog, *, low: str | None, outlook: Outlook
    ) -> tuple[Task, ModelSelection]:
        """The choice, and the task with the texts that its prompt lists where vectors of them are what is asked for."""

        def select(task: Task) -> ModelSelection:
            wish = self._begun_by(task, analysis, catalog)
            return self.selector.select(wish, analysis, catalog, low_budget=low, outlook=outlook)

        if analysis.category != "embedding" or task.texts or _wants_chat(task, catalog):
            return task, select(task)
        texts = texts_in(task.prompt)
        advice = _NO_TEXTS
        if texts:
            with_texts = replace(task, texts=texts)
            with contextlib.suppress(NoEligibleModel):
                return with_texts, select(with_texts)
            advice = _NO_EMBEDDING_MODEL
        selection = select(task)
        return task, replace(selection, notices=(*selection.notices, advice))

    def _begun_by(self, task: Task, analysis: TaskAnalysis, catalog: Catalog) -> Task:
        """The task as it is chosen for: the cheapest model may begin where the caller's tests will decide, and can be run."""
        facts, wish = catalog.registry.categories[analysis.category], task.constraints
        if not (task.tests and facts.cheapest_first and wish.cost_preference == "balanced" and self.may_test()):
            return task
        return replace(task, constraints=replace(wish, cost_preference="cheapest"))

    async def resumed(self, task: Task, route: OpenRoute) -> Task:
        """The task with its session's history, unless the caller brought one. A new session begins with its first answer."""
        if task.session_id is None:
            return task
        kept = await self.sessions.history(task.session_id, task.caller)
        route.session_id = task.session_id
        return task if task.history is not None else replace(task, history=kept)


def validate(task: Task) -> None:
    """Refuse what no model should be asked.

    Raises:
        InvalidTask: the prompt is empty, or a text is over `MAX_PROMPT_CHARS`, or the history ends with the user, or the task
            asks to be verified by what it does not bring.

    """
    if not task.prompt.strip():
        raise InvalidTask("prompt is empty. Say what is to be done.")
    check_request(task)
    if not all(text.strip() for text in task.texts):
        raise InvalidTask("one of texts is empty; nothing can be said of its meaning. Leave it out.")
    texts = {"prompt": task.prompt, "system": task.system or ""}
    texts |= {f"texts[{index}]": text for index, text in enumerate(task.texts)}
    texts |= {f"history[{index}]": message.content for index, message in enumerate(task.history or ())}
    for name, text in texts.items():
        if len(text) > MAX_PROMPT_CHARS:
            raise InvalidTask(
                f"{name} has {len(text):,} characters; at most {MAX_PROMPT_CHARS:,} are accepted. Split it into parts."
            )
    if task.history and task.history[-1].role == "user":
        raise InvalidTask(
            "history ends with a user message; it must end with the assistant's. The new one goes in prompt."
        )


def _wants_chat(task: Task, catalog: Catalog) -> bool:
    """Whether the caller insists on a model that writes text."""
    forced = task.constraints.force_model
    return forced is not None and catalog.find(forced).kind == "chat"


def _give_again(hit: Hit, route: OpenRoute, catalog: Catalog) -> None:
    """Answer a route with what was answered before: at no cost, and what the call would have cost is saved."""
    model = catalog.models[hit.answer.model_id]
    how = "the same question" if hit.by == "exact" else "a question of the same meaning"
    route.conversation, route.cached, route.baseline = hit.conversation, hit.by, model
    route.selection = ModelSelection(
        primary_model=model.model_id,
        provider=model.provider,
        fallback_models=(),
        estimated_cost_microusd=0,
        reasoning=f"its earlier answer to {how} is given again",
        policy="forced",
    )
    route.notices.append(f"{model.model_id} gave this answer before, to {how}; nobody was asked now.")


async def _unheard(_: Progress) -> None:
    """What goes on while a model is asked about the task is no progress of the task."""


def _notices_on(answer: Answer, selection: ModelSelection, purse: Purse | None, checked: Checked) -> list[str]:
    notices = list(purse.notices) if purse else []
    if purse and selection.primary_model in purse.passed_over - {answer.model_id}:
        notices.append(f"{selection.primary_model} does not fit the budget; {answer.model_id} answered instead.")
    elif answer.model_id != selection.primary_model and not checked.escalated:
        notices.append(f"{selection.primary_model} failed; {answer.model_id} answered instead.")
    if answer.response.finish_reason == "length":
        notices.append("The answer reached its token limit and is cut off. Raise max_tokens for more.")
    if answer.response.finish_reason == "content_filter":
        notices.append("The provider's content filter ended the answer.")
    return notices
