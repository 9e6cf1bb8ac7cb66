"""OpenAI's Responses format: requests read as chat requests, events rendered as responses."""

from __future__ import annotations

from one_api.converter.responses.builder import error_event
from one_api.converter.responses.dialect import ResponsesDialect, named_frame
from one_api.converter.responses.envelope import Envelope
from one_api.converter.responses.relayed import RelayedStream
from one_api.converter.responses.request import ChatTranslation, chat_request

__all__ = [
    "ChatTranslation",
    "Envelope",
    "RelayedStream",
    "ResponsesDialect",
    "chat_request",
    "error_event",
    "named_frame",
]
