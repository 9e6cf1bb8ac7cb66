"""Laws of every chat request that is asked as a response."""

from __future__ import annotations

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.openai.tests.bodies import PIXEL, TOOL, call_of, check, sent
from one_api.adapter import Call, ChatCompletionRequest, JsonObject, UnsupportedParameter
from one_api_openai.to_wire import request_to_wire

TEXT = st.sampled_from(["", " ", "a", "é🙂", "\u2028"])
PARTS = st.lists(
    st.one_of(
        TEXT.map(lambda text: {"type": "text", "text": text}),
        st.just({"type": "image_url", "image_url": {"url": PIXEL}}),
        st.just({"type": "file", "file": {"file_id": "file-1"}}),
        st.just({"type": "input_audio", "input_audio": {"data": "", "format": "mp3"}}),
    ),
    min_size=1,
    max_size=3,
)
MESSAGES = st.one_of(
    st.builds(lambda c: {"role": "user", "content": c}, TEXT | PARTS),
    st.builds(
        lambda r, c: {"role": r, "content": c}, st.sampled_from(["system", "developer"]), TEXT
    ),
    st.builds(
        lambda c, ids, r: {
            "role": "assistant",
            "content": c,
            "refusal": r,
            "tool_calls": [call_of(id_) for id_ in ids],
        },
        TEXT,
        st.lists(st.sampled_from(["c1", "c2"]), max_size=2),
        st.none() | TEXT,
    ),
    st.builds(
        lambda c: {"role": "tool", "tool_call_id": "c1", "content": c},
        TEXT | PARTS,
    ),
    st.builds(
        lambda n: {"role": "assistant", "function_call": {"name": n, "arguments": "{}"}},
        st.sampled_from(["f", "g"]),
    ),
    st.builds(
        lambda n, c: {"role": "function", "name": n, "content": c},
        st.sampled_from(["f", "g"]),
        st.none() | TEXT,
    ),
)
REQUESTS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, min_size=1, max_size=5), "tools": st.just([TOOL])},
    optional={
        "n": st.integers(1, 2),
        "stop": st.sampled_from(["", ".", []]),
        "seed": st.integers(0, 1),
        "reasoning_effort": st.sampled_from(["low", "max", None]),
        "tool_choice": st.sampled_from(["auto", {"type": "function", "function": {"name": "f"}}]),
        "include_reasoning": st.booleans(),
    },
)


@settings(deadline=None)
@given(body=REQUESTS, strict=st.booleans())
def test_every_valid_request_converts_to_the_same_body_or_is_refused(
    body: JsonObject, strict: bool
) -> None:
    before = orjson.dumps(body)
    request = ChatCompletionRequest.from_wire(body)
    outcomes: list[JsonObject | str] = []
    for _ in range(2):
        call = Call(model="m", strict_params=strict)
        try:
            outcomes.append(request_to_wire(request, call))
        except UnsupportedParameter as error:
            outcomes.append(error.message)
        assert not (strict and call.dropped)
    first, second = outcomes
    assert first == second
    assert before == orjson.dumps(body)
    if not isinstance(first, str):
        check(first)


@settings(deadline=None)
@given(messages=st.lists(MESSAGES, min_size=1, max_size=5), more=MESSAGES)
def test_going_on_with_a_conversation_only_appends(
    messages: list[JsonObject], more: JsonObject
) -> None:
    """The provider's cache of the prompt holds."""
    try:
        longer = sent(messages=[*messages, more])["input"]
    except UnsupportedParameter:
        return
    shorter = sent(messages=messages)["input"]
    assert shorter == longer[: len(shorter)]
