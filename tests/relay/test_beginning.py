"""How replies in a provider's own format begin: what is content, and what is none yet."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import orjson
import pytest

from one_api.errors import (
    CredentialRejected,
    GatewayError,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamServerError,
    UpstreamTimeout,
)
from one_api.relay.beginning import MAX_HELD_BYTES, begun
from tests.scripted_upstream import sse_frame

MESSAGES, RESPONSES, OTHER = "/messages", "/responses", "/rerank"
STREAM = {"content-type": "text/event-stream; charset=utf-8"}
WHOLE = {"content-type": "application/json"}


class Told:
    """A reply whose body comes in `pieces`, and how many of them were asked for."""

    def __init__(
        self, pieces: Sequence[bytes], headers: Mapping[str, str] = STREAM, status: int = 200
    ) -> None:
        self.status = status
        self.headers = headers
        self.taken = 0
        self._pieces = pieces

    async def read(self, limit: int) -> bytes:
        return b"".join([data async for data in self.chunks()])[:limit]

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for data in self._pieces:
            self.taken += 1
            yield data


async def beginning(
    path: str,
    pieces: Sequence[bytes],
    headers: Mapping[str, str] = STREAM,
    *,
    status: int = 200,
    has_other: bool = True,
) -> bytes:
    reply = Told(pieces, headers, status)
    return await begun(path, reply, reply.chunks(), has_other=has_other)


def framed(*events: dict[str, Any]) -> list[bytes]:
    return [sse_frame(event, event["type"]) for event in events]


def block(kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": kind, **fields},
    }


def delta(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, **fields}}


def item(when: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": f"response.output_item.{when}",
        "output_index": 0,
        "item": {"type": kind, **fields},
    }


def part(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{name}.added", "part": {"type": kind, **fields}}


def lifecycle(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{name}", "response": {"id": "resp_1", **fields}}


START = {"type": "message_start", "message": {"content": []}}
HOLLOW: list[tuple[str, dict[str, Any]]] = [
    (MESSAGES, START),
    (MESSAGES, {"type": "message_start"}),
    (MESSAGES, {"type": "ping"}),
    (MESSAGES, block("text", text="")),
    (MESSAGES, block("thinking", thinking="", signature="")),
    (MESSAGES, delta("text_delta", text="")),
    (MESSAGES, delta("input_json_delta", partial_json="")),
    (MESSAGES, {"type": "content_block_delta"}),
    (MESSAGES, {"type": "content_block_stop", "index": 0}),
    (RESPONSES, lifecycle("created", output=[])),
    (RESPONSES, lifecycle("queued")),
    (RESPONSES, lifecycle("in_progress", background=False)),
    (RESPONSES, item("added", "message", content=[])),
    (RESPONSES, item("added", "reasoning", summary=[])),
    (RESPONSES, item("done", "reasoning", summary=[])),
    (RESPONSES, part("content_part", "output_text", text="", annotations=[])),
    (RESPONSES, part("content_part", "refusal", refusal="")),
    (RESPONSES, part("reasoning_summary_part", "summary_text", text="")),
    (RESPONSES, {"type": "response.output_text.delta", "delta": ""}),
    (RESPONSES, {"type": "keepalive"}),
]
CONTENT: list[tuple[str, dict[str, Any]]] = [
    (MESSAGES, {"type": "message_start", "message": {"content": [{"type": "text"}]}}),
    (MESSAGES, block("text", text="H")),
    (MESSAGES, block("tool_use", id="t", name="n", input={})),
    (MESSAGES, block("redacted_thinking", data="x")),
    (MESSAGES, delta("text_delta", text="H")),
    (MESSAGES, delta("thinking_delta", thinking="H")),
    (MESSAGES, delta("signature_delta", signature="s")),
    (MESSAGES, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
    (MESSAGES, {"type": "message_stop"}),
    (MESSAGES, {"type": "of_tomorrow"}),
    (RESPONSES, lifecycle("created", background=True)),
    (RESPONSES, lifecycle("completed")),
    (RESPONSES, lifecycle("incomplete")),
    (RESPONSES, item("added", "function_call", name="n", arguments="")),
    (RESPONSES, item("added", "web_search_call")),
    (RESPONSES, item("done", "message", content=[{"type": "output_text", "text": "H"}])),
    (RESPONSES, part("content_part", "output_text", text="H")),
    (RESPONSES, part("content_part", "of_tomorrow")),
    (RESPONSES, {"type": "response.output_text.delta", "delta": "H"}),
    (RESPONSES, {"type": "response.reasoning_summary_text.delta", "delta": "H"}),
    (RESPONSES, {"type": "response.of_tomorrow"}),
]


def id_of(row: object) -> str | None:
    return orjson.dumps(row).decode()[:60] if isinstance(row, dict) else None


@pytest.mark.parametrize(("path", "event"), HOLLOW, ids=id_of)
async def test_what_holds_no_content_yet_is_held(path: str, event: dict[str, Any]) -> None:
    """Nobody has read anything when it ends there."""
    with pytest.raises(UpstreamDisconnected):
        await beginning(path, [*framed(event), b": comment\n\n", b"data: no JSON\n\n"])


@pytest.mark.parametrize("size", [1, 7, 10_000], ids=["bytes", "sevens", "whole"])
@pytest.mark.parametrize(("path", "event"), CONTENT, ids=id_of)
async def test_content_ends_the_wait_at_once(path: str, event: dict[str, Any], size: int) -> None:
    """All that came with it and before it is given, and nothing more is waited for."""
    held = b"".join(framed(*(hollow for of, hollow in HOLLOW if of == path), event))
    pieces = [held[at : at + size] for at in range(0, len(held), size)]
    reply = Told([*pieces, b"never asked for"])

    assert held == await begun(path, reply, reply.chunks(), has_other=True)
    assert len(pieces) == reply.taken


async def test_the_end_of_chats_is_one_of_responses_too() -> None:
    frames = [*framed(lifecycle("created")), b"data: [DONE]\n\n"]
    assert b"".join(frames) == await beginning(RESPONSES, frames)


async def test_what_is_held_has_a_bound() -> None:
    piece = b": waiting\n\n" * 1_000
    given = await beginning(MESSAGES, [piece] * (2 * MAX_HELD_BYTES // len(piece)))
    assert MAX_HELD_BYTES < len(given) <= MAX_HELD_BYTES + len(piece)


async def test_with_nobody_left_it_is_held_for_a_time_only() -> None:
    """Slow as it is, it lives: its events are the client's."""
    frames = framed(START, {"type": "ping"})
    for has_other, expected in ((False, frames[0]), (True, b"".join(frames) + b"data: [DONE]\n\n")):
        reply = Told([*frames, b"data: [DONE]\n\n"])
        given = await begun(
            MESSAGES, reply, reply.chunks(), has_other=has_other, is_late=lambda: True
        )
        assert expected == given


