"""One reply in the making, from typed events or from relayed bytes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from one_api.errors import UpstreamDisconnected, UpstreamInvalidResponse, UpstreamRateLimited
from one_api.events import (
    Event,
    Finish,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    Relay,
    Start,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReport,
)
from one_api.reply import ReplyBody, ReplyStream
from tests.converter.digest import digest, facts
from tests.converter.replies import folded, form, written
from tests.scripted_upstream import openai_completion_body, openai_frames, sse_frame

STOP = Finish("stop")
USAGE = Usage(prompt_tokens=3, completion_tokens=1)
TYPED: list[Event] = [Start(), TextDelta("Hello"), STOP, UsageReport(USAGE)]
RELAYED: list[Event] = [Relay(frame) for frame in openai_frames()]
BODY = orjson.dumps(openai_completion_body())


def streamed(events: list[Event], **options: Any) -> tuple[bytes, ReplyStream]:
    reply = ReplyStream(form(include_usage=True), **options)
    return b"".join([reply.take(event) for event in events]) + reply.close(), reply


def complete(events: list[Event], estimated: Usage | None = None) -> tuple[bytes, ReplyBody]:
    reply = ReplyBody(form())
    for event in events:
        reply.take(event)
    reply.end()
    return reply.close(estimated), reply


def test_typed_events_are_written_as_chunks() -> None:
    out, reply = streamed(TYPED)

    assert written(TYPED, form(include_usage=True)) == out
    assert USAGE == reply.usage
    assert not reply.is_done


def test_relayed_bytes_pass_as_they_are() -> None:
    out, reply = streamed(RELAYED)

    assert b"".join(openai_frames()) == out
    assert reply.is_done
    assert 18 == (reply.usage.total_tokens if reply.usage else None)


@pytest.mark.parametrize(
    "event",
    [
        TextDelta("a"),
        ReasoningDelta("a"),
        RefusalDelta("a"),
        ToolCallDelta(0, "c", "f"),
        STOP,
        Relay(b"".join(openai_frames()[:2])),
    ],
    ids=lambda event: type(event).__name__,
)
def test_content_commits(event: Event) -> None:
    reply = ReplyStream(form())

    reply.take(event)

    assert reply.is_committed


@pytest.mark.parametrize(
    "event",
    [Start(), KeepAlive(), UsageReport(USAGE), Relay(openai_frames()[0]), Relay(b": hi\n\n")],
    ids=lambda event: type(event).__name__,
)
def test_what_is_no_content_does_not_commit(event: Event) -> None:
    reply = ReplyStream(form())

    reply.take(event)

    assert not reply.is_committed


def test_end_is_given_once() -> None:
    _, reply = streamed(TYPED)

    assert b"" == reply.close()


@pytest.mark.parametrize("events", [[], [Start()], [TextDelta("a")], RELAYED[:2]], ids=len)
def test_stream_without_its_end_is_a_disconnect(events: list[Event]) -> None:
    with pytest.raises(UpstreamDisconnected):
        streamed(events)


@pytest.mark.parametrize(
    "events",
    [[TYPED[1], RELAYED[0]], [RELAYED[0], TYPED[1]], [Start(), RELAYED[0]]],
    ids=["typed-then-relayed", "relayed-then-typed", "start-then-relayed"],
)
def test_relayed_and_typed_events_do_not_mix(events: list[Event]) -> None:
    """Half of such a reply would be lost without a word."""
    with pytest.raises(UpstreamInvalidResponse):
        streamed(events)
    with pytest.raises(UpstreamInvalidResponse):
        complete(events)


def test_error_in_relayed_bytes_is_raised() -> None:
    error = {"error": {"message": "slow down", "code": 429}}

    with pytest.raises(UpstreamRateLimited, match="slow down"):
        streamed([Relay(sse_frame(error))])
    with pytest.raises(UpstreamRateLimited, match="slow down"):
        complete([Relay(orjson.dumps(error))])


def test_usage_can_be_set_where_none_was_told() -> None:
    reply = ReplyStream(form(include_usage=True))
    out = b"".join([reply.take(event) for event in TYPED[:-1]])
    assert None is reply.usage
    assert ["Hello"] == reply.texts

    reply.usage = USAGE

    assert 4 == facts(digest(out + reply.close()))["usage"]["total_tokens"]


def test_frames_of_a_relayed_stream_are_counted() -> None:
    _, reply = streamed(RELAYED)

    assert 3 == reply.relayed_frames
    assert [] == reply.texts


def test_typed_events_fold_into_a_body() -> None:
    body, reply = complete(TYPED)

    assert folded(TYPED) == orjson.loads(body)
    assert USAGE == reply.usage


@pytest.mark.parametrize("size", [1, 7, len(BODY)])
def test_relayed_body_passes_as_it_is(size: int) -> None:
    pieces: list[Event] = [Relay(BODY[at : at + size]) for at in range(0, len(BODY), size)]

    body, reply = complete(pieces)

    assert BODY == body
    assert 18 == (reply.usage.total_tokens if reply.usage else None)
    assert ["Hello, world"] == [text for text in reply.texts if text]


@pytest.mark.parametrize("is_relayed", [True, False])
def test_estimate_stands_in_for_usage_nobody_told(is_relayed: bool) -> None:
    told = openai_completion_body()
    del told["usage"]
    events: list[Event] = [Relay(orjson.dumps(told))] if is_relayed else TYPED[:-1]

    body, _ = complete(events, USAGE)

    assert 4 == orjson.loads(body)["usage"]["total_tokens"]


def test_estimate_does_not_replace_what_was_told() -> None:
    body, _ = complete(TYPED, Usage(prompt_tokens=100, completion_tokens=100))

    assert 4 == orjson.loads(body)["usage"]["total_tokens"]


def test_body_of_nothing_is_invalid() -> None:
    with pytest.raises(UpstreamInvalidResponse):
        complete([])


def test_body_without_its_end_is_a_disconnect() -> None:
    with pytest.raises(UpstreamDisconnected):
        complete([TextDelta("a")])
