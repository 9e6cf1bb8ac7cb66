"""The road of a request, with adapters that behave in every way there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import orjson
import pytest
from typing_extensions import override

from one_api.adapter import (
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    KeepAlive,
    ParameterPolicy,
    Relay,
    Start,
    TextDelta,
    Timeouts,
    ToolCallDelta,
    Usage,
    UsageReport,
)
from one_api.errors import (
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    UnsupportedParameter,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from one_api.gateway import CompleteReply, Gateway, GatewayOptions, StreamedReply
from tests.adapters_in_test import HELLO, ScriptedAdapter, forever, registry_of, running
from tests.converter.digest import digest, facts
from tests.converter.replies import chunks_of
from tests.scripted_upstream import openai_completion_body, openai_frames, sse_frame

QUICK = Timeouts(first_content_s=0.01, total_s=0.01)


def asked(**fields: Any) -> ChatCompletionRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return ChatCompletionRequest.from_wire({k: v for k, v in body.items() if v is not ...})


async def reply_of(
    adapter: ScriptedAdapter,
    request: ChatCompletionRequest,
    *,
    timeouts: Timeouts | None = None,
    **options: Any,
) -> CompleteReply | StreamedReply:
    async with running(registry_of(timeouts, a=adapter)) as registry:
        return await Gateway(registry, GatewayOptions(**options)).chat(request, request_id="req_1")


async def completion_of(adapter: ScriptedAdapter, **fields: Any) -> Any:
    reply = await reply_of(adapter, asked(**fields))
    assert isinstance(reply, CompleteReply)
    return orjson.loads(reply.body)


async def begun_stream(adapter: ScriptedAdapter, **fields: Any) -> StreamedReply:
    reply = await reply_of(adapter, asked(stream=True, **fields))
    assert isinstance(reply, StreamedReply)
    return reply


async def stream_of(adapter: ScriptedAdapter, **fields: Any) -> bytes:
    reply = await begun_stream(adapter, **fields)
    return b"".join([piece async for piece in reply.chunks])


def frames(*parts: bytes) -> list[Event]:
    return [Relay(part) for part in parts]


class TestAnswers:
    async def test_complete_reply(self) -> None:
        adapter = ScriptedAdapter()

        told = await completion_of(adapter)

        assert "Hello" == told["choices"][0]["message"]["content"]
        assert ("m", 4) == (told["model"], told["usage"]["total_tokens"])
        assert ["ended"] == adapter.endings

    async def test_streamed_reply(self) -> None:
        adapter = ScriptedAdapter()

        told = facts(digest(await stream_of(adapter, stream_options={"include_usage": True})))

        assert "Hello" == told["choices"][0]["message"]["content"]
        assert 4 == told["usage"]["total_tokens"]
        assert ["ended"] == adapter.endings

    async def test_relayed_replies(self) -> None:
        body = orjson.dumps(openai_completion_body())
        complete = await reply_of(ScriptedAdapter([Relay(body)]), asked())
        assert isinstance(complete, CompleteReply)
        assert body == complete.body

        out = await stream_of(
            ScriptedAdapter(frames(*openai_frames())), stream_options={"include_usage": True}
        )
        assert b"".join(openai_frames()) == out

    async def test_headers_tell_how_it_came_about(self) -> None:
        for stream in (False, True):
            reply = await reply_of(ScriptedAdapter(), asked(model="a/x", stream=stream))

            assert {
                "x-one-api-model": "x",
                "x-one-api-deployment": "a/x",
                "x-one-api-attempts": "1",
            } == reply.headers

    async def test_adapter_is_asked_for_its_own_name_of_the_model(self) -> None:
        adapter = ScriptedAdapter()

        told = await completion_of(adapter, model="a/org/x")

        (call,) = adapter.calls
        assert ("org/x", "req_1", False) == (call.model, call.request_id, call.strict_params)
        assert "a/org/x" == told["model"]

    async def test_legacy_functions_get_function_call(self) -> None:
        steps = [Start(), ToolCallDelta(0, "c", "f"), Finish("tool_calls")]
        adapter = ScriptedAdapter(steps, policy=ParameterPolicy(frozenset({"functions"})))

        told = await completion_of(adapter, functions=[{"name": "f"}])

        assert "function_call" == told["choices"][0]["finish_reason"]

    @pytest.mark.parametrize(
        "steps", [HELLO[:-1], frames(*openai_frames()[:-2], openai_frames()[-1])]
    )
    async def test_usage_nobody_told_is_estimated(self, steps: list[Event]) -> None:
        out = await stream_of(ScriptedAdapter(steps), stream_options={"include_usage": True})

        usage = chunks_of(out)[-1]["usage"]
        assert usage["prompt_tokens"] > 0
        assert usage["completion_tokens"] > 0

    async def test_requests_do_not_disturb_each_other(self) -> None:
        adapter = ScriptedAdapter([Start(), *[TextDelta("x")] * 20, Finish("stop")])

        async with running(registry_of(a=adapter)) as registry:
            gateway = Gateway(registry, GatewayOptions())
            replies = await asyncio.gather(
                *(gateway.chat(asked(), request_id=str(at)) for at in range(50))
            )

        ids = {orjson.loads(cast("CompleteReply", reply).body)["id"] for reply in replies}
        assert 50 == len(ids)
        assert [str(at) for at in range(50)] == sorted(
            (call.request_id for call in adapter.calls), key=int
        )


class TestModels:
    async def test_default_model_answers_for_none(self) -> None:
        reply = await reply_of(ScriptedAdapter(), asked(model=...), default_model="m")

        assert "a/m" == reply.headers["x-one-api-deployment"]

    async def test_model_is_needed_without_a_default(self) -> None:
        with pytest.raises(InvalidRequest) as caught:
            await reply_of(ScriptedAdapter(), asked(model=...))

        assert ("model", "missing_required_parameter") == (caught.value.param, caught.value.code)

    async def test_default_is_for_those_who_name_none(self) -> None:
        with pytest.raises(ModelNotFound):
            await reply_of(ScriptedAdapter(), asked(model="other"), default_model="m")


class TestParameters:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_dropped_parameters_are_told(self, stream: bool) -> None:
        request = asked(seed=1, temperature=0.5, stream=stream)

        reply = await reply_of(ScriptedAdapter(), request)

        assert "seed,temperature" == reply.headers["x-one-api-dropped-params"]

    async def test_parameter_dropped_while_answering_is_told(self) -> None:
        adapter = ScriptedAdapter()
        adapter.steps.insert(1, lambda: drop())

        async def drop() -> None:
            adapter.calls[0].drop("top_p")

        reply = await reply_of(adapter, asked())

        assert "top_p" == reply.headers["x-one-api-dropped-params"]

    async def test_strict_mode_refuses_what_it_would_drop(self) -> None:
        adapter = ScriptedAdapter()

        with pytest.raises(UnsupportedParameter) as caught:
            await reply_of(adapter, asked(seed=1), strict_params=True)

        assert "seed" == caught.value.param
        assert [] == adapter.calls

    async def test_shape_that_cannot_be_given_is_refused(self) -> None:
        with pytest.raises(UnsupportedParameter):
            await reply_of(ScriptedAdapter(), asked(n=2))

    @pytest.mark.parametrize("stream", [False, True])
    async def test_emulated_choices_are_asked_for_one_by_one(self, stream: bool) -> None:
        adapter = ScriptedAdapter()
        request = asked(
            n=3, stream=stream, stream_options={"include_usage": True} if stream else ...
        )

        reply = await reply_of(adapter, request, emulate_n=True)
        if isinstance(reply, StreamedReply):
            told = facts(digest(b"".join([piece async for piece in reply.chunks])))
        else:
            told = facts(orjson.loads(reply.body))

        assert ["Hello"] * 3 == [c["message"]["content"] for c in told["choices"]]
        assert 3 * 4 == told["usage"]["total_tokens"]
        assert ["ended"] * 3 == adapter.endings
        assert [None] * 3 == [request.n for request in adapter.requests]

    @pytest.mark.parametrize("broken", [Relay(b"data: {}\n\n"), "text"], ids=["relay", "text"])
    async def test_emulated_choice_out_of_contract_ends_all(self, broken: object) -> None:
        with pytest.raises(UpstreamInvalidResponse):
            await reply_of(ScriptedAdapter([Start(), broken]), asked(n=2), emulate_n=True)

    async def test_first_error_among_emulated_choices_ends_all(self) -> None:
        adapter = ScriptedAdapter([Start(), UpstreamRateLimited("slow")])

        with pytest.raises(UpstreamRateLimited):
            await reply_of(adapter, asked(n=2), emulate_n=True)

        assert 2 == len(adapter.endings)


FAILURES = [
    (UpstreamRateLimited("slow down", retry_after_s=3), UpstreamRateLimited),
    (InvalidRequest("no", param="messages"), InvalidRequest),
    (RuntimeError("a bug"), UpstreamError),
    (KeyError("a"), UpstreamError),
    (TimeoutError(), UpstreamError),
    (StopAsyncIteration(), UpstreamError),
]


class TestFailures:
    @pytest.mark.parametrize(
        ("failure", "kind"), FAILURES, ids=[type(failure).__name__ for failure, _ in FAILURES]
    )
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    @pytest.mark.parametrize("before", [[], [Start(), KeepAlive()]], ids=["at-once", "after-start"])
    async def test_error_before_content_is_raised(
        self, failure: Exception, kind: type[GatewayError], stream: bool, before: list[Event]
    ) -> None:
        adapter = ScriptedAdapter([*before, failure])

        with pytest.raises(GatewayError) as caught:
            await reply_of(adapter, asked(stream=stream))

        assert kind is type(caught.value)
        assert 1 == len(adapter.endings)

    @pytest.mark.parametrize(
        ("failure", "kind"), FAILURES, ids=[type(failure).__name__ for failure, _ in FAILURES]
    )
    async def test_error_after_content_is_told_in_band(
        self, failure: Exception, kind: type[GatewayError]
    ) -> None:
        out = await stream_of(ScriptedAdapter([Start(), TextDelta("Hel"), failure]))

        *_, last = out.removesuffix(b"\n\n").split(b"\n\n")
        error = orjson.loads(last.removeprefix(b"data: "))["error"]
        assert {"message", "type", "param", "code"} == error.keys()
        assert kind.code == error["code"]
        assert b"Hel" in out
        assert b"[DONE]" not in out
        assert b'"finish_reason":"' not in out

    async def test_error_after_content_of_a_whole_reply_is_raised(self) -> None:
        adapter = ScriptedAdapter([Start(), TextDelta("Hel"), UpstreamRateLimited("slow")])

        with pytest.raises(UpstreamRateLimited):
            await reply_of(adapter, asked())

    async def test_error_told_in_a_relayed_stream_is_told_on(self) -> None:
        error = sse_frame({"error": {"message": "overloaded", "code": 503}})

        with pytest.raises(UpstreamError, match="overloaded"):
            await stream_of(ScriptedAdapter(frames(openai_frames()[0], error)))
        out = await stream_of(ScriptedAdapter(frames(*openai_frames()[:2], error)))

        assert b'"overloaded"' in out.split(b"\n\n")[-2]
        assert b"[DONE]" not in out

    async def test_content_before_an_error_in_one_read_is_told_first(self) -> None:
        error = sse_frame({"error": {"message": "overloaded", "code": 503}})

        out = await stream_of(ScriptedAdapter(frames(b"".join(openai_frames()[:3]) + error)))

        assert b'"Hello"' in out
        assert b'"overloaded"' in out.split(b"\n\n")[-2]
        assert b"[DONE]" not in out

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    @pytest.mark.parametrize("steps", [[], [Start()], frames(openai_frames()[0])], ids=len)
    async def test_reply_that_ends_before_content_is_an_error(
        self, steps: list[Event], stream: bool
    ) -> None:
        with pytest.raises((UpstreamDisconnected, UpstreamInvalidResponse)):
            await reply_of(ScriptedAdapter(steps), asked(stream=stream))

    async def test_stream_that_just_ends_is_told_in_band(self) -> None:
        out = await stream_of(ScriptedAdapter([Start(), TextDelta("Hel")]))

        assert b"upstream_disconnected" in out.split(b"\n\n")[-2]
        assert b"[DONE]" not in out

    @pytest.mark.parametrize(
        "nonsense",
        ["text", None, TextDelta(cast("str", object())), Relay(b"x")],
        ids=["text", "none", "unwritable", "relayed"],
    )
    async def test_nonsense_after_content_is_told_in_band(self, nonsense: object) -> None:
        """The caller must never see a stream just end, whatever an adapter yields."""
        adapter = ScriptedAdapter([Start(), TextDelta("Hel"), nonsense, forever])

        out = await stream_of(adapter)

        assert out.split(b"\n\n")[-2].startswith(b'data: {"error":')
        assert b"[DONE]" not in out
        assert ["GeneratorExit"] == adapter.endings

    async def test_adapter_may_fail_before_it_gives_a_generator(self) -> None:
        class Failing(ScriptedAdapter):
            @override
            def generate_completion(
                self, request: ChatCompletionRequest, call: Call
            ) -> AsyncIterator[Event]:
                raise KeyError("a bug")

        with pytest.raises(UpstreamError, match="'a' failed"):
            await reply_of(Failing(), asked())

    async def test_adapter_may_give_any_async_iterator(self) -> None:
        class Counting(AsyncIterator[Event]):
            def __init__(self) -> None:
                self.left = list(HELLO)

            @override
            async def __anext__(self) -> Event:
                if not self.left:
                    raise StopAsyncIteration
                return self.left.pop(0)

        class Iterating(ScriptedAdapter):
            @override
            def generate_completion(
                self, request: ChatCompletionRequest, call: Call
            ) -> AsyncIterator[Event]:
                return Counting()

        told = await completion_of(Iterating())

        assert "Hello" == told["choices"][0]["message"]["content"]


class TestTimeouts:
    async def test_stream_without_content_in_time_is_a_timeout(self) -> None:
        adapter = ScriptedAdapter([Start(), KeepAlive(), forever])

        with pytest.raises(UpstreamTimeout):
            await reply_of(adapter, asked(stream=True), timeouts=QUICK)

        assert ["CancelledError"] == adapter.endings

    async def test_whole_reply_not_there_in_time_is_a_timeout(self) -> None:
        adapter = ScriptedAdapter([Start(), TextDelta("a"), forever])

        with pytest.raises(UpstreamTimeout):
            await reply_of(adapter, asked(), timeouts=QUICK)

        assert ["CancelledError"] == adapter.endings

    async def test_first_content_ends_the_wait_for_it(self) -> None:
        go_on = asyncio.Event()
        adapter = ScriptedAdapter([Start(), TextDelta("a"), go_on.wait, Finish("stop")])
        patience = Timeouts(first_content_s=0.01)

        reply = await reply_of(adapter, asked(stream=True), timeouts=patience)
        assert isinstance(reply, StreamedReply)
        head = await anext(reply.chunks)
        await asyncio.sleep(0.02)  # longer than the patience for the first content
        go_on.set()
        rest = b"".join([piece async for piece in reply.chunks])

        assert b'"a"' in head
        assert rest.endswith(b"data: [DONE]\n\n")


class TestClosing:
    """Whoever stops listening gives the provider's connection back."""

    @pytest.mark.parametrize("taken", [0, 1])
    async def test_closing_a_stream_closes_the_adapters_generator(self, taken: int) -> None:
        adapter = ScriptedAdapter([Start(), TextDelta("a"), TextDelta("b"), forever])
        reply = await begun_stream(adapter)
        for _ in range(taken):
            await anext(reply.chunks)

        await reply.chunks.aclose()

        assert ["GeneratorExit"] == adapter.endings

    async def test_cancelling_a_stream_cancels_the_adapter(self) -> None:
        adapter = ScriptedAdapter([Start(), TextDelta("a"), forever])
        reply = await begun_stream(adapter)

        async def read() -> None:
            async for _ in reply.chunks:
                reading.set()

        reading = asyncio.Event()
        task = asyncio.create_task(read())
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert ["CancelledError"] == adapter.endings

    @pytest.mark.parametrize("stream", [False, True])
    async def test_cancelling_before_content_cancels_the_adapter(self, stream: bool) -> None:
        waiting = asyncio.Event()

        async def wait() -> None:
            waiting.set()
            await forever()

        adapter = ScriptedAdapter([Start(), wait])
        task = asyncio.create_task(reply_of(adapter, asked(stream=stream)))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert ["CancelledError"] == adapter.endings

    async def test_body_after_done_is_read_to_its_end(self) -> None:
        """So that the connection can be used again."""
        adapter = ScriptedAdapter(frames(*openai_frames(), b": bye\n\n"))

        await stream_of(adapter)

        assert ["ended"] == adapter.endings

    async def test_body_that_goes_on_after_done_is_left(self) -> None:
        adapter = ScriptedAdapter([*frames(*openai_frames()), forever])

        out = await stream_of(adapter)

        assert out.endswith(b"data: [DONE]\n\n")
        assert ["CancelledError"] == adapter.endings

    async def test_stream_in_one_read_is_given_whole(self) -> None:
        whole = b"".join(openai_frames())

        out = await stream_of(
            ScriptedAdapter(frames(whole)), stream_options={"include_usage": True}
        )

        assert whole == out

    async def test_no_empty_piece_is_sent(self) -> None:
        """An empty chunk ends a body for some servers."""
        steps = [Start(), TextDelta("a"), UsageReport(Usage(prompt_tokens=1, completion_tokens=1))]
        reply = await begun_stream(ScriptedAdapter([*steps, KeepAlive(), Finish("stop")]))

        assert all([piece async for piece in reply.chunks])
