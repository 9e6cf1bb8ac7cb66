"""Ollama's side of the conformance suite: lines as its server writes them.

Source: docs.ollama.com/api/streaming, /api/errors and /openapi.yaml, read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final

import orjson
from typing_extensions import override

from one_api.adapter import JsonObject
from one_api.adapter.testing import (
    Answer,
    ConformanceProfile,
    UpstreamReply,
    UpstreamRequest,
    json_reply,
)

_CREATED_AT: Final = "2026-11-21T12:00:00.123456789Z"


class OllamaProfile(ConformanceProfile):
    """A model whose thinking can be switched on and off."""

    has_reasoning: ClassVar[bool] = True

    @override
    def environment(self, base_url: str, credential: str) -> Mapping[str, str]:
        return {"OLLAMA_BASE_URL": base_url, "OLLAMA_API_KEY": credential}

    @override
    def answer(self, answer: Answer, request: UpstreamRequest) -> UpstreamReply:
        if request.path == "/api/show":
            return json_reply({"thinking": {"values": [True, False], "default": True}})
        lines = tuple(orjson.dumps(line) + b"\n" for line in _lines(answer, request.json["model"]))
        return UpstreamReply(headers={"content-type": "application/x-ndjson"}, pieces=lines)

    @override
    def error(self, status: int, message: str) -> UpstreamReply:
        return json_reply({"error": message}, status)

    @override
    def models(self, ids: Sequence[str], request: UpstreamRequest) -> UpstreamReply:
        if request.path == "/api/version":
            return json_reply({"version": "0.40.12"})
        return json_reply({"models": [{"name": id_, "modified_at": _CREATED_AT} for id_ in ids]})

    @override
    def embeddings(
        self, vectors: Sequence[Sequence[float]], prompt_tokens: int, request: UpstreamRequest
    ) -> UpstreamReply:
        return json_reply({"embeddings": vectors, "prompt_eval_count": prompt_tokens})


def _lines(answer: Answer, model: str) -> Iterator[JsonObject]:
    """The lines of a chat's reply; a call comes whole, and without an id."""
    said: list[JsonObject] = [{"content": "", "thinking": text} for text in answer.reasoning]
    said += [{"content": text} for text in answer.words]
    said += [
        {
            "content": "",
            "tool_calls": [
                {
                    "function": {
                        "index": index,
                        "name": call.name,
                        "arguments": orjson.loads("".join(call.arguments) or "{}"),
                    }
                }
            ],
        }
        for index, call in enumerate(answer.tool_calls)
    ]
    head = {"model": model, "created_at": _CREATED_AT}
    for message in said:
        yield {**head, "message": {"role": "assistant", **message}, "done": False}
    yield {
        **head,
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "length" if answer.end == "length" else "stop",
        "prompt_eval_count": answer.usage.prompt,
        "prompt_eval_cached_count": answer.usage.cached,
        "eval_count": answer.usage.completion,
    }


PROFILE = OllamaProfile()
