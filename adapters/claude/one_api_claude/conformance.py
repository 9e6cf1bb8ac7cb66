"""Anthropic's side of the conformance suite: messages as the provider streams them.

Source: platform.claude.com, "Streaming messages" and "Errors", stored copies of 2026-08 to 2026-10.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from typing_extensions import override

from one_api.adapter import JsonObject
from one_api.adapter.testing import (
    Answer,
    ConformanceProfile,
    TokenCount,
    ToolCall,
    UpstreamReply,
    UpstreamRequest,
    json_reply,
    sse_reply,
)

_STOP_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ERRORS: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class ClaudeProfile(ConformanceProfile):
    """A model of the generation that takes sampling parameters."""

    model = "claude-haiku-4-5"
    has_reasoning = True
    passthrough_path = "/messages"

    @override
    def environment(self, base_url: str, credential: str) -> Mapping[str, str]:
        return {"CLAUDE_BASE_URL": base_url, "CLAUDE_API_KEY": credential}

    @override
    def answer(self, answer: Answer, request: UpstreamRequest) -> UpstreamReply:
        return sse_reply(_events(answer), named=True)

    @override
    def error(self, status: int, message: str) -> UpstreamReply:
        error = {"type": _ERRORS.get(status, "api_error"), "message": message}
        return json_reply({"type": "error", "error": error}, status)

    @override
    def models(self, ids: Sequence[str], request: UpstreamRequest) -> UpstreamReply:
        models = {id_: {"type": "model", "id": id_, "display_name": id_} for id_ in ids}
        asked = request.path.partition("?")[0].removeprefix("/v1/models").strip("/")
        if not asked:
            return json_reply({"data": list(models.values()), "has_more": False})
        known = models.get(asked)
        return json_reply(known) if known else self.error(404, f"model: {asked}")


def _events(answer: Answer) -> Iterator[JsonObject]:
    message = {"id": "msg_conformance", "type": "message", "role": "assistant", "content": []}
    yield {"type": "message_start", "message": {**message, "usage": _usage(answer.usage, 1)}}
    blocks = list(_blocks(answer))
    for index, (block, deltas) in enumerate(blocks):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": _STOP_REASONS[answer.end], "stop_sequence": None},
        "usage": _usage(answer.usage, answer.usage.completion),
    }
    yield {"type": "message_stop"}


def _blocks(answer: Answer) -> Iterator[tuple[JsonObject, Sequence[JsonObject]]]:
    if answer.reasoning:
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in answer.reasoning]
        signature = {"type": "signature_delta", "signature": "c2lnbmF0dXJl"}
        block = {"type": "thinking", "thinking": "", "signature": ""}
        yield block, [*thoughts, signature]
    if answer.words:
        words = [{"type": "text_delta", "text": word} for word in answer.words]
        yield {"type": "text", "text": ""}, words
    yield from map(_tool_use, answer.tool_calls)


def _tool_use(call: ToolCall) -> tuple[JsonObject, Sequence[JsonObject]]:
    block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
    return block, [{"type": "input_json_delta", "partial_json": part} for part in call.arguments]


def _usage(count: TokenCount, output_tokens: int) -> JsonObject:
    """Anthropic's input tokens exclude what the cache had."""
    return {
        "input_tokens": count.prompt - count.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": count.cached,
        "output_tokens": output_tokens,
    }


PROFILE = ClaudeProfile()