ANTHROPIC_ERRORS: list[tuple[str, type[GatewayError]]] = [
    ("overloaded_error", UpstreamOverloaded),
    ("rate_limit_error", UpstreamRateLimited),
    ("api_error", UpstreamServerError),
    ("timeout_error", UpstreamTimeout),
    ("billing_error", UpstreamQuotaExhausted),
    ("authentication_error", CredentialRejected),
    ("of_tomorrow", UpstreamError),
]


@pytest.mark.parametrize(
    ("kind", "expected"), ANTHROPIC_ERRORS, ids=[k for k, _ in ANTHROPIC_ERRORS]
)
@pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "whole"])
async def test_an_error_before_content_is_one(
    kind: str, expected: type[GatewayError], is_stream: bool
) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "sk-1234567890"}}
    pieces = framed(START, error) if is_stream else [orjson.dumps(error)]
    with pytest.raises(expected) as caught:
        await beginning(MESSAGES, pieces, STREAM if is_stream else WHOLE)
    assert expected is type(caught.value)
    assert "sk-1234567890" not in caught.value.message


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": None},
        lifecycle("failed", error={"code": "rate_limit_exceeded", "message": "m"}),
    ],
    ids=["error", "failed"],
)
async def test_a_failed_response_is_an_error(event: dict[str, Any]) -> None:
    with pytest.raises(UpstreamRateLimited, match="m"):
        await beginning(RESPONSES, framed(lifecycle("created"), event))


