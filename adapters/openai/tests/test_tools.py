"""Tools of a chat as tools of a response."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.openai.tests.bodies import FLAT, FUNCTION, sent


def test_functions_are_strict_only_when_told() -> None:
    """Here they are unless told otherwise, in a chat it is the other way round."""
    bare = {"type": "function", "function": {"name": "ping", "parameters": None}}
    assert [
        {
            "type": "function",
            "name": "ping",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        }
    ] == sent(tools=[bare])["tools"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        pytest.param("none", "none", id="none"),
        pytest.param("auto", "auto", id="auto"),
        pytest.param("required", "required", id="required"),
        pytest.param(
            {"type": "function", "function": {"name": "f"}},
            {"type": "function", "name": "f"},
            id="function",
        ),
        pytest.param(
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "x"}],
                },
            },
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "f"}, {"type": "x"}],
            },
            id="allowed",
        ),
    ],
)
def test_tool_choice_is_flat(choice: Any, expected: Any) -> None:
    assert expected == sent(tool_choice=choice)["tool_choice"]


@pytest.mark.parametrize(
    ("given", "expected"), [("auto", "auto"), ({"name": "f"}, {"type": "function", "name": "f"})]
)
def test_legacy_functions_are_tools_called_one_at_a_time(given: Any, expected: Any) -> None:
    body = sent(tools=None, functions=[FUNCTION], function_call=given)
    assert ([FLAT], expected, False) == (
        body["tools"],
        body["tool_choice"],
        body["parallel_tool_calls"],
    )
