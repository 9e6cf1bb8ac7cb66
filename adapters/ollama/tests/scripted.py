"""Replies without a network, and adapters that are given them.

Source of their shapes: docs.ollama.com/api/chat, /api/streaming and /openapi.yaml, read 2026-11-21.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    HTTPTransport,
    JsonObject,
    Timeouts,
    WireReply,
    WireRequest,
)
from one_api_ollama import OllamaAdapter, OllamaSettings

URL = "http://ollama.test:11434"
NDJSON = {"content-type": "application/x-ndjson"}


@dataclass(frozen=True)
class Scripted(WireReply):
    """One reply of a script."""

    body: bytes
    status_code: int = 200
    fields: Mapping[str, str] = field(default_factory=lambda: NDJSON)

    @property
    @override
    def status(self) -> int:
        return self.status_code

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return self.fields

    @override
    async def read(self, limit: int) -> bytes:
        return self.body[:limit]

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for at in range(0, len(self.body), 64):
            yield self.body[at : at + 64]


class Script(HTTPTransport):
    """Answers requests in order and keeps them; asked for more than it has, it fails."""

    def __init__(self, *replies: Scripted) -> None:
        self._replies = iter(replies)
        self.requests: list[WireRequest] = []

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        self.requests.append(request)
        yield next(self._replies)

    @property
    def asked(self) -> list[tuple[str, JsonObject | None]]:
        """Path and body of every request."""
        return [
            (
                request.url.removeprefix(URL),
                orjson.loads(request.body) if isinstance(request.body, bytes) else None,
            )
            for request in self.requests
        ]


def connect(*replies: Scripted, **environment: str) -> tuple[OllamaAdapter, Script]:
    """An adapter over a script of replies, and the script."""
    settings = OllamaSettings.from_environment({"OLLAMA_BASE_URL": URL, **environment})
    script = Script(*replies)
    context = AdapterContext(http=script, logger=logging.getLogger("ollama"))
    return OllamaAdapter(settings, context), script


def as_json(body: object, status: int = 200) -> Scripted:
    return Scripted(orjson.dumps(body), status, {"content-type": "application/json"})


def as_lines(*lines: JsonObject) -> Scripted:
    return Scripted(b"".join(orjson.dumps(line) + b"\n" for line in lines))


def chunk(**message: object) -> JsonObject:
    """A line of a stream that goes on."""
    return {
        "model": "qwen3",
        "created_at": "2026-11-21T12:00:00.123456789Z",
        "message": {"role": "assistant", "content": "", **message},
        "done": False,
    }


def last(**fields: object) -> JsonObject:
    """The last line of a stream."""
    counts = {"prompt_eval_count": 26, "eval_count": 7, "total_duration": 174560334}
    return {**chunk(), "done": True, "done_reason": "stop", **counts, **fields}
