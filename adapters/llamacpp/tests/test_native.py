"""Real GGUF files through llama.cpp, from a request to its events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.llamacpp.tests.local_models import (
    LOGGER,
    ask,
    calls_of,
    finish_of,
    make_request,
    reasoning_of,
    text_of,
    usage_of,
    worker_processes,
)
from one_api.adapter import (
    Call,
    ContextWindowExceeded,
    GatewayError,
    InvalidRequest,
    ModelInfo,
    ModelNotFound,
    NoDeploymentAvailable,
    Start,
    TextDelta,
    UnsupportedParameter,
    UpstreamError,
)
from one_api_llamacpp.adapter import LlamaCppAdapter

pytestmark = pytest.mark.llamacpp

Adapters = Callable[..., LlamaCppAdapter]
Write = Callable[..., Path]

HELLO = "Hello there, the world is the world: Grüße, 世界 👋 and bye."
WEATHER_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.mark.parametrize("content", ["hi", "", "Ünïcödé 🌍\n" * 9], ids=["ascii", "empty", "long"])
async def test_the_answer_is_exact_whatever_the_prompt(
    local: Adapters, write_model: Write, content: str
) -> None:
    write_model("hello", HELLO)
    events = await ask(local(), "hello", content)
    assert Start() == events[0]
    assert text_of(events) == HELLO
    assert finish_of(events) == "stop"


async def test_an_emoji_of_four_tokens_comes_in_one_piece(
    local: Adapters, write_model: Write
) -> None:
    write_model("hello", HELLO)
    texts = [event.text for event in await ask(local(), "hello") if isinstance(event, TextDelta)]
    assert "👋" in texts
    assert not any("\ufffd" in text for text in texts)


async def test_usage_is_exact_and_a_repeated_prompt_is_cached(
    local: Adapters, write_model: Write
) -> None:
    write_model("hello", "Hello there 👋")
    adapter = local()
    first, again = usage_of(await ask(adapter, "hello")), usage_of(await ask(adapter, "hello"))
    # BOS, <|im_start|>, the bytes of "user\nhi", <|im_end|>, "\n", <|im_start|>, "assistant\n"
    assert first.prompt_tokens == 1 + 1 + 7 + 1 + 1 + 1 + 10
    # two words, a space, four bytes of the emoji, the end of the turn
    assert first.completion_tokens == 2 + 1 + 4 + 1
    assert (0, first.prompt_tokens - 1) == (first.cached_tokens, again.cached_tokens)
    assert first.completion_tokens == again.completion_tokens


async def test_a_longer_conversation_reuses_what_was_evaluated(
    local: Adapters, write_model: Write
) -> None:
    write_model("hello", "Hello there")
    adapter = local()
    first = usage_of(await ask(adapter, "hello"))
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello there"},
        {"role": "user", "content": "more"},
    ]
    events = await ask(adapter, "hello", messages=messages)
    assert text_of(events) == "Hello there"
    assert usage_of(events).cached_tokens >= first.prompt_tokens


@pytest.mark.parametrize(
    ("stop", "text"),
    [("the world", "Hello there, "), (["bye", "ere"], "Hello th"), ("absent", HELLO)],
    ids=["across tokens", "earliest of two", "absent"],
)
async def test_stop_sequences_end_the_text(
    local: Adapters, write_model: Write, stop: Any, text: str
) -> None:
    write_model("hello", HELLO)
    events = await ask(local(), "hello", stop=stop)
    assert (text_of(events), finish_of(events)) == (text, "stop")


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_the_clients_limit_ends_the_answer(
    local: Adapters, write_model: Write, field: str
) -> None:
    write_model("hello", HELLO)
    fields: dict[str, Any] = {field: 3}
    events = await ask(local(), "hello", **fields)
    assert (text_of(events), finish_of(events)) == ("Hello there, the", "length")
    assert usage_of(events).completion_tokens == 3


async def test_without_a_limit_the_context_ends_the_answer(
    local: Adapters, write_model: Write
) -> None:
    write_model("endless", "on and on", endless=True, context=100)
    events = await ask(local(), "endless")
    assert finish_of(events) == "length"
    assert usage_of(events).total_tokens == 100


async def test_a_prompt_that_does_not_fit_is_refused_with_numbers(
    local: Adapters, write_model: Write
) -> None:
    write_model("hello", HELLO, template="{{ messages[0].content }}")
    adapter = local(LOCAL_CONTEXT_TOKENS="64")
    with pytest.raises(ContextWindowExceeded) as caught:
        await ask(adapter, "hello", "x" * 63)
    assert caught.value.message == (
        "This model's maximum context length is 64 tokens. However, your messages resulted in "
        "64 tokens."
    )
    events = await ask(adapter, "hello", "x" * 62)
    assert (text_of(events), finish_of(events)) == ("Hello", "length")


@pytest.mark.parametrize("text", [f"Let me see.\n{WEATHER_CALL}", WEATHER_CALL])
async def test_tool_calls_are_parsed(local: Adapters, write_model: Write, text: str) -> None:
    write_model("caller", text, context=2048)
    events = await ask(local(), "caller", tools=[WEATHER_TOOL])
    assert calls_of(events) == [(0, "get_weather", '{"city": "Paris"}')]
    assert text_of(events) == text.removesuffix(WEATHER_CALL).rstrip()
    assert finish_of(events) == "tool_calls"


async def test_tools_are_told_to_the_model_unless_it_may_not_call_them(
    local: Adapters, write_model: Write
) -> None:
    write_model("caller", WEATHER_CALL, context=2048)
    adapter = local()
    plain = await ask(adapter, "caller")
    forbidden = await ask(adapter, "caller", tools=[WEATHER_TOOL], tool_choice="none")
    allowed = await ask(adapter, "caller", tools=[WEATHER_TOOL], tool_choice="auto")
    assert WEATHER_CALL == text_of(plain) == text_of(forbidden)
    assert usage_of(plain).prompt_tokens == usage_of(forbidden).prompt_tokens
    assert usage_of(allowed).prompt_tokens > usage_of(plain).prompt_tokens


async def test_reasoning_is_told_apart(local: Adapters, write_model: Write) -> None:
    write_model("thinker", "<think> I wonder. </think> So: yes.")
    events = await ask(local(), "thinker")
    assert (reasoning_of(events), text_of(events)) == ("I wonder. ", "So: yes.")
    assert usage_of(events).reasoning_tokens == 4


async def test_a_file_without_template_is_asked_in_chatml(
    local: Adapters, write_model: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write_model("bare", HELLO, template=None)
    assert text_of(await ask(local(), "bare")) == HELLO
    assert "'bare' has no chat template" in caplog.text


async def test_a_conversation_that_the_template_refuses_is_the_clients_fault(
    local: Adapters, write_model: Write
) -> None:
    write_model("hello")
    with pytest.raises(InvalidRequest, match="a user must begin"):
        await ask(local(), "hello", messages=[{"role": "assistant", "content": "hi"}])


@pytest.mark.parametrize("bos", ["{{ bos_token }}", "<s>", ""], ids=["variable", "text", "none"])
async def test_there_is_one_bos_whether_the_template_writes_it_or_not(
    local: Adapters, write_model: Write, bos: str
) -> None:
    write_model("hello", template=bos + "{{ messages[0].content }}")
    assert 1 + len("hi") == usage_of(await ask(local(), "hello")).prompt_tokens


async def test_a_users_control_texts_are_plain_text(local: Adapters, write_model: Write) -> None:
    write_model("hello", template="<|im_start|>{{ messages[0].content }}")
    adapter = local()
    # BOS, the template's own control token, then one byte token for each character.
    for content in ("<|im_end|>", "<s>", "<|im_start|>system"):
        usage = usage_of(await ask(adapter, "hello", content))
        assert 2 + len(content) == usage.prompt_tokens


async def test_ten_requests_at_once_are_all_answered_right(
    local: Adapters, write_model: Write
) -> None:
    write_model("hello", HELLO)
    write_model("other", "Something else 🌍 entirely.")
    adapter = local()
    names = ["hello", "other"] * 5
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(ask(adapter, name, f"request {number}"))
            for number, name in enumerate(names)
        ]
    assert [text_of(task.result()) for task in tasks] == [HELLO, "Something else 🌍 entirely."] * 5
    assert len(worker_processes()) == 2


async def test_a_client_that_leaves_frees_the_model_for_the_next(
    local: Adapters, write_model: Write
) -> None:
    write_model("endless", "on and on", endless=True, context=8192)
    adapter = local()
    async with asyncio.timeout(20):
        request = make_request()
        answering = adapter.generate_completion(request, Call(model="endless"))
        async with aclosing(answering) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
            waiting = asyncio.create_task(ask(adapter, "endless", "next", max_tokens=2))
        assert text_of(await waiting) == "on and"


async def test_closing_ends_a_running_answer_and_leaves_no_process(
    local: Adapters, write_model: Write
) -> None:
    write_model("endless", "on and on", endless=True, context=8192)
    adapter = local()
    async with asyncio.timeout(20):
        answering = adapter.generate_completion(make_request(), Call(model="endless"))
        assert Start() == await anext(answering)
        await adapter.close()
        assert worker_processes() == []
        with pytest.raises(NoDeploymentAvailable):
            async for _ in answering:
                pass


async def test_a_model_can_be_loaded_again_and_again(local: Adapters, write_model: Write) -> None:
    for name in ("one", "two"):
        write_model(name, f"I am {name}.")
    adapter = local(LOCAL_MEMORY_MB="150")  # room for one
    for name in ("one", "two", "one", "two"):
        assert text_of(await ask(adapter, name)) == f"I am {name}."
        assert len(worker_processes()) == 1


async def test_a_corrupt_file_fails_alone_and_without_its_path(
    local: Adapters, write_model: Write, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The header is whole, so the file is listed; only llama.cpp sees that a tensor is amiss."""
    data = write_model("corrupt").read_bytes()
    (models / "corrupt.gguf").write_bytes(data.replace(b"output_norm", b"output_morn"))
    write_model("hello", HELLO)
    adapter = local()
    assert [model.id for model in await adapter.list_models()] == ["corrupt", "hello"]
    for _ in range(2):
        with pytest.raises(UpstreamError) as caught:
            await ask(adapter, "corrupt")
        assert str(models) not in caught.value.message
        assert text_of(await ask(adapter, "hello")) == HELLO
    assert "tensor 'output_norm.weight' not found" in caplog.text


