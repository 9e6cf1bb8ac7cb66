"""Stop sequences that a provider does not see to, or not to so many, are enforced on the road."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from one_api.adapter import (
    Event,
    Finish,
    ParameterPolicy,
    Relay,
    Start,
    TextDelta,
    Usage,
    UsageReport,
)
from one_api.errors import UpstreamDisconnected, UpstreamRateLimited
from one_api.gateway import StreamedReply
from tests.adapters_in_test import ScriptedAdapter, asked, forever, frames, reply_of
from tests.converter.digest import digest, facts
from tests.scripted_upstream import (
    Answer,
    openai_chunks,
    openai_completion_body,
    openai_frames,
)

FIVE = ["1", "2", "3", "4", "###"]
SPEAKS_OPENAI = ParameterPolicy(forwards_unknown=True)
ANSWER = Answer(words=("one #", "# two #", "## three"))
TYPED: list[Event] = [
    Start(),
    *map(TextDelta, ANSWER.words),
    Finish("stop"),
    UsageReport(Usage(prompt_tokens=3, completion_tokens=9)),
]


async def told_by(adapter: ScriptedAdapter, stops: list[str], **fields: Any) -> Any:
    """What a client is told that asks for `stops`, in however many."""
    if fields.get("stream"):
        fields["stream_options"] = {"include_usage": True}
    reply = await reply_of(adapter, asked(**fields).with_stops(stops), emulate_n=True)
    if isinstance(reply, StreamedReply):
        return facts(digest(b"".join([piece async for piece in reply.chunks])))
    return facts(orjson.loads(reply.body))


def texts(told: Any) -> list[tuple[str, str]]:
    return [(c["message"]["content"], c["finish_reason"]) for c in told["choices"]]


def relayed(answer: Answer, *, stream: bool) -> list[Event]:
    if stream:
        return frames(*openai_frames(openai_chunks(answer)))
    return [Relay(orjson.dumps(openai_completion_body(answer)))]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
class TestStops:
    async def test_are_enforced_for_who_does_not_know_them(self, stream: bool) -> None:
        adapter = ScriptedAdapter(TYPED)

        told = await told_by(adapter, ["###"], stream=stream)

        assert [("one ## two ", "stop")] == texts(told)
        assert [None] == [request.stop for request in adapter.requests]
        assert ["GeneratorExit"] == adapter.endings

    async def test_are_enforced_at_once(self, stream: bool) -> None:
        adapter = ScriptedAdapter([Start(), TextDelta("one###"), forever])

        assert [("one", "stop")] == texts(await told_by(adapter, ["###"], stream=stream))

    async def test_leave_usage_to_us_where_the_rest_is_not_read(self, stream: bool) -> None:
        stopped = await told_by(ScriptedAdapter(TYPED), ["###"], stream=stream)
        ended = await told_by(ScriptedAdapter(TYPED), ["@"], stream=stream)

        assert 0 < stopped["usage"]["completion_tokens"] < 9
        assert (3, 9) == (ended["usage"]["prompt_tokens"], ended["usage"]["completion_tokens"])

    async def test_end_each_of_the_choices_asked_for_one_by_one(self, stream: bool) -> None:
        adapter = ScriptedAdapter(TYPED)

        told = await told_by(adapter, ["###"], n=2, stream=stream)

        assert [("one ## two ", "stop")] * 2 == texts(told)
        assert 2 == len(adapter.endings)

    async def test_are_left_to_who_honours_them(self, stream: bool) -> None:
        adapter = ScriptedAdapter(TYPED, policy=ParameterPolicy(frozenset({"stop"})))

        told = await told_by(adapter, FIVE, stream=stream)

        assert [(ANSWER.text, "stop")] == texts(told)
        assert [FIVE] == [request.stop for request in adapter.requests]

    async def test_up_to_four_are_sent_in_openais_format(self, stream: bool) -> None:
        adapter = ScriptedAdapter(relayed(ANSWER, stream=stream), policy=SPEAKS_OPENAI)

        told = await told_by(adapter, FIVE[1:], stream=stream)

        assert [(ANSWER.text, "stop")] == texts(told)
        assert [FIVE[1:]] == [request.stop for request in adapter.requests]

    async def test_beyond_four_are_enforced_in_what_is_relayed(self, stream: bool) -> None:
        adapter = ScriptedAdapter(relayed(ANSWER, stream=stream), policy=SPEAKS_OPENAI)

        told = await told_by(adapter, FIVE, stream=stream)

        assert [("one ## two ", "stop")] == texts(told)
        assert [None] == [request.stop for request in adapter.requests]
        # A whole reply told its usage already.
        assert (told["usage"]["completion_tokens"] == 7) == (not stream)

    async def test_end_each_of_the_choices_of_one_answer(self, stream: bool) -> None:
        choices = [
            TextDelta("a###b"),
            TextDelta("c", 1),
            TextDelta("d", 1),
            Finish("length", 1),
        ]
        adapter = ScriptedAdapter([Start(), *choices], policy=ParameterPolicy(frozenset({"n"})))

        told = await told_by(adapter, ["###"], n=2, stream=stream)

        assert [("a", "stop"), ("cd", "length")] == texts(told)

    async def test_that_never_match_change_nothing(self, stream: bool) -> None:
        adapter = ScriptedAdapter(relayed(ANSWER, stream=stream), policy=SPEAKS_OPENAI)
        untouched = ScriptedAdapter(relayed(ANSWER, stream=stream), policy=SPEAKS_OPENAI)

        told = await told_by(adapter, [*"@$%&~"], stream=stream)

        expected = await told_by(untouched, [], stream=stream)
        assert (expected["choices"], expected["usage"]) == (told["choices"], told["usage"])

    async def test_make_no_cut_reply_complete(self, stream: bool) -> None:
        cut = ScriptedAdapter([Start(), TextDelta("one #")])

        if not stream:
            with pytest.raises(UpstreamDisconnected):
                await told_by(cut, ["###"])
            return
        reply = await reply_of(cut, asked(stop="###", stream=True))
        assert isinstance(reply, StreamedReply)
        out = b"".join([piece async for piece in reply.chunks])
        assert b"upstream_disconnected" in out.split(b"\n\n")[-2]
        assert b"[DONE]" not in out


async def test_text_that_is_held_back_commits_nothing() -> None:
    """An error after it still has its status."""
    adapter = ScriptedAdapter([Start(), TextDelta("##"), UpstreamRateLimited("slow")])

    with pytest.raises(UpstreamRateLimited):
        await reply_of(adapter, asked(stop="###", stream=True))


async def test_a_stop_sequence_alone_is_a_reply() -> None:
    adapter = ScriptedAdapter([Start(), TextDelta("###"), UpstreamRateLimited("slow")])

    (choice,) = (await told_by(adapter, ["###"], stream=True))["choices"]

    assert ("stop", None) == (choice["finish_reason"], choice["message"].get("content"))


async def test_a_client_that_leaves_ends_the_answer() -> None:
    adapter = ScriptedAdapter([Start(), TextDelta("one"), forever])
    reply = await reply_of(adapter, asked(stop="###", stream=True))
    assert isinstance(reply, StreamedReply)

    await anext(reply.chunks)
    await reply.chunks.aclose()

    assert ["GeneratorExit"] == adapter.endings
