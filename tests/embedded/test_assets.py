from __future__ import annotations

import functools
import gzip
import hashlib
import os
import random
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import AsyncGenerator, Generator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import httpx2 as httpx
import pytest
from anyio import to_thread
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.embedded import assets
from routing.embedded.assets import CL100K_BASE, O200K_BASE, QWEN_CODER_HALF_BILLION, Asset, fetch
from routing.embedded.mirrors import HubMirror, Mirror, UrlMirror, WheelMirror, WheelPart
from routing.errors import AssetError
from routing.types import Progress

CONTENT = bytes(range(256)) * 40
URL = "https://mirror.test/file"


async def ignore(progress: Progress) -> None:
    pass


class Listener:
    """Keeps the progress that it is told."""

    def __init__(self) -> None:
        self.heard: list[Progress] = []

    async def __call__(self, progress: Progress) -> None:
        self.heard.append(progress)


class Host(httpx.AsyncBaseTransport):
    """A web server with one file. It answers ``breaks`` times with the first ``sends`` bytes only."""

    def __init__(
        self, content: bytes = CONTENT, *, breaks: int = 0, sends: int = 0, ranges: bool = True, lengths: bool = True
    ) -> None:
        self.content = content
        self.breaks = breaks
        self.sends = sends
        self.ranges = ranges
        self.lengths = lengths
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        wanted = request.headers.get("Range", "bytes=0-")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if self.ranges else 0
        headers = {"Content-Range": f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"} if start else {}
        if self.lengths and not start:
            headers["Content-Length"] = str(len(self.content))
        return httpx.Response(206 if start else 200, headers=headers, content=self._body(start))

    async def _body(self, start: int) -> AsyncGenerator[bytes]:
        if self.breaks:
            self.breaks -= 1
            yield self.content[start : start + self.sends]
            raise httpx.ReadError("the line broke")
        yield self.content[start:]


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("unreachable")


def asset_of(*found_at: Mirror, content: bytes = CONTENT) -> Asset:
    return Asset(
        name="the test file",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        file_name="file.bin",
        licence="MIT",
        mirrors=found_at or (UrlMirror(url=URL),),
    )


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.anyio
async def test_a_fetched_file_is_whole_and_leaves_nothing_half_done_beside_it(tmp_path: Path) -> None:
    path = await fetch(asset_of(), tmp_path / "models", ignore, transport=Host())
    assert path.read_bytes() == CONTENT
    assert names_in(path.parent) == {"file.bin", "file.bin.verified", "file.bin.lock"}


@pytest.mark.anyio
async def test_a_verified_file_is_returned_without_hashing_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host()
    await fetch(asset_of(), tmp_path, ignore, transport=host)
    hashed: list[Path] = []
    monkeypatch.setattr(assets, "_sha256_of", hashed.append)
    await fetch(asset_of(), tmp_path, ignore, transport=host)
    assert (hashed, len(host.requests)) == ([], 1)


@pytest.mark.anyio
async def test_a_file_put_there_by_hand_is_checked_and_used_without_any_mirror(tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(CONTENT)
    path = await fetch(asset_of(), tmp_path, ignore, transport=httpx.MockTransport(refuse))
    assert path.read_bytes() == CONTENT


@pytest.mark.anyio
async def test_a_file_changed_since_it_was_verified_is_fetched_anew(tmp_path: Path) -> None:
    path = await fetch(asset_of(), tmp_path, ignore, transport=Host())
    path.write_bytes(b"x" + CONTENT[1:])
    os.utime(path, (0, 0))
    await fetch(asset_of(), tmp_path, ignore, transport=Host())
    assert path.read_bytes() == CONTENT


@pytest.mark.anyio
async def test_verify_finds_damage_that_size_and_time_do_not_show(tmp_path: Path) -> None:
    path = await fetch(asset_of(), tmp_path, ignore, transport=Host())
    times = path.stat()
    path.write_bytes(b"x" + CONTENT[1:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    await fetch(asset_of(), tmp_path, ignore, transport=Host())
    assert path.read_bytes() != CONTENT
    await fetch(asset_of(), tmp_path, ignore, transport=Host(), verify=True)
    assert path.read_bytes() == CONTENT


@pytest.mark.anyio
async def test_a_damaged_file_is_deleted_and_fetched_again_once(tmp_path: Path) -> None:
    host = Host(b"x" + CONTENT[1:])
    with pytest.raises(AssetError, match="sha256 is wrong"):
        await fetch(asset_of(), tmp_path, ignore, transport=host)
    assert len(host.requests) == 2
    assert names_in(tmp_path) == {"file.bin.lock"}


@pytest.mark.anyio
async def test_a_download_that_began_wrong_is_put_right_by_the_second_try(tmp_path: Path) -> None:
    (tmp_path / "file.bin.partial").write_bytes(b"rubbish")
    path = await fetch(asset_of(), tmp_path, ignore, transport=Host())
    assert path.read_bytes() == CONTENT


@pytest.mark.anyio
async def test_the_next_mirror_goes_on_at_the_byte_where_the_last_one_broke_off(tmp_path: Path) -> None:
    host = Host(breaks=1, sends=1000)
    asset = asset_of(UrlMirror(url=URL), UrlMirror(url="https://second.test/file"))
    path = await fetch(asset, tmp_path, ignore, transport=host)
    assert path.read_bytes() == CONTENT
    assert [request.headers.get("Range") for request in host.requests] == [None, "bytes=1000-"]


@settings(max_examples=25, deadline=None)
@given(sends=st.integers(0, len(CONTENT)), ranges=st.booleans(), lengths=st.booleans())
@pytest.mark.anyio
async def test_wherever_a_download_breaks_off_the_next_call_completes_it(
    tmp_path_factory: pytest.TempPathFactory, *, sends: int, ranges: bool, lengths: bool
) -> None:
    folder = tmp_path_factory.mktemp("models")
    host = Host(breaks=1, sends=sends, ranges=ranges, lengths=lengths)
    with pytest.raises(AssetError):
        await fetch(asset_of(), folder, ignore, transport=host)
    path = await fetch(asset_of(), folder, ignore, transport=host)
    assert path.read_bytes() == CONTENT
    assert len(host.requests) == (1 if sends == len(CONTENT) else 2)


@pytest.mark.anyio
async def test_a_file_that_arrived_whole_before_a_crash_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "file.bin.partial").write_bytes(CONTENT)
    path = await fetch(asset_of(), tmp_path, ignore, transport=httpx.MockTransport(refuse))
    assert path.read_bytes() == CONTENT


@pytest.mark.anyio
async def test_a_body_that_ends_early_without_an_error_is_kept_for_the_next_time(tmp_path: Path) -> None:
    async def short() -> AsyncGenerator[bytes]:
        yield CONTENT[:100]

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=short()))
    with pytest.raises(AssetError, match="broke off after 100 of 10,240 bytes"):
        await fetch(asset_of(), tmp_path, ignore, transport=transport)
    assert (tmp_path / "file.bin.partial").read_bytes() == CONTENT[:100]


@pytest.mark.anyio
async def test_a_mirror_that_offers_another_size_is_not_downloaded_from(tmp_path: Path) -> None:
    (tmp_path / "file.bin.partial").write_bytes(CONTENT[:10])
    with pytest.raises(AssetError, match=r"offers 10,241 bytes where 10,240 are right"):
        await fetch(asset_of(), tmp_path, ignore, transport=Host(CONTENT + b"x", ranges=False))
    assert (tmp_path / "file.bin.partial").read_bytes() == CONTENT[:10]


@pytest.mark.anyio
async def test_a_mirror_that_sends_without_end_is_left(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"sends more than 10,240 bytes"):
        await fetch(asset_of(), tmp_path, ignore, transport=Host(CONTENT + b"x", lengths=False))


@pytest.mark.anyio
async def test_the_hub_is_asked_at_the_users_endpoint(tmp_path: Path) -> None:
    host = Host()
    asset = asset_of(HubMirror(url_path="owner/model/resolve/main/file"))
    await fetch(asset, tmp_path, ignore, hub_endpoint="https://hub.test/", transport=host)
    assert str(host.requests[0].url) == "https://hub.test/owner/model/resolve/main/file"


@pytest.mark.anyio
async def test_a_redirect_is_followed(tmp_path: Path) -> None:
    def redirect(request: httpx.Request) -> httpx.Response:
        moved = request.url.path == "/file"
        return httpx.Response(302, headers={"Location": "/there"}) if moved else httpx.Response(200, content=CONTENT)

    path = await fetch(asset_of(), tmp_path, ignore, transport=httpx.MockTransport(redirect))
    assert path.read_bytes() == CONTENT


@pytest.mark.anyio
async def test_when_no_mirror_has_it_the_error_says_what_each_answered_and_what_to_do_by_hand(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return refuse(request) if request.url.host == "mirror.test" else httpx.Response(404)

    asset = asset_of(UrlMirror(url=URL), UrlMirror(url="https://second.test/file"))
    with pytest.raises(AssetError) as raised:
        await fetch(asset, tmp_path, ignore, transport=httpx.MockTransport(answer))
    for words in (
        f"save {URL} as {tmp_path / 'file.bin'}",
        asset.sha256,
        f"{URL}: ConnectError unreachable",
        "https://second.test/file: answers with status 404",
    ):
        assert words in str(raised.value)


@pytest.mark.anyio
async def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where a folder should be")
    with pytest.raises(AssetError, match="POINTSMAN_HOME") as raised:
        await fetch(asset_of(), tmp_path / "models", ignore, transport=Host())
    assert str(tmp_path / "models") in str(raised.value)


@pytest.mark.anyio
async def test_a_disk_too_full_is_told_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", {tmp_path: usage._replace(free=10_000)}.__getitem__)
    host = Host()
    with pytest.raises(AssetError, match="240 bytes more must be free"):
        await fetch(asset_of(), tmp_path, ignore, transport=host)
    assert host.requests == []


@pytest.mark.anyio
async def test_progress_counts_bytes_up_to_the_total(tmp_path: Path) -> None:
    listener = Listener()
    await fetch(asset_of(), tmp_path, listener, transport=Host())
    last = listener.heard[-1]
    assert (last.done, last.total, last.unit) == (len(CONTENT), len(CONTENT), "byte")
    assert last.message == "fetching the test file"


@pytest.mark.anyio
async def test_a_listener_that_fails_or_never_returns_does_not_hold_up_the_file(tmp_path: Path) -> None:
    async def fail(progress: Progress) -> None:
        raise RuntimeError("the client is gone")

    async def hang(progress: Progress) -> None:
        await anyio.sleep_forever()

    for place, listener in (("failing", fail), ("hanging", hang)):
        path = await fetch(asset_of(), tmp_path / place, listener, transport=Host())
        assert path.read_bytes() == CONTENT


@pytest.mark.anyio
async def test_of_two_that_want_a_file_at_once_one_fetches_and_the_other_waits_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    sha256_of = assets._sha256_of  # pyright: ignore[reportPrivateUsage] - it is counted, not replaced

    def count(path: Path) -> str:
        hashed.append(path)
        return sha256_of(path)

    monkeypatch.setattr(assets, "_sha256_of", count)
    host, first, second = Host(), Listener(), Listener()
    told, arrived = anyio.Event(), anyio.Event()

    async def slow_body() -> AsyncGenerator[bytes]:
        yield CONTENT[:100]
        arrived.set()
        await told.wait()
        yield CONTENT[100:]

    async def slow(request: httpx.Request) -> httpx.Response:
        host.requests.append(request)
        return httpx.Response(200, content=slow_body())

    async def hear(progress: Progress) -> None:
        await second(progress)
        told.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(functools.partial(fetch, asset_of(), tmp_path, first, transport=httpx.MockTransport(slow)))
            await arrived.wait()
            await fetch(asset_of(), tmp_path, hear, transport=httpx.MockTransport(refuse))
    assert len(host.requests) == 1
    assert second.heard[0].message == "waiting: another process is fetching the test file"
    assert second.heard[0].done == 100
    assert hashed == [tmp_path / "file.bin.partial"]


@pytest.mark.anyio
async def test_a_lock_left_by_a_process_that_was_killed_stops_nobody(tmp_path: Path) -> None:
    lock = tmp_path / "file.bin.lock"
    holder = (
        "import sys, pathlib, anyio\n"
        "from routing.embedded.lock import alone\n"
        "async def main():\n"
        "    async with alone(pathlib.Path(sys.argv[1]), lambda: None):\n"
        "        print('held', flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    root = Path(assets.__file__).parents[2]
    command = [sys.executable, "-c", holder, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:  # noqa: ASYNC220 - our own
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with anyio.move_on_after(0.1) as kept_out:
            await fetch(asset_of(), tmp_path, ignore, transport=Host())
        process.kill()
    assert kept_out.cancelled_caught
    with anyio.fail_after(10):
        assert (await fetch(asset_of(), tmp_path, ignore, transport=Host())).exists()


# --- wheels -----------------------------------------------------------------------------------------------------------


class Index:
    """A package index on loopback. ``downloads`` names the wheels it gave; of ``silent_about`` it sends no byte."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.downloads: list[str] = []
        self.silent_about = ""
        self.asked = threading.Event()
        self.hung_up = threading.Event()
        index = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                name = Path(self.path).name
                if name and name == index.silent_about:
                    self.do_HEAD()
                    index.asked.set()
                    self.rfile.read(1)  # nothing comes: it returns when the other side is gone
                    index.hung_up.set()
                    return
                if name.endswith(".whl"):
                    index.downloads.append(name)
                super().do_GET()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("--index-url", f"http://127.0.0.1:{self.server.server_port}/simple")

    def add_wheel(self, name: str, member: str, content: bytes, *, size: int | None = None) -> WheelPart:
        folder = self.root / "simple" / name
        folder.mkdir(parents=True)
        wheel = folder / f"{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, content)
            archive.writestr(f"{name}/__init__.py", "raise SystemExit('a wheel of ours was imported')")
            archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            archive.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
        (folder / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
        return WheelPart(
            requirement=f"{name}==1.0",
            wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
            wheel_size=wheel.stat().st_size,
            member=member,
            size=len(content) if size is None else size,
        )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Index]:
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    index = Index(tmp_path / "index")
    thread = threading.Thread(target=index.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield index
    index.server.shutdown()
    thread.join()
    index.server.server_close()


@pytest.mark.anyio
async def test_the_members_of_wheels_are_joined_with_progress_and_the_wheels_are_deleted(
    tmp_path: Path, index: Index
) -> None:
    parts = (
        index.add_wheel("one", "one/data/a.bin", CONTENT[:6000]),
        index.add_wheel("two", "two/data/b.bin.gz", gzip.compress(CONTENT[6000:]), size=len(CONTENT) - 6000),
    )
    listener = Listener()
    asset = asset_of(WheelMirror(parts=parts, pip_arguments=index.arguments))
    path = await fetch(asset, tmp_path / "models", listener)
    assert path.read_bytes() == CONTENT
    assert names_in(path.parent) == {"file.bin", "file.bin.verified", "file.bin.lock"}
    assert {progress.done for progress in listener.heard} >= {6000, len(CONTENT)}


@pytest.mark.anyio
async def test_wheels_go_on_at_the_part_where_another_mirror_broke_off(tmp_path: Path, index: Index) -> None:
    parts = (
        index.add_wheel("one", "one/a.bin", CONTENT[:6000]),
        index.add_wheel("two", "two/b.bin", CONTENT[6000:]),
    )
    asset = asset_of(UrlMirror(url=URL), WheelMirror(parts=parts, pip_arguments=index.arguments))
    path = await fetch(asset, tmp_path / "models", ignore, transport=Host(breaks=1, sends=7000))
    assert path.read_bytes() == CONTENT
    assert index.downloads == ["two-1.0-py3-none-any.whl"]


@pytest.mark.anyio
async def test_a_wheel_with_another_hash_is_refused_even_if_it_holds_the_right_file(
    tmp_path: Path, index: Index
) -> None:
    part = index.add_wheel("one", "one/a.bin", CONTENT)
    with zipfile.ZipFile(index.root / "simple" / "one" / "one-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("one/more.py", "")
    asset = asset_of(WheelMirror(parts=(part,), pip_arguments=index.arguments))
    with pytest.raises(AssetError, match="DO NOT MATCH THE HASHES"):
        await fetch(asset, tmp_path / "models", ignore)
    assert names_in(tmp_path / "models") <= {"file.bin.lock", "file.bin.partial"}


@pytest.mark.anyio
async def test_a_wheel_that_the_index_does_not_have_is_that_mirrors_answer(tmp_path: Path, index: Index) -> None:
    part = index.add_wheel("one", "one/a.bin", CONTENT)
    shutil.rmtree(index.root / "simple" / "one")
    asset = asset_of(WheelMirror(parts=(part,), pip_arguments=index.arguments))
    with pytest.raises(AssetError, match=r"ERROR: No matching distribution found for one==1\.0"):
        await fetch(asset, tmp_path / "models", ignore)


@pytest.mark.anyio
async def test_a_member_of_another_length_is_that_mirrors_answer(tmp_path: Path, index: Index) -> None:
    part = index.add_wheel("one", "one/a.bin", CONTENT, size=len(CONTENT) - 1)
    asset = asset_of(WheelMirror(parts=(part,), pip_arguments=index.arguments))
    with pytest.raises(AssetError, match=r"one/a\.bin of one==1\.0 is not 10,239 bytes long"):
        await fetch(asset, tmp_path / "models", ignore)


@pytest.mark.anyio
async def test_a_member_that_cannot_be_unpacked_is_that_mirrors_answer(tmp_path: Path, index: Index) -> None:
    part = index.add_wheel("one", "one/a.bin.gz", b"not gzip", size=len(CONTENT))
    asset = asset_of(WheelMirror(parts=(part,), pip_arguments=index.arguments))
    with pytest.raises(AssetError, match=r"does not hold one/a\.bin\.gz as it should"):
        await fetch(asset, tmp_path / "models", ignore)


@pytest.mark.anyio
async def test_progress_is_told_while_pip_downloads(tmp_path: Path, index: Index) -> None:
    large = random.Random(0).randbytes(600_000)  # noqa: S311 - of a small wheel pip tells no progress
    part = index.add_wheel("one", "one/a.bin", large)
    index.silent_about = "one-1.0-py3-none-any.whl"
    asset = asset_of(WheelMirror(parts=(part,), pip_arguments=index.arguments), content=large)
    heard: list[Progress] = []
    async with anyio.create_task_group() as group:

        async def hear(progress: Progress) -> None:
            heard.append(progress)
            group.cancel_scope.cancel()

        group.start_soon(fetch, asset, tmp_path / "models", hear)
    assert [(progress.done, progress.total) for progress in heard] == [(0, len(large))]


@pytest.mark.anyio
async def test_cancelling_ends_pip_and_keeps_the_parts_that_are_here(tmp_path: Path, index: Index) -> None:
    parts = (
        index.add_wheel("one", "one/a.bin", CONTENT[:6000]),
        index.add_wheel("two", "two/b.bin", CONTENT[6000:]),
    )
    asset = asset_of(WheelMirror(parts=parts, pip_arguments=index.arguments))
    index.silent_about = "two-1.0-py3-none-any.whl"
    async with anyio.create_task_group() as group:
        group.start_soon(fetch, asset, tmp_path / "models", ignore)
        assert await to_thread.run_sync(index.asked.wait, 30)
        group.cancel_scope.cancel()
    assert index.hung_up.wait(10)
    assert (tmp_path / "models" / "file.bin.partial").read_bytes() == CONTENT[:6000]

    index.silent_about = ""
    path = await fetch(asset, tmp_path / "models", ignore)
    assert path.read_bytes() == CONTENT
    assert index.downloads == ["one-1.0-py3-none-any.whl", "two-1.0-py3-none-any.whl"]


def test_the_parts_of_every_wheel_mirror_add_up_to_the_file() -> None:
    for asset in (QWEN_CODER_HALF_BILLION, O200K_BASE, CL100K_BASE):
        wheels = [mirror for mirror in asset.mirrors if isinstance(mirror, WheelMirror)]
        assert [sum(part.size for part in mirror.parts) for mirror in wheels] == [asset.size] * len(wheels) != []


def test_the_vocabularies_have_the_names_that_tiktoken_looks_for() -> None:
    for asset in (O200K_BASE, CL100K_BASE):
        official = asset.mirrors[0].address("")
        assert asset.file_name == hashlib.sha1(official.encode(), usedforsecurity=False).hexdigest()
