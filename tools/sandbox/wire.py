"""The host's end of the control channel: frames to a guest, and frames from it, which are trusted in nothing.

A frame is four bytes of length (big-endian), then JSON; `guest.py` lists them. Code in a guest can write to the channel too, so
every frame is bounded, parsed strictly, and changes nothing but the result of the call it comes from.
"""

from __future__ import annotations

import json
import struct
from typing import Annotated, Literal

from anyio.abc import ByteReceiveStream
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import (
    AfterValidator,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from tools.sandbox.types import StreamName

MOST_FRAME_BYTES = 4 << 20
MOST_NOTICES = 20
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LENGTH = struct.Struct(">I")


class BrokenProtocol(Exception):  # noqa: N818 - said of the guest: it broke the protocol
    """A guest sent what no guest of ours sends."""


def _png(png: bytes) -> bytes:
    if not png.startswith(PNG_SIGNATURE):
        raise ValueError("no PNG")
    return png


Png = Annotated[Base64Bytes, AfterValidator(_png)]


class _Frame(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Ready(_Frame):
    """The guest waits for code."""

    kind: Literal["ready"]


class Output(_Frame):
    """What the code wrote."""

    kind: Literal["output"]
    stream: StreamName
    text: str


class Figure(_Frame):
    """A picture that the code drew."""

    kind: Literal["figure"]
    png: Png


class Done(_Frame):
    """The code's end."""

    kind: Literal["done"]
    reason: Literal["finished", "error", "memory"]
    value: Annotated[str | None, Field(max_length=20_000)]
    notices: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=MOST_NOTICES)]


Frame = Ready | Output | Figure | Done
_FRAMES: TypeAdapter[Frame] = TypeAdapter(Annotated[Frame, Field(discriminator="kind")])


def encoded(**parts: object) -> bytes:
    """A frame to a guest."""
    body = json.dumps(parts).encode()
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Reads the frames of a guest."""

    def __init__(self, stream: ByteReceiveStream) -> None:
        self._stream = BufferedByteReceiveStream(stream)

    async def next(self) -> tuple[Frame, int]:
        """The next frame, and its size in bytes.

        Raises:
            BrokenProtocol: it is too long, or no frame.
            anyio.IncompleteRead: the guest is gone.

        """
        (length,) = _LENGTH.unpack(await self._stream.receive_exactly(_LENGTH.size))
        if length > MOST_FRAME_BYTES:
            raise BrokenProtocol(f"a frame of {length:,} bytes")
        body = await self._stream.receive_exactly(length)
        try:
            return _FRAMES.validate_json(body), length
        except ValidationError as invalid:
            raise BrokenProtocol("a frame that is none") from invalid
