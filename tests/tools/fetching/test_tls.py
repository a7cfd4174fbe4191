"""https: the certificate is checked against the name that was asked for, never against the address that was dialled."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from routing.errors import ToolFailed
from tests.tools.fetching.website import PUBLIC, Names, moved, reply, world

pytestmark = pytest.mark.anyio
PAGES = {"/": reply(b"secure"), "/down": moved("http://site.example/")}


def certificate(folder: Path, names: Sequence[x509.GeneralName]) -> Path:
    """A self-signed certificate and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(issuer)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "server.pem"
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return file


def server_side(file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_a_certificate_for_the_name_is_accepted_and_the_name_is_what_the_server_is_asked_for(
    tmp_path: Path,
) -> None:
    file = certificate(tmp_path, [x509.DNSName("site.example")])
    server, asked = server_side(file), list[str | None]()
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with world(PAGES, server_tls=server, tls=lambda: ssl.create_default_context(cafile=file)) as web:
        page = await web.fetcher.get("https://site.example/")

    assert page.text == "secure"
    assert asked == ["site.example"]
    assert web.network.dialled == [(PUBLIC, 443)]


@pytest.mark.parametrize(
    "names", [[x509.IPAddress(ip_address(PUBLIC))], [x509.DNSName("other.example")], [x509.DNSName(PUBLIC)]]
)
async def test_a_trusted_certificate_for_the_address_or_for_another_name_is_refused(
    tmp_path: Path, names: list[x509.GeneralName]
) -> None:
    file = certificate(tmp_path, names)
    async with world(PAGES, server_tls=server_side(file), tls=lambda: ssl.create_default_context(cafile=file)) as web:
        with pytest.raises(ToolFailed, match="does not prove who it is"):
            await web.fetcher.get("https://site.example/")

    assert not web.site.requests


async def test_a_self_signed_certificate_is_refused_whatever_the_environment_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, [x509.DNSName("site.example")])
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with world(PAGES, server_tls=server_side(file)) as web:
        with pytest.raises(ToolFailed, match="does not prove who it is"):
            await web.fetcher.get("https://site.example/")

    assert not web.site.requests


async def test_a_redirect_from_https_to_http_is_not_followed(tmp_path: Path) -> None:
    file = certificate(tmp_path, [x509.DNSName("site.example")])
    names = Names(site_example=[[PUBLIC]])
    async with world(
        PAGES, names=names, server_tls=server_side(file), tls=lambda: ssl.create_default_context(cafile=file)
    ) as web:
        with pytest.raises(ToolFailed, match="from https to http"):
            await web.fetcher.get("https://site.example/down")

    assert web.network.dialled == [(PUBLIC, 443)]
