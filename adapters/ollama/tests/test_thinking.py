from __future__ import annotations

from typing import Any

import pytest

from adapters.ollama.tests.scripted import as_json, as_lines, chunk, connect, last
from one_api.adapter import Call, ChatCompletionRequest, ModelNotFound, UnsupportedParameter
from one_api_ollama.thinking import ThinkValues, think_to_wire, values_from_wire

SWITCH = (True, False)
LEVELS = ("low", "medium", "high")
#: A value that is never sent.
NOTHING = None


def asked(**fields: Any) -> ChatCompletionRequest:
    messages = [{"role": "user", "content": "Hi"}]
    return ChatCompletionRequest.from_wire({"model": "m", "messages": messages, **fields})


@pytest.mark.parametrize(
    ("values", "effort", "think"),
    [
        (SWITCH, "none", False),
        (SWITCH, "minimal", True),
        (SWITCH, "high", True),
        (LEVELS, "none", "low"),
        (LEVELS, "minimal", "low"),
        (LEVELS, "low", "low"),
        (LEVELS, "medium", "medium"),
        (LEVELS, "high", "high"),
        (LEVELS, "xhigh", "high"),
        (LEVELS, "max", "high"),
        ((False, "high", "max"), "none", False),
        ((False, "high", "max"), "low", "high"),
        ((False, "high", "max"), "xhigh", "high"),
        ((False, "high", "max"), "max", "max"),
        ((True, False, "verbose"), "high", True),
        ((), "none", NOTHING),
        ((False,), "none", NOTHING),
    ],
    ids=str,
)
def test_an_effort_is_the_nearest_value_that_the_model_takes(
    values: ThinkValues, effort: str, think: object
) -> None:
    call = Call(model="m")

    assert think == think_to_wire(asked(reasoning_effort=effort), call, values)
    assert [] == call.dropped


@pytest.mark.parametrize(
    ("values", "effort"),
    [((), "high"), ((False,), "low"), ((True,), "none"), (("verbose",), "high")],
    ids=str,
)
def test_an_effort_without_effect_is_told_or_refused(values: ThinkValues, effort: str) -> None:
    call = Call(model="m")

    assert think_to_wire(asked(reasoning_effort=effort), call, values) is None
    assert ["reasoning_effort"] == call.dropped
    with pytest.raises(UnsupportedParameter) as caught:
        think_to_wire(asked(reasoning_effort=effort), Call(model="m", strict_params=True), values)
    assert "reasoning_effort" == caught.value.param


@pytest.mark.parametrize(
    ("shown", "values"),
    [
        ({"thinking": {"values": ["low", "high"], "default": "low"}}, ("low", "high")),
        ({"thinking": {"values": [True, False, 3]}, "capabilities": []}, SWITCH),
        ({"thinking": {"values": [False]}, "capabilities": ["thinking"]}, (False,)),
        ({"capabilities": ["completion", "thinking"]}, SWITCH),
        ({"capabilities": ["completion", "tools"]}, ()),
        ({"thinking": None}, ()),
        ({}, ()),
    ],
    ids=str,
)
def test_values_are_read_from_what_the_server_shows(
    shown: dict[str, Any], values: ThinkValues
) -> None:
    assert values == values_from_wire(shown)


async def test_a_model_is_asked_once_and_only_for_an_effort() -> None:
    answer = as_lines(chunk(content="Hi"), last())
    adapter, script = connect(
        answer, as_json({"thinking": {"values": LEVELS}}), answer, answer, OLLAMA_KEEP_ALIVE="5m"
    )
    for effort in (None, "low", "high"):
        events = adapter.generate_completion(asked(reasoning_effort=effort), Call(model="m"))
        assert [event async for event in events]

    bodies = [body for path, body in script.asked if path == "/api/chat"]
    assert [None, "low", "high"] == [body and body.get("think") for body in bodies]
    assert [("/api/show", {"model": "m"})] == [
        (path, body) for path, body in script.asked if path != "/api/chat"
    ]


async def test_a_new_list_of_models_makes_what_was_known_old() -> None:
    answer = as_lines(chunk(content="Hi"), last())
    adapter, script = connect(
        as_json({"thinking": {"values": LEVELS}}),
        answer,
        as_json({"models": []}),
        as_json({"thinking": {"values": SWITCH}}),
        answer,
    )
    ask = asked(reasoning_effort="low")
    assert [event async for event in adapter.generate_completion(ask, Call(model="m"))]
    assert [] == await adapter.list_models()
    assert [event async for event in adapter.generate_completion(ask, Call(model="m"))]

    bodies = [body for path, body in script.asked if path == "/api/chat"]
    assert ["low", True] == [body and body["think"] for body in bodies]


async def test_a_model_that_is_not_there_is_told_as_such() -> None:
    adapter, script = connect(as_json({"error": "model 'm' not found"}, 404))

    with pytest.raises(ModelNotFound, match="model 'm' not found"):
        await anext(adapter.generate_completion(asked(reasoning_effort="low"), Call(model="m")))
    assert ["/api/show"] == [path for path, _ in script.asked]
