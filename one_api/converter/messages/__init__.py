"""Anthropic's Messages: requests in, and replies in their format out, for any provider.

`chat_request` turns a request into a chat request; `MessagesDialect` renders the events of the
reply. A provider that speaks the format itself is passed on by `body_to_wire` and
`MessageStreamRelay`.
"""

from __future__ import annotations

from one_api.converter.messages.dialect import MessagesDialect
from one_api.converter.messages.errors import (
    ERROR_PREFIX,
    error_event,
    error_to_wire,
    status_of,
)
from one_api.converter.messages.fold import empty_message
from one_api.converter.messages.form import PING
from one_api.converter.messages.parse import Translation, chat_request
from one_api.converter.messages.relay import MessageStreamRelay, body_to_wire
from one_api.converter.messages.stream import empty_stream

__all__ = [
    "ERROR_PREFIX",
    "PING",
    "MessageStreamRelay",
    "MessagesDialect",
    "Translation",
    "body_to_wire",
    "chat_request",
    "empty_message",
    "empty_stream",
    "error_event",
    "error_to_wire",
    "status_of",
]
