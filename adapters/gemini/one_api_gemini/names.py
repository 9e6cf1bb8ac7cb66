"""Names of functions that Google accepts, as pure functions of the client's.

The documented rules differ in how many characters and which punctuation they allow; what is sent
satisfies all of them.
Source: `FunctionDeclaration.name` of google-genai 3.4.0 (2026-11) and of the API reference of
2025.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from one_api.adapter import ChatCompletionRequest

MAX_NAME_CHARS: Final = 64

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_-]")


def name_to_wire(name: str) -> str:
    """`name`, or a changed form of it with a hash that keeps different names apart."""
    if _NAME.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"_{_NOT_IN_NAME.sub('_', name)[: MAX_NAME_CHARS - 10]}_{digest}"


def names_from_wire(request: ChatCompletionRequest) -> dict[str, str]:
    """The client's names by wire name, for the tools of `request` whose name had to change."""
    names = [tool["function"]["name"] for tool in request.tools or () if tool["type"] == "function"]
    return {name_to_wire(name): name for name in names if name_to_wire(name) != name}
