"""Frames from a guest: well-formed ones are read, all others are refused, and nothing else happens."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass

import anyio
import pytest
from anyio.abc import ByteReceiveStream
from hypothesis import given
from hypothesis import strategies as st

from tools.sandbox.wire import (
    MOST_FRAME_BYTES,
    PNG_SIGNATURE,
    BrokenProtocol,
    Done,
    Figure,
    Frame,
    FrameReader,
    Output,
    Ready,
)

pytestmark = pytest.mark.anyio


@dataclass(slots=True, kw_only=True, eq=False)
class Sent(ByteReceiveStream):
    """What a guest has written, in pieces."""

    content: bytes
    piece: int = 7

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self.content:
            raise anyio.EndOfStream
        part, self.content = self.content[: self.piece], self.content[self.piece :]
        return part

    async def aclose(self) -> None:
        self.content = b""


def frame_of(**parts: object) -> bytes:
    body = json.dumps(parts).encode()
    return struct.pack(">I", len(body)) + body


async def read(content: bytes) -> Frame:
    frame, _ = await FrameReader(Sent(content=content)).next()
    return frame


PNG = base64.b64encode(PNG_SIGNATURE + b"rest").decode()
DONE: dict[str, object] = {"kind": "done", "reason": "finished", "value": None, "notices": []}


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ({"kind": "ready"}, Ready),
        ({"kind": "output", "stream": "stdout", "text": "é"}, Output),
        ({"kind": "figure", "png": PNG}, Figure),
        (DONE, Done),
    ],
)
async def test_the_guests_own_frames_are_read(parts: dict[str, object], kind: type[Frame]) -> None:
    assert isinstance(await read(frame_of(**parts)), kind)


async def test_frames_that_follow_each_other_are_told_apart() -> None:
    reader = FrameReader(Sent(content=frame_of(kind="ready") + frame_of(**DONE)))

    assert [type((await reader.next())[0]) for _ in range(2)] == [Ready, Done]


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({}, id="no kind"),
        pytest.param({"kind": "shutdown"}, id="an unknown kind"),
        pytest.param({"kind": "ready", "more": 1}, id="an unknown part"),
        pytest.param({"kind": "output", "stream": "stdlog", "text": ""}, id="an unknown stream"),
        pytest.param({"kind": "output", "stream": "stdout", "text": 7}, id="a number for a text"),
        pytest.param({"kind": "figure", "png": base64.b64encode(b"GIF89a").decode()}, id="a figure that is no PNG"),
        pytest.param({"kind": "figure", "png": "§"}, id="a figure that is no base64"),
        pytest.param({**DONE, "reason": "timeout"}, id="a reason that only the host can give"),
        pytest.param({**DONE, "value": "x" * 20_001}, id="too long a value"),
        pytest.param({**DONE, "notices": ["x"] * 21}, id="too many notices"),
        pytest.param({**DONE, "notices": ["x" * 1001]}, id="too long a notice"),
    ],
)
async def test_a_frame_that_no_guest_of_ours_sends_is_refused(parts: dict[str, object]) -> None:
    with pytest.raises(BrokenProtocol):
        await read(frame_of(**parts))


async def test_a_frame_that_says_it_is_huge_is_refused_before_it_is_read() -> None:
    sent = Sent(content=struct.pack(">I", MOST_FRAME_BYTES + 1) + b"x" * 100)

    with pytest.raises(BrokenProtocol, match="bytes"):
        await FrameReader(sent).next()
    assert len(sent.content) >= 90


async def test_a_guest_that_stops_in_the_middle_is_gone() -> None:
    with pytest.raises(anyio.IncompleteRead):
        await read(frame_of(**DONE)[:-1])


async def test_text_that_utf_8_cannot_carry_is_refused() -> None:
    with pytest.raises(BrokenProtocol):
        await read(frame_of(kind="output", stream="stdout", text="a\udfffb"))


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_refused(content: bytes) -> None:
    anyio.run(_read_or_refuse, content)


@given(body=st.recursive(st.none() | st.booleans() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)))
def test_any_json_is_a_frame_or_refused(body: object) -> None:
    anyio.run(_read_or_refuse, frame_of(kind=body))


async def _read_or_refuse(content: bytes) -> None:
    try:
        await read(content)
    except (BrokenProtocol, anyio.IncompleteRead):
        return
