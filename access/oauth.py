"""Tokens of an OAuth 2.1 authorization server: JSON Web Tokens (RFC 9068), checked by the keys that it publishes (RFC 7517).

A token counts where its signature holds by one of the issuer's own asymmetric keys, it was issued by this issuer and for this
audience, it has not expired, and it says who it is of. Every other one is refused alike.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import anyio
import httpx2 as httpx
import jwt
from mcp.server.auth.provider import AccessToken

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What a key that everybody may read can verify; never ``none``, and nothing with a shared secret."""

KEYS_SECONDS = 600.0
"""How long the issuer's keys are used before they are asked for again."""

SECONDS_BETWEEN_ASKING = 30.0
"""How often they are asked for at most, however many tokens name a key that is not known."""

_LEEWAY_SECONDS = 30
_TYPES = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
_MOST_TOKEN_CHARS = 16_384
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Whose tokens count, and for whom they must have been issued."""

    url: str
    jwks_url: str
    audience: str


class OAuthVerifier:
    """The SDK's `TokenVerifier` for the tokens of one issuer. ``clock`` is monotonic, in seconds."""

    def __init__(
        self, issuer: Issuer, client: httpx.AsyncClient, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._client = client
        self._clock = clock
        self._keys: Mapping[str | None, Mapping[str, Any]] = {}
        self._asked_at = float("-inf")
        self._asking = anyio.Lock()

    async def verify_token(self, token: str) -> AccessToken | None:
        """Who the token is of; ``None`` where it does not count. The token itself is not kept."""
        if len(token) > _MOST_TOKEN_CHARS:
            return None
        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if algorithm not in ALGORITHMS or str(header.get("typ", "")).lower() not in _TYPES:
                return None
            key = await self._key(header.get("kid"))
            if key is None or key.get("alg", algorithm) != algorithm or key.get("use", "sig") != "sig":
                return None
            return _access(self._claims(token, key, algorithm))
        except (jwt.PyJWTError, ValueError, TypeError) as problem:
            _log.info("a token was refused: %s", type(problem).__name__)
            return None

    def _claims(self, token: str, key: Mapping[str, Any], algorithm: str) -> Mapping[str, Any]:
        return jwt.decode(
            token,
            jwt.PyJWK(dict(key), algorithm),
            algorithms=[algorithm],
            audience=self._issuer.audience,
            issuer=self._issuer.url,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )

    async def _key(self, kid: str | None) -> Mapping[str, Any] | None:
        async with self._asking:
            age = self._clock() - self._asked_at
            if age > KEYS_SECONDS or (kid not in self._keys and age > SECONDS_BETWEEN_ASKING):
                self._asked_at = self._clock()
                await self._ask()
        return self._keys.get(kid)

    async def _ask(self) -> None:
        """Ask for the keys; where they cannot be had, the ones that are known go on counting."""
        try:
            answer = (await self._client.get(self._issuer.jwks_url)).raise_for_status()
            rows: Sequence[Mapping[str, Any]] = answer.json()["keys"]
            self._keys = {row.get("kid"): row for row in rows}
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            _log.warning("the keys of %s could not be had from %s", self._issuer.url, self._issuer.jwks_url)


def _access(claims: Mapping[str, Any]) -> AccessToken:
    subject = str(claims["sub"])
    return AccessToken(
        token="",  # nobody behind the gate needs it, so nobody there can leak it
        client_id=str(claims.get("client_id") or claims.get("azp") or subject),
        scopes=_scopes_of(claims),
        expires_at=int(claims["exp"]) + _LEEWAY_SECONDS,
        subject=subject,
        claims={"iss": claims["iss"]},
    )


def _scopes_of(claims: Mapping[str, Any]) -> list[str]:
    """The scopes, as RFC 9068 writes them or as others do."""
    said: object = claims.get("scope", claims.get("scp"))
    if isinstance(said, list):
        return [str(name) for name in cast("list[object]", said)]
    return said.split() if isinstance(said, str) else []
