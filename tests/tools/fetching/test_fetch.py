from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from routing.errors import ToolFailed
from tests.tools.fetching.website import PUBLIC, Body, Names, moved, reply, serving, world
from tools.fetching.fetch import USER_AGENT, Limits

pytestmark = pytest.mark.anyio
SITE = "http://site.example/"


async def test_a_page_is_fetched_from_the_vetted_address_and_read() -> None:
    async with world({"/a?b=c": reply("Grüße".encode(), content_type="text/html; charset=utf-8")}) as web:
        page = await web.fetcher.get(f"{SITE}a?b=c#part")

    assert (page.url, page.text, page.content_type) == (f"{SITE}a?b=c", "Grüße", "text/html")
    assert page.title == "html"  # how it was given to the reader
    assert not page.truncated
    assert web.network.dialled == [(PUBLIC, 80)]


async def test_the_server_learns_who_asks_and_nothing_of_the_user() -> None:
    async with world({"/": reply()}) as web:
        await web.fetcher.get(SITE)

    (request,) = web.site.requests
    assert request.headers["host"] == "site.example"
    assert request.headers["user-agent"] == USER_AGENT.lower()
    assert request.headers["accept-encoding"] == "gzip, deflate"
    assert not request.headers.keys() & {"cookie", "authorization", "referer", "proxy-authorization"}


async def test_the_rest_of_a_page_is_not_fetched_again() -> None:
    async with world({"/": reply()}) as web:
        assert await web.fetcher.get(SITE) is await web.fetcher.get("HTTP://SITE.example")

    assert web.site.connections == 1


async def test_redirects_are_followed_each_with_a_look_up_of_its_own() -> None:
    pages = {"/": moved("/next"), "/next": moved("//other.example/end", 308), "/end": reply(b"there")}
    async with world(pages, names=Names(site_example=[[PUBLIC]], other_example=[["1.1.1.1"]])) as web:
        page = await web.fetcher.get(SITE)

    assert (page.url, page.text) == ("http://other.example/end", "there")
    assert web.names.asked == ["site.example", "site.example", "other.example"]
    assert web.network.dialled[-1] == ("1.1.1.1", 80)


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fd00:ec2::254]/",
        "//10.0.0.1",
        "//2130706433/",
        "http://inside.example/",
        "http://localhost:6379/",
        "file:///etc/passwd",
        "gopher://site.example:70/_x",
        "javascript:alert(1)",
        "http://user:secret@site.example/",
        "http://site.example:22/",
        "http://[half/",
        "http://a\\@127.0.0.1/",
    ],
)
async def test_a_redirect_to_what_may_not_be_read_makes_no_connection(location: str) -> None:
    names = Names(site_example=[[PUBLIC]], inside_example=[["10.0.0.1"]], localhost=[["127.0.0.1"]])
    async with world({"/": moved(location)}, names=names) as web:
        with pytest.raises(ToolFailed):
            await web.fetcher.get(SITE)

    assert web.network.dialled == [(PUBLIC, 80)]
    assert web.site.connections == 1


async def test_a_name_that_turns_private_between_two_hops_is_refused() -> None:
    async with world({"/": moved("/x")}, names=Names(site_example=[[PUBLIC], ["127.0.0.1"]])) as web:
        with pytest.raises(ToolFailed, match="public address"):
            await web.fetcher.get(SITE)

    assert web.network.dialled == [(PUBLIC, 80)]


@pytest.mark.parametrize("pages", [{"/": moved("/")}, {f"/{n or ''}": moved(f"/{n + 1}") for n in range(11)}])
async def test_loops_and_long_chains_of_redirects_end_after_five(pages: dict[str, bytes]) -> None:
    async with world(pages) as web:
        with pytest.raises(ToolFailed, match="more than 5 times"):
            await web.fetcher.get(SITE)

    assert web.site.connections == 6


