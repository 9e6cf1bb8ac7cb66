"""Writes conversations out as the model reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from corpus import Conversation
from jinja2.sandbox import ImmutableSandboxedEnvironment

TURN_BEGIN: Final = "<|im_start|>"
TURN_END: Final = "<|im_end|>"
#: What opens each of the assistant's turns.
ASSISTANT: Final = f"{TURN_BEGIN}assistant\n"
_TEMPLATE: Final = Path(__file__).with_name("chat_template.jinja")


class Renderer:
    """Conversations as text, by the template that goes into the model's file."""

    def __init__(self) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        self.source = _TEMPLATE.read_text("utf-8")
        self._template = environment.from_string(self.source)

    def render(self, conversation: Conversation) -> str:
        """The whole conversation, up to the end of its last turn."""
        text = self._template.render(messages=conversation.messages, tools=conversation.tools)
        return text.rstrip("\n")

    def split(self, conversation: Conversation) -> tuple[str, str]:
        """The prompt for the last turn, and the answer that is expected."""
        prompt, _, answer = self.render(conversation).rpartition(ASSISTANT)
        return prompt + ASSISTANT, answer.removesuffix(TURN_END)
