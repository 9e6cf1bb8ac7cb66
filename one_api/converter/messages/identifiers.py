"""Tool names and tool call ids that both sides accept, as pure functions.

The same value always gives the same other one: a conversation that is sent again, with more
turns, still fits together.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

#: OpenAI's bounds; ids longer than that are refused.
MAX_NAME_CHARS = 64
MAX_ID_CHARS = 40

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_IN_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_CLIENT_ID = re.compile(r"[a-zA-Z0-9_-]+")


def name_to_wire(name: str) -> str:
    """`name`, or a shortened form of it with a hash that keeps different names apart."""
    if _NAME.fullmatch(name):
        return name
    return f"{_NOT_IN_NAME.sub('_', name)[: MAX_NAME_CHARS - 9]}_{_digest(name).hex()[:8]}"


def names_from_wire(names: Iterable[str]) -> dict[str, str]:
    """The client's names by wire name, for those that had to change."""
    return {name_to_wire(name): name for name in names if name_to_wire(name) != name}


def call_id_to_wire(client_id: str) -> str:
    """The id of a tool call as an OpenAI-shaped provider accepts it."""
    return client_id if len(client_id) <= MAX_ID_CHARS else f"call_{_digest(client_id).hex()[:32]}"


def call_id_from_wire(wire_id: str) -> str:
    """The id of a tool call as Anthropic's clients know them."""
    if _CLIENT_ID.fullmatch(wire_id):
        return wire_id
    return f"toolu_{base64.b32encode(_digest(wire_id)).decode()[:24]}"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
