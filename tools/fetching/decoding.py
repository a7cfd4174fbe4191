"""Content-Encoding, undone step by step: ten megabytes can unfold to ten gigabytes, so nobody unfolds more than fits.

RFC 9110, 8.4. Brotli and zstd are not asked for (their decoders here have no bound), and refused where they come anyway.
"""

from __future__ import annotations

import zlib
from typing import Protocol

from routing.errors import ToolFailed

ACCEPT_ENCODING = "gzip, deflate"
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_BITS = 16 + zlib.MAX_WBITS
_ZLIB_METHOD = 8


class Decoder(Protocol):
    """Turns a body's chunks, in order, into what they stand for."""

    def decoded(self, chunk: bytes, most: int) -> bytes:
        """At most ``most`` bytes; whoever gets that many asks for no more."""
        ...


def decoder_of(encoding: str) -> Decoder:
    """The decoder for a Content-Encoding header.

    Raises:
        ToolFailed: the encoding was not asked for.

    """
    match encoding.strip().lower():
        case "" | "identity":
            return _Plain()
        case "gzip" | "x-gzip":
            return _Inflating(_GZIP_BITS)
        case "deflate":
            return _Inflating(None)
        case _:
            raise ToolFailed(f"the server packed its answer in another way than it was asked for ({ACCEPT_ENCODING}).")


class _Plain:
    def decoded(self, chunk: bytes, most: int) -> bytes:
        return chunk[:most]


class _Inflating:
    def __init__(self, bits: int | None) -> None:
        self._bits = bits
        self._stream = None if bits is None else zlib.decompressobj(bits)

    def decoded(self, chunk: bytes, most: int) -> bytes:
        """Inflate.

        Raises:
            ToolFailed: the bytes are damaged.

        """
        try:
            return self._inflated(chunk, most)
        except zlib.error as damage:
            raise ToolFailed(f"the answer is damaged: {damage}.", retryable=True) from damage

    def _inflated(self, chunk: bytes, most: int) -> bytes:
        stream = self._stream or zlib.decompressobj(_deflate_bits(chunk))
        unfolded = bytearray()
        while chunk and len(unfolded) < most:
            unfolded += stream.decompress(chunk, most - len(unfolded))
            chunk = stream.unconsumed_tail
            if stream.eof:
                if not stream.unused_data.startswith(_GZIP_MAGIC):
                    break
                chunk, stream = stream.unused_data, zlib.decompressobj(_GZIP_BITS)
        self._stream = stream
        return bytes(unfolded)


def _deflate_bits(chunk: bytes) -> int:
    """Half of the servers that say "deflate" leave out zlib's header, which begins with its method."""
    return zlib.MAX_WBITS if chunk[0] & 0x0F == _ZLIB_METHOD else -zlib.MAX_WBITS
