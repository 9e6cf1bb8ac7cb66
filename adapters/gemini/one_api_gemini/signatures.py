"""Thought signatures on their way through a client that knows nothing of them.

Google signs its thoughts on the part that came of them: a call, a text, or the thought itself.
The signature must come back on that same part, so a client gets it as the `signature` of a
thinking block that also says which part it belongs to. The prefix marks it as none of any other
provider's.
Source: ai.google.dev, "Thought signatures", stored copy of 2026-09-04.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

#: Begins with what adapters take for a signature of the gateway's, not of their provider's.
PREFIX: Final = "one_api.v1.gemini."

#: What the documentation names for calls that the model did not make itself.
UNSIGNED_CALL: Final = "skip_thought_signature_validator"

_FORM = re.compile(r"one_api\.v1\.gemini\.(?:(text|thought)|call\.(\d{1,4}))\.([A-Za-z0-9+/_=-]+)")


def call_signature(number: int, signature: str) -> str:
    """The signature of a reply's call `number`, as a client gets it."""
    return f"{PREFIX}call.{number}.{signature}"


def text_signature(signature: str) -> str:
    """The signature of a reply's text, as a client gets it."""
    return f"{PREFIX}text.{signature}"


def thought_signature(signature: str) -> str:
    """The signature of a thought, as a client gets it."""
    return f"{PREFIX}thought.{signature}"


@dataclass(slots=True)
class Signatures:
    """The signatures that an assistant message brings back: `calls` by number, `thoughts` with
    their text.
    """

    text: str | None = None
    calls: dict[int, str] = field(default_factory=dict)
    thoughts: list[tuple[str, str]] = field(default_factory=list)


def signatures_of(message: Mapping[str, Any]) -> Signatures:
    """The signatures in the thinking blocks of an assistant message; others' are left out."""
    found = Signatures()
    blocks = message.get("thinking_blocks")
    for block in blocks if isinstance(blocks, list) else ():
        given = block.get("signature") if isinstance(block, Mapping) else None
        form = _FORM.fullmatch(given) if isinstance(given, str) else None
        if form is None:
            continue
        kind, number, signature = form.groups()
        if number is not None:
            found.calls[int(number)] = signature
        elif kind == "text":
            found.text = signature
        else:
            thinking = block.get("thinking")
            found.thoughts.append((thinking if isinstance(thinking, str) else "", signature))
    return found
