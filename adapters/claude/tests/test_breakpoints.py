"""Cache breakpoints: how long each lasts, and which ones are kept."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.claude.tests.wires import CALLED, IMAGE, SYSTEM, image, to_wire, tool
from one_api.adapter import JsonObject
from one_api_claude import ClaudeAdapter


def marked(value: str, **mark: Any) -> JsonObject:
    return {"type": "text", "text": value, **mark}


EXPLICIT = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}
HOUR = {"type": "ephemeral", "ttl": "1h"}
MINUTES = {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("marks", "written"),
    [
        pytest.param([EXPLICIT], [HOUR], id="P25-one"),
        pytest.param([EXPLICIT] * 6, [None, None, *[HOUR] * 4], id="P25-six"),
        pytest.param(
            [{"prompt_cache_breakpoint": {"mode": "explicit"}}], [HOUR], id="default-is-30-minutes"
        ),
        pytest.param(
            [{"cache_control": HOUR}, {"cache_control": MINUTES}, {"cache_control": HOUR}],
            [HOUR, MINUTES, MINUTES],
            id="none-outlives-an-earlier-one",
        ),
        pytest.param([{"cache_control": "yes"}, {"cache_control": {}}], [None, None], id="noise"),
    ],
)
def test_breakpoints(
    adapter: ClaudeAdapter, marks: list[JsonObject], written: list[JsonObject | None]
) -> None:
    parts = [marked(f"t{index}", **mark) for index, mark in enumerate(marks)]
    wire, _, _ = to_wire(adapter, {"messages": [{"role": "user", "content": parts}]})
    content = wire["messages"][0]["content"]
    assert written == [block.get("cache_control") for block in content]


def test_breakpoints_count_over_tools_system_and_messages(adapter: ClaudeAdapter) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    body = {
        "tools": [{**tool(), **mark}],
        "messages": [
            {**SYSTEM, **mark},
            {"role": "user", "content": [{**image(IMAGE), **mark}]},
            CALLED,
            {"role": "tool", "tool_call_id": "c1", "content": [marked("r", **mark)]},
            {"role": "user", "content": "y", **mark},
        ],
    }
    wire, _, _ = to_wire(adapter, body)
    assert "cache_control" not in wire["tools"][0]
    assert wire["system"][0]["cache_control"] == MINUTES
    assert orjson.dumps(wire).count(b"cache_control") == 4
