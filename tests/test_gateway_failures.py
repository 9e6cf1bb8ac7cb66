"""What goes wrong with a provider, when it does, and who is told; nothing is left open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import orjson
import pytest
from typing_extensions import override

from one_api.adapter import (
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    KeepAlive,
    Relay,
    Start,
    TextDelta,
    Timeouts,
    Usage,
    UsageReport,
)
from one_api.errors import (
    GatewayError,
    InvalidRequest,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from one_api.gateway import StreamedReply
from tests.adapters_in_test import (
    HELLO,
    ScriptedAdapter,
    asked,
    begun_stream,
    completion_of,
    forever,
    frames,
    reply_of,
    stream_of,
)
from tests.scripted_upstream import openai_frames, sse_frame

QUICK = Timeouts(first_content_s=0.01, total_s=0.01)


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
