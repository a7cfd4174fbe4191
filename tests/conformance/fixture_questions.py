"""The tools and the prompt that answer a call with questions, and go on when it is made again with the answers (2026-07-28)."""

from __future__ import annotations

from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)

AnyContext = Context[Any, Any]
Asked = str | InputRequiredResult


def form(message: str, name: str, kind: str = "string") -> ElicitRequest:
    """Ask the user for one field."""
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(prompt: str, max_tokens: int) -> CreateMessageRequest:
    """Ask the client's model."""
    said = SamplingMessage(role="user", content=TextContent(text=prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[said], max_tokens=max_tokens))


NAME = form("What is your name?", "name")


def field_of(ctx: AnyContext, key: str, name: str) -> str | None:
    """What the user filled in; ``None`` where there is no such answer, or it is none."""
    answer = (ctx.input_responses or {}).get(key)
    if not isinstance(answer, ElicitResult) or answer.action != "accept":
        return None
    value = (answer.content or {}).get(name)
    return None if value is None else str(value)


async def test_input_required_result_elicitation(ctx: AnyContext) -> Asked:
    """Ask for a name, until there is one."""
    name = field_of(ctx, "user_name", "name")
    return f"Hello, {name}!" if name else InputRequiredResult(input_requests={"user_name": NAME})


async def test_streaming_elicitation(ctx: AnyContext) -> Asked:
    """The same; its scenario looks at the stream."""
    return await test_input_required_result_elicitation(ctx)


async def test_input_required_result_sampling(ctx: AnyContext) -> Asked:
    """Ask the client's model."""
    answer = (ctx.input_responses or {}).get("capital_question")
    if isinstance(answer, CreateMessageResult) and isinstance(answer.content, TextContent):
        return answer.content.text
    return InputRequiredResult(input_requests={"capital_question": sample("What is the capital of France?", 100)})


async def test_input_required_result_list_roots(ctx: AnyContext) -> Asked:
    """Ask for the client's folders."""
    answer = (ctx.input_responses or {}).get("client_roots")
    if isinstance(answer, ListRootsResult):
        return ", ".join(str(root.uri) for root in answer.roots)
    return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})


async def test_input_required_result_request_state(ctx: AnyContext) -> Asked:
    """Ask, and find the state again with the answer; the SDK has sealed it and refuses another."""
    if ctx.request_state == "asked" and field_of(ctx, "confirm", "ok"):
        return "state-ok"
    question = form("Please confirm", "ok", "boolean")
    return InputRequiredResult(input_requests={"confirm": question}, request_state="asked")


async def test_input_required_result_tampered_state(ctx: AnyContext) -> Asked:
    """The same; its scenario brings back another state."""
    return await test_input_required_result_request_state(ctx)


async def test_input_required_result_multiple_inputs(ctx: AnyContext) -> Asked:
    """Ask three things at once."""
    asked: dict[str, ElicitRequest | CreateMessageRequest | ListRootsRequest] = {
        "user_name": NAME,
        "greeting": sample("Generate a greeting", 50),
        "client_roots": ListRootsRequest(),
    }
    if asked.keys() <= (ctx.input_responses or {}).keys():
        return "three answers"
    return InputRequiredResult(input_requests=asked, request_state="asked")


async def test_input_required_result_multi_round(ctx: AnyContext) -> Asked:
    """Ask, and with the answer ask again."""
    if ctx.request_state == "second":
        return f"{field_of(ctx, 'step2', 'color')} it is"
    if ctx.request_state == "first":
        question = form("Step 2: What is your favorite color?", "color")
        return InputRequiredResult(input_requests={"step2": question}, request_state="second")
    question = form("Step 1: What is your name?", "name")
    return InputRequiredResult(input_requests={"step1": question}, request_state="first")


async def test_input_required_result_capabilities(ctx: AnyContext) -> Asked:
    """Ask only what the client says that it can answer."""
    declared = ctx.client_capabilities
    if declared is not None and declared.sampling is not None:
        return InputRequiredResult(input_requests={"greeting": sample("Generate a greeting", 50)})
    if declared is not None and declared.elicitation is not None:
        return InputRequiredResult(input_requests={"user_name": NAME})
    return "nobody to ask"


async def test_input_required_result_prompt(ctx: AnyContext) -> Asked:
    """A prompt that asks before it is one."""
    context = field_of(ctx, "user_context", "context")
    if context:
        return f"Answer in this context: {context}"
    return InputRequiredResult(input_requests={"user_context": form("What context should the prompt use?", "context")})


def add_to(mcp: MCPServer[Any]) -> None:
    """Offer what is on this page."""
    for tool in (
        test_input_required_result_elicitation,
        test_streaming_elicitation,
        test_input_required_result_sampling,
        test_input_required_result_list_roots,
        test_input_required_result_request_state,
        test_input_required_result_tampered_state,
        test_input_required_result_multiple_inputs,
        test_input_required_result_multi_round,
        test_input_required_result_capabilities,
    ):
        mcp.add_tool(tool)
    mcp.prompt()(test_input_required_result_prompt)
