from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import ToolFailed
from tools.fetching.decoding import decoder_of


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def in_two_members(body: bytes) -> bytes:
    return gzip.compress(body[: len(body) // 2]) + gzip.compress(body[len(body) // 2 :])


PACKERS: Sequence[tuple[str, Callable[[bytes], bytes]]] = [
    ("", bytes),
    ("identity", bytes),
    ("gzip", gzip.compress),
    ("X-GZIP", gzip.compress),
    ("gzip", in_two_members),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
]


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
@given(body=st.binary(max_size=3000), size=st.integers(1, 700))
def test_what_was_packed_comes_out_again_in_whatever_chunks_it_arrives(
    encoding: str, pack: Callable[[bytes], bytes], body: bytes, size: int
) -> None:
    decoder, packed = decoder_of(encoding), pack(body)
    chunks = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert b"".join(decoder.decoded(chunk, len(body) + 1) for chunk in chunks) == body


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
@given(most=st.integers(1, 2000))
def test_no_more_comes_out_than_was_asked_for(encoding: str, pack: Callable[[bytes], bytes], most: int) -> None:
    body = bytes(range(256)) * 8
    assert decoder_of(encoding).decoded(pack(body), most) == body[:most]


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br", "aes128gcm"])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(ToolFailed, match="gzip, deflate"):
        decoder_of(encoding)


def test_damaged_bytes_are_no_crash() -> None:
    with pytest.raises(ToolFailed, match="damaged"):
        decoder_of("gzip").decoded(b"this is no gzip", 100)
