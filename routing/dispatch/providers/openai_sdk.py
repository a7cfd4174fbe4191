"""What the two adapters over the openai SDK have in common: embeddings, the mapping of errors, and what strict mode takes.

https://platform.openai.com/docs/api-reference/embeddings, https://platform.openai.com/docs/guides/error-codes,
https://platform.openai.com/docs/guides/structured-outputs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import httpx2 as httpx
import openai
from openai.types import CreateEmbeddingResponse

from routing.dispatch.faults import WRONG_SHAPE, StreamedError, fault, transport_fault
from routing.errors import ProviderError
from routing.types import ModelRequest, ModelResponse, Target, Usage


async def embedded(client: openai.AsyncOpenAI, request: ModelRequest, target: Target, key: str | None) -> ModelResponse:
    """Ask POST {base_url}/embeddings for the vectors of the request's texts.

    Raises:
        ProviderError: whatever went wrong, as one of its subclasses.

    """
    body = {"model": target.api_model_id, "input": list(request.texts), "encoding_format": "float"}
    try:
        reply = await client.post("/embeddings", body=body, cast_to=CreateEmbeddingResponse)
        return _vectors_of(reply, len(request.texts))
    except (openai.APIError, httpx.HTTPError, *WRONG_SHAPE) as error:
        raise error_of(error, target, key) from error


def _vectors_of(reply: CreateEmbeddingResponse, expected: int) -> ModelResponse:
    rows = {row.index: tuple(map(float, row.embedding)) for row in reply.data}
    vectors = tuple(rows[index] for index in range(expected))
    usage: object = getattr(reply, "usage", None)  # some servers leave it out
    tokens: object = getattr(usage, "prompt_tokens", None)
    return ModelResponse(
        text="",
        finish_reason="stop",
        usage=Usage(input_tokens=tokens, output_tokens=0) if isinstance(tokens, int) else None,
        vectors=vectors,
        api_model_id=getattr(reply, "model", None),
    )


def error_of(error: Exception, target: Target, key: str | None) -> ProviderError:
    """Map what the SDK raised. Errors inside a stream carry no status: their type decides."""
    match error:
        case openai.APIStatusError():
            return fault(
                _message_in(error),
                target,
                status=error.status_code,
                types=(error.code, error.type),
                headers=error.response.headers,
                secret=key,
            )
        case openai.APIError() if not isinstance(error, openai.APIConnectionError):
            return fault(_message_in(error), target, types=(error.code, error.type), secret=key)
        case StreamedError():
            return fault(str(error), target, types=error.types, secret=key)
        case _:
            return transport_fault(error, target, key)


def _message_in(error: openai.APIError) -> str:
    """The server's own words where its error has the usual form, else all that it sent."""
    match error.body:
        case {"message": str(message)} if message:
            return message
        case str(body) if body:
            return body
        case _:
            return error.message


def is_closed(schema: object) -> bool:
    """Whether all objects of a schema require all their properties and allow no others: strict mode takes no other schema."""
    if isinstance(schema, list):
        return all(map(is_closed, cast("list[object]", schema)))
    if not isinstance(schema, Mapping):
        return True
    parts = cast("Mapping[str, object]", schema)
    properties, required = parts.get("properties"), parts.get("required")
    if parts.get("type") == "object" or isinstance(properties, Mapping):
        names = set(cast("Mapping[str, object]", properties or {}))
        if parts.get("additionalProperties") is not False or names - set(cast("list[str]", required or [])):
            return False
    return all(map(is_closed, parts.values()))
