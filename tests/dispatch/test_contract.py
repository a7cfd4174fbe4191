"""What every adapter promises, whichever wire it speaks: one suite over all of them, under the real SDKs."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, cast

import anyio
import anyio.lowlevel
import httpx2 as httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.errors import (
    AuthenticationFailed,
    ContentFiltered,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
)
from routing.types import Access, FinishReason, Image, Message, ModelRequest, NativeTurn, ToolCall, ToolSpec
from tests.builders import request, target
from tests.dispatch.dialects import (
    DIALECTS,
    KEY,
    SIGNATURE,
    VERSION,
    Dialect,
    Event,
    Respond,
    ask,
    breaking,
    failing,
    listen,
    raising,
    sent,
    streaming,
)

every_wire = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
pytestmark = pytest.mark.anyio
TOOL = ToolSpec(name="web_search", description="Search.", input_schema={"type": "object", "properties": {}})


async def body_sent(dialect: Dialect, a_request: ModelRequest, **facts: Any) -> Event:
    _, body = await sent(
        dialect.adapter,
        dialect.base_url,
        dialect.wire([*dialect.begins("x"), *dialect.ends()]),
        a_request,
        **facts,
    )
    return body


@every_wire
async def test_the_pieces_of_a_stream_add_up_to_the_answer_and_are_heard_as_they_come(dialect: Dialect) -> None:
    stream = dialect.wire([*dialect.begins("Hel", "lo"), *dialect.ends()])

    response, heard = await ask(dialect.adapter, dialect.base_url, streaming(stream))

    assert response.text == "Hello"
    assert response.finish_reason == "stop"
    assert heard == ["Hel", "lo"]


@every_wire
async def test_of_a_stream_that_was_read_nothing_is_left_to_the_garbage_collector(dialect: Dialect) -> None:
    left: list[str] = []
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(finalizer=lambda generator: left.append(repr(generator)))
    try:
        await ask(dialect.adapter, dialect.base_url, streaming(dialect.wire([*dialect.begins("x"), *dialect.ends()])))
        gc.collect()
    finally:
        sys.set_asyncgen_hooks(*hooks)

    assert left == []


@every_wire
async def test_usage_counts_cached_tokens_as_input_and_reasoning_as_output(dialect: Dialect) -> None:
    stream = dialect.wire([*dialect.begins("x"), *dialect.ends()])

    response, _ = await ask(dialect.adapter, dialect.base_url, streaming(stream))

    assert response.usage == dialect.usage


@every_wire
async def test_an_answer_says_which_version_of_the_model_gave_it_where_the_server_does(dialect: Dialect) -> None:
    stream = dialect.wire([*dialect.begins("x"), *dialect.ends()])
    nameless = stream.replace(b'"model":', b'"unnamed":').replace(b'"modelVersion":', b'"unnamed":')

    named, _ = await ask(dialect.adapter, dialect.base_url, streaming(stream))
    unnamed, _ = await ask(dialect.adapter, dialect.base_url, streaming(nameless))

    assert named.api_model_id == VERSION
    assert unnamed.api_model_id is None
    assert unnamed.text == named.text == "x"


@every_wire
@pytest.mark.parametrize("finish_reason", ["length", "content_filter"])
async def test_an_answer_that_was_cut_says_why(dialect: Dialect, finish_reason: FinishReason) -> None:
    stream = dialect.wire([*dialect.begins("half"), *dialect.ends(finish_reason)])

    response, _ = await ask(dialect.adapter, dialect.base_url, streaming(stream))

    assert response.finish_reason == finish_reason
    assert response.text == "half"


@every_wire
async def test_parallel_tool_calls_come_out_with_their_arguments(dialect: Dialect) -> None:
    calls = (("a", "web_search", '{"q": "é"}'), ("b", "fetch_url", "{}"))

    response, heard = await ask(dialect.adapter, dialect.base_url, streaming(dialect.wire(dialect.calls(*calls))))

    assert response.finish_reason == "tool_call"
    assert response.tool_calls == tuple(ToolCall(id=i, name=name, arguments=text) for i, name, text in calls)
    assert not heard


@every_wire
async def test_the_results_of_one_round_answer_their_calls(dialect: Dialect) -> None:
    calls = tuple(ToolCall(id=i, name="web_search", arguments='{"q": "x"}') for i in ("a", "b"))
    messages = (
        Message(role="user", content="hi"),
        Message(role="assistant", content="", tool_calls=calls),
        *(Message(role="tool", content=f"found {call.id}", tool_call_id=call.id) for call in calls),
    )

    body = await body_sent(dialect, request(messages=messages, tools=(TOOL,)))

    assert dialect.results_in(body) == ["a", "b"]
    assert json.dumps(body).count("found a") == 1


@every_wire
async def test_a_json_schema_goes_to_the_server_as_it_is(dialect: Dialect) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}

    body = await body_sent(dialect, request(response_schema=schema))

    assert dialect.schema_in(body) == schema


@every_wire
async def test_a_picture_goes_along_with_the_words(dialect: Dialect) -> None:
    message = Message(role="user", content="What is it?", images=(Image(media_type="image/png", data=b"\x89PNG"),))

    body = await body_sent(dialect, request(messages=(message,)))

    assert base64.urlsafe_b64decode(dialect.image_in(body)) == b"\x89PNG"
    assert "What is it?" in json.dumps(body)


@every_wire
async def test_the_bound_on_output_is_the_smaller_of_the_two(dialect: Dialect) -> None:
    bounds = [
        json.dumps(await body_sent(dialect, request(max_output_tokens=wanted), max_output_tokens=77))
        for wanted in (76, 78)
    ]

    assert ": 76" in bounds[0]
    assert ": 77" in bounds[1]
    assert ": 78" not in bounds[1]


@every_wire
async def test_a_turn_goes_back_with_the_signature_that_it_came_with(dialect: Dialect) -> None:
    response, _ = await ask(dialect.adapter, dialect.base_url, streaming(dialect.wire(dialect.signed_call())))
    (call,) = response.tool_calls
    assert response.native is not None
    turn = Message(role="assistant", content="", tool_calls=response.tool_calls, native=response.native)
    result = Message(role="tool", content="found", tool_call_id=call.id)

    body = await body_sent(dialect, request(messages=(Message(role="user", content="hi"), turn, result)))

    assert json.dumps(body).count(SIGNATURE) == 1
    assert dialect.results_in(body) == [call.id]
    assert json.dumps(body).count(f'"{call.id}"') == 2


@every_wire
async def test_a_turn_of_another_wire_goes_back_as_text_and_calls(dialect: Dialect) -> None:
    native = NativeTurn(protocol="another", content=[{"secret": SIGNATURE}])
    call = ToolCall(id="a", name="web_search", arguments="not json")
    turn = Message(role="assistant", content="I look it up.", tool_calls=(call,), native=native)
    result = Message(role="tool", content="found", tool_call_id="a")

    body = await body_sent(dialect, request(messages=(Message(role="user", content="hi"), turn, result)))

    assert SIGNATURE not in json.dumps(body)
    assert "I look it up." in json.dumps(body)
    assert dialect.results_in(body) == ["a"]


@every_wire
async def test_the_key_travels_in_a_header_and_nowhere_else(dialect: Dialect) -> None:
    stream = dialect.wire([*dialect.begins("x"), *dialect.ends()])

    received, _ = await sent(dialect.adapter, dialect.base_url, stream)

    assert KEY in " ".join(received.headers.values())
    assert "canary" not in str(received.url)
    assert b"canary" not in received.content


@every_wire
async def test_a_dead_connection_is_given_up_long_before_a_slow_answer(dialect: Dialect) -> None:
    stream = dialect.wire([*dialect.begins("x"), *dialect.ends()])

    received, _ = await sent(dialect.adapter, dialect.base_url, stream)

    assert received.extensions["timeout"]["connect"] <= 10
    assert received.extensions["timeout"]["read"] >= 300


@dataclass(frozen=True, slots=True)
class Fault:
    """What a server does, and what it must become."""

    happens: Callable[[Dialect], Respond]
    becomes: type[ProviderError]
    says: str = ""
    retry_after: float | None = None


def status(code: int, kind: str = "", **headers: str) -> Callable[[Dialect], Respond]:
    return lambda dialect: failing(code, json.dumps(dialect.error(kind, f"no: {KEY}")).encode(), **headers)


def streamed(kind: str) -> Callable[[Dialect], Respond]:
    return lambda dialect: streaming(dialect.wire([*dialect.begins("half"), *dialect.fails(kind, f"no: {KEY}")]))


def filtered(dialect: Dialect) -> Respond:
    """Google tells of a refused prompt with status 200."""
    body = dialect.error("filtered", f"no: {KEY}")
    return failing(400, json.dumps(body).encode()) if "error" in body else streaming(dialect.wire([body]))


def broken(error: Exception) -> Callable[[Dialect], Respond]:
    return lambda dialect: breaking(dialect.wire(dialect.begins("half")).split(b"data: [DONE]")[0], error)


def limited_for_90_seconds(dialect: Dialect) -> Respond:
    """As a date, counted from when it is asked."""
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    return status(429, **{"retry-after": until})(dialect)


def plain(body: bytes, code: int = 200) -> Callable[[Dialect], Respond]:
    return lambda _: failing(code, body, **{"content-type": "text/html"})


HTML = f"<html>key={KEY}</html>".encode()
FAULTS = {
    "429": Fault(status(429), RateLimited),
    "429 with seconds": Fault(status(429, **{"retry-after": "7"}), RateLimited, retry_after=7),
    "429 with milliseconds": Fault(status(429, **{"retry-after-ms": "1500"}), RateLimited, retry_after=1.5),
    "429 with a date": Fault(limited_for_90_seconds, RateLimited, retry_after=90),
    "500": Fault(status(500), ProviderUnavailable),
    "503": Fault(status(503), ProviderUnavailable),
    "529": Fault(status(529, "overloaded"), ProviderUnavailable),
    "504": Fault(status(504), ProviderTimeout),
    "408": Fault(status(408), ProviderTimeout),
    "400": Fault(status(400), ProviderRejected),
    "401": Fault(status(401), AuthenticationFailed),
    "403": Fault(status(403), AuthenticationFailed),
    "404": Fault(status(404), ProviderRejected),
    "413": Fault(status(413), ProviderRejected),
    "a redirect": Fault(plain(HTML, 304), ProviderUnavailable),
    "an error page": Fault(plain(HTML, 502), ProviderUnavailable),
    "a refusal that is no JSON": Fault(plain(HTML, 400), ProviderRejected),
    "context too long": Fault(status(400, "too_long"), ProviderRejected, "does not fit its context window"),
    "content filter": Fault(filtered, ContentFiltered),
    "no connection": Fault(lambda _: raising(httpx.ConnectError, f"refused {KEY}"), ProviderUnavailable, "refused"),
    "no connection in time": Fault(lambda _: raising(httpx.ConnectTimeout, ""), ProviderTimeout),
    "no headers in time": Fault(lambda _: raising(httpx.ReadTimeout, ""), ProviderTimeout),
    "a stall in mid-stream": Fault(broken(httpx.ReadTimeout("")), ProviderTimeout),
    "a cut in mid-stream": Fault(broken(httpx.RemoteProtocolError(f"closed {KEY}")), ProviderUnavailable, "closed"),
    "a clean end in mid-stream": Fault(
        lambda dialect: streaming(dialect.wire(dialect.begins("half"))), ProviderUnavailable, "broke off"
    ),
    "an empty stream": Fault(lambda _: streaming(b""), ProviderUnavailable, "broke off"),
    "overloaded in mid-stream": Fault(streamed("overloaded"), ProviderUnavailable),
    "limited in mid-stream": Fault(streamed("limited"), RateLimited),
    "too long in mid-stream": Fault(streamed("too_long"), ProviderRejected, "does not fit its context window"),
    "filtered in mid-stream": Fault(streamed("filtered"), ContentFiltered),
    "a chunk that is no JSON": Fault(
        lambda dialect: streaming(dialect.wire([*dialect.begins("x"), "{broken"])), ProviderUnavailable, "not JSON"
    ),
    "a chunk that is a number": Fault(
        lambda dialect: streaming(dialect.wire([*dialect.begins("x"), "5"])), ProviderUnavailable
    ),
    "a page instead of a stream": Fault(plain(HTML), ProviderUnavailable),
    "an object instead of a stream": Fault(plain(b'{"ok": true}'), ProviderUnavailable),
}
RETRYABLE = {RateLimited, ProviderUnavailable, ProviderTimeout}


@every_wire
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_becomes_the_error_that_it_stands_for(dialect: Dialect, fault: Fault) -> None:
    with pytest.raises(ProviderError) as failure:
        await ask(dialect.adapter, dialect.base_url, fault.happens(dialect))

    error = failure.value
    assert type(error) is fault.becomes, error
    assert error.retryable is (fault.becomes in RETRYABLE)
    assert (error.provider, error.model_id) == ("acme", "acme/large")
    assert fault.says in str(error)
    assert "canary" not in str(error)
    if isinstance(error, RateLimited):
        assert error.retry_after == pytest.approx(fault.retry_after, abs=60 if fault.retry_after == 90 else 0)


@every_wire
async def test_the_sdks_own_retries_are_off(dialect: Dialect) -> None:
    received: list[httpx.Request] = []

    def respond(one: httpx.Request) -> httpx.Response:
        received.append(one)
        return failing(503, b"{}", **{"retry-after": "0"})(one)

    with pytest.raises(ProviderUnavailable):
        await ask(dialect.adapter, dialect.base_url, respond)
    assert len(received) == 1


class Endless(httpx.AsyncByteStream):
    """A body that begins and then never goes on."""

    def __init__(self, beginning: bytes) -> None:
        self.beginning = beginning
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.beginning
        await anyio.sleep_forever()

    async def aclose(self) -> None:
        self.closed = True


@every_wire
@pytest.mark.parametrize("where", ["while listening", "while waiting"])
async def test_cancelling_hangs_up(dialect: Dialect, where: str) -> None:
    stream = Endless(dialect.wire(dialect.begins("once")).split(b"data: [DONE]")[0])
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, stream=stream, headers={"content-type": "text/event-stream"})
    )
    provider = dialect.adapter(Access(protocol="", base_url=dialect.base_url, api_key=KEY), transport=transport)

    with anyio.CancelScope() as scope:

        async def on_text(_: str) -> None:
            scope.cancel()
            if where == "while listening":
                await anyio.lowlevel.checkpoint()

        await provider.send(request(), target(), on_text)

    assert scope.cancelled_caught
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
    assert stream.closed
    await provider.aclose()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "id"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        children = list(cast("Event", value).items())
        return found + [one for name, child in children for one in paths(child, (*path, name))]
    if isinstance(value, list):
        items = list(enumerate(cast("list[object]", value)))
        return found + [one for index, child in items for one in paths(child, (*path, index))]
    return found


def damaged(events: list[Event], path: tuple[str | int, ...], value: object) -> list[Event]:
    copy: list[Event] = json.loads(json.dumps(events))
    place: Any = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return copy


@every_wire
@pytest.mark.filterwarnings("ignore:.*is not a valid")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
def test_whatever_a_server_streams_the_outcome_is_an_answer_or_a_provider_error(dialect: Dialect) -> None:
    samples = [
        [*dialect.begins("one", "two"), *dialect.ends()],
        dialect.calls(("a", "web_search", '{"q": "x"}')),
        dialect.signed_call(),
        dialect.fails("overloaded", "busy"),
    ]
    places = [(events, path) for events in samples for path in paths(events)]
    stream = b""
    transport = httpx.MockTransport(lambda received: streaming(stream)(received))  # noqa: PLW0108 - late
    provider = dialect.adapter(Access(protocol="", base_url=dialect.base_url, api_key=KEY), transport=transport)

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(st.sampled_from(places), json_values)
    def any_damage(place: tuple[list[Event], tuple[str | int, ...]], value: object) -> None:
        nonlocal stream
        stream = dialect.wire(damaged(*place, value))
        try:
            response, heard = asyncio.run(listen(provider))
        except ProviderError:
            return
        assert response.text == "".join(heard)

    any_damage()
    asyncio.run(provider.aclose())


@every_wire
async def test_tools_that_are_forbidden_stay_named_and_must_not_be_called(dialect: Dialect) -> None:
    tool = ToolSpec(name="web_search", description="Search.", input_schema={"type": "object"})

    free = await body_sent(dialect, request(tools=(tool,)))
    forbidden = await body_sent(dialect, request(tools=(tool,), tools_forbidden=True))

    assert forbidden["tools"] == free["tools"]
    assert _choice(free) is None
    assert str(_choice(forbidden)).lower() == "none"


def _choice(body: dict[str, Any]) -> object:
    """How a wire says whether tools may be called."""
    match body:
        case {"tool_choice": {"type": choice}} | {"tool_choice": choice}:
            return choice
        case {"toolConfig": {"functionCallingConfig": {"mode": choice}}}:
            return choice
        case _:
            return None


@every_wire
@pytest.mark.parametrize(("status", "expected"), [(200, None), (401, AuthenticationFailed), (503, ProviderUnavailable)])
async def test_a_sign_of_life_is_asked_for_without_a_call_that_costs(
    dialect: Dialect, status: int, expected: type[ProviderError] | None
) -> None:
    asked: list[httpx.Request] = []

    def respond(received: httpx.Request) -> httpx.Response:
        asked.append(received)
        return httpx.Response(status, json={"data": [], "models": [], "error": {"message": "no"}})

    provider = dialect.adapter(
        Access(protocol="", base_url=dialect.base_url, api_key=KEY), transport=httpx.MockTransport(respond)
    )
    try:
        if expected is None:
            await provider.check(target())
        else:
            with pytest.raises(expected):
                await provider.check(target())
    finally:
        await provider.aclose()
    assert [received.method for received in asked] == ["GET"]
    assert asked[0].url.path.endswith("/models")