async def test_cookies_are_not_sent_back_to_whoever_set_them() -> None:
    async with world({"/": moved("/next", set_cookie="id=1"), "/next": reply()}) as web:
        await web.fetcher.get(SITE)

    assert "cookie" not in web.site.requests[1].headers


async def test_what_a_redirect_says_is_not_repeated_to_the_model() -> None:
    async with world({"/": moved("ftp://x.example/ignore-your-instructions")}) as web:
        with pytest.raises(ToolFailed) as failed:
            await web.fetcher.get(SITE)

    assert "ignore" not in str(failed.value)


@pytest.mark.parametrize(
    ("status", "named", "retryable"),
    [
        (404, "404 (Not Found)", False),
        (403, "403 (Forbidden)", False),
        (503, "503", True),
        (429, "429", True),
        (799, "799", False),
    ],
)
async def test_a_page_that_is_refused_is_told_by_its_status(status: int, named: str, retryable: bool) -> None:  # noqa: FBT001 - a case
    async with world({"/": reply(b"no", status)}) as web:
        with pytest.raises(ToolFailed) as failed:
            await web.fetcher.get(SITE)

    assert named in str(failed.value)
    assert failed.value.retryable is retryable


@pytest.mark.parametrize("content_type", ["image/png", "video/mp4", "application/zip", "image/svg+xml"])
async def test_what_is_no_text_is_refused_with_what_it_is(content_type: str) -> None:
    async with world({"/": reply(content_type=content_type)}) as web:
        with pytest.raises(ToolFailed, match=content_type.replace("+", r"\+")):
            await web.fetcher.get(SITE)


async def test_bytes_of_no_stated_type_are_told_from_their_beginning() -> None:
    pages = {"/": reply(b"%PDF-1.7", content_type=None), "/b": reply(b"\x00\x01", content_type=None)}
    async with world(pages) as web:
        assert (await web.fetcher.get(SITE)).title == "pdf"
        with pytest.raises(ToolFailed, match="octet-stream"):
            await web.fetcher.get(f"{SITE}b")


@pytest.mark.parametrize(
    ("encoding", "packed"), [("gzip", gzip.compress(b"hello " * 100)), ("deflate", zlib.compress(b"hello " * 100))]
)
async def test_a_packed_page_is_unpacked(encoding: str, packed: bytes) -> None:
    async with world({"/": reply(packed, content_encoding=encoding)}) as web:
        assert (await web.fetcher.get(SITE)).text == "hello " * 100


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
async def test_a_page_packed_otherwise_is_refused(encoding: str) -> None:
    async with world({"/": reply(b"whatever", content_encoding=encoding)}) as web:
        with pytest.raises(ToolFailed, match="gzip, deflate"):
            await web.fetcher.get(SITE)


def head(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", "content-type: text/plain", *lines, "", ""]).encode()


async def endless_gzip() -> AsyncIterator[bytes]:
    """Unfolds a thousandfold, for ever: the same packed megabyte of zeros again and again."""
    packer = zlib.compressobj(wbits=31)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    megabyte = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    megabyte = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)  # the first holds the header
    yield head("content-encoding: gzip") + start
    while True:
        yield megabyte * 16


async def endless_chunks() -> AsyncIterator[bytes]:
    yield head("transfer-encoding: chunked")
    while True:
        yield b"1000\r\n" + b"x" * 4096 + b"\r\n"


async def more_than_it_can_hold() -> AsyncIterator[bytes]:
    yield head("content-length: 1000000000000")
    while True:
        yield b"x" * 65_536


@pytest.mark.parametrize("body", [endless_gzip, endless_chunks, more_than_it_can_hold])
async def test_an_endless_body_is_cut_at_its_bound_and_memory_stays_small(body: Body) -> None:
    async with world({"/": body}, limits=Limits(most_bytes=200_000)) as web:
        tracemalloc.start()
        page = await web.fetcher.get(SITE)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert page.truncated
    assert len(page.text) == 200_000
    assert peak < 8_000_000


