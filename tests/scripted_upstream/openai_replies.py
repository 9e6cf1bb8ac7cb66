"""OpenAI's wire as a provider sends it, and as sloppier ones send it.

Source: openai-python 3.52.0 types; the sloppy dialects are
those of compatible servers and proxies seen in public issues.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.scripted_upstream.answers import HELLO, Answer, TokenCount, ToolCall
from tests.scripted_upstream.replies import JsonObject, json_reply, sse_frame, sse_reply
from tests.scripted_upstream.steps import Step

DONE = b"data: [DONE]\n\n"
CREATED = 1_790_000_000
COMPLETION_ID = "chatcmpl-scripted"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIDialect:
    """How a provider deviates from OpenAI in a stream; the defaults are OpenAI's own ways.

    `usage_on` says which chunks carry the usage: the last one, whose `choices` are empty; the one
    with the finish reason; or every one. `usage_chunk_choices` replaces the empty `choices`.
    """

    role: Literal["first", "never", "every"] = "first"
    reasoning_key: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    usage_on: Literal["last", "finish", "every", "never"] = "last"
    usage_chunk_choices: Literal["empty", "null", "absent"] = "empty"
    no_finish_reason: Literal["null", "empty", "absent"] = "null"
    finish_reason: bool = True
    done: bool = True


OPENAI = OpenAIDialect()


def openai_usage(count: TokenCount) -> JsonObject:
    """A `usage` object."""
    return {
        "prompt_tokens": count.prompt,
        "completion_tokens": count.completion,
        "total_tokens": count.prompt + count.completion,
        "prompt_tokens_details": {
            "cached_tokens": count.cached,
            "cache_write_tokens": count.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": count.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def openai_chunks(answer: Answer = HELLO, dialect: OpenAIDialect = OPENAI) -> list[JsonObject]:
    """The chunks of a stream, usage included, as objects that a test may still bend."""
    opening: JsonObject = {"content": "", "refusal": None}
    deltas = [{} if dialect.role == "never" else opening]
    deltas += [{dialect.reasoning_key: piece} for piece in answer.reasoning]
    deltas += [{"content": word} for word in answer.words]
    for index, call in enumerate(answer.tool_calls):
        deltas += _tool_deltas(index, call)
    deltas.append({})
    if dialect.role == "first":
        deltas[0] = {"role": "assistant", **deltas[0]}
    elif dialect.role == "every":
        deltas = [{"role": "assistant", **delta} for delta in deltas]
    chunks = [_chunk(answer, [_choice(delta, dialect)]) for delta in deltas]
    if dialect.finish_reason:
        chunks[-1]["choices"][0]["finish_reason"] = answer.reason
    if answer.usage is not None:
        _add_usage(chunks, answer, openai_usage(answer.usage), dialect)
    return chunks


def openai_frames(chunks: Iterable[JsonObject] | None = None, *, done: bool = True) -> list[bytes]:
    """The chunks as server-sent events, with `[DONE]` unless told otherwise."""
    frames = [sse_frame(chunk) for chunk in (openai_chunks() if chunks is None else chunks)]
    return [*frames, DONE] if done else frames


def openai_stream(
    answer: Answer = HELLO,
    dialect: OpenAIDialect = OPENAI,
    headers: Mapping[str, str] | None = None,
) -> tuple[Step, ...]:
    """A streamed reply, one write per event."""
    frames = openai_frames(openai_chunks(answer, dialect), done=dialect.done)
    return sse_reply(frames, headers or {})


def openai_completion_body(answer: Answer = HELLO, dialect: OpenAIDialect = OPENAI) -> JsonObject:
    """The same answer as one `chat.completion` object."""
    message: JsonObject = {
        "role": "assistant",
        "content": answer.text if answer.words or not answer.tool_calls else None,
        "refusal": None,
        "annotations": [],
    }
    if answer.reasoning:
        message[dialect.reasoning_key] = answer.reasoning_text
    if answer.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.arguments) or "{}"},
            }
            for call in answer.tool_calls
        ]
    body = {
        "id": COMPLETION_ID,
        "object": "chat.completion",
        "created": CREATED,
        "model": answer.model,
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.reason}
        ],
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }
    if answer.usage is not None:
        body["usage"] = openai_usage(answer.usage)
    return body


def openai_completion(
    answer: Answer = HELLO,
    dialect: OpenAIDialect = OPENAI,
    headers: Mapping[str, str] | None = None,
) -> tuple[Step, ...]:
    """A complete reply that is not streamed."""
    return json_reply(200, openai_completion_body(answer, dialect), headers or {})


def openai_error_body(
    message: str, *, kind: str = "server_error", code: str | None = None, param: str | None = None
) -> JsonObject:
    """An error, as a body or as an event inside a stream."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def openai_error(
    status: int,
    message: str = "scripted failure",
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[Step, ...]:
    """An error reply."""
    kind = "invalid_request_error" if 400 <= status < 500 else "server_error"
    return json_reply(status, openai_error_body(message, kind=kind, code=code), headers or {})


def models_reply(ids: Sequence[str], owned_by: str = "scripted") -> tuple[Step, ...]:
    """The reply of `GET /v1/models`."""
    models = [
        {"id": id_, "object": "model", "created": CREATED, "owned_by": owned_by} for id_ in ids
    ]
    return json_reply(200, {"object": "list", "data": models})


def _tool_deltas(index: int, call: ToolCall) -> list[JsonObject]:
    first = {
        "index": index,
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": ""},
    }
    more = [{"index": index, "function": {"arguments": piece}} for piece in call.arguments]
    return [{"tool_calls": [part]} for part in (first, *more)]


def _choice(delta: JsonObject, dialect: OpenAIDialect) -> JsonObject:
    choice: JsonObject = {"index": 0, "delta": delta, "logprobs": None}
    if dialect.no_finish_reason != "absent":
        choice["finish_reason"] = "" if dialect.no_finish_reason == "empty" else None
    return choice


def _chunk(answer: Answer, choices: list[JsonObject]) -> JsonObject:
    return {
        "id": COMPLETION_ID,
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
        "choices": choices,
    }


def _add_usage(
    chunks: list[JsonObject], answer: Answer, usage: JsonObject, dialect: OpenAIDialect
) -> None:
    if dialect.usage_on == "every":
        for chunk in chunks:
            chunk["usage"] = usage
    elif dialect.usage_on == "finish":
        chunks[-1]["usage"] = usage
    elif dialect.usage_on == "last":
        for chunk in chunks:
            chunk["usage"] = None
        last = {**_chunk(answer, []), "usage": usage}
        if dialect.usage_chunk_choices == "null":
            last["choices"] = None
        elif dialect.usage_chunk_choices == "absent":
            del last["choices"]
        chunks.append(last)
