"""Anthropic's wire as the provider sends it.

Source: anthropic-python 2.11.0 types.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.scripted_upstream.answers import HELLO, Answer, TokenCount
from tests.scripted_upstream.replies import JsonObject, json_reply, sse_frame, sse_reply
from tests.scripted_upstream.steps import Step

MESSAGE_ID = "msg_scripted"
SIGNATURE = "c2lnbmF0dXJl"
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnthropicDialect:
    """Choices the provider has in a stream.

    `thinking_omitted` sends the signature of a thinking block without its text, as newer models
    do by default. `input_tokens_in_delta` repeats the input counts in `message_delta`.
    `stop_reason` replaces the one that follows from the answer.
    """

    pings: bool = True
    thinking_omitted: bool = False
    input_tokens_in_delta: bool = True
    message_stop: bool = True
    stop_reason: str | None = None
    stop_sequence: str | None = None


ANTHROPIC = AnthropicDialect()


def anthropic_usage(count: TokenCount) -> JsonObject:
    """A complete `usage` object; Anthropic's input tokens exclude what the cache had."""
    return {
        "input_tokens": count.prompt - count.cached - count.cache_write,
        "cache_creation_input_tokens": count.cache_write,
        "cache_read_input_tokens": count.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": count.cache_write - count.cache_write_1h,
            "ephemeral_1h_input_tokens": count.cache_write_1h,
        },
        "output_tokens": count.completion,
        "output_tokens_details": {"thinking_tokens": count.reasoning},
        "service_tier": "standard",
    }


def anthropic_content(
    answer: Answer = HELLO, dialect: AnthropicDialect = ANTHROPIC
) -> list[JsonObject]:
    """The answer's content blocks."""
    blocks: list[JsonObject] = []
    if answer.reasoning:
        thinking = "" if dialect.thinking_omitted else answer.reasoning_text
        blocks.append({"type": "thinking", "thinking": thinking, "signature": SIGNATURE})
    if answer.words:
        blocks.append({"type": "text", "text": answer.text, "citations": None})
    for call in answer.tool_calls:
        arguments = json.loads("".join(call.arguments) or "{}")
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments})
    return blocks


def anthropic_message_body(
    answer: Answer = HELLO, dialect: AnthropicDialect = ANTHROPIC
) -> JsonObject:
    """The answer as one `message` object."""
    return {
        "id": MESSAGE_ID,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": anthropic_content(answer, dialect),
        "stop_reason": dialect.stop_reason or _STOP_REASONS[answer.reason],
        "stop_sequence": dialect.stop_sequence,
        "usage": anthropic_usage(answer.usage or TokenCount(0, 0)),
    }


def anthropic_message(
    answer: Answer = HELLO,
    dialect: AnthropicDialect = ANTHROPIC,
    headers: Mapping[str, str] | None = None,
) -> tuple[Step, ...]:
    """A complete reply that is not streamed."""
    return json_reply(200, anthropic_message_body(answer, dialect), _with_id(headers))


def anthropic_events(
    answer: Answer = HELLO, dialect: AnthropicDialect = ANTHROPIC
) -> list[JsonObject]:
    """The events of a stream, as objects that a test may still bend."""
    whole = anthropic_message_body(answer, dialect)
    usage = whole["usage"]
    opening = {**whole, "content": [], "stop_reason": None, "stop_sequence": None}
    opening["usage"] = {**usage, "output_tokens": 1}
    opening["usage"].pop("output_tokens_details")
    events: list[JsonObject] = [{"type": "message_start", "message": opening}]
    for index, (block, deltas) in enumerate(_blocks(answer, dialect)):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        if dialect.pings and index == 0:
            events.append({"type": "ping"})
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        ]
        events.append({"type": "content_block_stop", "index": index})
    told = dict(usage)
    if not dialect.input_tokens_in_delta:
        told = {key: value for key, value in usage.items() if key.startswith("output")}
    ending = {key: whole[key] for key in ("stop_reason", "stop_sequence")}
    events.append({"type": "message_delta", "delta": ending, "usage": told})
    if dialect.message_stop:
        events.append({"type": "message_stop"})
    return events


def anthropic_frames(events: Sequence[JsonObject] | None = None) -> list[bytes]:
    """The events as server-sent events, each named by its type."""
    return [
        sse_frame(event, event=event["type"])
        for event in (anthropic_events() if events is None else events)
    ]


def anthropic_stream(
    answer: Answer = HELLO,
    dialect: AnthropicDialect = ANTHROPIC,
    headers: Mapping[str, str] | None = None,
) -> tuple[Step, ...]:
    """A streamed reply, one write per event."""
    return sse_reply(anthropic_frames(anthropic_events(answer, dialect)), _with_id(headers))


def anthropic_error_body(kind: str, message: str) -> JsonObject:
    """An error, as a body or as an event inside a stream."""
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": "req_scripted",
    }


def anthropic_error(
    status: int,
    kind: str = "api_error",
    message: str = "scripted failure",
    headers: Mapping[str, str] | None = None,
) -> tuple[Step, ...]:
    """An error reply."""
    return json_reply(status, anthropic_error_body(kind, message), _with_id(headers))


def anthropic_models_reply(ids: Sequence[str]) -> tuple[Step, ...]:
    """The reply of `GET /v1/models`, one page."""
    models = [
        {
            "type": "model",
            "id": id_,
            "display_name": id_.title(),
            "created_at": "2026-06-01T00:00:00Z",
            "max_input_tokens": 200_000,
            "max_tokens": 64_000,
        }
        for id_ in ids
    ]
    page: JsonObject = {"data": models, "has_more": False}
    page["first_id"], page["last_id"] = (ids[0], ids[-1]) if ids else (None, None)
    return json_reply(200, page)


def _blocks(answer: Answer, dialect: AnthropicDialect) -> list[tuple[JsonObject, list[JsonObject]]]:
    """Each block as its opening form and the deltas that fill it."""
    blocks: list[tuple[JsonObject, list[JsonObject]]] = []
    if answer.reasoning:
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in answer.reasoning]
        signature = {"type": "signature_delta", "signature": SIGNATURE}
        blocks.append(
            (
                {"type": "thinking", "thinking": "", "signature": ""},
                [signature] if dialect.thinking_omitted else [*deltas, signature],
            )
        )
    if answer.words:
        texts = [{"type": "text_delta", "text": word} for word in answer.words]
        blocks.append(({"type": "text", "text": "", "citations": None}, texts))
    for call in answer.tool_calls:
        start = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        parts = [{"type": "input_json_delta", "partial_json": part} for part in call.arguments]
        blocks.append((start, parts))
    return blocks


def _with_id(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {"request-id": "req_scripted", **(headers or {})}
