"""Whole exchanges over a scripted transport: replies, errors, stops and pauses."""

from __future__ import annotations

import pytest

from adapters.claude.tests.scripted import (
    MakeAdapter,
    Script,
    Scripted,
    answer,
    error,
    request,
    stream,
    text_of,
)
from adapters.claude.tests.wires import OPUS_5
from one_api.adapter import (
    Call,
    Finish,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UsageReport,
)


async def test_a_reply_is_asked_for_as_a_stream_and_read_to_its_end(
    adapter_over: MakeAdapter,
) -> None:
    script = Script(stream("text"))
    events = await answer(adapter_over(script), request(stream=False))
    assert text_of(events) == "Hello, wörld \u2028🙂"
    assert isinstance(events[-1], Finish)
    assert script.bodies[0]["stream"] is True
    # The connection goes back to the pool only when nothing is left unread.
    assert script.replies[0].chunks_read == -(-len(script.replies[0].body) // 64)
    assert script.is_over


async def test_a_cut_reply_is_an_error(adapter_over: MakeAdapter) -> None:
    script = Script(stream("cut"))
    with pytest.raises(UpstreamDisconnected):
        await answer(adapter_over(script), request())
    assert script.is_over


async def test_an_error_before_the_stream_is_raised(adapter_over: MakeAdapter) -> None:
    script = Script(error(529, "Overloaded", "overloaded_error", **{"retry-after": "7"}))
    with pytest.raises(UpstreamOverloaded) as caught:
        await answer(adapter_over(script), request())
    assert caught.value.headers() == {"Retry-After": "7"}
    assert script.is_over


async def test_a_local_stop_sequence_leaves_the_rest_unread(adapter_over: MakeAdapter) -> None:
    script = Script(stream("blank_lines"))
    events = await answer(adapter_over(script), request(stop="\n\n"))
    assert (text_of(events), events[-1]) == ("first", Finish("stop", stop_sequence="\n\n"))
    assert script.replies[0].chunks_read < -(-len(script.replies[0].body) // 64)
    assert script.is_over


async def test_a_client_that_leaves_closes_the_upstream(adapter_over: MakeAdapter) -> None:
    script = Script(stream("text"))
    events = adapter_over(script).generate_completion(request(), Call(model=OPUS_5))
    await anext(events)
    await events.aclose()  # type: ignore[attr-defined]  # it is an async generator
    assert script.is_over


async def test_a_paused_turn_is_gone_on_with(adapter_over: MakeAdapter) -> None:
    script = Script(stream("pause_first"), stream("pause_second"))
    events = await answer(adapter_over(script), request())
    usage = [event.usage for event in events if isinstance(event, UsageReport)][-1]
    assert text_of(events) == "Looking… found."
    assert (usage.prompt_tokens, usage.completion_tokens) == (265, 29)
    assert [Finish("stop")] == [event for event in events if isinstance(event, Finish)]
    first, second = script.bodies
    *same, last = second["messages"]
    assert (first["messages"], "assistant") == (same, last["role"])
    assert [block["type"] for block in last["content"]] == ["text", "server_tool_use"]
    assert script.is_over


async def test_a_turn_is_gone_on_with_five_times_at_most(adapter_over: MakeAdapter) -> None:
    script = Script(*[stream("pause_first") for _ in range(6)])
    events = await answer(adapter_over(script), request())
    assert (text_of(events), events[-1]) == ("Looking… " * 6, Finish("length"))
    assert len(script.bodies[-1]["messages"][-1]["content"]) == 10
    assert script.is_over


async def test_an_error_while_going_on_is_raised(adapter_over: MakeAdapter) -> None:
    script = Script(stream("pause_first"), error(529, "Overloaded", "overloaded_error"))
    with pytest.raises(UpstreamOverloaded):
        await answer(adapter_over(script), request())
    assert script.is_over


async def test_an_answer_that_is_no_stream_is_told(adapter_over: MakeAdapter) -> None:
    script = Script(Scripted(b"<html>", 200, {"content-type": "text/html"}))
    with pytest.raises(UpstreamInvalidResponse):
        await answer(adapter_over(script), request())
    assert script.is_over
