"""A provider's own stream on its way: the same bytes, and never a quiet end."""

from __future__ import annotations

import pytest

from one_api.converter.responses import RelayedStream
from one_api.errors import UpstreamTimeout
from tests.converter.responses.digest import wire_events
from tests.scripted_upstream import split, with_line_end

DELTA = b'event: response.output_text.delta\ndata: {"type":"x","sequence_number":4,"a": [1.50]}\n\n'
#: Text that looks like the end, inside a string.
LURE = b'data: {"type":"x","delta":"\\"type\\":\\"response.completed\\"","sequence_number":5}\n\n'
ENDS = {
    "named": b'event: response.completed\ndata: {"sequence_number":6}\n\n',
    "typed": b'data: {"type": "response.completed","sequence_number":6}\n\n',
    "incomplete": b"event: response.incomplete\ndata: {}\n\n",
    "failed": b"event: response.failed\ndata: {}\n\n",
    "error": b'event: error\ndata: {"type":"error"}\n\n',
    "as in chat": b"data: [DONE]\n\n",
}


def relayed(pieces: list[bytes]) -> bytes:
    stream = RelayedStream()
    return b"".join([stream.feed(piece) for piece in pieces]) + stream.close()


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_whole_stream_leaves_as_it_came(end: bytes, size: int) -> None:
    frames = DELTA + LURE + end
    assert frames == relayed(split(frames, size))


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_other_line_ends_leave_as_they_came(line_end: bytes) -> None:
    frames = b"".join(with_line_end([DELTA, ENDS["named"]], line_end))  # type: ignore[arg-type]  # parametrized
    assert frames == relayed(split(frames, 5))


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"", id="after an event"),
        pytest.param(DELTA[:-9], id="within an event"),
        pytest.param(ENDS["named"][:-4], id="within the last event"),
        pytest.param(LURE, id="after text that looks like the end"),
    ],
)
def test_a_cut_stream_ends_in_an_error(rest: bytes) -> None:
    out = relayed([DELTA + rest])
    assert out.startswith(DELTA)
    error = wire_events(out.removeprefix(DELTA + (rest if rest == LURE else b"")))
    assert ["error"] == [event["type"] for event in error]
    assert ("upstream_disconnected", 6 if rest == LURE else 5) == (
        error[0]["error"]["code"],
        error[0]["sequence_number"],
    )


def test_an_error_on_the_way_is_told() -> None:
    stream = RelayedStream()
    stream.feed(DELTA)
    (event,) = wire_events(stream.fail(UpstreamTimeout("Too slow.")))
    assert ("timeout", "Too slow.", 5) == (
        event["code"],
        event["message"],
        event["sequence_number"],
    )


def test_an_error_after_the_end_is_nobodys_business() -> None:
    stream = RelayedStream()
    stream.feed(ENDS["named"])
    assert b"" == stream.fail(UpstreamTimeout("Too slow."))


def test_a_last_event_without_its_blank_line_is_an_end() -> None:
    end = ENDS["named"][:-1]
    assert DELTA + end == relayed([DELTA, end])


def test_an_event_is_held_back_until_it_is_whole() -> None:
    stream = RelayedStream()
    assert b"" == stream.feed(DELTA[:-1])
    assert DELTA == stream.feed(DELTA[-1:] + LURE[:3])


def test_an_endless_event_is_not_held_for_ever() -> None:
    stream = RelayedStream()
    endless = b"data: " + b"a" * (16 * 1024 * 1024)
    assert endless == stream.feed(endless)
    assert stream.fail(UpstreamTimeout("Too slow.")).startswith(b"\n\nevent: error\n")
