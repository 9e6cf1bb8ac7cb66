"""Messages that a provider itself speaks, passed on: what little is touched on their way.

Of a request, the model's name, and thinking that this gateway signed: its signature means nothing
to the provider. Of a stream, nothing; only a cut one is told apart from a complete one.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from one_api.converter.messages.thinking import SIGNATURE_PREFIX, is_ours
from one_api.errors import InvalidRequest, UpstreamDisconnected
from one_api.schemas import JsonObject

#: Bytes of one event that are held back at most, waiting for its end.
MAX_EVENT_BYTES = 4 * 1024 * 1024

_LAST_EVENT = re.compile(rb"(?:^|[\r\n])event: ?(?:message_stop|error)[ \t]*[\r\n]")
_BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\r\r")


def body_to_wire(raw: bytes, body: JsonObject, model: str) -> bytes:
    """`raw`, of which `body` was read, for a provider that calls the model `model`.

    Raises: InvalidRequest for what is nested too deeply to be written again.
    """
    is_signed_here = SIGNATURE_PREFIX.encode() in raw
    if body.get("model") == model and not is_signed_here:
        return raw
    changed = {**body, "model": model}
    if is_signed_here and isinstance(body.get("messages"), list):
        cleaned = [_without_our_thinking(message) for message in body["messages"]]
        changed["messages"] = [message for message in cleaned if message is not None]
    try:
        return orjson.dumps(changed)
    except orjson.JSONEncodeError as exc:
        raise InvalidRequest("The request body is nested too deeply.") from exc


def _without_our_thinking(message: Any) -> Any:
    """`message` without the blocks we signed; None when nothing else was in it."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return message
    kept = [block for block in content if not (isinstance(block, dict) and is_ours(block))]
    if len(kept) == len(content):
        return message
    return {**message, "content": kept} if kept else None


class MessageStreamRelay:
    """Passes a provider's stream on in whole events: `feed` each read, then `close` once."""

    def __init__(self) -> None:
        self._held = b""
        self._is_complete = False

    def feed(self, data: bytes) -> bytes:
        """The events that `data` completes, as they came."""
        data = self._held + data
        cut = max(data.rfind(blank) + len(blank) if blank in data else 0 for blank in _BLANK_LINES)
        if len(data) - cut > MAX_EVENT_BYTES:
            cut = len(data)
        whole, self._held = data[:cut], data[cut:]
        if _LAST_EVENT.search(whole):
            self._is_complete = True
        return whole

    def close(self) -> bytes:
        """What is left when the provider ended its body.

        Raises: UpstreamDisconnected when the stream was not complete; what is left is an event
        without its end then.
        """
        if not self._is_complete and not _LAST_EVENT.search(self._held):
            raise UpstreamDisconnected("The provider's reply ended before it was complete.")
        return self._held

    @property
    def is_complete(self) -> bool:
        """Whether the stream's last event was passed on."""
        return self._is_complete
