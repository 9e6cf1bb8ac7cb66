"""What llama.cpp does with batches: real weights with attention, in this process."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from adapters.llamacpp.tests.batch_models import ListReader
from one_api.adapter import Event, InvalidRequest
from one_api_llamacpp.batch_model import BatchModel, Interrupted, Part
from one_api_llamacpp.batching import BatchEngine
from one_api_llamacpp.catalogue import DEMO
from one_api_llamacpp.jobs import Job, Output
from one_api_llamacpp.sampling import Sampling, TokenLogprobs
from one_api_llamacpp.worker_settings import KVType, WorkerSettings

pytestmark = pytest.mark.llamacpp

native_model = pytest.importorskip("one_api_llamacpp.native_model")
native_log = pytest.importorskip("one_api_llamacpp.native_log")

QUESTIONS = [
    "What is the capital of France?",
    "Hello!",
    "Who are you?",
    "Count to five.",
    "What is the opposite of hot?",
    "What is the opposite of big?",
    "What day comes after Monday?",
    "What is 3 + 4?",
]


def ignore(level: int, text: str) -> None:
    """Where llama.cpp's log goes."""


@cache
def log() -> Any:
    return native_log.NativeLog(ignore)


def open_model(
    path: Path = DEMO, *, parallel: int = 16, kv_type: KVType = "f16", context_tokens: int = 4096
) -> BatchModel:
    settings = WorkerSettings(
        path=path,
        name="demo",
        parallel=parallel,
        kv_type=kv_type,
        context_tokens=context_tokens,
        flash_attention="auto",
    )
    opened: BatchModel = native_model.NativeModel(
        native_model.NativeWeights(settings, log(), ignore)
    )
    return opened


@pytest.fixture(scope="module")
def model() -> BatchModel:
    return open_model()


def chat(model: BatchModel, text: str) -> list[int]:
    rendered = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    tokens: list[int] = model.tokeniser.tokenise([rendered])
    return tokens


class TokenReader(ListReader):
    """Gathers pieces of text instead of tokens."""

    text = b""

    @override
    def take(self, piece: bytes, logprobs: TokenLogprobs | None = None) -> list[Event]:
        self.text += piece
        self.tokens.append(len(piece))
        return self._finish("length") if len(self.tokens) == self._limit else []


def answer(model: BatchModel, prompts: Sequence[Sequence[int]], *, at_once: bool) -> list[bytes]:
    """What a new engine over `model` answers, greedily, to all of `prompts`."""
    outputs: list[Output] = []
    faults: list[Exception] = []
    engine = BatchEngine(
        model, name="demo", queue_limit=100, emit=outputs.extend, report=faults.append
    )
    readers = []
    for prompt in prompts:
        reader = TokenReader(60)
        job = Job(
            caller="",
            tokens=list(prompt),
            limit=60,
            sampling=Sampling(temperature=0),
            open=lambda _, reader=reader: reader,  # type: ignore[misc]  # bound to this one
        )
        engine.submit([job])
        readers.append(reader)
        while not at_once and engine.step():
            pass
    while engine.step():
        pass
    assert [] == faults
    assert [] == [output.error for output in outputs if output.error is not None]
    for sequence in range(model.sequences):
        model.keep(sequence, 0)
    return [reader.text for reader in readers]


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_greedy_answers_are_the_same_alone_and_in_a_batch(kv_type: KVType) -> None:
    model = open_model(kv_type=kv_type)
    prompts = [chat(model, question) for question in QUESTIONS * 2]
    alone = [answer(model, [prompt], at_once=False)[0] for prompt in prompts[: len(QUESTIONS)]]
    assert b"Paris" in alone[0]
    assert alone * 2 == answer(model, prompts, at_once=True)


def test_a_prompt_in_pieces_and_on_a_shared_beginning_changes_nothing(
    model: BatchModel,
) -> None:
    history = "".join(f"My number {n} is {n * 7}. " for n in range(30))
    prompts = [chat(model, history + question) for question in QUESTIONS]
    alone = [answer(model, [prompt], at_once=False)[0] for prompt in prompts]
    assert alone == answer(model, prompts, at_once=True)
    assert alone == answer(model, prompts, at_once=False)


