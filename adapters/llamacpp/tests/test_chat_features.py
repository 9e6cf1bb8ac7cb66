"""What a chat may ask of a local model, asked of real ones from the prompt to the last event."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.llamacpp.tests.local_models import (
    ask,
    calls_of,
    finish_of,
    make_request,
    reasoning_of,
    text_of,
    usage_of,
)
from adapters.llamacpp.tests.make_gguf import CHATML, write_noise
from one_api.adapter import Call, CompletionRequest, Event, Finish, InvalidRequest, TextDelta
from one_api_llamacpp.adapter import LlamaCppAdapter

pytestmark = pytest.mark.llamacpp

Adapters = Callable[..., LlamaCppAdapter]
Write = Callable[..., Path]

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"left": {"enum": [1, 2]}, "right": {"type": "boolean"}},
            "required": ["left", "right"],
            "additionalProperties": False,
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "count": {"type": "integer", "maximum": 9}},
    "required": ["colour", "count"],
}


def demand(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


async def test_a_model_of_noise_answers_as_the_schema_says(local: Adapters, models: Path) -> None:
    write_noise(models / "noise.gguf", context=2048)
    adapter = local()
    for seed in range(5):
        events = await ask(adapter, "noise", seed=seed, response_format=demand(SCHEMA))
        answer = json.loads(text_of(events))
        assert finish_of(events) == "stop"
        assert answer.keys() == {"colour", "count"}
        assert answer["colour"] in ("red", "blue")
        assert answer["count"] <= 9


async def test_a_model_of_noise_calls_the_function_that_is_named(
    local: Adapters, models: Path
) -> None:
    write_noise(models / "noise.gguf", context=2048)
    choice = {"type": "function", "function": {"name": "add"}}
    events = await ask(local(), "noise", tools=[ADD], tool_choice=choice)
    ((_, name, arguments),) = calls_of(events)
    assert (name, finish_of(events), text_of(events)) == ("add", "tool_calls", "")
    assert json.loads(arguments)["left"] in (1, 2)


async def test_a_schema_that_cannot_be_enforced_is_refused(
    local: Adapters, write_model: Write
) -> None:
    write_model("hello")
    with pytest.raises(InvalidRequest) as caught:
        await ask(local(), "hello", response_format=demand({"type": "string", "pattern": "a"}))
    assert caught.value.param == "response_format.json_schema.schema.pattern"


async def test_noise_has_no_replacement_characters(local: Adapters, models: Path) -> None:
    write_noise(models / "noise.gguf", context=2048)
    events = await ask(local(), "noise", seed=3, max_tokens=1000, logprobs=True)
    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert deltas
    assert not any("\ufffd" in delta.text for delta in deltas)


async def test_logprobs_tell_how_likely_each_token_was(local: Adapters, write_model: Write) -> None:
    write_model("hello", "Hello there!")
    events = await ask(local(), "hello", logprobs=True, top_logprobs=2)
    deltas = [event for event in events if isinstance(event, TextDelta)]
    entries = [entry for delta in deltas for entry in (delta.logprobs or {})["content"]]
    assert "".join(entry["token"] for entry in entries) == text_of(events) == "Hello there!"
    for entry in entries:
        assert entry["logprob"] == pytest.approx(0, abs=1e-4)
        assert bytes(entry["bytes"]).decode() == entry["token"]
        first, second = entry["top_logprobs"]
        assert first == {key: entry[key] for key in ("token", "logprob", "bytes")}
        assert second["logprob"] < -10


async def test_choices_differ_and_a_seed_repeats_them(local: Adapters, models: Path) -> None:
    write_noise(models / "noise.gguf")
    adapter = local()
    first, again = [await ask(adapter, "noise", n=3, seed=7, max_tokens=12) for _ in range(2)]
    texts = [by_choice(events) for events in (first, again)]
    assert texts[0] == texts[1]
    assert len(set(texts[0].values())) == 3
    assert sorted(event.choice for event in first if isinstance(event, Finish)) == [0, 1, 2]
    assert usage_of(first).completion_tokens <= 36


def by_choice(events: list[Event]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for event in events:
        if isinstance(event, TextDelta):
            texts[event.choice] = texts.get(event.choice, "") + event.text
    return texts


async def test_reasoning_and_calls_are_told_apart_from_text(
    local: Adapters, write_model: Write
) -> None:
    call = '<tool_call>{"name": "add", "arguments": {"left": 1}}</tool_call>'
    # A template that mentions the notation is taken at its word.
    write_model(
        "caller",
        f"<think>hm hm</think> So be it. {call}",
        template=CHATML + "{# <tool_call> #}",
        context=2048,
    )
    events = await ask(local(), "caller", tools=[ADD])
    assert (reasoning_of(events), text_of(events)) == ("hm hm", "So be it.")
    assert calls_of(events) == [(0, "add", '{"left": 1}')]
    assert finish_of(events) == "tool_calls"


async def test_what_is_told_in_another_way_than_by_the_template_is_named(
    local: Adapters, write_model: Write
) -> None:
    write_model("hello", context=2048)
    adapter, call = local(), Call(model="hello")
    request = make_request(tools=[ADD])
    events = [event async for event in adapter.generate_completion(request, call)]
    assert text_of(events) == "Hello there!"
    assert call.degraded == ["tools"]


async def test_a_completion_is_echoed_with_the_prompt(local: Adapters, write_model: Write) -> None:
    write_model("hello", "Hello there!")
    request = CompletionRequest.from_wire({"prompt": "Say: ", "echo": True})
    events = [event async for event in local().complete(request, Call(model="hello"))]
    assert text_of(events) == "Say: Hello there!"


async def test_a_completions_logprobs_have_the_shape_of_old(
    local: Adapters, write_model: Write
) -> None:
    write_model("hello", "Hello there!")
    request = CompletionRequest.from_wire({"prompt": "x", "logprobs": 1})
    events = [event async for event in local().complete(request, Call(model="hello"))]
    told = [e.logprobs for e in events if isinstance(e, TextDelta) and e.logprobs is not None]
    tokens = [token for part in told for token in part["tokens"]]
    offsets = [offset for part in told for offset in part["text_offset"]]
    assert "".join(tokens) == "Hello there!"
    assert offsets == [sum(map(len, tokens[:index])) for index in range(len(tokens))]
