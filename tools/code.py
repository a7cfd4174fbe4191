"""Running and checking Python: `execute_python`, `validate_python_syntax`."""

from __future__ import annotations

import ast
import base64
from collections.abc import Sequence
from typing import Annotated, Any

import anyio.to_thread
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, ImageContent, TextContent
from pydantic import Field

from tools.base import Result, Services, StrictTool, caller_of, errors_for_the_model, services_of, strict_tool
from tools.sandbox import Outcome
from tools.sandbox.types import ExitReason

AnyContext = Context[Services, Any]
MOST_CODE_CHARS = 100_000
MOST_SHOWN_CHARS = 16_000
"""Of each stream and of the value: what a model can use, at about 4,000 tokens each."""
MOST_TEXT_CHARS = 200

Code = Annotated[str, Field(description="Python", max_length=MOST_CODE_CHARS)]


class ExecutionResult(Result):
    """What came of running code."""

    exit_reason: ExitReason
    stdout: str
    stderr: str
    value: str | None
    duration_ms: int
    figures: int
    session_id: str | None
    notices: list[str]


class SyntaxResult(Result):
    """Whether code can be compiled, and where it cannot."""

    valid: bool
    message: str | None = None
    line: int | None = None
    column: int | None = None
    text: str | None = None


async def execute_python(
    ctx: AnyContext,
    code: Code,
    session_id: Annotated[str | None, Field(description='"new" keeps variables; then pass the returned id')] = None,
    timeout_seconds: Annotated[float, Field(description="Limit", ge=1, le=60)] = 10,
) -> Annotated[CallToolResult, ExecutionResult]:
    """Run Python in a sandbox without network or your files, with numpy, pandas, matplotlib. Returns output, the last
    expression's value, figures.
    """
    sandbox = services_of(ctx).sandbox
    with errors_for_the_model():
        outcome = await sandbox.run(code, caller=caller_of(ctx), session_id=session_id, timeout_seconds=timeout_seconds)
    return spoken(outcome)


async def validate_python_syntax(code: Code) -> Annotated[CallToolResult, SyntaxResult]:
    """Check Python code without running it."""
    return told(await anyio.to_thread.run_sync(checked, code))


def spoken(outcome: Outcome) -> CallToolResult:
    """The outcome as a model reads it, its figures, and everything else as data."""
    result = executed(outcome)
    parts = [
        result.stdout,
        f"[stderr]\n{result.stderr}" if result.stderr else "",
        f"[value] {result.value}" if result.value is not None else "",
        f"[{_ending(result)}]",
        *(f"Note: {notice}" for notice in result.notices),
    ]
    text = TextContent(text="\n".join(part.rstrip("\n") for part in parts if part))
    pictures = [
        ImageContent(data=base64.b64encode(png).decode("ascii"), mime_type="image/png") for png in outcome.figures
    ]
    return CallToolResult(content=[text, *pictures], structured_content=result.model_dump(mode="json"))


def told(result: SyntaxResult) -> CallToolResult:
    """The verdict on code as a model reads it, and as data."""
    place = "" if result.line is None else f"Line {result.line}, column {result.column}: "
    source = f"\n{result.text}" if result.text else ""
    text = "The syntax is valid." if result.valid else f"{place}{result.message}{source}"
    return CallToolResult(content=[TextContent(text=text)], structured_content=result.model_dump(mode="json"))


def executed(outcome: Outcome) -> ExecutionResult:
    """The outcome as data, in a length that a model can use."""
    shown = {name: shortened(text) for name in ("stdout", "stderr", "value") if (text := getattr(outcome, name))}
    cut = [
        f"{name} was shortened in the middle; print less." for name in shown if shown[name] != getattr(outcome, name)
    ]
    return ExecutionResult(
        exit_reason=outcome.exit_reason,
        stdout=shown.get("stdout", ""),
        stderr=shown.get("stderr", ""),
        value=shown.get("value", outcome.value),
        duration_ms=outcome.duration_ms,
        figures=len(outcome.figures),
        session_id=outcome.session_id,
        notices=[*outcome.notices, *cut],
    )


def shortened(text: str) -> str:
    """Text with its middle left out where it is long: results stand at the end, what they are of at the beginning."""
    if len(text) <= MOST_SHOWN_CHARS:
        return text
    half = MOST_SHOWN_CHARS // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"


def checked(code: str) -> SyntaxResult:
    """Parse and compile code, and throw the result away."""
    try:
        tree = ast.parse(code, "<code>")
        compile(tree, "<code>", "exec", dont_inherit=True)  # finds what the grammar allows: `return` outside a function
    except SyntaxError as error:
        return _at(error, code)
    except ValueError as error:  # NUL characters, lone surrogates
        return SyntaxResult(valid=False, message=str(error))
    except (RecursionError, MemoryError):
        return SyntaxResult(valid=False, message="The code is nested too deeply to be compiled.")
    return SyntaxResult(valid=True)


def tools() -> Sequence[StrictTool]:
    """The tools of this page. A server without a sandbox leaves out the one that runs code."""
    offered = (
        strict_tool(execute_python, title="Run Python", read_only=False, idempotent=False, open_world=False),
        strict_tool(validate_python_syntax, title="Check Python", read_only=True, idempotent=True, open_world=False),
    )
    for tool in offered:
        tool.fn_metadata.output_schema = {"type": "object"}  # the names of the fields explain themselves in the data
    return offered


def _at(error: SyntaxError, code: str) -> SyntaxResult:
    """Where an error is; the compiler tells the line's number, the parser its text too."""
    lines = code.splitlines()
    text = error.text or (lines[error.lineno - 1] if error.lineno and error.lineno <= len(lines) else "")
    return SyntaxResult(
        valid=False, message=error.msg, line=error.lineno, column=error.offset, text=text.rstrip("\n")[:MOST_TEXT_CHARS]
    )


def _ending(result: ExecutionResult) -> str:
    session = f", session_id {result.session_id}" if result.session_id else ""
    return f"{result.exit_reason} in {result.duration_ms} ms{session}"
