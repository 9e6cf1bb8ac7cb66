"""Replies that arrive in OpenAI's own format: passed on untouched wherever that is right.

A stream is parsed until its first content (that commits it); after that each read is scanned by
one regular expression, and only reads that hold something out of the ordinary (a finish, usage,
an error, `[DONE]`, a new tool call, sloppy JSON) are taken apart again. Frames that need no
mending leave as the bytes they were. Providers are read liberally and mended to what OpenAI
itself would have sent.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from one_api.adapter.http_errors import error_from_status
from one_api.adapter.sse import MAX_EVENT_BYTES, SSEDecoder
from one_api.converter import DONE, ReplyForm, frame, random_id, usage_from_wire, usage_to_wire
from one_api.errors import (
    GatewayError,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamInvalidResponse,
)
from one_api.events import Usage
from one_api.schemas import JsonObject

#: What makes a read worth parsing once the stream is under way.
_REMARKABLE = re.compile(
    rb'"(?:usage|finish_reason)"\s*+:\s*+(?!null)'
    rb'|"(?:error|role|name|reasoning|reasoning_content)"\s*:'
    rb'|"(?:delta|choices)"\s*:\s*(?:null|\[\s*\])'
    rb"|\[DONE\]|\r|^[^d]|\n[^d\n]"
)
_ID = re.compile(rb'"id"\s*:\s*"[^"\\]{1,200}"')
_NO_CONTENT = "The provider's reply holds no chat completion."


def error_in_reply(error: object) -> GatewayError:
    """The error that a provider told inside a reply of status 200."""
    detail: Any = error if isinstance(error, dict) else {"message": error}
    message, code = detail.get("message"), detail.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else None
    text = message if isinstance(message, str) and message else "The provider reported an error."
    name = code if isinstance(code, str) else None
    if status is None and detail.get("type") == "invalid_request_error":
        status = 400
    if status is None:
        return UpstreamError(text, code=name)
    return error_from_status(status, text, code=name)


class StreamRelay:
    """Passes one provider's stream of chunks on.

    Call `feed` for each read, then `close` once. Until `is_committed` both the bytes given and the
    client's patience belong to the gateway: an error may still become an HTTP status.
    """

    def __init__(self, form: ReplyForm, *, choices: int = 1) -> None:
        self._form = form
        self._decoder = SSEDecoder()
        self._tail = b""
        self._is_plain = False  # lines end in \n only, as far as seen
        self._may_skip_parsing = choices == 1
        self._signature: bytes | None = None
        self._chunk_id: str | None = None
        self._envelope: JsonObject = {}
        self._introduced: set[int] = set()
        self._finished: set[int] = set()
        self._tool_ids: dict[int, list[str]] = {}
        self._usage_frame = b""
        self.usage: Usage | None = None
        self.is_committed = False
        self.is_done = False
        self.malformed = 0
        #: Frames with content so far: about as many tokens, for a provider that tells no usage.
        self.content_frames = 0

    def feed(self, data: bytes) -> bytes:
        """What `data` lets us send on.

        Raises: the provider's error when it tells one; UpstreamInvalidResponse.
        """
        if self._tail:
            data = self._tail + data
        cut = data.rfind(b"\n\n") + 2
        if cut == 1 or b"\r" in data:
            return self._feed_unusual(data)
        whole, self._tail = (data, b"") if cut == len(data) else (data[:cut], data[cut:])
        if (
            self._signature is not None
            and _REMARKABLE.search(whole) is None
            and whole.count(self._signature) == whole.count(b"\n\n")
        ):
            self.content_frames += whole.count(b"\n\n")
            return whole
        return self._rewrite(whole)

    def close(self) -> bytes:
        """The end of the stream: usage where it was asked for, and `[DONE]`.

        Raises: UpstreamDisconnected when the stream was cut, UpstreamInvalidResponse when it held
        nothing.
        """
        out = self._rewrite(self._tail + b"\n\n") if self._tail else b""
        if not self._introduced:
            raise UpstreamInvalidResponse(_NO_CONTENT)
        for choice in sorted(self._introduced - self._finished):
            if not self.is_done:
                raise UpstreamDisconnected("The provider's reply ended before it was complete.")
            # `[DONE]` without a finish reason: the provider says the answer is complete.
            reason = "tool_calls" if self._tool_ids.get(choice) else "stop"
            last = {"index": choice, "delta": {}, "logprobs": None, "finish_reason": reason}
            out += frame({**self._envelope, "choices": [last]})
        if self._form.include_usage and self.usage is not None:
            last_chunk = {**self._envelope, "choices": [], "usage": usage_to_wire(self.usage)}
            out += self._usage_frame or frame(last_chunk)
        return out + DONE

    def _feed_unusual(self, data: bytes) -> bytes:
        """A read without a whole frame, or with carriage returns."""
        if b"\r" in data:
            # The decoder keeps the state of lines cut between `\r` and `\n`.
            self._tail = b""
            self._signature = None
            self._may_skip_parsing = False
            return self._rewrite(data)
        if len(data) > MAX_EVENT_BYTES:
            raise UpstreamInvalidResponse("The provider's stream has an oversized event.")
        self._tail = data
        return b""

    def _rewrite(self, data: bytes) -> bytes:
        out = b""
        for event in self._decoder.feed(data):
            if event.event == ":":
                continue
            if event.data == b"[DONE]":
                self.is_done = True
                continue
            out += self._take(event.data)
        return out

    def _take(self, data: bytes) -> bytes:
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            self.malformed += 1
            return b""
        if not isinstance(chunk, dict):
            self.malformed += 1
            return b""
        if chunk.get("error"):
            raise error_in_reply(chunk["error"])
        usage = usage_from_wire(chunk.get("usage"))
        if usage is not None:
            self.usage = usage
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            if usage is not None and choices == [] and self._chunk_id == chunk.get("id"):
                self._usage_frame = b"data: " + data + b"\n\n"
            return b""
        is_changed = self._mend_envelope(chunk, data)
        if usage is not None:
            chunk["usage"] = None
            is_changed = True
        for choice in choices:
            is_changed = self._mend_choice(choice) or is_changed
        return frame(chunk) if is_changed else b"data: " + data + b"\n\n"

    def _mend_envelope(self, chunk: JsonObject, data: bytes) -> bool:
        """Give `chunk` the stream's one id, object, time and model; whether that changed it."""
        if not self._envelope:
            given, created, model = chunk.get("id"), chunk.get("created"), chunk.get("model")
            self._envelope = {
                "id": given if isinstance(given, str) and given else self._form.id,
                "object": "chat.completion.chunk",
                "created": created if isinstance(created, int) else self._form.created,
                "model": model if isinstance(model, str) and model else self._form.model,
            }
            self._chunk_id = self._envelope["id"]
            is_regular = all(chunk.get(key) == value for key, value in self._envelope.items())
            signature = _ID.search(data)
            if is_regular and signature is not None and self._may_skip_parsing:
                self._signature = signature.group()
        is_changed = False
        for key, value in self._envelope.items():
            if chunk.get(key) != value:
                chunk[key] = value
                is_changed = True
        return is_changed

    def _mend_choice(self, choice: Any) -> bool:
        """Make one choice what OpenAI would have sent; whether that changed it."""
        if not isinstance(choice, dict):
            raise UpstreamInvalidResponse("The provider's chunk has a choice that is no object.")
        is_changed = False
        index = choice.get("index")
        if not isinstance(index, int):
            index = choice["index"] = 0
            is_changed = True
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice["delta"] = {}
            is_changed = True
        is_changed = self._mend_role(index, delta) or is_changed
        is_changed = mend_reasoning(delta, self._form.reasoning_names) or is_changed
        if delta.get("tool_calls"):
            is_changed = self._mend_tool_calls(index, delta) or is_changed
        reason = choice.get("finish_reason")
        if reason is not None and not (isinstance(reason, str) and reason):
            reason = choice["finish_reason"] = None
            is_changed = True
        elif "finish_reason" not in choice:
            choice["finish_reason"] = None
            is_changed = True
        if reason == "tool_calls" and not self._tool_ids.get(index):
            choice["finish_reason"] = "stop"
            is_changed = True
        if reason is not None:
            self._finished.add(index)
        has_content = _has_content(delta)
        self.content_frames += has_content
        if reason is not None or has_content:
            self.is_committed = True
        return is_changed

    def _mend_role(self, index: int, delta: JsonObject) -> bool:
        if index not in self._introduced:
            self._introduced.add(index)
            if delta.get("role") == "assistant":
                return False
            delta["role"] = "assistant"
            return True
        if "role" in delta:
            del delta["role"]
            return True
        return False

    def _mend_tool_calls(self, index: int, delta: JsonObject) -> bool:
        """Tool calls counted from 0 without gaps; id, type and name told once."""
        known = self._tool_ids.setdefault(index, [])
        calls = [call for call in delta["tool_calls"] if isinstance(call, dict)]
        is_changed = len(calls) != len(delta["tool_calls"])
        for call in calls:
            is_changed = self._mend_tool_call(known, call) or is_changed
        delta["tool_calls"] = calls
        return is_changed

    def _mend_tool_call(self, known: list[str], call: JsonObject) -> bool:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        given, at = call.get("id"), call.get("index")
        position = at if isinstance(at, int) and 0 <= at < len(known) else None
        is_repeat = position is not None and (not given or given == known[position])
        if position is not None and is_repeat:
            is_changed = any(key in call for key in ("id", "type")) or "name" in function
            call.pop("id", None)
            call.pop("type", None)
            function.pop("name", None)
            return is_changed
        if not given and not function.get("name") and known:
            # Arguments without an index belong to the call that is open.
            call["index"] = len(known) - 1
            self._signature = None
            return True
        if given in known:
            call["index"] = known.index(given)
            return self._mend_tool_call(known, call) or True
        is_changed = at != len(known)
        call["index"] = len(known)
        if not isinstance(given, str) or not given:
            given = call["id"] = random_id("call_", 24)
            is_changed = True
        known.append(given)
        if is_changed:
            self._signature = None
        if call.get("type") is None:
            call["type"] = "function"
            is_changed = True
        if call["type"] == "function" and not isinstance(function.get("arguments"), str):
            call["function"] = {**function, "arguments": _as_arguments(function.get("arguments"))}
            is_changed = True
        return is_changed


