"""What of a model's distribution real answers are sampled from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.llamacpp.tests.local_models import ask, finish_of, text_of
from adapters.llamacpp.tests.make_gguf import write_noise
from one_api.adapter import InvalidRequest
from one_api_llamacpp.adapter import LlamaCppAdapter

pytestmark = pytest.mark.llamacpp

Adapters = Callable[..., LlamaCppAdapter]


async def sample(adapter: LlamaCppAdapter, **fields: Any) -> str:
    return text_of(await ask(adapter, "noise", max_tokens=40, **fields))


async def test_a_seed_repeats_an_answer_and_none_does_not(local: Adapters, models: Path) -> None:
    write_noise(models / "noise.gguf")
    adapter = local()
    assert await sample(adapter, seed=1) == await sample(adapter, seed=1)
    assert await sample(adapter, seed=1) != await sample(adapter, seed=2)
    assert await sample(adapter) != await sample(adapter)


async def test_bytes_of_no_character_never_break_an_answer(local: Adapters, models: Path) -> None:
    write_noise(models / "noise.gguf")
    adapter = local()
    for seed in range(20):
        events = await ask(adapter, "noise", seed=seed)
        assert finish_of(events) in ("stop", "length")
        text_of(events).encode()


A = 261  # the noise model's token of the letter "a"; the rest of the alphabet follows


async def test_logit_bias_can_force_and_forbid_tokens(local: Adapters, models: Path) -> None:
    write_noise(models / "noise.gguf")
    adapter = local()
    assert await sample(adapter, logit_bias={str(A): 100}) == "a" * 40
    only_ab = {str(A): 100, str(A + 1): 100}
    assert set(await sample(adapter, logit_bias=only_ab, seed=1)) == {"a", "b"}
    assert set(await sample(adapter, logit_bias={**only_ab, str(A): 0}, seed=1)) == {"b"}


async def test_penalties_count_the_answers_own_tokens(local: Adapters, models: Path) -> None:
    write_noise(models / "noise.gguf")
    adapter = local()
    alphabet = {str(A + at): 50.0 for at in range(20)}
    events = await ask(
        adapter,
        "noise",
        "abcdefghij",  # if the prompt counted, these would be left out
        logit_bias=alphabet,
        presence_penalty=2,
        temperature=0.01,
        max_tokens=20,
    )
    assert len(set(text_of(events))) == 20


@pytest.mark.parametrize(
    "fields",
    [{"temperature": 0}, {"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}],
    ids=["temperature", "top_k", "top_p", "min_p"],
)
async def test_each_way_to_take_the_likeliest_token_does(
    local: Adapters, models: Path, fields: dict[str, Any]
) -> None:
    write_noise(models / "noise.gguf")
    adapter = local()
    liked = {str(A + at): 50.0 for at in range(20)} | {str(A + 7): 50.5}
    assert await sample(adapter, logit_bias=liked, **fields) == "h" * 40


async def test_an_unknown_token_in_logit_bias_is_refused(local: Adapters, models: Path) -> None:
    write_noise(models / "noise.gguf")
    with pytest.raises(InvalidRequest, match="numbered from 0 to 286"):
        await sample(local(), logit_bias={"287": 1})
