"""The road of a request, with adapters that behave in every way there is."""

from __future__ import annotations

import asyncio
from typing import cast

import orjson
import pytest

from one_api.adapter import Event, Finish, ParameterPolicy, Relay, Start, TextDelta, ToolCallDelta
from one_api.errors import (
    InvalidRequest,
    ModelNotFound,
    UnsupportedParameter,
    UpstreamInvalidResponse,
    UpstreamRateLimited,
)
from one_api.failover import RequestContext
from one_api.gateway import CompleteReply, StreamedReply
from tests.adapters_in_test import (
    HELLO,
    ScriptedAdapter,
    asked,
    completion_of,
    frames,
    gateway_of,
    registry_of,
    reply_of,
    running,
    stream_of,
)
from tests.converter.digest import digest, facts
from tests.converter.replies import chunks_of
from tests.scripted_upstream import openai_completion_body, openai_frames


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
            gateway = gateway_of(registry)
            replies = await asyncio.gather(
                *(gateway.chat(asked(), RequestContext(request_id=str(at))) for at in range(50))
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
