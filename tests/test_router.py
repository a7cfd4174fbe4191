"""The pipeline from task to ledger: real stages and store, a fake provider at the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from routing.analyzer import RulesAnalyzer
from routing.assembler import Assembler
from routing.catalog import Catalog, CatalogSource
from routing.dispatch.engine import DispatchEngine
from routing.dispatch.providers import ProviderPool
from routing.dispatch.retry import RetryPolicy
from routing.dispatch.tool_loop import NoTools, ToolLoop
from routing.embedded.runtime import EmbeddedRuntime
from routing.errors import (
    AllModelsFailed,
    DeadlineExceeded,
    InvalidTask,
    NoEligibleModel,
    ProviderTimeout,
    ProviderUnavailable,
    UnknownHandle,
)
from routing.recorder import Recorder
from routing.registry import Model
from routing.router import MAX_PROMPT_CHARS, Router
from routing.selector import Selector
from routing.state import Turn
from routing.state.sqlite import SqliteStore
from routing.tokens import TokenCounter
from routing.types import (
    Constraints,
    Message,
    ModelRequest,
    ModelResponse,
    ModelSelection,
    OnText,
    Rejection,
    RouteRecord,
    Target,
    Task,
)
from tests.builders import CATEGORY, CATEGORY_NAMES, catalog, model
from tests.fakes import FakeProvider, Heard, reply

pytestmark = pytest.mark.anyio

DEAR = model("acme/dear", prices={"input": 10, "output": 50})
CHEAP = model("acme/cheap", prices={"input": 1, "output": 2})
OTHER = model("zeta/other", provider="zeta", prices={"input": 2, "output": 4})
VECTORS = model(
    "acme/vectors", kind="embedding", prices={"input": 100, "output": 0}, max_output_tokens=0, capabilities={}
)
TO_EMBED = "Embed these sentences:\n- cats\n- dogs bark"
DOWN = ProviderUnavailable("server error (503): busy", provider="acme", model_id="acme/cheap")


@dataclass(slots=True)
class FixedCatalog:
    """A catalog source that always says the same."""

    catalog: Catalog

    async def current(self) -> Catalog:
        return self.catalog


@dataclass(slots=True, kw_only=True)
class House:
    router: Router
    store: SqliteStore
    provider: FakeProvider
    heard: Heard

    async def ask(self, prompt: str = "What is the capital of France?", **changes: Any) -> RouteRecord:
        return await self.router.route(replace(Task(prompt=prompt), **changes), self.heard)

    async def booked(self) -> RouteRecord:
        return (await self.store.ledger.recent("local", 1))[0]


async def no_embedder(_: object) -> Any:
    raise AssertionError("no model of this machine is asked")


@asynccontextmanager
async def house(
    tmp_path: Path,
    provider: FakeProvider | None = None,
    models: tuple[Model, ...] = (CHEAP, OTHER, DEAR),
    **recorder: Any,
) -> AsyncGenerator[House]:
    provider = provider or FakeProvider()
    rows = catalog(*models)
    counter = TokenCounter(tmp_path / "vocabularies")
    no_runtime = cast("EmbeddedRuntime", None)
    async with SqliteStore(tmp_path / "state.db") as store:
        router = Router(
            catalog=cast("CatalogSource", FixedCatalog(rows)),
            sessions=store.sessions,
            analyzer=RulesAnalyzer(counter),
            selector=Selector(confidence_threshold=0),
            assembler=Assembler(counter=counter, toolbox=NoTools()),
            dispatcher=DispatchEngine(
                providers=ProviderPool(no_runtime, no_embedder, provider.connect),
                counter=counter,
                tool_loop=ToolLoop(toolbox=NoTools()),
                policy=RetryPolicy(most_retries=0),
            ),
            recorder=Recorder(ledger=store.ledger, **recorder),
        )
        yield House(router=router, store=store, provider=provider, heard=Heard())


async def test_an_answer_comes_with_its_bill_and_what_it_saved(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        record = await it.ask()

    assert record.outcome == "completed"
    assert record.text == "Paris."
    assert record.model_used == "acme/cheap"
    assert record.analysis is not None
    assert record.analysis.category == "qa_retrieval"
    assert record.cost_microusd == 20 * 1 + 5 * 2
    assert record.baseline_model == "acme/dear"
    assert record.baseline_cost_microusd == 20 * 10 + 5 * 50


async def test_what_is_returned_is_what_the_ledger_keeps_except_for_the_text(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        record = await it.ask()
        assert await it.booked() == replace(record, text="")


async def test_the_ledger_keeps_a_prompt_only_where_it_was_told_to(tmp_path: Path) -> None:
    async with house(tmp_path / "hashes") as it:
        await it.ask("What is the capital of France?")
        hashed = await it.booked()
    async with house(tmp_path / "prompts", keep_prompts=True) as it:
        await it.ask("What is the capital of France?")
        kept = await it.booked()

    assert hashed.prompt is None
    assert kept.prompt == "What is the capital of France?"
    assert kept.prompt_sha256 == hashed.prompt_sha256


async def test_a_step_is_booked_with_the_route_that_it_is_part_of(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        await it.ask(parent_id="rte_whole")

        assert (await it.booked()).parent_id == "rte_whole"


async def test_a_model_that_fails_is_followed_by_the_next_and_both_are_booked(tmp_path: Path) -> None:
    async with house(tmp_path, FakeProvider({"acme/cheap": DOWN})) as it:
        record = await it.ask()

    assert record.model_used == "zeta/other"
    assert [(attempt.model_id, attempt.outcome) for attempt in record.attempts] == [
        ("acme/cheap", "failed"),
        ("zeta/other", "answered"),
    ]
    assert record.attempts[0].error == "ProviderUnavailable: server error (503): busy"
    assert "acme/cheap failed; zeta/other answered instead." in record.notices


async def test_when_every_model_fails_the_error_holds_each_failure_and_the_ledger_too(tmp_path: Path) -> None:
    async with house(tmp_path, FakeProvider(dict.fromkeys(("acme/cheap", "zeta/other", "acme/dear"), DOWN))) as it:
        with pytest.raises(AllModelsFailed) as failure:
            await it.ask()
        booked = await it.booked()

    assert len(failure.value.failures) == 3
    assert booked.outcome == "failed"
    assert len(booked.attempts) == 3
    assert booked.error is not None


async def test_a_forced_model_that_fails_is_not_replaced_by_another(tmp_path: Path) -> None:
    async with house(tmp_path, FakeProvider({"acme/cheap": DOWN})) as it:
        with pytest.raises(AllModelsFailed):
            await it.ask(constraints=Constraints(force_model="acme/cheap"))
        assert [model_id for model_id, _ in it.provider.requests] == ["acme/cheap"]


async def test_a_refusal_to_choose_is_booked_as_a_failure(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        with pytest.raises(NoEligibleModel):
            await it.ask(constraints=Constraints(self_hosted_only=True))
        assert (await it.booked()).outcome == "failed"


async def test_cancelling_aborts_the_upstream_call_and_books_what_had_been_written(tmp_path: Path) -> None:
    async with house(tmp_path, FakeProvider({"acme/cheap": None})) as it:
        with anyio.move_on_after(0.2):
            await it.ask()
        booked = await it.booked()

    assert it.provider.cancelled == 1
    assert booked.outcome == "cancelled"
    assert booked.attempts[0].outcome == "cancelled"
    assert booked.attempts[0].usage.estimated
    assert booked.attempts[0].usage.output_tokens > 0
    assert booked.cost_microusd is not None
    assert booked.cost_microusd > 0


async def test_a_deadline_that_passes_is_an_error_that_says_so_and_is_booked(tmp_path: Path) -> None:
    async with house(tmp_path, FakeProvider({"acme/cheap": None})) as it:
        with pytest.raises(DeadlineExceeded, match=r"deadline_seconds=0\.1"):
            await it.ask(constraints=Constraints(deadline_seconds=0.1))
        booked = await it.booked()

    assert booked.outcome == "failed"
    assert booked.attempts[0].outcome == "cancelled"


async def test_a_provider_that_reports_no_usage_is_counted_and_marked_estimated(tmp_path: Path) -> None:
    silent = ModelResponse(text="Paris is it.", finish_reason="stop", usage=None)
    async with house(tmp_path, FakeProvider({"acme/cheap": silent})) as it:
        record = await it.ask()

    assert record.usage.estimated
    assert record.usage.input_tokens > 0
    assert record.usage.output_tokens > 0


async def test_an_answer_that_was_cut_off_says_so(tmp_path: Path) -> None:
    cut = replace(reply(), finish_reason="length")
    async with house(tmp_path, FakeProvider({"acme/cheap": cut})) as it:
        record = await it.ask()

    assert any("cut off" in notice for notice in record.notices)


async def test_a_session_continues_the_conversation(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        first = await it.ask("My name is Ada.")
        await it.ask("What is my name?", session_id=first.session_id)

    _, second = it.provider.requests[-1]
    assert [message.content for message in second.messages] == ["My name is Ada.", "Paris.", "What is my name?"]


async def test_a_history_that_the_caller_brings_replaces_the_sessions(tmp_path: Path) -> None:
    own = (Message(role="user", content="I am Bob."), Message(role="assistant", content="Hi."))
    async with house(tmp_path) as it:
        first = await it.ask("My name is Ada.")
        await it.ask("What is my name?", session_id=first.session_id, history=own)

    _, second = it.provider.requests[-1]
    assert [message.content for message in second.messages] == ["I am Bob.", "Hi.", "What is my name?"]


async def test_another_callers_session_answers_as_an_unknown_one(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        first = await it.ask()
        with pytest.raises(UnknownHandle) as foreign:
            await it.ask(session_id=first.session_id, caller="eve")
        with pytest.raises(UnknownHandle) as unknown:
            await it.ask(session_id="ses_nothing", caller="eve")
    assert str(foreign.value) == str(unknown.value)


@pytest.mark.parametrize("prompt", ["", "  \n\t"])
async def test_an_empty_prompt_is_refused_before_anything_is_done(tmp_path: Path, prompt: str) -> None:
    async with house(tmp_path) as it:
        with pytest.raises(InvalidTask, match="prompt is empty"):
            await it.ask(prompt)
        assert not await it.store.ledger.recent("local", 1)


async def test_a_text_over_the_limit_is_named_with_the_limit(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        with pytest.raises(InvalidTask, match=f"at most {MAX_PROMPT_CHARS:,}"):
            await it.ask("x" * (MAX_PROMPT_CHARS + 1))
        with pytest.raises(InvalidTask, match=r"history\[0\]"):
            await it.ask("x", history=(Message(role="assistant", content="x" * (MAX_PROMPT_CHARS + 1)),))


async def test_a_history_that_ends_with_the_user_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        with pytest.raises(InvalidTask, match="history ends with a user message"):
            await it.ask("x", history=(Message(role="user", content="hello"),))


async def test_a_broken_ledger_does_not_lose_an_answer_that_was_paid_for(tmp_path: Path) -> None:
    async with house(tmp_path) as it:

        class Broken:
            async def record(self, route: RouteRecord, turn: Turn | None) -> bool:
                raise OSError("disk full")

        recorder = replace(it.router.recorder, ledger=cast("Any", Broken()))
        record = await replace(it.router, recorder=recorder).route(Task(prompt="Hello"), it.heard)

    assert record.text == "Paris."
    assert any("could not be written to the ledger" in notice for notice in record.notices)


async def test_progress_tells_what_is_happening_and_how_much_was_written(tmp_path: Path) -> None:
    async with house(tmp_path, FakeProvider({"acme/cheap": reply("one two three")})) as it:
        await it.ask()

    said = [report.message for report in it.heard.reports]
    assert said[0].startswith("qa_retrieval, complexity")
    assert "asking Cheap" in said
    assert said[-1] == "Cheap is writing: 3 tokens"


async def test_deciding_calls_no_model_and_books_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        decision = await it.router.decide(Task(prompt="What is the capital of France?"))

        assert decision.selection.primary_model == "acme/cheap"
        assert not it.provider.requests
        assert not await it.store.ledger.recent("local", 1)


async def test_a_session_that_is_gone_meanwhile_is_told_and_does_not_keep_the_answer_back(tmp_path: Path) -> None:
    class Forgetful(FakeProvider):
        async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
            await it.store.sessions.delete(session_id, "local")
            return await super().send(request, target, on_text)

    async with house(tmp_path, Forgetful({"acme/cheap": reply("Paris.")})) as it:
        session_id = await it.store.sessions.start("local")
        record = await it.ask(session_id=session_id)
        assert (await it.booked()).route_id == record.route_id

    assert record.text == "Paris."
    assert any("could not be added to its session" in notice for notice in record.notices)


async def test_a_failed_task_begins_no_session(tmp_path: Path) -> None:
    async with house(
        tmp_path, FakeProvider({"acme/cheap": ProviderTimeout("slow", provider="acme", model_id="acme/cheap")})
    ) as it:
        with pytest.raises(AllModelsFailed):
            await it.ask(constraints=Constraints(force_model="acme/cheap"))
        assert await it.store.sessions.latest("local") is None


async def test_the_ledger_leaves_out_models_that_could_not_have_been_called(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        selection = ModelSelection(
            primary_model="acme/cheap",
            provider="acme",
            fallback_models=(),
            estimated_cost_microusd=1,
            reasoning="",
            rejections=(
                Rejection(model_id="acme/dear", reason="dearer"),
                Rejection(model_id="other/far", reason="no key", configured=False),
            ),
        )
        async with it.router.recorder.recording(Task(prompt="Hello")) as route:
            route.selection = selection
        kept = (await it.booked()).selection

    assert route.record is not None
    assert route.record.selection == selection
    assert kept is not None
    assert [rejection.model_id for rejection in kept.rejections] == ["acme/dear"]


async def test_texts_that_a_prompt_lists_go_to_an_embedding_model(tmp_path: Path) -> None:
    async with house(tmp_path, models=(CHEAP, VECTORS)) as it:
        record = await it.ask(TO_EMBED)
        booked = await it.booked()
        history = await it.store.sessions.history(record.session_id, "local")

    assert record.model_used == "acme/vectors"
    assert record.embeddings is not None
    assert record.embeddings.vectors == ((4.0, 0.0), (9.0, 1.0))
    assert record.text == "2 vectors of 2 dimensions, in embeddings.vectors."
    assert record.cost_microusd == 100 * record.usage.input_tokens
    assert record.usage.estimated
    assert record.baseline_model == "acme/vectors"
    assert booked == replace(record, text="", embeddings=None)
    assert [message.content for message in history] == [TO_EMBED, record.text]


async def test_texts_of_their_own_are_ranked_by_the_prompt(tmp_path: Path) -> None:
    async with house(tmp_path, models=(CHEAP, VECTORS)) as it:
        record = await it.ask("a b", texts=("dddd", "a c"))

    assert record.analysis is not None
    assert record.analysis.category == "embedding"
    assert it.provider.requests[0][1].texts == ("a b", "dddd", "a c")
    assert record.text.splitlines()[0] == "1. 1.000 a c"


async def test_a_text_that_no_window_holds_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    small = VECTORS.model_copy(update={"context_window": 10})
    async with house(tmp_path, models=(CHEAP, small)) as it:
        with pytest.raises(NoEligibleModel, match="its window holds 10"):
            await it.ask("rank", texts=("word " * 50, "short"))

    assert not it.provider.requests


async def test_without_an_embedding_model_a_chat_model_takes_what_a_prompt_lists_and_says_so(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        record = await it.ask(TO_EMBED)

    assert record.text == "Paris."
    assert any("no embedding model can" in notice for notice in record.notices)


async def test_texts_of_their_own_are_never_given_to_a_chat_model(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        with pytest.raises(NoEligibleModel, match="it makes text, not embeddings"):
            await it.ask("rank", texts=("a", "b"))
        with pytest.raises(NoEligibleModel, match="it makes text, not embeddings"):
            await it.ask("rank", texts=("a", "b"), constraints=Constraints(force_model="acme/cheap"))


async def test_a_caller_who_forces_a_chat_model_gets_its_words(tmp_path: Path) -> None:
    async with house(tmp_path, models=(CHEAP, VECTORS)) as it:
        record = await it.ask(TO_EMBED, constraints=Constraints(force_model="acme/cheap"))

    assert record.text == "Paris."


async def test_a_task_for_an_embedding_model_that_lists_nothing_is_answered_in_words(tmp_path: Path) -> None:
    async with house(tmp_path, models=(CHEAP, VECTORS)) as it:
        record = await it.ask("Generate embeddings of our product catalogue and find near-duplicates")

    assert record.text == "Paris."
    assert any("lists no texts" in notice for notice in record.notices)


async def test_an_embedding_model_that_is_down_hands_over_to_the_next(tmp_path: Path) -> None:
    second = VECTORS.model_copy(update={"model_id": "zeta/vectors", "provider": "zeta", "api_model_id": "vectors"})
    down = ProviderUnavailable("busy", provider="acme", model_id="acme/vectors")
    async with house(tmp_path, FakeProvider({"acme/vectors": down}), models=(CHEAP, VECTORS, second)) as it:
        record = await it.ask(TO_EMBED)

    assert record.model_used == "zeta/vectors"
    assert [attempt.outcome for attempt in record.attempts] == ["failed", "answered"]


async def test_an_empty_text_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path, models=(CHEAP, VECTORS)) as it:
        with pytest.raises(InvalidTask, match="one of texts is empty"):
            await it.ask("rank", texts=("a", " "))


# Tests that decide


@pytest.mark.parametrize(
    ("may_test", "tests", "wish", "model_used"),
    [
        (True, "assert f(1)", "balanced", "acme/cheap"),
        (True, "", "balanced", "acme/dear"),
        (True, "assert f(1)", "best_quality", "acme/dear"),
        (False, "assert f(1)", "balanced", "acme/dear"),
    ],
)
async def test_the_cheapest_model_begins_where_the_callers_tests_will_decide(
    tmp_path: Path, may_test: Any, tests: str, wish: Any, model_used: str
) -> None:
    rows = catalog(
        DEAR,
        CHEAP,
        matrix={"cost_optimized": "acme/cheap"},
        categories={key: {**CATEGORY, "cheapest_first": True} for key in CATEGORY_NAMES},
    )
    async with house(tmp_path, FakeProvider({"acme/cheap": reply("x = 1"), "acme/dear": reply("x = 1")})) as it:
        router = replace(it.router, catalog=cast("CatalogSource", FixedCatalog(rows)), may_test=lambda: bool(may_test))
        task = Task(prompt="Write f.", tests=tests, constraints=Constraints(cost_preference=wish))
        record = await router.route(task, it.heard)

    assert record.model_used == model_used