async def test_a_failed_response_may_say_nothing_more() -> None:
    with pytest.raises(UpstreamError, match="response failed"):
        await beginning(RESPONSES, framed(lifecycle("failed", error=None)))


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
async def test_with_nobody_left_an_error_is_the_clients_as_it_came(path: str) -> None:
    error = framed({"type": "error", "error": {"type": "overloaded_error", "message": "m"}})
    assert error[0] == await beginning(path, error, has_other=False)


@pytest.mark.parametrize("has_other", [True, False])
async def test_the_clients_own_mistake_is_the_clients(has_other: bool) -> None:
    told = {"type": "error", "error": {"type": "invalid_request_error", "message": "m"}}
    (error,) = framed(told)
    assert error == await beginning(MESSAGES, [error], has_other=has_other)
    body = orjson.dumps(told)
    assert body == await beginning(MESSAGES, [body], WHOLE, has_other=has_other)


async def test_a_refused_credential_is_never_the_clients() -> None:
    error = {"type": "error", "error": {"type": "authentication_error", "message": "sk-ant-1"}}
    with pytest.raises(CredentialRejected):
        await beginning(MESSAGES, framed(error), has_other=False)


@pytest.mark.parametrize("has_other", [True, False])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"id":"resp_1"', b"[]", b"null"])
@pytest.mark.parametrize("path", [MESSAGES, "/messages/count_tokens", RESPONSES])
async def test_a_whole_reply_that_is_none_is_an_error(
    path: str, body: bytes, has_other: bool
) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        await beginning(path, [body], WHOLE, has_other=has_other)


@pytest.mark.parametrize(
    "body",
    [
        {"id": "resp_1", "object": "response", "status": "completed", "error": None},
        {"id": "resp_1", "object": "response", "status": "incomplete"},
        {"id": "resp_1", "object": "response", "status": "queued"},
    ],
    ids=["completed", "incomplete", "queued"],
)
async def test_a_whole_response_is_given_as_it_came(body: dict[str, Any]) -> None:
    data = orjson.dumps(body)
    assert data == await beginning(RESPONSES, [data[:5], data[5:]], WHOLE)


async def test_a_whole_response_that_failed_is_an_error_while_another_is_left() -> None:
    error = {"code": "server_error", "message": "m"}
    data = orjson.dumps({"object": "response", "status": "failed", "error": error})
    with pytest.raises(UpstreamError, match="m"):
        await beginning(RESPONSES, [data], WHOLE)
    assert data == await beginning(RESPONSES, [data], WHOLE, has_other=False)


@pytest.mark.parametrize("headers", [STREAM, WHOLE], ids=["stream", "whole"])
async def test_the_body_of_an_error_is_nobodys_to_judge(headers: Mapping[str, str]) -> None:
    body = b"<html>no"
    assert body == await beginning(MESSAGES, [body], headers, status=400)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": "no \\" key"}', b'{"a": "no \\" key"}'),
        (
            b'{"e": [{"m": "Bearer abc123\\" and sk-abcdefg"}, 1.50]}',
            b'{"e":[{"m":"[redacted]\\" and [redacted]"},1.5]}',
        ),
        (b"<b>sk-abcdefg</b>", b"<b>[redacted]</b>"),
        (
            b"[" * 1_000 + b'"sk-abcdefg"' + b"]" * 1_000,
            b"[" * 1_000 + b'"[redacted]"' + b"]" * 1_000,
        ),
    ],
    ids=["none", "JSON", "text", "deep"],
)
async def test_the_body_of_an_error_quotes_no_key(body: bytes, expected: bytes) -> None:
    assert expected == await beginning(MESSAGES, [body], WHOLE, status=400)


async def test_of_an_unknown_format_the_first_piece_is_waited_for() -> None:
    """Only while another one could still answer instead."""
    for has_other, expected in ((True, b"one"), (False, b"")):
        assert expected == await beginning(OTHER, [b"one", b"two"], WHOLE, has_other=has_other)
    assert b"" == await beginning(OTHER, [], WHOLE)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], UpstreamDisconnected),
        ([b'data: {"error": {"message": "m"}}\n\n'], UpstreamServerError),
        ([b'event: error\ndata: {"message": "m"}\n\n'], UpstreamServerError),
    ],
    ids=["nothing", "an error", "an event of error"],
)
async def test_a_stream_of_an_unknown_format_must_begin(
    pieces: Sequence[bytes], expected: type[GatewayError]
) -> None:
    with pytest.raises(expected):
        await beginning(OTHER, pieces)