def test_an_answer_that_was_put_off_is_what_it_would_have_been() -> None:
    roomy, narrow = open_model(), open_model(parallel=8, context_tokens=256)
    prompts = [chat(roomy, question) for question in QUESTIONS]
    assert answer(roomy, prompts, at_once=True) == answer(narrow, prompts, at_once=True)


def rows_after(model: BatchModel, text: str) -> list[int]:
    model.keep(0, 0)
    tokens = chat(model, text)
    rows: list[int] = model.evaluate([Part(0, 0, tokens, wants_logits=True)])
    return rows


def sampled(
    model: BatchModel, sampling: Sampling, *, count: int, text: str = "Hello!"
) -> Iterator[tuple[int, TokenLogprobs | None]]:
    rows = rows_after(model, text)
    at = len(chat(model, text))
    sampler = model.sampler(sampling)
    try:
        for _ in range(count):
            token, logprobs = sampler.sample(rows[0])
            yield token, logprobs
            if model.tokeniser.ends_turn(token):
                return
            rows = model.evaluate([Part(0, at, [token], wants_logits=True)])
            at += 1
    finally:
        sampler.close()


def text_of(model: BatchModel, sampling: Sampling, count: int = 30) -> str:
    tokens = [token for token, _ in sampled(model, sampling, count=count)]
    kept = [token for token in tokens if not model.tokeniser.ends_turn(token)]
    return b"".join(map(model.tokeniser.piece, kept)).decode("utf-8", "replace")


def test_logprobs_are_a_distribution_whose_likeliest_is_taken_greedily(
    model: BatchModel,
) -> None:
    size = model.tokeniser.vocabulary.size
    asked = Sampling(temperature=0, logprobs=size)
    for token, told in sampled(model, asked, count=5):
        assert told is not None
        assert told.token == token
        assert told.top[0] == (token, model.tokeniser.piece(token), told.logprob)
        logs = [log for _, _, log in told.top]
        assert logs == sorted(logs, reverse=True)
        assert math.fsum(map(math.exp, logs)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("count", [0, 3])
def test_as_many_alternatives_are_told_as_were_asked_for(model: BatchModel, count: int) -> None:
    ((_, told),) = sampled(model, Sampling(temperature=1, logprobs=count), count=1)
    assert told is not None
    assert count == len(told.top)


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_a_grammar_holds_whatever_the_model_would_rather_say(
    model: BatchModel, temperature: float
) -> None:
    sampling = Sampling(temperature=temperature, grammar='root ::= "no" ("," " no"){2}', seed=3)
    assert text_of(model, sampling) == "no, no, no"


def test_a_grammar_that_allows_the_answer_leaves_it_as_it_is(
    model: BatchModel,
) -> None:
    free = Sampling(temperature=0)
    assert text_of(model, free) == text_of(model, Sampling(temperature=0, grammar="root ::= .*"))


def test_a_wrong_grammar_is_refused(model: BatchModel) -> None:
    with pytest.raises(InvalidRequest, match="grammar"):
        model.sampler(Sampling(grammar="root ::= ("))


def test_an_interruption_ends_an_evaluation_and_nothing_after_it(
    model: BatchModel,
) -> None:
    source = random.Random(1)  # noqa: S311 - any tokens will do
    tokens = [source.randrange(300, 900) for _ in range(200)]
    model.keep(0, 0)
    model.interrupt()
    with pytest.raises(Interrupted):
        model.evaluate([Part(0, 0, tokens, wants_logits=True)])
    model.allow()
    assert model.keep(0, 0)
    assert "Hello" in text_of(model, Sampling(temperature=0))


def test_memory_is_no_more_than_all_sequences_can_fill() -> None:
    model = open_model(parallel=2, context_tokens=1_000_000)
    assert 2 * model.tokeniser.context_tokens == model.cells