@pytest.mark.parametrize(
    ("model_id", "error"),
    [
        ("nothing", ModelNotFound),
        ("../models/hello", ModelNotFound),
        ("hello.gguf", ModelNotFound),
        ("escape", UpstreamError),
        ("cut", UpstreamError),
    ],
)
async def test_only_whole_files_of_the_directory_can_be_asked_by_id(
    local: Adapters,
    write_model: Write,
    models: Path,
    tmp_path: Path,
    model_id: str,
    error: type[GatewayError],
) -> None:
    whole = write_model("hello").read_bytes()
    (models / "cut.gguf").write_bytes(whole[:-1])
    (tmp_path / "outside.gguf").write_bytes(whole)
    (models / "escape.gguf").symlink_to(tmp_path / "outside.gguf")
    adapter = local()
    with pytest.raises(error):
        await ask(adapter, model_id)
    assert [model.id for model in await adapter.list_models()] == ["hello"]


async def test_models_are_listed_without_being_loaded(local: Adapters, write_model: Write) -> None:
    path = write_model("hello", context=4096)
    adapter = local(LOCAL_CONTEXT_TOKENS="1024")
    expected = ModelInfo(
        id="hello",
        owned_by="local",
        created=int(path.stat().st_mtime),
        display_name="hello",
        context_window=1024,
    )
    info = await adapter.get_model_info("hello")
    assert expected == replace(info, details={})
    assert "F32" == info.details["quantization"]
    assert worker_processes() == []


async def test_parameters_are_honoured_dropped_or_refused_as_declared(
    local: Adapters, write_model: Write
) -> None:
    policy = local().parameters("hello")
    request = make_request(top_k=1, min_p=0.1, temperature=1, user="me")
    assert policy.settle(request, strict=False) == ("user",)
    with pytest.raises(UnsupportedParameter, match="web_search_options"):
        policy.settle(make_request(web_search_options={}), strict=False)


async def test_llama_cpp_logs_to_the_adapters_logger_only(
    local: Adapters,
    write_model: Write,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG", LOGGER.name)
    write_model("hello")
    await ask(local(), "hello")
    assert "llama.cpp: llama_model_loader: loaded meta data" in caplog.text
    assert capfd.readouterr() == ("", "")
