"""What the pages offer to be read beside their tools: a resource, and what reading one may answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from routing.errors import RoutingError, UnknownHandle


@dataclass(frozen=True, slots=True, kw_only=True)
class Readable:
    """A resource template. It goes with a tool: where that one is not offered, this is not either.

    ``read`` takes ``ctx`` and the variables of ``uri``, and its docstring says what is read. ``listed`` are addresses, with
    their titles, that are shown although nobody asked; of the others a host learns by completion.
    """

    uri: str
    name: str
    title: str
    mime_type: Literal["application/json", "text/markdown", "text/plain"]
    goes_with: str
    read: Callable[..., Awaitable[str]]
    listed: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def scheme(self) -> str:
        """What its addresses begin with."""
        return scheme_of(self.uri)


def scheme_of(uri: str) -> str:
    """What an address begins with."""
    return uri.partition(":")[0]


@contextmanager
def errors_for_the_reader() -> Generator[None]:
    """Translate what went wrong; another caller's handle is as unknown as one that never was.

    Raises:
        ResourceNotFoundError: there is no such thing for this caller.
        ResourceError: it cannot be read.

    """
    try:
        yield
    except UnknownHandle as error:
        raise ResourceNotFoundError(str(error)) from error
    except RoutingError as error:
        raise ResourceError(str(error)) from error
