"""What a response has no place for: dropped and told, or refused."""

from __future__ import annotations

import pytest

from adapters.openai.tests.bodies import QUESTION, TOOL, sent
from one_api.adapter import Call, JsonObject, UnsupportedParameter

TUNING: JsonObject = {
    "frequency_penalty": 1,
    "logit_bias": {"5": 1},
    "prediction": {"type": "content", "content": "p"},
    "presence_penalty": 1,
    "seed": 0,
    "store": True,
}
SHAPING: JsonObject = {
    "audio": {"format": "wav", "voice": "alloy"},
    "logprobs": True,
    "n": 2,
    "stop": ["."],
    "web_search_options": {},
}


def test_what_only_tunes_is_dropped_and_told() -> None:
    call = Call(model="gpt-5.6")
    assert sent() == sent(call, **TUNING)
    assert sorted(TUNING) == sorted(call.dropped)


@pytest.mark.parametrize("name", TUNING)
def test_nothing_is_dropped_where_strictness_is_asked_for(name: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        sent(Call(model="gpt-5.6", strict_params=True), **{name: TUNING[name]})
    assert name == caught.value.param


@pytest.mark.parametrize("name", SHAPING)
def test_what_changes_the_answer_is_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(UnsupportedParameter, match="'reasoning_effort' to 'none'") as caught:
        sent(**{name: SHAPING[name]})
    assert name == caught.value.param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        pytest.param(
            {"tools": [TOOL, {"type": "custom", "custom": {"name": "c"}}]}, "tools[1]", id="tool"
        ),
        pytest.param(
            {"tool_choice": {"type": "custom", "custom": {"name": "c"}}}, "tool_choice", id="choice"
        ),
        pytest.param(
            {
                "messages": [
                    QUESTION,
                    {
                        "role": "assistant",
                        "tool_calls": [
                            {"id": "c", "type": "custom", "custom": {"name": "c", "input": ""}}
                        ],
                    },
                ]
            },
            "messages[1].tool_calls[0]",
            id="call",
        ),
        pytest.param(
            {"messages": [QUESTION, {"role": "assistant", "audio": {"id": "a"}}]},
            "messages[1].audio",
            id="spoken answer",
        ),
        pytest.param(
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "?"},
                            {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
                        ],
                    }
                ]
            },
            "messages[0].content[1]",
            id="audio",
        ),
    ],
)
def test_what_has_no_place_here_is_named(fields: JsonObject, param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        sent(**fields)
    assert param == caught.value.param


def test_names_of_speakers_are_dropped_and_told_once() -> None:
    call = Call(model="gpt-5.6")
    named = [{**QUESTION, "name": "Ann"}, {**QUESTION, "name": "Bob"}]
    assert sent(messages=[QUESTION, QUESTION]) == sent(call, messages=named)
    assert ["messages.name"] == call.dropped
