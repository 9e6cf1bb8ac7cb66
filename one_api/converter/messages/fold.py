"""Events in, one complete message out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from typing_extensions import override

from one_api.converter.dialect import Fold
from one_api.converter.messages.content import MessageContent
from one_api.converter.messages.form import message_to_wire, stop_to_wire
from one_api.events import Event, Usage, UsageReport

if TYPE_CHECKING:
    from one_api.converter.form import ReplyForm
    from one_api.schemas import JsonObject


class MessageFold(Fold):
    """Folds events into one `message`."""

    def __init__(self, form: ReplyForm, names: Mapping[str, str]) -> None:
        self._form = form
        self._content = MessageContent(names)
        self.usage: Usage | None = None

    @property
    @override
    def texts(self) -> list[str]:
        return self._content.texts

    @override
    def write(self, event: Event) -> None:
        if isinstance(event, UsageReport):
            self.usage = event.usage
        else:
            self._content.take(event)

    @override
    def close(self) -> JsonObject:
        ending = self._content.ending()
        # Clients expect at least one block.
        blocks = [block.to_wire() for block in self._content.blocks] or [_NOTHING]
        usage = self.usage or Usage(prompt_tokens=0, completion_tokens=0)
        return {**message_to_wire(self._form, blocks, usage), **ending}


def empty_message(form: ReplyForm) -> JsonObject:
    """The reply to who asks for no tokens at all."""
    nothing = Usage(prompt_tokens=0, completion_tokens=0)
    return {**message_to_wire(form, [], nothing), **stop_to_wire("max_tokens")}


_NOTHING: JsonObject = {"type": "text", "text": ""}
