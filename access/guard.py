"""The gate before every page of the server: no credential, no answer.

It stands on the SDK's own middleware, so that sessions stay bound to whoever began them, and a refusal is the one that MCP
clients know: 401 with ``WWW-Authenticate``, which names the metadata of the resource (RFC 9728) where OAuth is used.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend, RequireAuthMiddleware
from mcp.server.auth.provider import AccessToken, TokenVerifier
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from access.tokens import TokenFile


class Credentials:
    """The SDK's `TokenVerifier` for all configured ways of authentication; ``scopes`` are what our own tokens grant."""

    def __init__(self, tokens: TokenFile | None, oauth: TokenVerifier | None, scopes: Sequence[str] = ()) -> None:
        self._tokens = tokens
        self._oauth = oauth
        self._scopes = scopes

    async def verify_token(self, token: str) -> AccessToken | None:
        """Who the token is of; ``None`` where it does not count."""
        name = self._tokens.name_of(token) if self._tokens else None
        if name is not None:
            # nobody behind the gate needs the token itself, so nobody there can leak it
            return AccessToken(token="", client_id=name, scopes=list(self._scopes))
        return await self._oauth.verify_token(token) if self._oauth else None


class Gate:
    """Lets in who is authenticated; the pages at ``open_paths`` are everybody's."""

    def __init__(
        self, app: ASGIApp, *, open_paths: Collection[str], scopes: Sequence[str], metadata_url: AnyHttpUrl | None
    ) -> None:
        self._app = app
        self._open_paths = open_paths
        self._guarded = RequireAuthMiddleware(app, list(scopes), metadata_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        is_open = scope["type"] != "http" or scope["path"] in self._open_paths
        await (self._app if is_open else self._guarded)(scope, receive, send)


def guard(
    app: Starlette,
    credentials: TokenVerifier,
    *,
    open_paths: Collection[str],
    scopes: Sequence[str] = (),
    metadata_url: AnyHttpUrl | None = None,
) -> None:
    """Put the gate before all pages of ``app``."""
    app.add_middleware(Gate, open_paths=open_paths, scopes=scopes, metadata_url=metadata_url)
    app.add_middleware(AuthContextMiddleware)
    app.add_middleware(AuthenticationMiddleware, backend=BearerAuthBackend(credentials))