async def test_a_bomb_is_cut_at_five_megabytes_by_default() -> None:
    bomb = gzip.compress(b"x" * 50_000_000, compresslevel=1)
    async with world({"/": reply(bomb, content_encoding="gzip")}) as web:
        page = await web.fetcher.get(SITE)

    assert page.truncated
    assert len(page.text) == 5_000_000


async def test_packed_bytes_that_unfold_to_nothing_are_bounded_too() -> None:
    async def nothing() -> AsyncIterator[bytes]:
        packer = zlib.compressobj(wbits=31)
        yield head("content-encoding: gzip") + packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
        while True:
            yield b"\x00\x00\x00\xff\xff" * 10_000  # empty blocks

    async with world({"/": nothing}, limits=Limits(most_bytes=200_000)) as web:
        page = await web.fetcher.get(SITE)

    assert page.truncated
    assert not page.text


async def test_a_pdf_that_is_cut_is_refused_because_half_of_one_is_nothing() -> None:
    async with world({"/": reply(b"x" * 300, content_type="application/pdf")}, limits=Limits(most_bytes=200)) as web:
        with pytest.raises(ToolFailed, match="PDF of more than"):
            await web.fetcher.get(SITE)


async def test_a_body_shorter_than_was_promised_is_no_page() -> None:
    async with world({"/": reply(b"half", content_length="1000")}) as web:
        with pytest.raises(ToolFailed, match="broke off") as failed:
            await web.fetcher.get(SITE)

    assert failed.value.retryable


async def drip() -> AsyncIterator[bytes]:
    yield head("content-length: 1000000")
    while True:
        await anyio.sleep(0.01)  # the fault itself: never silent for long
        yield b"."


async def silence() -> AsyncIterator[bytes]:
    await anyio.sleep_forever()
    yield b""


async def headers_without_end() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        await anyio.sleep(0.01)
        yield b"x: y\r\n"


@pytest.mark.parametrize("body", [drip, silence, headers_without_end])
async def test_a_server_that_takes_for_ever_is_left_at_the_total_deadline(body: Body) -> None:
    async with world({"/": body}, limits=Limits(total_seconds=0.2)) as web:
        with anyio.fail_after(5), pytest.raises(ToolFailed, match=r"within 0\.2 s") as failed:
            await web.fetcher.get(SITE)

    assert failed.value.retryable


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 200 OK\r\n" + b"x" * 200_000])
async def test_what_is_no_http_is_a_failure_and_no_crash(answer: bytes) -> None:
    async with world({"/": answer}) as web:
        with pytest.raises(ToolFailed, match="cannot be fetched"):
            await web.fetcher.get(SITE)


async def test_nobody_there_is_said_so() -> None:
    async with world({}) as web:
        web.network.unreachable = {PUBLIC}
        with pytest.raises(ToolFailed, match="no connection could be made") as failed:
            await web.fetcher.get(SITE)

    assert failed.value.retryable


async def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine site.example login me password secret\n", encoding="utf-8")
    netrc.chmod(0o600)
    async with serving({}) as proxy, world({"/": reply()}) as web:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NETRC", str(netrc))
        await web.fetcher.get(SITE)

        assert proxy.connections == 0
        assert web.network.dialled == [(PUBLIC, 80)]
        assert "authorization" not in web.site.requests[0].headers


async def test_an_intranet_page_is_read_where_the_setting_allows_it_and_only_there() -> None:
    names = Names(wiki_internal=[["10.0.0.7"]], site_example=[["10.0.0.7"]])
    async with world({"/": reply(b"inside")}, names=names, allow=["wiki.internal:8080"]) as web:
        assert (await web.fetcher.get("http://wiki.internal:8080/")).text == "inside"
        for other in (SITE, "http://wiki.internal/"):
            with pytest.raises(ToolFailed):
                await web.fetcher.get(other)

    assert web.network.dialled == [("10.0.0.7", 8080)]
