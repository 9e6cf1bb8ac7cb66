"""Replies without a network, a transport that gives them in order, and what is asked of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from typing_extensions import override

from adapters.claude.tests.recorded import REPLIES
from adapters.claude.tests.wires import OPUS_5
from one_api.adapter import (
    Call,
    ChatCompletionRequest,
    Event,
    HTTPTransport,
    JsonObject,
    TextDelta,
    Timeouts,
    WireReply,
    WireRequest,
)
from one_api_claude import ClaudeAdapter

MakeAdapter = Callable[..., ClaudeAdapter]
SSE = {"content-type": "text/event-stream; charset=utf-8"}


@dataclass
class Scripted(WireReply):
    """One reply of the script; `is_released` once its context was left."""

    body: bytes
    status_code: int = 200
    fields: Mapping[str, str] = field(default_factory=lambda: SSE)
    is_released: bool = False
    chunks_read: int = 0

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
            self.chunks_read += 1
            yield self.body[at : at + 64]


class Script(HTTPTransport):
    """Answers requests in order and keeps them; one reply is open at a time."""

    def __init__(self, *replies: Scripted) -> None:
        self.replies = list(replies)
        self.requests: list[WireRequest] = []

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        before = self.replies[: len(self.requests)]
        assert all(reply.is_released for reply in before), "the last reply is still open"
        reply = self.replies[len(self.requests)]
        self.requests.append(request)
        try:
            yield reply
        finally:
            reply.is_released = True

    @property
    def bodies(self) -> list[JsonObject]:
        bodies = [request.body or b"null" for request in self.requests]
        return [orjson.loads(body) for body in bodies if isinstance(body, bytes)]

    @property
    def is_over(self) -> bool:
        return len(self.requests) == len(self.replies) and all(r.is_released for r in self.replies)


def stream(case: str) -> Scripted:
    return Scripted((REPLIES / f"{case}.sse").read_bytes())


def error(
    status: int, message: str, kind: str = "invalid_request_error", **fields: str
) -> Scripted:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return Scripted(orjson.dumps(body), status, {"content-type": "application/json", **fields})


def page(*models: JsonObject, **fields: Any) -> Scripted:
    return Scripted(orjson.dumps({"data": list(models), **fields}), 200, {})


def request(**body: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.from_wire({"messages": [{"role": "user", "content": "x"}], **body})


async def answer(
    adapter: ClaudeAdapter, asked: ChatCompletionRequest, call: Call | None = None
) -> list[Event]:
    events = adapter.generate_completion(asked, call or Call(model=OPUS_5))
    return [event async for event in events]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "n",
        "schema": {"type": "object", "properties": {"a": {"type": "null"}}},
    },
}
