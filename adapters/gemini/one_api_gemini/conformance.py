"""How Google says what the conformance suite wants said.

Source: as for the conversions of this package; the replies have the shape of `replies/` beside its
tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    sse_reply,
)

_FINISH_REASONS: Final = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS"}
_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
#: How many of a thinking answer's tokens are thoughts.
_THOUGHTS: Final = 2


class GeminiProfile(ConformanceProfile):
    """Google's generateContent and streamGenerateContent."""

    model: ClassVar[str] = "gemini-3.8-flash"
    has_reasoning: ClassVar[bool] = True

    @override
    def environment(self, base_url: str, credential: str) -> Mapping[str, str]:
        return {"GEMINI_API_KEY": credential, "GEMINI_BASE_URL": base_url}

    @override
    def answer(self, answer: Answer, request: UpstreamRequest) -> UpstreamReply:
        usage = _usage(answer)
        parts = _parts(answer)
        if ":streamGenerateContent" not in request.path:
            return json_reply(_reply(parts, usage, _FINISH_REASONS[answer.end]))
        events = [_reply([part], usage) for part in parts]
        last = _reply([{"text": ""}], usage, _FINISH_REASONS[answer.end])
        return sse_reply([*events, last])

    @override
    def error(self, status: int, message: str) -> UpstreamReply:
        name = _STATUSES.get(status, "UNKNOWN")
        return json_reply({"error": {"code": status, "message": message, "status": name}}, status)

    @override
    def models(self, ids: Sequence[str], request: UpstreamRequest) -> UpstreamReply:
        models = [_model(id_) for id_ in ids]
        wanted = request.path.partition("?")[0].rpartition("/models/")[2]
        if "/models/" not in request.path:
            return json_reply({"models": models})
        if wanted not in {*ids, self.model}:
            return self.error(404, f"models/{wanted} is not found for API version v1beta.")
        return json_reply(_model(wanted))

    @override
    def embeddings(
        self, vectors: Sequence[Sequence[float]], prompt_tokens: int, request: UpstreamRequest
    ) -> UpstreamReply:
        embeddings = [{"values": vector} for vector in vectors]
        usage = {"promptTokenCount": prompt_tokens}
        return json_reply({"embeddings": embeddings, "usageMetadata": usage})

    @override
    def token_count(self, tokens: int, request: UpstreamRequest) -> UpstreamReply:
        return json_reply({"totalTokens": tokens})


def _parts(answer: Answer) -> list[JsonObject]:
    parts: list[JsonObject] = [{"text": piece, "thought": True} for piece in answer.reasoning]
    parts += [{"text": piece} for piece in answer.words]
    for call in answer.tool_calls:
        arguments = orjson.loads("".join(call.arguments) or "{}")
        parts.append({"functionCall": {"id": call.id, "name": call.name, "args": arguments}})
    for part in parts:
        if "functionCall" in part:
            # Google signs the first of calls made together.
            part["thoughtSignature"] = "c2lnbmVkIHRob3VnaHRz"
            break
    return parts


def _usage(answer: Answer) -> JsonObject:
    told, thoughts = answer.usage, _THOUGHTS if answer.reasoning else 0
    return {
        "promptTokenCount": told.prompt,
        "cachedContentTokenCount": told.cached,
        "candidatesTokenCount": told.completion - thoughts,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": told.prompt + told.completion,
    }


def _reply(parts: Sequence[JsonObject], usage: JsonObject, reason: str | None = None) -> JsonObject:
    candidate: JsonObject = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": GeminiProfile.model,
        "responseId": "mAmRZ7qfLpuN",
    }


def _model(model_id: str) -> JsonObject:
    return {
        "name": f"models/{model_id}",
        "displayName": model_id,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
        "thinking": True,
    }


PROFILE: Final = GeminiProfile()
