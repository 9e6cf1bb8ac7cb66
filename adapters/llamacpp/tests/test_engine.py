from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from adapters.llamacpp.tests.local_models import (
    LOGGER,
    ScriptedModel,
    engine_threads,
    finish_of,
    make_prompt,
    text_of,
    usage_of,
)
from one_api.adapter import (
    GatewayError,
    InternalError,
    NoDeploymentAvailable,
    Start,
    UpstreamError,
    UpstreamOverloaded,
)
from one_api_llamacpp.engine import SerialEngine
from one_api_llamacpp.language_model import LanguageModel


async def open_engine(load: Callable[[], LanguageModel], *, queue_limit: int = 16) -> SerialEngine:
    return await SerialEngine.open(load, name="test", queue_limit=queue_limit, logger=LOGGER)


@asynccontextmanager
async def serving(
    model: ScriptedModel, *, queue_limit: int = 16
) -> AsyncGenerator[SerialEngine, None]:
    """An engine for the test, which may not take long nor leave its thread behind."""
    async with asyncio.timeout(20):
        engine = await open_engine(lambda: model, queue_limit=queue_limit)
        try:
            yield engine
        finally:
            await engine.close()
        assert model.closed == 1
        assert engine_threads() == []


async def answer(engine: SerialEngine, prompt: str = "prompt") -> str:
    return text_of([event async for event in engine.generate(make_prompt(prompt))])


async def until_running(model: ScriptedModel) -> None:
    await asyncio.to_thread(model.evaluating.wait)


async def test_an_answer_starts_streams_finishes_and_reports() -> None:
    async with serving(ScriptedModel("fine 👋")) as engine:
        events = [event async for event in engine.generate(make_prompt("12345"))]
    assert Start() == events[0]
    assert (text_of(events), finish_of(events)) == ("fine 👋", "stop")
    assert (usage_of(events).prompt_tokens, usage_of(events).completion_tokens) == (5, 10)


async def test_prompts_are_evaluated_in_batches_and_answers_token_by_token() -> None:
    model = ScriptedModel("ab")
    async with serving(model) as engine:
        await answer(engine, "0123456789")
    assert model.batches == [4, 4, 2, 1, 1]


async def test_the_common_beginning_of_two_prompts_is_evaluated_once() -> None:
    async with serving(ScriptedModel()) as engine:
        await answer(engine, "same beginning, one end")
        events = [event async for event in engine.generate(make_prompt("same beginning, two"))]
        again = [event async for event in engine.generate(make_prompt("same beginning, two"))]
    assert len("same beginning, ") == usage_of(events).cached_tokens
    assert len("same beginning, two") - 1 == usage_of(again).cached_tokens


async def test_requests_are_answered_in_the_order_they_came() -> None:
    model = ScriptedModel(gated=True)
    prompts = [f"prompt {number}" for number in range(10)]
    async with serving(model) as engine, asyncio.TaskGroup() as group:
        tasks = [group.create_task(answer(engine, prompt)) for prompt in prompts]
        await until_running(model)
        model.release()
    assert [task.result() for task in tasks] == ["fine"] * 10
    assert prompts == model.begun


async def test_a_client_that_leaves_frees_the_model_for_the_next() -> None:
    model = ScriptedModel(gated=True)
    async with serving(model) as engine:
        leaving = asyncio.create_task(answer(engine, "leaving"))
        await until_running(model)
        staying = asyncio.create_task(answer(engine, "staying"))
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        model.release()
        assert await staying == "fine"
    assert model.begun == ["leaving", "staying"]


async def test_a_client_may_leave_in_the_middle_of_its_answer() -> None:
    model = ScriptedModel("a long answer")
    async with serving(model) as engine:
        async with aclosing(engine.generate(make_prompt())) as events:
            assert Start() == await anext(events)
            await anext(events)
        assert await answer(engine) == "a long answer"


async def test_a_request_that_left_the_queue_is_never_begun() -> None:
    model = ScriptedModel(gated=True)
    async with serving(model, queue_limit=1) as engine:
        first = asyncio.create_task(answer(engine, "first"))
        await until_running(model)
        second = asyncio.create_task(answer(engine, "second"))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        third = asyncio.create_task(answer(engine, "third"))
        await asyncio.sleep(0)
        model.release()
        assert [await first, await third] == ["fine", "fine"]
    assert model.begun == ["first", "third"]


@pytest.mark.parametrize("limit", [0, 2])
async def test_a_full_queue_refuses_and_says_when_to_come_back(limit: int) -> None:
    model = ScriptedModel(gated=True)
    async with serving(model, queue_limit=limit) as engine:
        waiting = [asyncio.create_task(answer(engine)) for _ in range(1 + limit)]
        await until_running(model)
        with pytest.raises(UpstreamOverloaded) as caught:
            await answer(engine)
        assert caught.value.status == 503
        assert caught.value.headers() == {"Retry-After": "1"}
        model.release()
        assert ["fine"] * (1 + limit) == await asyncio.gather(*waiting)


async def test_closing_ends_what_runs_and_what_waits() -> None:
    model = ScriptedModel(gated=True)
    async with serving(model) as engine:
        tasks = [asyncio.create_task(answer(engine, prompt)) for prompt in ("running", "waiting")]
        await until_running(model)
        await engine.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [NoDeploymentAvailable] * 2 == [type(result) for result in results]
        with pytest.raises(NoDeploymentAvailable):
            await answer(engine, "late")
    assert model.begun == ["running"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UpstreamError("the model failed"), UpstreamError("the model failed")),
        (ZeroDivisionError("secret"), InternalError("The local model failed to answer.")),
    ],
    ids=["the model's", "ours"],
)
async def test_a_failure_ends_one_answer_only(
    error: Exception, told: GatewayError, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(ScriptedModel(error=error)) as engine:
        with pytest.raises(GatewayError) as caught:
            await answer(engine)
        assert await answer(engine) == "fine"
    assert (type(told), told.message) == (type(caught.value), caught.value.message)
    assert isinstance(error, GatewayError) == ("secret" not in caplog.text)


async def test_a_load_that_fails_leaves_no_thread() -> None:
    def fail() -> LanguageModel:
        raise UpstreamError("no such luck")

    with pytest.raises(UpstreamError, match="no such luck"):
        await open_engine(fail)
    for thread in threading.enumerate():
        if thread.name == "llamacpp-test":
            await asyncio.to_thread(thread.join)
    assert engine_threads() == []


async def test_a_load_that_nobody_waits_for_any_more_is_undone() -> None:
    model, loading, go_on = ScriptedModel(), threading.Event(), threading.Event()

    def load() -> LanguageModel:
        loading.set()
        go_on.wait()
        return model

    opening = asyncio.create_task(open_engine(load))
    await asyncio.to_thread(loading.wait)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    (thread,) = [t for t in threading.enumerate() if t.name == "llamacpp-test"]
    go_on.set()
    await asyncio.to_thread(thread.join)
    assert model.closed == 1
