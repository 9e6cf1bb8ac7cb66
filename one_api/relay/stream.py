"""Streams of chunks in OpenAI's own format.

A frame is parsed unless it is known for one more piece of text (`template`). Frames that need no
mending leave as the bytes they were.
"""

from __future__ import annotations

from typing import Any

import orjson

from one_api.adapter.sse import MAX_EVENT_BYTES, SSEDecoder
from one_api.converter import DONE, ReplyForm, frame, usage_from_wire, usage_to_wire
from one_api.errors import GatewayError, UpstreamDisconnected, UpstreamInvalidResponse
from one_api.events import Usage
from one_api.relay.calls import CallMender
from one_api.relay.fields import (
    NO_CONTENT,
    error_in_event,
    error_in_reply,
    mend_reasoning,
    mended_json,
    tells_error,
    tells_exactly,
)
from one_api.relay.template import FrameTemplate
from one_api.schemas import JsonObject


class StreamRelay:
    """Passes one provider's stream of chunks on.

    Call `feed` for each read, then `close` once. Until `is_committed` both the bytes given and the
    client's patience belong to the gateway: an error may still become an HTTP status.
    """

    def __init__(self, form: ReplyForm) -> None:
        self._form = form
        self._decoder = SSEDecoder()
        self._tail = b""
        self._template: FrameTemplate | None = None
        self._is_plain = False  # the last frame brought one piece of text, and left as it came
        self._envelope: JsonObject = {}
        self._introduced: set[int] = set()
        self._finished: set[int] = set()
        self._calls: dict[int, CallMender] = {}
        self._usage_frame = b""
        self._error: GatewayError | None = None
        self.usage: Usage | None = None
        self.is_committed = False
        #: Whether a choice has finished, or all is said: how long the rest may take is another
        #: matter then.
        self.is_ending = False
        self.is_done = False
        #: Frames that were no chunks, and were left out.
        self.malformed = 0
        #: Frames with content so far: about as many tokens, for a provider that tells no usage.
        self.content_frames = 0

    def feed(self, data: bytes) -> bytes:
        """What `data` lets us send on.

        Raises: the provider's error when it tells one; UpstreamInvalidResponse.
        """
        known = self._template
        if known is not None and not self._tail and known.fits(data):
            self.content_frames += 1
            return data
        if self._tail:
            data = self._tail + data
        cut = data.rfind(b"\n\n") + 2
        if cut == 1 or b"\r" in data:
            return self._feed_unusual(data)
        whole, self._tail = (data, b"") if cut == len(data) else (data[:cut], data[cut:])
        return self._advance(whole)

    def _mended(self, data: bytes) -> bytes:
        """What frames come to, that all must be looked at."""
        out: list[bytes] = []
        try:
            self._rewrite(data, out)
        except GatewayError as exc:
            self._keep(exc, out)
        return b"".join(out)

    def _keep(self, error: GatewayError, told: list[bytes]) -> None:
        """Let `error` wait for the end of the stream where the same read has content before it."""
        if not (self.is_committed and any(told)):
            raise error
        self._error, self.is_done, self.is_ending = error, True, True

    def _advance(self, whole: bytes) -> bytes:
        """What whole frames let us send on: those that bring only text as they are."""
        known = self._template
        frames, at = known.row(whole) if known is not None else (0, 0)
        self.content_frames += frames
        if at == len(whole):
            return whole
        out, last = [whole[:at]], len(whole) - 2
        try:
            while at <= last:
                end = whole.find(b"\n\n", at, last)
                end = (last if end < 0 else end) + 2
                self._pass_frame(whole[at:end], out)
                at = end
                if known is None and self._template is not None:
                    # Once for each read: to look at what is left of it after each of its frames
                    # would take time that grows with the square of them.
                    known = self._template
                    frames, size = known.row(whole[at:])
                    self.content_frames += frames
                    out.append(whole[at : at + size])
                    at += size
        except GatewayError as exc:
            self._keep(exc, out)
        return b"".join(out)

    def _pass_frame(self, as_it_came: bytes, out: list[bytes]) -> None:
        if self._template is not None and self._template.fits(as_it_came):
            self.content_frames += 1
            out.append(as_it_came)
            return
        self._rewrite(as_it_came, out)
        if self._is_plain and self.is_committed and out[-1] == as_it_came:
            self._template = FrameTemplate.of(as_it_came)

    def has_finished(self, choices: int) -> bool:
        """Whether `choices` choices, and all that began, have a finish reason.

        Usage may still follow, and `[DONE]`; some providers send neither, and keep the connection.
        """
        return len(self._finished) >= choices and self._introduced <= self._finished

    def close(self) -> bytes:
        """The end of the stream: usage where it was asked for, and `[DONE]`.

        Raises: the error that a committed stream told; UpstreamDisconnected when the stream was
        cut, UpstreamInvalidResponse when it held nothing.
        """
        if self._error is not None:
            raise self._error
        owed: list[bytes] = []
        self._rewrite(self._tail + b"\n\n", owed)
        out = b"".join(owed)
        if not self._introduced:
            raise UpstreamInvalidResponse(NO_CONTENT)
        for choice in sorted(self._introduced - self._finished):
            if not self.is_done:
                raise UpstreamDisconnected("The provider's reply ended before it was complete.")
            # `[DONE]` without a finish reason: the provider says the answer is complete.
            reason = "tool_calls" if choice in self._calls else "stop"
            out += self._owed_arguments(choice)
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
            return self._mended(data)
        if len(data) > MAX_EVENT_BYTES:
            raise UpstreamInvalidResponse("The provider's stream has an oversized event.")
        self._tail = data
        return b""

    def _rewrite(self, data: bytes, out: list[bytes]) -> None:
        """Put what the frames in `data` come to into `out`."""
        self._is_plain = False
        for event in self._decoder.feed(data):
            if event.event == ":":
                continue
            if event.event == "error":
                raise error_in_event(event.data)
            if event.data == b"[DONE]":
                self.is_done = self.is_ending = True
                continue
            out.append(self._take(event.data))

    def _take(self, data: bytes) -> bytes:
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            self.malformed += 1
            return b""
        if not isinstance(chunk, dict):
            self.malformed += 1
            return b""
        if tells_error(chunk):
            raise error_in_reply(chunk)
        usage = usage_from_wire(chunk.get("usage"))
        if usage is not None:
            self.usage, self._usage_frame = usage, b""
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            self._keep_usage_frame(chunk, data)
            return b""
        is_changed = self._mend_envelope(chunk)
        if usage is not None:
            chunk["usage"] = None
            is_changed = True
        owed = b""
        for choice in choices:
            is_changed = self._mend_choice(choice) or is_changed
            if choice["finish_reason"] not in (None, "length", "content_filter"):
                owed += self._owed_arguments(choice["index"])
        self._is_plain = not is_changed and _is_one_string(choices)
        return owed + b"data: " + (mended_json(chunk) if is_changed else data) + b"\n\n"

    def _keep_usage_frame(self, chunk: JsonObject, data: bytes) -> None:
        """Keep a chunk of nothing but usage for the end, where it may leave as it came."""
        told = chunk.get("usage")
        if self.usage is None or not isinstance(told, dict) or chunk.get("choices") != []:
            return
        is_ours = bool(self._envelope) and self._envelope.items() <= chunk.items()
        if is_ours and tells_exactly(told, self.usage):
            self._usage_frame = b"data: " + data + b"\n\n"

    def _mend_envelope(self, chunk: JsonObject) -> bool:
        """Give `chunk` the stream's one id, object, time and model; whether that changed it."""
        if not self._envelope:
            given, created, model = chunk.get("id"), chunk.get("created"), chunk.get("model")
            self._envelope = {
                "id": given if isinstance(given, str) and given else self._form.id,
                "object": "chat.completion.chunk",
                "created": created if isinstance(created, int) else self._form.created,
                "model": model if isinstance(model, str) and model else self._form.model,
            }
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
            calls = self._calls.setdefault(index, CallMender())
            is_changed = calls.mend(delta) or is_changed
        is_changed = self._mend_reason(index, choice) or is_changed
        reason = choice["finish_reason"]
        if reason is not None:
            self._finished.add(index)
            self.is_ending = True
        has_content = _has_content(delta)
        self.content_frames += has_content
        if reason is not None or has_content:
            self.is_committed = True
        return is_changed

    def _mend_reason(self, index: int, choice: JsonObject) -> bool:
        """A finish reason or null; a turn without a tool call did not end in one."""
        given = choice.get("finish_reason", "")
        reason = given if isinstance(given, str) and given else None
        if reason == "tool_calls" and index not in self._calls:
            reason = "stop"
        choice["finish_reason"] = reason
        return bool(given != reason)

    def _owed_arguments(self, choice: int) -> bytes:
        """A frame with arguments for the calls of `choice` that got none."""
        calls = self._calls.get(choice)
        owed = calls.owed() if calls else None
        if owed is None:
            return b""
        last = {"index": choice, "delta": owed, "logprobs": None, "finish_reason": None}
        return frame({**self._envelope, "choices": [last]})

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


def _is_one_string(choices: list[JsonObject]) -> bool:
    """Whether a mended chunk brings one more piece of text or of known arguments, and no more."""
    if len(choices) != 1 or choices[0]["finish_reason"] is not None:
        return False
    delta = choices[0]["delta"]
    if delta.keys() == {"content"}:
        return isinstance(delta["content"], str)
    calls = delta.get("tool_calls")
    return (
        delta.keys() == {"tool_calls"}
        and len(calls) == 1
        and calls[0].keys() == {"index", "function"}
        and calls[0]["function"].keys() == {"arguments"}
    )


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