def relay_body(data: bytes, form: ReplyForm) -> tuple[bytes, Usage | None]:
    """A complete reply as it arrived, mended where it must be, and its usage.

    Raises: the provider's error when the body tells one; UpstreamInvalidResponse.
    """
    try:
        reply = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise UpstreamInvalidResponse("The provider's reply is not JSON.") from exc
    if not isinstance(reply, dict):
        raise UpstreamInvalidResponse(_NO_CONTENT)
    if reply.get("error"):
        raise error_in_reply(reply["error"])
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UpstreamInvalidResponse(_NO_CONTENT)
    is_changed = False
    defaults = {
        "id": form.id,
        "object": "chat.completion",
        "created": form.created,
        "model": form.model,
    }
    for key, value in defaults.items():
        if not reply.get(key):
            reply[key] = value
            is_changed = True
    for index, choice in enumerate(choices):
        is_changed = _mend_message(choice, index, form) or is_changed
    usage = usage_from_wire(reply.get("usage"))
    return (orjson.dumps(reply) if is_changed else data), usage


def _mend_message(choice: Any, index: int, form: ReplyForm) -> bool:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise UpstreamInvalidResponse(_NO_CONTENT)
    is_changed = mend_reasoning(message, form.reasoning_names)
    for target, key, value in (
        (choice, "index", index),
        (message, "role", "assistant"),
        (message, "content", None),
    ):
        if key not in target:
            target[key] = value
            is_changed = True
    if not choice.get("finish_reason"):
        choice["finish_reason"] = "tool_calls" if message.get("tool_calls") else "stop"
        is_changed = True
    elif choice["finish_reason"] == "tool_calls" and not message.get("tool_calls"):
        choice["finish_reason"] = "stop"
        is_changed = True
    for call in message.get("tool_calls") or ():
        is_changed = _mend_whole_call(call) or is_changed
    return is_changed


def _mend_whole_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or function.get("arguments"):
        return False
    function["arguments"] = "{}"
    return True


def mend_reasoning(holder: JsonObject, names: tuple[str, ...]) -> bool:
    """Put reasoning text under exactly the `names` asked for; whether that changed `holder`."""
    text = holder.get("reasoning_content")
    if text is None:
        text = holder.get("reasoning")
    if not isinstance(text, str):
        return False
    wanted = dict.fromkeys(names, text)
    given = {key: holder[key] for key in ("reasoning", "reasoning_content") if key in holder}
    if given == wanted:
        return False
    for key in given:
        del holder[key]
    holder.update(wanted)
    return True


def _as_arguments(value: object) -> str:
    """Arguments as JSON text; some servers send the object itself."""
    return orjson.dumps(value).decode() if isinstance(value, dict) else ""


def _has_content(delta: JsonObject) -> bool:
    return any(
        delta.get(key)
        for key in (
            "content",
            "tool_calls",
            "refusal",
            "reasoning",
            "reasoning_content",
            "function_call",
            "audio",
        )
    )
