"""Laws of the conversion that hold for every valid request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from one_api.adapter import Call, ChatCompletionRequest, GatewayError, JsonObject
from one_api_claude import ClaudeAdapter
from one_api_claude.capabilities import TABLE

LAWS = settings(
    deadline=None,
    # The adapter is shared: the conversions do not change it.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
PARAMETERS: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsStreaming)

TEXT = st.sampled_from(["", " \n", "a", "b ", "é🙂", "```", '{"a":1}', "\u2028"])
IDS = st.sampled_from(["c1", "c2", "call 3", ""])
NAMES = st.sampled_from(["f", "g", "a.b", "n" * 80])
MARKS = st.sampled_from(
    [
        {},
        {},
        {"cache_control": {"type": "ephemeral"}},
        {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
    ]
)


@st.composite
def text_part(draw: st.DrawFn) -> JsonObject:
    return {"type": "text", "text": draw(TEXT), **draw(MARKS)}


URLS = st.sampled_from(
    [
        "https://a.example/x.png",
        "data:image/png;base64,AAAA",
        "data:image/png;base64,A A\n",
        "data:image/tiff;base64,AAAA",
        "http://a.example/x.png",
        "nonsense",
        "data:,",
    ]
)
FILES = st.sampled_from(
    [
        {"file_data": "JVBERi0x", "filename": "a.pdf"},
        {"file_data": "data:text/plain;base64,YQ=="},
        {"file_data": "data:text/plain;base64,/w=="},
        {"file_id": "file-1"},
        {},
    ]
)
USER_PART = st.one_of(
    text_part(),
    URLS.map(lambda url: {"type": "image_url", "image_url": {"url": url}}),
    FILES.map(lambda file: {"type": "file", "file": file}),
)
SOUND_PART = text_part() | st.just({"type": "image_url", "image_url": {"url": "https://a.b/c.png"}})
TEXTS = TEXT | st.lists(text_part(), min_size=1, max_size=3)
ARGUMENTS = st.sampled_from(["", "{}", '{"a":1}', "[1]", "{oops", "1e999", '{"a":1,"a":2}'])
THINKING = st.lists(
    st.sampled_from(
        [
            {"type": "thinking", "thinking": "t", "signature": "Sig"},
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking", "signature": "one_api.v1.x"},
            {"type": "redacted_thinking", "data": "Zg=="},
            "noise",
            {},
        ]
    ),
    max_size=2,
)


@st.composite
def assistant(draw: st.DrawFn) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": draw(TEXTS)}
    calls = draw(st.lists(st.tuples(IDS, NAMES, ARGUMENTS), max_size=3))
    if calls:
        message["tool_calls"] = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
            for id_, name, arguments in calls
        ]
    if draw(st.booleans()):
        message["thinking_blocks"] = draw(THINKING)
    if draw(st.integers(0, 9)) == 0:
        message["function_call"] = {"name": draw(NAMES), "arguments": draw(ARGUMENTS)}
    return message


@st.composite
def answers(draw: st.DrawFn, message: JsonObject) -> list[JsonObject]:
    """Results for some calls of `message`, in any order."""
    ids = [call["id"] for call in message.get("tool_calls", ())]
    chosen = draw(st.lists(st.sampled_from(ids), max_size=3)) if ids else []
    content = TEXT | st.lists(SOUND_PART, max_size=2)
    return [{"role": "tool", "tool_call_id": id_, "content": draw(content)} for id_ in chosen]


@st.composite
def conversation(draw: st.DrawFn, parts: st.SearchStrategy[JsonObject]) -> list[JsonObject]:
    messages: list[JsonObject] = []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["system", "user", "user", "assistant", "assistant"]))
        if kind == "assistant":
            message = draw(assistant())
            messages += [message, *draw(answers(message))]
        elif kind == "user":
            content = draw(TEXT | st.lists(parts, min_size=1, max_size=3))
            messages.append({"role": "user", "content": content, **draw(MARKS)})
        else:
            messages.append({"role": "system", "content": draw(TEXTS)})
    return messages


SCHEMAS = st.sampled_from(
    [
        {"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {}, "additionalProperties": False},
        {"$ref": "#/nowhere"},
        {},
    ]
)
TOOLS = st.lists(
    st.builds(
        lambda name, schema, strict: {
            "type": "function",
            "function": {"name": name, "parameters": schema, "strict": strict},
        },
        NAMES,
        SCHEMAS | st.none(),
        st.sampled_from([True, False, None]),
    ),
    max_size=3,
)
NAMED = NAMES.map(lambda name: {"type": "function", "function": {"name": name}})
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": st.sampled_from([1, 800, 5_000, 10**9]),
    "reasoning_effort": st.sampled_from(["none", "minimal", "low", "high", "xhigh", "max"]),
    "temperature": st.sampled_from([0, 0.5, 2]),
    "top_p": st.sampled_from([0.1, 1]),
    "stop": st.sampled_from(["", "\n", ["a", " "], "END"]),
    "tools": TOOLS,
    "tool_choice": st.sampled_from(["none", "auto", "required"]) | NAMED,
    "parallel_tool_calls": st.booleans(),
    "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}])
    | SCHEMAS.map(lambda s: {"type": "json_schema", "json_schema": {"name": "n", "schema": s}}),
    "user": st.sampled_from(["u-1", "ann@example.org", " "]),
    "service_tier": st.sampled_from(["auto", "flex", "priority", "fast"]),
    "seed": st.just(1),
    "n": st.sampled_from([1, 2]),
    "thinking": st.sampled_from([{"type": "adaptive"}, {"type": "disabled"}]),
    "include_reasoning": st.booleans(),
    "unheard_of": st.just({"a": 1}),
}


@st.composite
def requests(draw: st.DrawFn) -> JsonObject:
    names = draw(st.lists(st.sampled_from(sorted(OPTIONS)), unique=True, max_size=6))
    return {
        "messages": draw(conversation(USER_PART)),
        **{name: draw(OPTIONS[name]) for name in names},
    }


MODELS = st.sampled_from([*sorted(TABLE), "acme-1"])


def convert(adapter: ClaudeAdapter, body: JsonObject, call: Call) -> bytes:
    """The road the gateway takes: check, settle, convert."""
    request = ChatCompletionRequest.from_wire(body)
    for name in adapter.parameters(call.model).settle(request, strict=call.strict_params):
        call.drop(name)
    wire = adapter.to_wire(request, call)
    assert isinstance(wire.body, bytes)
    return wire.body


def exhaust(value: Any) -> None:
    """Walk a validated value: pydantic checks iterables only as they are read."""
    if isinstance(value, dict):
        for inner in value.values():
            exhaust(inner)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for inner in value:
            exhaust(inner)


def is_blank(block: JsonObject) -> bool:
    return block["type"] == "text" and not block["text"].strip()


def check_turns(turns: list[JsonObject]) -> None:
    """What Anthropic demands of `messages`."""
    assert turns[0]["role"] == "user"
    seen: set[str] = set()
    for before, turn in zip([{"role": "", "content": []}, *turns], turns, strict=False):
        assert turn["role"] != before["role"]
        assert turn["content"]
        assert not any(is_blank(block) for block in turn["content"])
        assert turn["role"] != "system" or before["role"] == "user"
        uses = [b["id"] for b in before["content"] if b["type"] == "tool_use"]
        kinds = [block["type"] for block in turn["content"]]
        results = [b["tool_use_id"] for b in turn["content"] if b["type"] == "tool_result"]
        # Every call has one result, and they come first.
        assert sorted(uses) == sorted(results)
        assert kinds[: len(results)] == ["tool_result"] * len(results)
        assert not seen & set(uses)
        seen |= set(uses)
    assert not any(block["type"] == "tool_use" for block in turns[-1]["content"])


@LAWS
@given(body=requests(), model=MODELS, strict=st.booleans())
def test_every_valid_request_converts_or_is_refused(
    adapter: ClaudeAdapter, body: JsonObject, model: str, strict: bool
) -> None:
    call = Call(model=model, strict_params=strict)
    try:
        wire = orjson.loads(convert(adapter, body, call))
    except GatewayError as error:
        assert 400 <= error.status < 500  # noqa: PT017 - either outcome is right
        return
    sampled = {"temperature", "top_p"} & wire.keys()
    exhaust(PARAMETERS.validate_python({k: v for k, v in wire.items() if k not in sampled}))
    check_turns(wire["messages"])
    assert orjson.dumps(wire).count(b'"cache_control"') <= 4
    assert len(sampled) <= 1
    thinking = wire.get("thinking", {})
    assert thinking.get("budget_tokens", 0) < wire["max_tokens"]
    assert not (strict and (call.dropped or call.degraded))


@LAWS
@given(body=requests(), model=MODELS)
def test_the_same_request_gives_the_same_bytes(
    adapter: ClaudeAdapter, body: JsonObject, model: str
) -> None:
    before = orjson.dumps(body)
    outcomes: list[bytes | str] = []
    for _ in range(2):
        try:
            outcomes.append(convert(adapter, body, Call(model=model)))
        except GatewayError as error:
            outcomes.append(error.message)
    assert outcomes[0] == outcomes[1]
    # And the client's request is as it was.
    assert before == orjson.dumps(body)


@LAWS
@given(messages=conversation(SOUND_PART))
def test_going_on_with_a_conversation_only_appends(
    adapter: ClaudeAdapter, messages: list[JsonObject]
) -> None:
    bare = orjson.loads(orjson.dumps(messages).replace(b'"cache_control"', b'"unmarked"'))
    bare = orjson.loads(orjson.dumps(bare).replace(b'"prompt_cache_breakpoint"', b'"unmarked"'))
    bare.append({"role": "user", "content": "now"})
    longer = [*bare, {"role": "assistant", "content": "so"}, {"role": "user", "content": "on"}]
    # A model that takes later instructions in place: hoisted ones cannot but change the beginning.
    call = Call(model="claude-opus-4-8")
    first = orjson.loads(convert(adapter, {"messages": bare}, call))
    second = orjson.loads(convert(adapter, {"messages": longer}, call))
    assert first["messages"] == second["messages"][: len(first["messages"])]
    assert first.get("system") == second.get("system")
