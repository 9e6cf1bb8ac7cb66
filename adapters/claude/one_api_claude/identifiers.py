"""Tool names and tool call ids that Anthropic accepts, as pure functions of the client's.

The same client value always gives the same wire value, so a conversation that is sent again with
more turns keeps its beginning byte for byte.
"""

from __future__ import annotations

import base64
import hashlib
import re

from one_api.adapter import ChatCompletionRequest

MAX_NAME_CHARS = 64

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NOT_IN_NAME = re.compile(r"[^a-zA-Z0-9_-]")


def name_to_wire(name: str) -> str:
    """`name`, or a shortened form of it with a hash that keeps different names apart."""
    if _NAME.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_NOT_IN_NAME.sub('_', name)[: MAX_NAME_CHARS - 9]}_{digest}"


def names_from_wire(request: ChatCompletionRequest) -> dict[str, str]:
    """The client's names by wire name, for the tools of `request` whose name had to change."""
    names = [tool["function"]["name"] for tool in request.tools or () if tool["type"] == "function"]
    names += [function["name"] for function in request.functions or ()]
    return {name_to_wire(name): name for name in names if name_to_wire(name) != name}


class CallIds:
    """Gives every tool call of a conversation an id that is valid and not used twice.

    Clients repeat ids across turns (`call_0` each time); Anthropic refuses that.
    """

    def __init__(self) -> None:
        self._uses: dict[str, int] = {}
        self._functions = 0

    def assign(self, client_id: str) -> str:
        """The wire id of the next call that the client names `client_id`."""
        base = client_id if _ID.fullmatch(client_id) else _hashed(client_id)
        wire_id = base
        while wire_id in self._uses:
            self._uses[base] += 1
            wire_id = f"{base}_{self._uses[base]}"
        self._uses[wire_id] = 1
        return wire_id

    def assign_function(self) -> str:
        """The wire id of the next legacy function call: those have none."""
        self._functions += 1
        return self.assign(f"call_fn_{self._functions - 1}")


def _hashed(client_id: str) -> str:
    digest = hashlib.sha256(client_id.encode("utf-8", "surrogatepass")).digest()
    return f"toolu_{base64.b32encode(digest).decode()[:24]}"
