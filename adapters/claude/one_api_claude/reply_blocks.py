"""One content block of a reply, as its stream tells it piece by piece."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from one_api.adapter import JsonObject
from one_api_claude.blocks import tool_input


@dataclass(slots=True)
class ReplyBlock:
    """A content block: how it began, and what its deltas added.

    `number` counts the blocks of its kind in the reply from 0, where that is told to the client.
    """

    begin: Mapping[str, Any]
    number: int = 0
    _added: dict[str, list[str]] = field(default_factory=partial(defaultdict, list))
    citations: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The block's type."""
        kind = self.begin.get("type")
        return kind if isinstance(kind, str) else ""

    @property
    def has_streamed_input(self) -> bool:
        """Whether any of a tool call's input came."""
        return "partial_json" in self._added

    def begin_text(self, name: str) -> str:
        """The text field `name` as the block began with it."""
        value = self.begin.get(name)
        return value if isinstance(value, str) else ""

    def add(self, name: str, delta: Mapping[str, Any]) -> str:
        """Add to the field `name` what a delta brings for it, and give that; maybe nothing."""
        text = delta.get(name)
        if not isinstance(text, str) or not text:
            return ""
        self._added[name].append(text)
        return text

    def cite(self, citation: Mapping[str, Any]) -> None:
        """Keep a citation of the block's text."""
        self.citations.append(citation)

    def to_wire(self) -> JsonObject | None:
        """The whole block as Anthropic takes it back; None for one it would refuse."""
        block = dict(self.begin)
        for name in ("text", "thinking", "signature"):
            if name in self._added:
                block[name] = self.begin_text(name) + "".join(self._added[name])
        if self.has_streamed_input:
            block["input"] = tool_input("".join(self._added["partial_json"]))
        if self.citations:
            block["citations"] = self.citations
        elif self.kind == "text":
            block.pop("citations", None)
        is_blank = self.kind == "text" and not block.get("text", "").strip()
        return None if is_blank else block
