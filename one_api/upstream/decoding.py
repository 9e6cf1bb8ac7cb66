"""Bodies that come compressed, which we never asked for: some proxies compress what they like."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final

from one_api.adapter.http import MAX_REPLY_BYTES
from one_api.errors import UpstreamInvalidResponse

#: Bytes that are unpacked at a time, and at most twice as many are held.
_PIECE_BYTES: Final = 64 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
_CODINGS: Final = frozenset({"gzip", "deflate", "br", "zstd"})


def coding_of(field: str) -> str | None:
    """What has to be undone according to a `Content-Encoding`; None for what is passed on as is."""
    coding = field.strip().lower()
    return coding if coding in _CODINGS else None


async def decoded(chunks: AsyncGenerator[bytes, None], coding: str) -> AsyncGenerator[bytes, None]:
    """`chunks` without their `coding`, no more than MAX_REPLY_BYTES: it may be a bomb.

    Raises: UpstreamInvalidResponse, and what `chunks` raises.
    """
    unpacker = _Unpacker(coding)
    size = 0
    async with aclosing(chunks):
        async for packed in chunks:
            try:
                for data in unpacker.unpack(packed):
                    size += len(data)
                    if size > MAX_REPLY_BYTES:
                        raise UpstreamInvalidResponse("The provider's reply is too large.")
                    yield data
            except zlib.error as exc:
                raise UpstreamInvalidResponse(
                    "The provider's reply cannot be decompressed."
                ) from exc


class _Unpacker:
    """Undoes gzip, and deflate with the header that it should have or without."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._stream: zlib._Decompress | None = None

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """What `data` goes on with, in pieces of bounded size.

        Raises: zlib.error
        """
        piece = b""
        while data or len(piece) == _PIECE_BYTES:
            stream = self._stream = self._stream or self._stream_of(data)
            piece = stream.decompress(data, _PIECE_BYTES)
            if piece:
                yield piece
            data = stream.unconsumed_tail
            if stream.eof:
                # Files that were compressed one by one may come as one.
                data, piece, self._stream = stream.unused_data, b"", None

    def _stream_of(self, data: bytes) -> zlib._Decompress:
        """What unpacks a stream that begins with `data`."""
        if self._coding == "gzip":
            return zlib.decompressobj(_GZIP)
        if self._coding == "deflate":
            has_header = data[0] & 0x0F == zlib.DEFLATED
            return zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        raise zlib.error(f"the coding {self._coding} is not known here")
