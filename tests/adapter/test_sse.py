"""Server-sent events are the same however the bytes are cut."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.adapter import ServerSentEvent, SSEDecoder, UpstreamInvalidResponse

BOM = b"\xef\xbb\xbf"
COMMENT = ServerSentEvent(":", b"")


def decode(pieces: Iterable[bytes]) -> list[ServerSentEvent]:
    decoder = SSEDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def message(data: bytes) -> ServerSentEvent:
    return ServerSentEvent("message", data)


def read_whole(data: bytes) -> list[ServerSentEvent]:
    """The standard's algorithm over a body that is all there, as plainly as can be."""
    *lines, _unfinished = re.split(rb"\r\n|\r|\n", data.removeprefix(BOM))
    events, name, values = [], b"message", list[bytes]()
    for line in lines:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if line.startswith(b":"):
            events.append(COMMENT)
        elif line == b"":
            if values:
                events.append(ServerSentEvent(name.decode() or "message", b"\n".join(values)))
            name, values = b"message", []
        elif field == b"data":
            values.append(value)
        elif field == b"event":
            name = value
    return events


TABLE = {
    "one event": (b"data: a\n\n", [message(b"a")]),
    "two events": (b"data: a\n\ndata: b\n\n", [message(b"a"), message(b"b")]),
    "without the space": (b"data:a\n\n", [message(b"a")]),
    "only one space is taken": (b"data:  a\n\n", [message(b" a")]),
    "crlf": (b"data: a\r\n\r\ndata: b\r\n\r\n", [message(b"a"), message(b"b")]),
    "cr": (b"data: a\r\rdata: b\r\r", [message(b"a"), message(b"b")]),
    "mixed ends": (b"data: a\r\ndata: b\rdata: c\n\r\n", [message(b"a\nb\nc")]),
    "byte-order mark": (BOM + b"data: a\n\n", [message(b"a")]),
    "only the first mark": (BOM + BOM + b"data: a\n\ndata: b\n\n", [message(b"b")]),
    "comment": (b": ping\n\ndata: a\n\n", [COMMENT, message(b"a")]),
    "comment inside an event": (b"data: a\n:\ndata: b\n\n", [COMMENT, message(b"a\nb")]),
    "multi-line data": (b"data: {\ndata: }\n\n", [message(b"{\n}")]),
    "empty data": (b"data:\n\n", [message(b"")]),
    "field without a colon": (b"data\ndata\n\n", [message(b"\n")]),
    "named": (b"event: ping\ndata: {}\n\n", [ServerSentEvent("ping", b"{}")]),
    "name after data": (b"data: {}\nevent: ping\n\n", [ServerSentEvent("ping", b"{}")]),
    "name lasts one event": (
        b"event: e\ndata: a\n\ndata: b\n\n",
        [ServerSentEvent("e", b"a"), message(b"b")],
    ),
    "name without data is forgotten": (b"event: e\n\ndata: a\n\n", [message(b"a")]),
    "id and retry": (b"id: 1\nretry: 5\ndata: a\n\n", [message(b"a")]),
    "unknown fields": (b"dat: a\nDATA: b\n data: c\ndata: d\n\n", [message(b"d")]),
    "colon in the value": (b'data: {"a":"b: c"}\n\n', [message(b'{"a":"b: c"}')]),
    "unicode line ends are text": (
        "data: a\u2028b\u2029c\u0085d\x0be\x0cf\n\n".encode(),
        [message("a\u2028b\u2029c\u0085d\x0be\x0cf".encode())],
    ),
    "name that is not utf-8": (b"event: \xff\ndata: a\n\n", [ServerSentEvent("\ufffd", b"a")]),
    "unfinished event": (b"data: a\n\ndata: b\n", [message(b"a")]),
    "unfinished line": (b"data: a\n\ndata: b", [message(b"a")]),
    "blank lines": (b"\n\r\n\r\n\ndata: a\n\n\n\n", [message(b"a")]),
    "nothing": (b"", []),
    "half a mark": (BOM[:2], []),
}


