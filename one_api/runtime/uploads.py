"""Request bodies that are taken piece by piece, so that no upload lies in memory as a whole.

On ASGI a body is read as the view asks for it; on WSGI the worker's thread writes it to a temporary
file first, since only that thread may read from the connection.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Protocol

from typing_extensions import override

from one_api.errors import RequestTimedOut, RequestTooLarge

#: Key in the WSGI environment under which a view finds the `Upload` of its request.
UPLOAD = "one_api.runtime.upload"

_PIECE_BYTES = 64 * 1024
#: What a spooled body may take of memory before it goes to disk.
_MEMORY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPolicy:
    """Which endpoints take bodies piece by piece, and what such a body may cost.

    `idle_s` is how long the client may send nothing, in seconds.
    """

    endpoints: frozenset[str] = frozenset()
    max_bytes: int = 512 * 1000 * 1000
    idle_s: float = 30.0

    def covers(self, endpoint: str | None, content_type: str) -> bool:
        """Whether a body of `content_type` for `endpoint` is an upload; JSON never is."""
        return endpoint in self.endpoints and is_upload_type(content_type)

    def too_large(self) -> RequestTooLarge:
        """The error for a body over the limit."""
        return RequestTooLarge(f"The upload is over the limit of {self.max_bytes} bytes.")


def is_upload_type(content_type: str) -> bool:
    """Whether `content_type` names something other than JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return bool(kind) and kind != "application/json" and not kind.endswith("+json")


class Upload(Protocol):
    """A request body on its way."""

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body, once; close it when done early.

        Raises: RequestTooLarge, RequestTimedOut.
        """


class ReceivedUpload(Upload):
    """A body that an ASGI server hands over; at most one piece waits in memory."""

    def __init__(self, policy: UploadPolicy) -> None:
        self._policy = policy
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._is_abandoned = False

    async def put(self, message: Mapping[str, Any]) -> None:
        """Take one `http.request` message in, once the reader has taken the one before."""
        await self._put(message.get("body", b""))
        if not message.get("more_body"):
            await self._put(None)

    async def _put(self, piece: bytes | None) -> None:
        if not self._is_abandoned:
            await self._pieces.put(piece)

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        size = 0
        try:
            while (piece := await self._next()) is not None:
                size += len(piece)
                if size > self._policy.max_bytes:
                    raise self._policy.too_large()
                if piece:
                    yield piece
        finally:
            # Whoever still puts must not wait for a reader who left.
            self._is_abandoned = True
            while not self._pieces.empty():
                self._pieces.get_nowait()

    async def _next(self) -> bytes | None:
        try:
            async with asyncio.timeout(self._policy.idle_s):
                return await self._pieces.get()
        except TimeoutError as exc:
            raise RequestTimedOut(
                f"Nothing of the request body arrived for {self._policy.idle_s:g} s."
            ) from exc


class SpooledUpload(Upload):
    """A body that was read from a WSGI server already; past a megabyte it lies on disk."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._is_begun = False

    @classmethod
    def read(cls, stream: IO[bytes], policy: UploadPolicy) -> SpooledUpload:
        """The whole body in `stream`; blocks while the client sends it.

        Raises: RequestTooLarge.
        """
        file = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115 - closed by `chunks`
        size = 0
        try:
            while piece := stream.read(_PIECE_BYTES):
                size += len(piece)
                if size > policy.max_bytes:
                    raise policy.too_large()
                file.write(piece)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return cls(file)

    def discard(self) -> None:
        """Give the file back unless somebody reads it, who will."""
        if not self._is_begun:
            self._file.close()

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        self._is_begun = True
        with self._file as file:
            while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                yield piece
