"""Streamed tool calls of sloppy providers, mended to OpenAI's form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from one_api.converter import random_id
from one_api.schemas import JsonObject


@dataclass(slots=True)
class CallMender:
    """The tool calls of one choice: counted from 0 without gaps, id, type and name told once."""

    ids: list[str] = field(default_factory=list)
    #: Calls without arguments so far.
    bare: set[int] = field(default_factory=set)
    _names: list[str] = field(default_factory=list)
    #: The provider's index of a call and ours; a provider may use one index for several calls.
    _positions: dict[int, int] = field(default_factory=dict)

    def mend(self, delta: JsonObject) -> bool:
        """Mend the `tool_calls` of one delta in place; whether that changed anything."""
        given = delta["tool_calls"]
        calls = [c for c in given if isinstance(c, dict)] if isinstance(given, list) else []
        is_changed: bool = given != calls
        for call in calls:
            is_changed = self._mend_call(call) or is_changed
            self._note_arguments(call)
        delta["tool_calls"] = calls
        return is_changed

    def owed(self) -> JsonObject | None:
        """A delta with arguments for the calls that got none: their text must be JSON."""
        if not self.bare:
            return None
        calls = [{"index": call, "function": {"arguments": "{}"}} for call in sorted(self.bare)]
        self.bare.clear()
        return {"tool_calls": calls}

    def _note_arguments(self, call: JsonObject) -> None:
        function = call.get("function")
        if isinstance(function, dict) and function.get("arguments"):
            self.bare.discard(call["index"])
        elif call.get("type") == "function":
            self.bare.add(call["index"])

    def _mend_call(self, call: JsonObject) -> bool:
        function = call.get("function")
        if not isinstance(function, dict):
            # Custom tools are not streamed by most providers: what else there is passes as it is.
            function = {}
        position = self._position(call, function)
        if position is None:
            return self._begin(call, function)
        is_changed = call.get("index") != position
        if is_changed:
            call["index"] = position
        for holder, key in ((call, "id"), (call, "type"), (function, "name")):
            if key in holder:
                del holder[key]
                is_changed = True
        return _mend_arguments(call, function) or is_changed

    def _position(self, call: JsonObject, function: JsonObject) -> int | None:
        """Which known call this delta goes on with; None for a new one."""
        given, at, name = call.get("id"), call.get("index"), function.get("name")
        if given and given in self.ids:
            return self.ids.index(given)
        known = self._positions.get(at) if isinstance(at, int) else None
        if not name and self.ids:
            # Arguments alone, maybe under an id made up anew: of the call at this index, or of the
            # one that is open.
            return known if known is not None else len(self.ids) - 1
        if given or known is None:
            return None
        return known if self._names[known] == name else None

    def _begin(self, call: JsonObject, function: JsonObject) -> bool:
        position = len(self.ids)
        given, at = call.get("id"), call.get("index")
        is_changed = at != position
        call["index"] = position
        if not (isinstance(given, str) and given):
            given = call["id"] = random_id("call_", 24)
            is_changed = True
        if call.get("type") is None:
            call["type"] = "function"
            is_changed = True
        self.ids.append(given)
        self._names.append(str(function.get("name") or ""))
        if isinstance(at, int):
            self._positions[at] = position
        if call["type"] != "function":
            return is_changed
        return _mend_arguments(call, function, is_new=True) or is_changed


def _mend_arguments(call: JsonObject, function: JsonObject, *, is_new: bool = False) -> bool:
    """Arguments as a string; some servers send null, or the object itself."""
    arguments: Any = function.get("arguments")
    if isinstance(arguments, str) or (arguments is None and not is_new and not function):
        return False
    text = orjson.dumps(arguments).decode() if isinstance(arguments, dict) else ""
    call["function"] = {**function, "arguments": text}
    return True
