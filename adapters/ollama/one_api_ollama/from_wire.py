"""The reply of `/api/chat`, a JSON object on each line, as events.

Nothing comes while a model is loaded into memory: the first line is the first token's.
Source: docs.ollama.com/api/streaming, /api/errors and /api/usage, read 2026-11-21.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import orjson

from one_api.adapter import (
    Event,
    Finish,
    FinishReason,
    JsonObject,
    KeepAlive,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCallDelta,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UsageReport,
    error_from_status,
)
from one_api_ollama.usage import usage_from_wire

#: The longest unfinished line kept in memory; a tool call comes in one line, however long.
MAX_LINE_BYTES: Final = 4 * 1024 * 1024
#: Ends of requests that only move a model into or out of memory: they hold no answer.
_NO_ANSWER: Final = frozenset({"load", "unload"})


class ChatParser:
    """Reads lines to the one that says that the model is done.

    `wants_logprobs` says whether they were asked for. `request_id` goes into the ids of tool
    calls that come without one, so that no two replies have the same.
    """

    def __init__(self, *, wants_logprobs: bool = False, request_id: str = "") -> None:
        self._wants_logprobs = wants_logprobs
        self._request_id = request_id
        self._buffer = b""
        self._calls = 0
        self._is_started = False
        self._is_done = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events of the lines that end in `data`; what follows the last one is ignored.

        Raises: UpstreamInvalidResponse; the error told in a line.
        """
        if self._is_done:
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            yield from self._read(line)
            if self._is_done:
                return
        if len(self._buffer) > MAX_LINE_BYTES:
            raise UpstreamInvalidResponse("The provider's stream has an oversized line.")

    def close(self) -> Iterator[Event]:
        """The events of a last line that did not end.

        Raises: UpstreamDisconnected when the model was not done.
        """
        line, self._buffer = self._buffer, b""
        if not self._is_done and _is_json(line):
            yield from self._read(line)
        if not self._is_done:
            raise UpstreamDisconnected("The provider's reply ended before the model was done.")

    def _read(self, line: bytes) -> Iterator[Event]:
        if not line.strip():
            yield KeepAlive()
            return
        told = _object_in(line)
        error = told.get("error")
        if error is not None:
            text = error if isinstance(error, str) else orjson.dumps(error).decode()
            raise error_from_status(500, text)
        if not self._is_started:
            self._is_started = True
            yield Start()
        said = False
        for event in self._read_message(told):
            said = True
            yield event
        if told.get("done") is True:
            yield from self._finish(told)
        elif not said:
            yield KeepAlive()

    def _read_message(self, told: JsonObject) -> Iterator[Event]:
        message = told.get("message")
        if not isinstance(message, dict):
            return
        if thinking := _text(message.get("thinking")):
            yield ReasoningDelta(thinking)
        if content := _text(message.get("content")):
            logprobs = told.get("logprobs") if self._wants_logprobs else None
            yield TextDelta(content, logprobs=_logprobs_from_wire(logprobs))
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise UpstreamInvalidResponse("The provider's tool calls are no array.")
        for call in calls:
            yield self._read_call(call, told)

    def _read_call(self, call: Any, told: JsonObject) -> Event:
        """A call, whole; ids are new to the API, and its pages do not tell of them.

        Source: github.com/NOirBRight/dsh-llm-ollama docs/adr/0001 (2026-08-15), which saw ids from
        server 0.21.2, and clients that mixed up calls of two replies with the same ids.
        """
        function = call.get("function") if isinstance(call, dict) else None
        name = _text(function.get("name")) if isinstance(function, dict) else ""
        if not name or not isinstance(function, dict):
            raise UpstreamInvalidResponse("The provider called a function without a name.")
        arguments = function.get("arguments")
        if not isinstance(arguments, dict | None):
            raise UpstreamInvalidResponse("The provider gave arguments that are no JSON object.")
        text = orjson.dumps(arguments or {}).decode()
        index, self._calls = self._calls, self._calls + 1
        call_id = _text(call.get("id")) or self._made_id(told, index, name, text)
        return ToolCallDelta(index, id=call_id, name=name, arguments=text)

    def _made_id(self, told: JsonObject, *parts: object) -> str:
        """The same for the same bytes, and another in every other reply."""
        seed = orjson.dumps([self._request_id, told.get("created_at"), *parts])
        return f"call_{hashlib.sha256(seed).hexdigest()[:24]}"

    def _finish(self, told: JsonObject) -> Iterator[Event]:
        self._is_done, self._buffer = True, b""
        reason = _text(told.get("done_reason"))
        if reason in _NO_ANSWER:
            raise UpstreamInvalidResponse(
                f"The provider did not answer: it did no more than {reason} the model."
            )
        yield Finish(self._finish_reason(reason))
        usage = usage_from_wire(told)
        if usage is not None:
            yield UsageReport(usage)

    def _finish_reason(self, reason: str) -> FinishReason:
        """A call ends with "stop" there, like a text; older servers tell no reason."""
        if reason == "length":
            return "length"
        return "tool_calls" if self._calls else "stop"


def _object_in(line: bytes) -> JsonObject:
    try:
        told = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise UpstreamInvalidResponse("The provider's stream has a line without JSON.") from exc
    if not isinstance(told, dict):
        raise UpstreamInvalidResponse("The provider's stream has a line that is no JSON object.")
    return told


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _logprobs_from_wire(told: object) -> JsonObject | None:
    """OpenAI's shape, whose keys are all present; Ollama leaves out what is empty.

    Source: release notes of Ollama 0.12.11 (2025-11-14), "Logprobs".
    """
    if not isinstance(told, list):
        return None
    content = [
        {**_token_from_wire(token), "top_logprobs": _tokens_from_wire(token.get("top_logprobs"))}
        for token in told
        if isinstance(token, dict)
    ]
    return {"content": content, "refusal": None}


def _tokens_from_wire(told: object) -> list[JsonObject]:
    tokens = told if isinstance(told, list) else ()
    return [_token_from_wire(token) for token in tokens if isinstance(token, dict)]


def _token_from_wire(token: JsonObject) -> JsonObject:
    return {key: token.get(key) for key in ("token", "logprob", "bytes")}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
