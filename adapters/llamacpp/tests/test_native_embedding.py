"""Vectors of real GGUF files through llama.cpp."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from adapters.llamacpp.tests.local_models import ask, text_of
from adapters.llamacpp.tests.make_gguf import write_bert
from one_api.adapter import Call, ContextWindowExceeded, EmbeddingRequest, UpstreamError
from one_api_llamacpp.adapter import LlamaCppAdapter

pytestmark = pytest.mark.llamacpp

Adapters = Callable[..., LlamaCppAdapter]
Write = Callable[..., Path]


async def embed(
    adapter: LlamaCppAdapter, model: str, given: Any, **fields: Any
) -> tuple[list[Sequence[float]], int | None]:
    request = EmbeddingRequest.from_wire({"model": model, "input": given, **fields})
    embeddings = await adapter.embed(request, Call(model=model))
    return list(embeddings.vectors), embeddings.prompt_tokens


@pytest.fixture(params=["llama", "bert"])
def model(request: pytest.FixtureRequest, models: Path, write_model: Write) -> str:
    """A model that goes on with text, and one that only encodes it."""
    if request.param == "bert":
        write_bert(models / "bert.gguf", ["hello", "there"])
    else:
        write_model("llama", "hello there")
    name: str = request.param
    return name


async def test_vectors_have_length_one(local: Adapters, model: str) -> None:
    vectors, tokens = await embed(local(), model, ["hello", "there hello", "hello there hello"])
    assert [pytest.approx(1)] * 3 == [math.hypot(*vector) for vector in vectors]
    assert tokens is not None
    assert tokens >= 6


async def test_a_batch_gives_what_single_inputs_give(local: Adapters, model: str) -> None:
    texts = [("hello " * count).strip() for count in range(1, 40)]
    adapter = local()
    together, _ = await embed(adapter, model, texts)
    for text, vector in zip(texts, together, strict=True):
        ((alone,), _) = await embed(adapter, model, text)
        assert pytest.approx(alone, abs=2e-4) == vector


async def test_different_tokens_have_different_vectors(local: Adapters, model: str) -> None:
    (one, other), tokens = await embed(local(), model, [[262], [261]])
    assert sum(a * b for a, b in zip(one, other, strict=True)) < 0.99
    assert 2 == tokens


async def test_the_vector_is_the_mean_of_the_tokens(local: Adapters, write_model: Write) -> None:
    """In a scripted model every token of the text has a direction of its own."""
    write_model("llama", "hello there")
    ((first,), _), ((second,), _), ((both,), _) = [
        await embed(local(), "llama", given) for given in ([[261]], [[262]], [[261, 262]])
    ]
    assert pytest.approx(0, abs=1e-5) == sum(a * b for a, b in zip(first, second, strict=True))
    mean = [(a + b) / math.sqrt(2) for a, b in zip(first, second, strict=True)]
    assert pytest.approx(mean, abs=1e-4) == both


async def test_dimensions_cut_the_vector(local: Adapters, model: str) -> None:
    adapter = local()
    ((whole,), _) = await embed(adapter, model, "hello there")
    ((cut,), _) = await embed(adapter, model, "hello there", dimensions=8)
    length = math.hypot(*whole[:8])
    assert pytest.approx([value / length for value in whole[:8]], abs=1e-5) == cut


async def test_an_input_over_the_context_is_refused(local: Adapters, model: str) -> None:
    with pytest.raises(ContextWindowExceeded):
        await embed(local(), model, [[261] * 513])


async def test_a_model_that_chats_embeds_too(local: Adapters, write_model: Write) -> None:
    write_model("llama", "hello there")
    adapter = local()
    await embed(adapter, "llama", "hello")
    assert "hello there" == text_of(await ask(adapter, "llama"))


async def test_a_damaged_file_is_told(local: Adapters, write_model: Write) -> None:
    path = write_model("corrupt", "hello there")
    path.write_bytes(path.read_bytes().replace(b"output_norm", b"output_morn"))
    with pytest.raises(UpstreamError, match="cannot be loaded"):
        await embed(local(), "corrupt", "hello")
