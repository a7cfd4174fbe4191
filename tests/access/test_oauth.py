"""Tokens of an authorization server: only those that it signed, for us, and that still count."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2 as httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from access.oauth import KEYS_SECONDS, SECONDS_BETWEEN_ASKING, Issuer, OAuthVerifier
from tools.base import caller_of_request

pytestmark = pytest.mark.anyio
ISSUER = Issuer(url="https://login.test", jwks_url="https://login.test/keys", audience="https://mcp.test/mcp")
KEY, OTHER = (rsa.generate_private_key(public_exponent=65_537, key_size=2_048) for _ in range(2))


def jwk(key: rsa.RSAPrivateKey, kid: str, **more: object) -> dict[str, Any]:
    return {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, **more}


class Keys:
    """The issuer's page of keys, over the wire."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = list(rows)
        self.status = 200
        self.asked = 0
        self.now = 1_000.0

    def verifier(self) -> OAuthVerifier:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        return OAuthVerifier(ISSUER, client, clock=lambda: self.now)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert str(request.url) == ISSUER.jwks_url
        self.asked += 1
        return httpx.Response(self.status, json={"keys": self.rows})


def signed(key: Any = KEY, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **claims: Any) -> str:
    full = {"iss": ISSUER.url, "aud": ISSUER.audience, "sub": "ann", "exp": time.time() + 60, **claims}
    kept = {name: value for name, value in full.items() if value is not None}
    return jwt.encode(kept, key, algorithm, headers={"kid": "1", **(headers or {})})


async def test_a_token_of_the_issuer_for_us_names_its_subject_and_scopes() -> None:
    access = await Keys(jwk(KEY, "1")).verifier().verify_token(signed(scope="mcp read", client_id="cursor"))

    assert access is not None
    assert (access.subject, access.client_id, access.scopes) == ("ann", "cursor", ["mcp", "read"])
    assert access.claims == {"iss": ISSUER.url}


async def test_the_token_itself_is_not_kept() -> None:
    token = signed()
    access = await Keys(jwk(KEY, "1")).verifier().verify_token(token)

    assert access is not None
    assert token not in access.model_dump_json()


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(signed(iss="https://evil.test"), id="another issuer"),
        pytest.param(signed(aud="https://other.test"), id="another audience"),
        pytest.param(signed(aud=None), id="no audience"),
        pytest.param(signed(exp=time.time() - 3_600), id="expired"),
        pytest.param(signed(exp=None), id="never expires"),
        pytest.param(signed(sub=None), id="nobody's"),
        pytest.param(signed(nbf=time.time() + 3_600), id="not yet"),
        pytest.param(signed(OTHER), id="another key"),
        pytest.param(signed(headers={"kid": "2"}), id="an unknown key"),
        pytest.param(signed(algorithm="RS512"), id="another algorithm than the key's"),
        pytest.param(signed("secret" * 8, "HS256"), id="a shared secret"),
        pytest.param(signed(None, "none"), id="unsigned"),
        pytest.param(signed(headers={"typ": "logout+jwt"}), id="no access token"),
        pytest.param(signed()[:-8] + "AAAAAAAA", id="a forged signature"),
        pytest.param("pm_x", id="no JSON Web Token"),
        pytest.param("a.b.c", id="no JSON"),
        pytest.param("é" * 50_000, id="too long"),
    ],
)
async def test_every_other_token_is_refused(token: str) -> None:
    assert await Keys(jwk(KEY, "1", alg="RS256", use="sig")).verifier().verify_token(token) is None


async def test_a_public_key_is_no_shared_secret() -> None:
    """The classic confusion: a token signed with HMAC, the issuer's public key its secret."""
    row = jwk(KEY, "1")
    forged = jwt.encode({"iss": ISSUER.url}, row["n"], "HS256", headers={"kid": "1"})

    assert await Keys(row).verifier().verify_token(forged) is None


async def test_keys_on_a_curve_count_too() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    row = {**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": "1"}

    assert await Keys(row).verifier().verify_token(signed(key, "ES256")) is not None


async def test_a_new_key_is_asked_for_but_not_by_every_invented_one() -> None:
    keys = Keys(jwk(KEY, "1"))
    verifier = keys.verifier()
    assert await verifier.verify_token(signed()) is not None
    for number in range(20):
        assert await verifier.verify_token(signed(headers={"kid": f"invented {number}"})) is None
    assert keys.asked == 1

    keys.rows.append(jwk(OTHER, "2"))
    keys.now += SECONDS_BETWEEN_ASKING + 1
    assert await verifier.verify_token(signed(OTHER, headers={"kid": "2"})) is not None
    assert keys.asked == 2


async def test_a_withdrawn_key_is_forgotten_and_an_absent_issuer_forgets_none() -> None:
    keys = Keys(jwk(KEY, "1"))
    verifier = keys.verifier()
    assert await verifier.verify_token(signed()) is not None

    keys.status, keys.now = 503, keys.now + KEYS_SECONDS + 1
    assert await verifier.verify_token(signed()) is not None

    keys.status, keys.rows, keys.now = 200, [], keys.now + KEYS_SECONDS + 1
    assert await verifier.verify_token(signed()) is None


def test_without_a_credential_the_caller_is_the_local_one() -> None:
    assert caller_of_request(None) == "local"
