"""Counting tokens for providers that tell none: by ranks where they are, waiting for nothing."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from one_api import tokens
from one_api.events import Usage
from one_api.schemas.chat import ChatCompletionRequest
from one_api.schemas.completions import CompletionRequest
from one_api.tokens import (
    DEFAULT_ENCODING,
    RANK_FILES,
    Encoding,
    TokenCounter,
    encoding_name,
    estimate,
    estimated_prompt_tokens,
    load_from_cache,
)

TOOL = {"type": "function", "function": {"name": "f", "description": "日本語"}}


def small_encoding() -> tiktoken.Encoding:
    """Bytes, and two merges: `he` and `hello` are one token each."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    for rank, token in enumerate((b"he", b"ll", b"hell", b"hello"), start=256):
        ranks[token] = rank
    special = {"<|endoftext|>": 300}
    return tiktoken.Encoding(
        "small", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens=special
    )


def warm_counter(encoding: Encoding) -> TokenCounter:
    counter = TokenCounter(lambda name: encoding)
    counter.warm()
    for thread in threading.enumerate():
        if thread.name == "one-api-load-ranks":
            thread.join()
    return counter


def chat(**fields: Any) -> ChatCompletionRequest:
    body = {"messages": [{"role": "user", "content": "hello"}], **fields}
    return ChatCompletionRequest.from_wire(body)


def entries_of(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def test_p49_without_ranks_text_is_estimated_by_its_bytes() -> None:
    counter = TokenCounter()
    assert [0, 1, 1, 2, 3] == [
        await counter.count("gpt-4o", [text]) for text in ("", "a", "abcd", "abcde", "日本語")
    ]


async def test_a_prompt_alone_counts_as_with_its_reply() -> None:
    counter = TokenCounter()
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    image = {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}}
    said = [{"type": "text", "text": "日本語"}, image]
    request = chat(
        messages=[
            {"role": "user", "content": said, "name": "ann"},
            {"role": "assistant", "tool_calls": calls},
        ]
    )
    usage = await counter.usage(request, "gpt-4o", ["hello"])
    # 3 for the reply and 3 a message; user, assistant, ann, f and {}; the text, image and call.
    assert 3 + 6 + 1 + 3 + (1 + 1) + 1 + 1 + 3 + 85 + 8 == usage.prompt_tokens
    assert usage.prompt_tokens == await counter.prompt_tokens(request, "gpt-4o")


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"role": "user", "content": "日本語 and more"}, id="text"),
        pytest.param({"role": "user", "content": "hello", "name": "ann"}, id="name"),
        pytest.param({"role": "user", "content": [{"type": "text", "text": "hello"}]}, id="parts"),
        pytest.param({"role": "assistant", "content": "a", "refusal": "No."}, id="more fields"),
    ],
)
async def test_an_estimate_is_what_is_counted_without_ranks(message: dict[str, Any]) -> None:
    request = chat(messages=[message, message], tools=[TOOL])
    told = await TokenCounter().prompt_tokens(request, "gpt-4o")

    assert told == estimated_prompt_tokens(request)


async def test_p49_a_missing_cache_is_no_failure(tmp_path: Path) -> None:
    counter = TokenCounter(lambda name: load_from_cache(tmp_path, name))
    counter.warm()
    usage = await counter.usage(chat(), "gpt-4o", ["hello"])
    assert usage.estimated
    assert 2 == usage.completion_tokens
    assert [] == entries_of(tmp_path)


async def test_p49_special_tokens_in_text_are_text() -> None:
    counter = warm_counter(small_encoding())
    assert len("<|endoftext|>") == await counter.count("gpt-4o", ["<|endoftext|>"])


async def test_with_ranks_text_is_counted() -> None:
    counter = warm_counter(small_encoding())
    assert 3 == await counter.count("gpt-4o", ["hello hello"])


async def test_until_the_ranks_are_loaded_text_is_estimated() -> None:
    loading = threading.Event()

    def load(name: str) -> Encoding:
        loading.wait(10)
        return small_encoding()

    counter = TokenCounter(load)
    counter.warm()
    assert 2 == await counter.count("gpt-4o", ["hello"])
    loading.set()


async def test_long_text_is_counted_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    class Watching:
        def encode_ordinary(self, text: str) -> list[int]:
            threads.append(threading.current_thread())
            return list(range(len(text)))

    counter = warm_counter(Watching())
    assert 30_000 == await counter.count("gpt-4o", ["x" * 30_000])
    assert threading.main_thread() not in threads
    assert len(threads) > 1
    threads.clear()
    await counter.count("gpt-4o", ["x"])
    assert [threading.main_thread()] == threads


async def test_a_prompt_costs_its_texts_and_its_form() -> None:
    counter = warm_counter(small_encoding())
    plain = await counter.usage(chat(), "gpt-4o", ["hello"])
    # 3 for the reply, 3 for the message, "user" is 4 bytes, "hello" is 1 token.
    assert Usage(prompt_tokens=11, completion_tokens=1, estimated=True) == plain
    named = {"role": "user", "name": "he", "content": [{"type": "text", "text": "hello"}]}
    image = {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}
    call = {"id": "1", "type": "function", "function": {"name": "he", "arguments": "ll"}}
    messages = [named, {"role": "user", "content": [image]}]
    messages.append({"role": "assistant", "tool_calls": [call]})
    usage = await counter.usage(chat(messages=messages), "gpt-4o", [], uncounted_tokens=7)
    assert 3 + (3 + 4 + 1 + 1 + 1) + (3 + 4 + 85) + (3 + 9 + 2 + 8) == usage.prompt_tokens
    assert 7 == usage.completion_tokens


async def test_a_text_completion_costs_its_prompts() -> None:
    counter = warm_counter(small_encoding())
    request = CompletionRequest.from_wire({"model": "m", "prompt": ["hello", "he"]})
    assert 2 == (await counter.usage(request, "gpt-4o", [])).prompt_tokens


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-5.6-terra", "o200k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("ft:gpt-4.1-mini:acme::1", "o200k_base"),
        ("ft:gpt-3.5-turbo:acme::1", "cl100k_base"),
        ("gpt-6-sol", DEFAULT_ENCODING),
        ("claude-opus-5-5", DEFAULT_ENCODING),
        ("text-davinci-003", DEFAULT_ENCODING),
    ],
)
def test_the_encoding_of_a_model(model: str, name: str) -> None:
    assert name == encoding_name(model)


def test_a_file_that_is_not_the_ranks_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """tiktoken would delete it and fetch another, without a deadline."""
    path = tmp_path / RANK_FILES["o200k_base"][0]
    path.write_bytes(b"not ranks")
    assert load_from_cache(tmp_path, "o200k_base") is None
    assert b"not ranks" == path.read_bytes()
    assert "tokens are estimated" in caplog.text


def test_ranks_that_cannot_be_read_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the right digest and a wrong form; tiktoken does not know its name either."""
    name, content = "0" * 40, b"!!! not base64 at all\n"
    monkeypatch.setitem(
        tokens.RANK_FILES,
        "no_such_encoding",
        (name, hashlib.sha256(content).hexdigest()),
    )
    (tmp_path / name).write_bytes(content)
    assert load_from_cache(tmp_path, "no_such_encoding") is None


def test_no_directory_means_no_ranks() -> None:
    assert load_from_cache(None, DEFAULT_ENCODING) is None


@given(st.text())
def test_an_estimate_is_a_quarter_of_the_bytes_rounded_up(text: str) -> None:
    size = len(text.encode("utf-8", "replace"))
    assert 4 * estimate(text) >= size > 4 * (estimate(text) - 1)
