"""Bodies that come compressed: unpacked piece by piece, however they were packed."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api.errors import UpstreamInvalidResponse
from one_api.upstream.decoding import coding_of, decoded

WINDOWS = {"gzip": ("gzip", 31), "zlib": ("deflate", 15), "raw": ("deflate", -15)}
PIECE = 64 * 1024


def packed(data: bytes, window: int) -> bytes:
    packer = zlib.compressobj(9, wbits=window)
    return packer.compress(data) + packer.flush()


async def source(pieces: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


async def unpacked(pieces: Iterable[bytes], coding: str) -> list[bytes]:
    return [data async for data in decoded(source(pieces), coding)]


@pytest.mark.parametrize(("coding", "window"), WINDOWS.values(), ids=WINDOWS)
@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 300), max_size=5))
async def test_body_is_the_same_wherever_it_is_cut(
    coding: str, window: int, data: bytes, cuts: list[int]
) -> None:
    raw = packed(data, window)
    pieces = [raw[start:end] for start, end in pairwise([0, *sorted(cuts), len(raw)])]

    assert data == b"".join(await unpacked([piece for piece in pieces if piece], coding))


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE])
@pytest.mark.parametrize(("coding", "window"), WINDOWS.values(), ids=WINDOWS)
async def test_large_body_comes_in_pieces_of_bounded_size(
    coding: str, window: int, size: int
) -> None:
    pieces = await unpacked([packed(bytes(size), window)], coding)

    assert bytes(size) == b"".join(pieces)
    assert PIECE >= max(map(len, pieces))


async def test_files_packed_one_by_one_are_read_as_one() -> None:
    raw = packed(b"one ", 31) + packed(b"two", 31)

    for pieces in ([raw], [raw[at : at + 1] for at in range(len(raw))]):
        assert b"one two" == b"".join(await unpacked(pieces, "gzip"))


@pytest.mark.parametrize(
    ("raw", "coding"),
    [(b"plain", "gzip"), (b"plain", "deflate"), (b"plain", "br"), (b"plain", "zstd")],
)
async def test_what_cannot_be_unpacked_is_an_invalid_response(raw: bytes, coding: str) -> None:
    with pytest.raises(UpstreamInvalidResponse, match="cannot be decompressed"):
        await unpacked([raw], coding)


@pytest.mark.parametrize(
    ("field", "coding"),
    [(" GZip ", "gzip"), ("deflate", "deflate"), ("identity", None), ("utf-8", None), ("", None)],
)
def test_coding_that_is_none_is_passed_on(field: str, coding: str | None) -> None:
    assert coding == coding_of(field)
