"""The table's side of the conformance suite: chat completions as its providers write them.

Source: openai (Python SDK) 3.52.0, types/chat and types/completion.py, read 2026-11-21; what
tells the rows apart: the sources of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from typing_extensions import override

from one_api.adapter import CompatibleProvider, JsonObject
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
from one_api_openai.adapter import variable_prefix
from one_api_openai.providers import PROVIDERS

_ENVELOPE = {"id": "chatcmpl-conformance", "created": 1_790_000_000, "model": "conformance-model"}


class RowProfile(ConformanceProfile):
    """A row of the table, at another URL; it refuses fields that its provider would refuse."""

    has_reasoning = True

    def __init__(self, provider: CompatibleProvider) -> None:
        self._provider = provider

    @override
    def environment(self, base_url: str, credential: str) -> Mapping[str, str]:
        prefix = variable_prefix(self._provider)
        key = {} if self._provider.keyless else {f"{prefix}_API_KEY": credential}
        return {f"{prefix}_BASE_URL": f"{base_url}/v1", **key}

    @override
    def answer(self, answer: Answer, request: UpstreamRequest) -> UpstreamReply:
        return self._refusal(request) or self._reply(request, _chunks(answer), _completion(answer))

    @override
    def completion(self, answer: Answer, request: UpstreamRequest) -> UpstreamReply | None:
        whole = {**_text(answer.text, answer.end), "usage": _usage(answer.usage)}
        return self._refusal(request) or self._reply(request, _texts(answer), whole)

    def _reply(
        self, request: UpstreamRequest, chunks: Iterator[JsonObject], whole: JsonObject
    ) -> UpstreamReply:
        if not request.json.get("stream"):
            return json_reply(whole)
        told = list(chunks)
        if not self._provider.stream_usage:
            usage = told.pop()["usage"]
            told[-1]["usage"] = usage
        return sse_reply(told, last=(b"data: [DONE]\n\n",))

    def _refusal(self, request: UpstreamRequest) -> UpstreamReply | None:
        provider, body = self._provider, request.json
        unknown = {
            "stream_options": not provider.stream_usage,
            "max_completion_tokens": not provider.max_completion_tokens,
            "safety_identifier": not provider.safety_identifier,
        }
        refused = [name for name, is_unknown in unknown.items() if is_unknown and name in body]
        return self.error(422, f"unknown: {refused}") if refused else None


def _texts(answer: Answer) -> Iterator[JsonObject]:
    yield from (_text(word, None) for word in answer.words)
    yield _text("", answer.end)
    yield {**_text("", None), "choices": [], "usage": _usage(answer.usage)}


def _text(text: str, end: str | None) -> JsonObject:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": end}
    return {**_ENVELOPE, "object": "text_completion", "choices": [choice]}


def _completion(answer: Answer) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning_text
    if answer.tool_calls:
        message["tool_calls"] = [
            _call(call, "".join(call.arguments) or "{}") for call in answer.tool_calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.end}
    return {
        **_ENVELOPE,
        "object": "chat.completion",
        "choices": [choice],
        "usage": _usage(answer.usage),
    }


def _chunks(answer: Answer) -> Iterator[JsonObject]:
    yield _chunk({"role": "assistant", "content": ""})
    for piece in answer.reasoning:
        yield _chunk({"reasoning_content": piece})
    for word in answer.words:
        yield _chunk({"content": word})
    for index, call in enumerate(answer.tool_calls):
        yield _chunk({"tool_calls": [{"index": index, **_call(call, "")}]})
        for piece in call.arguments:
            more = {"index": index, "function": {"arguments": piece}}
            yield _chunk({"tool_calls": [more]})
    yield _chunk({}, answer.end)
    yield {
        **_ENVELOPE,
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": _usage(answer.usage),
    }


def _chunk(delta: JsonObject, end: str | None = None) -> JsonObject:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}
    return {**_ENVELOPE, "object": "chat.completion.chunk", "choices": [choice]}


def _call(call: ToolCall, arguments: str) -> JsonObject:
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _usage(count: TokenCount) -> JsonObject:
    return {
        "prompt_tokens": count.prompt,
        "completion_tokens": count.completion,
        "total_tokens": count.prompt + count.completion,
        "prompt_tokens_details": {"cached_tokens": count.cached},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


PROFILE = RowProfile(PROVIDERS[0])
