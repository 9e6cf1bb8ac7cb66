"""When an answer is complete, whatever its provider still owes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from one_api.events import Finish, UsageReport
from one_api.relay import ChunkReader, StreamRelay
from one_api.schemas import JsonObject
from tests.relay.streams import ASKED, assert_digests_to, chunk_with, usage_of
from tests.scripted_upstream import (
    HELLO,
    OpenAIDialect,
    openai_chunks,
    openai_frames,
    sse_frame,
    with_line_end,
)

#: The frames up to the finish reason, that with the usage, and `[DONE]`.
*BEGUN, FINISH, USAGE, DONE = openai_frames()


def chunk_of(choice: int, delta: JsonObject, finish_reason: str | None = None) -> bytes:
    chunk = chunk_with(delta, finish_reason)
    chunk["choices"][0]["index"] = choice
    return sse_frame(chunk)


def finished_after(reader: StreamRelay | ChunkReader, choices: int, frames: list[bytes]) -> int:
    """After how many of `frames` the answer had finished."""
    for at, data in enumerate(frames, start=1):
        fed = reader.feed(data)
        if isinstance(fed, Iterator):
            list(fed)
        if reader.has_finished(choices):
            return at
    return 0


readers = pytest.mark.parametrize("kind", [StreamRelay, ChunkReader])


@readers
def test_nothing_has_finished_before_it_began(kind: Any) -> None:
    assert not kind(ASKED).has_finished(1)


@readers
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_answer_has_finished_with_its_finish_reason(kind: Any, end: Any) -> None:
    frames = [*BEGUN, FINISH] if end == b"\n" else with_line_end([*BEGUN, FINISH], end)

    assert len(frames) == finished_after(kind(ASKED), 1, frames)


@readers
def test_every_choice_must_finish(kind: Any) -> None:
    frames = [
        chunk_of(0, {"role": "assistant", "content": "a"}),
        chunk_of(1, {"role": "assistant", "content": "b"}),
        chunk_of(1, {}, "stop"),
        chunk_of(0, {}, "stop"),
    ]

    assert 4 == finished_after(kind(ASKED), 1, frames)


@readers
def test_choice_that_was_asked_for_may_begin_after_another_has_finished(kind: Any) -> None:
    frames = [
        chunk_of(0, {"role": "assistant", "content": "a"}),
        chunk_of(0, {}, "stop"),
        chunk_of(1, {"role": "assistant", "content": "b"}),
        chunk_of(1, {}, "stop"),
    ]

    assert 4 == finished_after(kind(ASKED), 2, frames)


@pytest.mark.parametrize("told", [True, False], ids=["usage", "no usage"])
def test_finished_stream_can_be_closed_without_done(told: bool) -> None:
    relay = StreamRelay(ASKED)
    out = b"".join([relay.feed(frame) for frame in [*BEGUN, FINISH, *[USAGE] * told]])
    assert (True, False) == (relay.has_finished(1), relay.is_done)

    out += relay.close()

    assert_digests_to(HELLO, out, ignoring=() if told else ("usage",))
    assert (usage_of(HELLO) if told else None) == relay.usage


@pytest.mark.parametrize("told", [True, False], ids=["usage", "no usage"])
def test_finished_reading_can_be_closed_without_done(told: bool) -> None:
    reader = ChunkReader(ASKED)
    events = [event for frame in [*BEGUN, FINISH, *[USAGE] * told] for event in reader.feed(frame)]
    assert (True, False) == (reader.has_finished(1), reader.is_done)

    events += reader.close()

    reports = [event.usage for event in events if isinstance(event, UsageReport)]
    assert ([usage_of(HELLO)] if told else []) == reports
    assert [Finish("stop")] == [event for event in events if isinstance(event, Finish)]


@pytest.mark.parametrize("on", ["last", "finish", "every"])
def test_usage_is_kept_wherever_it_comes(on: Any) -> None:
    reader = ChunkReader(ASKED)
    frames = openai_frames(openai_chunks(dialect=OpenAIDialect(usage_on=on, done=False)))

    for frame in frames:
        list(reader.feed(frame))

    assert reader.has_finished(1)
    assert usage_of(HELLO) == reader.usage


@readers
def test_malformed_chunks_are_counted(kind: Any) -> None:
    reader = kind(ASKED)
    broken = [b'data: {"id":\n\n', b"data: null\n\n"]

    assert len(BEGUN) + 3 == finished_after(reader, 1, [*BEGUN, *broken, FINISH])

    assert 2 == reader.malformed
