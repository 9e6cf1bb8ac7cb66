"""Anthropic's Messages as a dialect of the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from typing_extensions import override

from one_api.converter.dialect import Dialect
from one_api.converter.messages.errors import error_event
from one_api.converter.messages.fold import MessageFold
from one_api.converter.messages.stream import MessageWriter

if TYPE_CHECKING:
    from one_api.converter.form import ReplyForm
    from one_api.errors import GatewayError


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesDialect(Dialect):
    """How one request is answered.

    `names` gives the client's names of tools by the names that were sent for them;
    `prompt_tokens` is what a stream says of the prompt before the provider counts it.
    """

    request_id: str
    names: Mapping[str, str] = field(default_factory=dict)
    prompt_tokens: int = 0

    @property
    @override
    def relays(self) -> bool:
        return False

    @override
    def stream_writer(self, form: ReplyForm) -> MessageWriter:
        return MessageWriter(form, self.names, self.prompt_tokens)

    @override
    def fold(self, form: ReplyForm) -> MessageFold:
        return MessageFold(form, self.names)

    @override
    def error_frame(self, error: GatewayError) -> bytes:
        return error_event(error, self.request_id)
