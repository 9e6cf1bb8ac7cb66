"""Legacy text completions: an optional ability of adapters, and OpenAI's format of them as events.

Where an adapter has it not, a request is asked as a chat as far as that is the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import orjson

from one_api.adapter.http_errors import error_from_reply, error_from_status
from one_api.adapter.sse import SSEDecoder
from one_api.converter import usage_from_wire
from one_api.errors import GatewayError, UpstreamError, UpstreamInvalidResponse
from one_api.events import Event, Finish, FinishReason, KeepAlive, Start, TextDelta, UsageReport

if TYPE_CHECKING:
    from one_api.adapter.base import Call
    from one_api.schemas.completions import CompletionRequest

_REASONS = ("stop", "length", "content_filter")


@runtime_checkable
class SupportsCompletions(Protocol):
    """An adapter that continues a raw prompt, without a chat's roles and template."""

    def completes(self, model_id: str) -> bool:
        """Whether `model_id` is asked so; else the request is asked as a chat."""

    def complete(self, request: CompletionRequest, call: Call) -> AsyncIterator[Event]:
        """Continue the prompts of `request`, as `generate_completion` answers a chat.

        Only `Start`, `TextDelta`, `Finish`, `UsageReport` and `KeepAlive` are yielded. `choice` is
        the number of the prompt times `n`, plus the number of its completion. `logprobs` have the
        endpoint's own shape: `tokens`, `token_logprobs`, `top_logprobs` and `text_offset`.
        Raises: UnsupportedParameter for what cannot be honoured; any other GatewayError.
        """


class CompletionParser:
    """Reads replies in OpenAI's format of text completions, streamed or not."""

    def __init__(self, *, is_stream: bool) -> None:
        self._decoder = SSEDecoder() if is_stream else None
        self._body = bytearray()
        self._has_started = False

    def feed(self, data: bytes) -> Iterable[Event]:
        """The events that `data` completes; it may be cut anywhere.

        Raises: the provider's error when it tells one; UpstreamInvalidResponse.
        """
        if self._decoder is None:
            self._body += data
            return
        for event in self._decoder.feed(data):
            if event.event == ":":
                yield KeepAlive()
            elif event.data and event.data != b"[DONE]":
                yield from self._read(event.data)

    def close(self) -> Iterable[Event]:
        """The events still owed at the end of the body.

        Raises: as `feed`.
        """
        if self._decoder is None:
            yield from self._read(bytes(self._body))

    def _read(self, data: bytes) -> Iterator[Event]:
        try:
            reply = orjson.loads(data)
        except orjson.JSONDecodeError as exc:
            raise UpstreamInvalidResponse("The provider's reply is not JSON.") from exc
        if not isinstance(reply, dict):
            raise UpstreamInvalidResponse("The provider's reply holds no text completion.")
        if reply.get("error"):
            raise _told_error(reply["error"], data)
        if not self._has_started:
            self._has_started = True
            yield Start(
                id=_text(reply.get("id")), system_fingerprint=_text(reply.get("system_fingerprint"))
            )
        for choice in reply.get("choices") or ():
            yield from _choice_events(choice)
        usage = usage_from_wire(reply.get("usage"))
        if usage is not None:
            yield UsageReport(usage)


def _choice_events(choice: Any) -> Iterator[Event]:
    text = choice.get("text") if isinstance(choice, dict) else None
    if not isinstance(text, str | None) or not isinstance(choice, dict):
        raise UpstreamInvalidResponse("The provider's reply holds no text completion.")
    index, logprobs = choice.get("index") or 0, choice.get("logprobs")
    if not isinstance(index, int):
        raise UpstreamInvalidResponse("The provider's choices are not numbered.")
    told = logprobs if isinstance(logprobs, Mapping) else None
    if text or told is not None:
        yield TextDelta(text or "", index, told)
    reason = choice.get("finish_reason")
    if isinstance(reason, str) and reason:
        yield Finish(cast("FinishReason", reason if reason in _REASONS else "stop"), index)


def _told_error(error: object, data: bytes) -> GatewayError:
    """An error inside a reply of status 200; a status is in it where its code is one."""
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and 400 <= code < 600:
        return error_from_reply(code, {}, data)
    message = error.get("message") if isinstance(error, dict) else error
    text = message if isinstance(message, str) and message else "The provider reported an error."
    kind = error.get("type") if isinstance(error, dict) else None
    if kind == "invalid_request_error":
        return error_from_status(400, text, code=_text(code))
    return UpstreamError(text, code=_text(code))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
