"""Raw prompts through llama.cpp: continued without a template, as often as was asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.llamacpp.tests.local_models import usage_of
from adapters.llamacpp.tests.make_gguf import write_noise
from one_api.adapter import (
    Call,
    CompletionRequest,
    ContextWindowExceeded,
    Event,
    Finish,
    InvalidRequest,
    Start,
    SupportsCompletions,
    TextDelta,
    UnsupportedParameter,
)
from one_api_llamacpp.adapter import LlamaCppAdapter

Adapters = Callable[..., LlamaCppAdapter]
Write = Callable[..., Path]


async def complete(
    adapter: LlamaCppAdapter, model: str, prompt: Any, call: Call | None = None, **fields: Any
) -> list[Event]:
    request = CompletionRequest.from_wire({"prompt": prompt, **fields})
    assert isinstance(adapter, SupportsCompletions)
    return [event async for event in adapter.complete(request, call or Call(model=model))]


def texts_of(events: list[Event]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for event in events:
        if isinstance(event, TextDelta):
            texts[event.choice] = texts.get(event.choice, "") + event.text
    return texts


def finishes_of(events: list[Event]) -> list[tuple[int, str]]:
    return [(event.choice, event.reason) for event in events if isinstance(event, Finish)]


@pytest.mark.llamacpp
async def test_every_prompt_is_continued_n_times(local: Adapters, write_model: Write) -> None:
    write_model("hello", "Hello there!")
    events = await complete(local(), "hello", ["a", "b"], n=2)
    assert Start() == events[0]
    assert dict.fromkeys(range(4), "Hello there!") == texts_of(events)
    assert [(index, "stop") for index in range(4)] == finishes_of(events)


@pytest.mark.llamacpp
async def test_usage_counts_a_prompt_once_and_every_completion(
    local: Adapters, write_model: Write
) -> None:
    write_model("hello", "Hello there!")
    adapter = local()
    single = usage_of(await complete(adapter, "hello", [[5, 6, 7]]))
    both = usage_of(await complete(adapter, "hello", [[5, 6, 7], [8]], n=3))
    assert (3, 4) == (single.prompt_tokens, both.prompt_tokens)
    assert 6 * single.completion_tokens == both.completion_tokens


@pytest.mark.llamacpp
async def test_no_template_is_put_around_a_prompt(local: Adapters, write_model: Write) -> None:
    """A text's own token at the end decides what follows in a scripted model."""
    write_model("hello", "Hello there!")
    events = await complete(local(), "hello", [[261]])
    assert {0: " there!"} == texts_of(events)


@pytest.mark.llamacpp
async def test_markup_is_text(local: Adapters, write_model: Write) -> None:
    text = '<think>a</think> <tool_call>{"name": "f"}</tool_call>'
    write_model("marked", text)
    assert {0: text} == texts_of(await complete(local(), "marked", "x", max_tokens=99))


@pytest.mark.llamacpp
async def test_the_default_limit_is_16_tokens(local: Adapters, write_model: Write) -> None:
    write_model("endless", "one two three", endless=True)
    adapter = local()
    events = await complete(adapter, "endless", "x")
    assert [(0, "length")] == finishes_of(events)
    assert 16 == usage_of(events).completion_tokens
    assert 3 == usage_of(await complete(adapter, "endless", "x", max_tokens=3)).completion_tokens


@pytest.mark.llamacpp
async def test_a_stop_sequence_ends_it(local: Adapters, write_model: Write) -> None:
    write_model("hello", "Hello there!")
    events = await complete(local(), "hello", "x", stop=["the"])
    assert {0: "Hello "} == texts_of(events)


@pytest.mark.llamacpp
async def test_completions_of_one_prompt_differ_and_a_seed_repeats_them(
    local: Adapters, models: Path
) -> None:
    write_noise(models / "noise.gguf")
    adapter = local()
    first, again = [texts_of(await complete(adapter, "noise", "x", n=2, seed=7)) for _ in range(2)]
    assert first == again
    assert first[0] != first[1]


@pytest.mark.llamacpp
@pytest.mark.parametrize(
    ("prompt", "error"), [([[10_000]], InvalidRequest), ([[5] * 600], ContextWindowExceeded)]
)
async def test_a_prompt_the_model_cannot_take_is_refused(
    local: Adapters, write_model: Write, prompt: Any, error: type[InvalidRequest]
) -> None:
    write_model("hello")
    with pytest.raises(error) as caught:
        await complete(local(), "hello", prompt)
    assert "prompt" == caught.value.param


@pytest.mark.parametrize(
    ("prompt", "fields", "param"),
    [
        (None, {}, "prompt"),
        ("x", {"echo": True, "logprobs": 1}, "echo"),
        ("x", {"suffix": "!"}, "suffix"),
        ("x", {"best_of": 2}, "best_of"),
        ("x", {"max_tokens": 0}, "max_tokens"),
    ],
)
async def test_what_cannot_be_given_is_refused(
    local: Adapters, prompt: Any, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        await complete(local(), "absent", prompt, **fields)
    assert param == caught.value.param


@pytest.mark.llamacpp
async def test_what_has_no_effect_is_told_or_refused(local: Adapters, write_model: Write) -> None:
    write_model("hello")
    adapter, call = local(), Call(model="hello")
    await complete(adapter, "hello", "x", call, user="u", top_k=1, new=1)
    assert ["user", "new"] == call.dropped
    with pytest.raises(UnsupportedParameter):
        await complete(adapter, "hello", "x", Call(model="hello", strict_params=True), user="u")
