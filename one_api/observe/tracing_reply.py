"""What a provider's own reply says of itself, read in passing where it is traced."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from typing_extensions import override

from one_api.adapter.http import WireReply

#: Most bytes between the beginning of a name and the end of its value.
_LAP_BYTES = 256
#: The model that answers is named early, once.
_HEAD_BYTES = 8 * 1024
#: Most finish reasons that are kept: one for each choice.
_MAX_REASONS = 128

# Inside of a JSON text quotes are escaped, so that none of it looks like one of these members.
_MODEL = re.compile(rb'"model(?:Version)?"\s*:\s*"([^"\\]{1,128})"')
_REASON = re.compile(
    rb'"(?:finish_reason|stop_reason|finishReason|done_reason)"\s*:\s*"(\w{1,64})"'
)


class ReplyScan:
    """Finds the model and the finish reasons in a reply, cut anywhere, of any provider."""

    def __init__(self) -> None:
        self._lap = b""
        self._seen_bytes = 0
        self.model: str | None = None
        self.reasons: list[str] = []

    def feed(self, data: bytes) -> None:
        """More of the reply."""
        lap = self._lap
        text = lap + data
        for match in _REASON.finditer(text):
            # What ends within the lap was found before.
            if match.end() > len(lap) and len(self.reasons) < _MAX_REASONS:
                self.reasons.append(match[1].decode())
        if self.model is None and self._seen_bytes < _HEAD_BYTES:
            found = _MODEL.search(text)
            self.model = found[1].decode("utf-8", "replace") if found else None
        self._seen_bytes += len(data)
        self._lap = text[-_LAP_BYTES:]

    def attributes(self) -> dict[str, str | list[str]]:
        """What was found, by the names of the conventions."""
        told: dict[str, str | list[str]] = {}
        if self.model is not None:
            told["gen_ai.response.model"] = self.model
        if self.reasons:
            told["gen_ai.response.finish_reasons"] = self.reasons
        return told


class ScannedReply(WireReply):
    """A reply that is read by `scan` as well."""

    def __init__(self, reply: WireReply, scan: ReplyScan) -> None:
        self._reply = reply
        self._scan = scan

    @property
    @override
    def status(self) -> int:
        return self._reply.status

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return self._reply.headers

    @override
    async def read(self, limit: int) -> bytes:
        body = await self._reply.read(limit)
        self._scan.feed(body)
        return body

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._reply.chunks()) as chunks:
            async for data in chunks:
                self._scan.feed(data)
                yield data
