"""What clients ask and what providers answer, as the bytes on the wire."""

from __future__ import annotations

import json
from typing import Any, Final

#: Pieces of text in a streamed reply.
PIECES: Final = 99
#: Events of such a stream: the role, the pieces, the finish reason, the usage; `[DONE]` is none.
STREAM_EVENTS: Final = PIECES + 3

_CREATED: Final = 1_780_000_000


def chat_request(model: str, *, stream: bool = False) -> bytes:
    """A small chat."""
    request = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Hello, how are you? Tell me something."},
        ],
        "temperature": 0.7,
        "max_tokens": 100,
    }
    return _json(request | ({"stream": True} if stream else {}))


def chat_reply() -> bytes:
    """A whole reply in OpenAI's format."""
    message = {"role": "assistant", "content": "I am fine. " * 12, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return _json(
        {
            "id": "chatcmpl-benchmark",
            "object": "chat.completion",
            "created": _CREATED,
            "model": "bench-2026-10",
            "choices": [choice],
            "usage": {"prompt_tokens": 24, "completion_tokens": 37, "total_tokens": 61},
        }
    )


def openai_frame(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    """One chunk of a stream in OpenAI's format."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _frame({"choices": [choice], "usage": None})


def openai_end(pieces: int = PIECES) -> bytes:
    """The end of such a stream: a finish reason, the usage, and that it is done."""
    usage = {"prompt_tokens": 24, "completion_tokens": pieces, "total_tokens": 24 + pieces}
    return openai_frame({}, "stop") + _frame({"choices": [], "usage": usage}) + OPENAI_DONE


OPENAI_DONE: Final = b"data: [DONE]\n\n"


def openai_stream() -> bytes:
    """A whole stream in OpenAI's format."""
    frames = [openai_frame({"role": "assistant", "content": ""})]
    frames += [openai_frame({"content": f" word{number}"}) for number in range(PIECES)]
    return b"".join(frames) + openai_end()


def claude_stream() -> bytes:
    """A whole stream in Anthropic's format, with the same text."""
    usage = {"input_tokens": 24, "output_tokens": 1}
    message: dict[str, Any] = {
        "id": "msg_benchmark",
        "type": "message",
        "role": "assistant",
        "model": "claude-bench",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    deltas = [
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": f" word{number}"},
        }
        for number in range(PIECES)
    ]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": PIECES},
        },
        {"type": "message_stop"},
    ]
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (event["type"].encode(), _json(event)) for event in events
    )


def _frame(told: dict[str, Any]) -> bytes:
    chunk = {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": "bench-2026-10",
        **told,
    }
    return b"data: " + _json(chunk) + b"\n\n"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