@pytest.mark.parametrize(("data", "expected"), TABLE.values(), ids=TABLE.keys())
class TestTable:
    def test_whole(self, data: bytes, expected: list[ServerSentEvent]) -> None:
        assert expected == decode([data])

    def test_reference_agrees(self, data: bytes, expected: list[ServerSentEvent]) -> None:
        if b"\xff" not in data and data != BOM[:2]:
            assert expected == read_whole(data)

    def test_byte_by_byte(self, data: bytes, expected: list[ServerSentEvent]) -> None:
        assert expected == decode(data[at : at + 1] for at in range(len(data)))

    def test_every_split_in_two(self, data: bytes, expected: list[ServerSentEvent]) -> None:
        for at in range(len(data) + 1):
            assert expected == decode([data[:at], data[at:]]), at

    def test_every_split_in_three(self, data: bytes, expected: list[ServerSentEvent]) -> None:
        for first, second in itertools.combinations(range(len(data) + 1), 2):
            pieces = [data[:first], data[first:second], data[second:]]
            assert expected == decode(pieces), pieces


LINES = st.sampled_from(
    [b"", b"data: a", b"data:", b"data", b"data: \xe2\x80\xa8", b": c", b"event: e", b"id: 1", b"x"]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(
    mark=st.sampled_from([b"", BOM]),
    lines=st.lists(st.tuples(LINES, ENDS), max_size=12),
    tail=LINES,
    cuts=st.lists(st.integers(0, 150), max_size=6),
)
@settings(deadline=None)
def test_any_stream_cut_anywhere_equals_the_reference(
    mark: bytes, lines: list[tuple[bytes, bytes]], tail: bytes, cuts: list[int]
) -> None:
    data = mark + b"".join(line + end for line, end in lines) + tail
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert read_whole(data) == decode(data[a:b] for a, b in itertools.pairwise(bounds))


PARTS = st.sampled_from(
    [
        b"event: e\ndata: a\n\n",
        b"data: b\n\n",
        b"event: :\ndata: c\n\n",
        b"event: \ndata: d\n\n",
        b"data:e\n\n",
        b"data: f\ndata: g\n\n",
        b"id: 1\ndata: h\n\n",
        b"event: e\n\n",
        b"data: i\r\n\r\n",
        b": j\n",
        b"\n",
    ]
)


@given(parts=st.lists(PARTS, max_size=12), cuts=st.lists(st.integers(0, 150), max_size=6))
@settings(deadline=None)
def test_events_written_as_most_are_equal_the_reference_among_others(
    parts: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(parts)
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert read_whole(data) == decode(data[a:b] for a, b in itertools.pairwise(bounds))


@given(st.lists(st.binary(max_size=40), max_size=8))
@settings(deadline=None)
def test_noise_never_depends_on_the_cuts(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    assert decode([whole]) == decode(pieces)


class TestLimits:
    def test_unfinished_line_may_not_grow_past_the_limit(self) -> None:
        decoder = SSEDecoder(max_event_bytes=10)
        assert [] == decoder.feed(b"data: 0123")
        with pytest.raises(UpstreamInvalidResponse, match="oversized line"):
            decoder.feed(b"4")

    def test_event_may_not_grow_past_the_limit_over_many_lines(self) -> None:
        decoder = SSEDecoder(max_event_bytes=10)
        decoder.feed(b"data: 01\n" * 2)
        with pytest.raises(UpstreamInvalidResponse, match="oversized event"):
            decoder.feed(b"data: 01\n" * 4)

    def test_event_in_one_piece_is_held_to_the_limit(self) -> None:
        with pytest.raises(UpstreamInvalidResponse):
            SSEDecoder(max_event_bytes=10).feed(b"data: " + b"x" * 100 + b"\n\n")

    def test_limit_is_of_one_event_not_of_the_stream(self) -> None:
        decoder = SSEDecoder(max_event_bytes=10)
        assert [message(b"01")] * 1_000 == decoder.feed(b"data: 01\n\n" * 1_000)
