"""Replies from their bytes: wherever they are cut, they are the same; what is broken is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api.upstream.errors import InvalidHTTPError
from one_api.upstream.response import MAX_FIELDS, MAX_HEAD_BYTES, Response

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Raw:
    """A reply's bytes, and what is to be read from them."""

    data: bytes
    headers: dict[str, str]
    body: bytes
    is_reusable: bool


def fed(pieces: Iterable[bytes], *, has_body: bool = True) -> tuple[Response, bytes]:
    """The reply that `pieces` make, and its body."""
    response = Response(has_body=has_body)
    return response, feed_and_take(response, pieces)


def feed_and_take(response: Response, pieces: Iterable[bytes]) -> bytes:
    body = b""
    for piece in pieces:
        response.feed(piece)
        body += response.take()
    return body


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def parts(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise([0, *sorted(cuts), len(data)])]


INFORMATIONAL = (
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\nX-One: early\r\n\r\n",
)
CONTROLS = [*map(chr, (*range(32), *range(127, 160)))]
VALUES = st.text(st.characters(codec="utf-8", exclude_characters=CONTROLS), max_size=12)


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    cuts = draw(st.lists(st.integers(0, len(body)), max_size=5))
    chunks = [chunk for chunk in parts(body, cuts) if chunk]
    ending = draw(st.sampled_from(["", ";name=value", "  "]))
    trailer = draw(st.sampled_from([b"", b"X-Trailer: late\r\n"]))
    framed = [b"%x%b\r\n%b\r\n" % (len(chunk), ending.encode(), chunk) for chunk in chunks]
    return b"".join([*framed, b"0\r\n", trailer, b"\r\n"])


@st.composite
def replies(draw: st.DrawFn) -> Raw:
    body = draw(st.binary(max_size=60))
    value = draw(VALUES).strip(" \t")
    headers, is_kept = {"x-one": value}, draw(st.booleans())
    if not is_kept:
        headers["connection"] = "close"
    framing = draw(st.sampled_from(["length", "chunked", "end"]))
    match framing:
        case "length":
            headers["content-length"] = str(len(body))
            payload = body
        case "chunked":
            headers["transfer-encoding"] = "chunked"
            payload = draw(chunked(body))
        case _:
            payload, is_kept = body, False
    line_end = draw(st.sampled_from(["\r\n", "\n"]))
    told = [f"{name.title()}:{' ' * draw(st.integers(0, 2))}{headers[name]} " for name in headers]
    head = line_end.join(["HTTP/1.1 200 OK", *told, "", ""]).encode()
    early = b"".join(draw(st.lists(st.sampled_from(INFORMATIONAL), max_size=2)))
    return Raw(early + head + payload, headers, body, is_kept)


@given(raw=replies(), data=st.data())
def test_reply_is_the_same_wherever_its_bytes_are_cut(raw: Raw, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(raw.data)), max_size=8))

    response, body = fed(piece for piece in parts(raw.data, cuts) if piece)
    response.feed_eof()

    assert (200, raw.headers, raw.body) == (response.status, dict(response.headers), body)
    assert (True, raw.is_reusable) == (response.is_complete, response.is_reusable)


@given(raw=replies(), at=st.integers(0, 10_000))
def test_reply_that_was_cut_is_not_complete(raw: Raw, at: int) -> None:
    response, body = fed([raw.data[: at % len(raw.data)]])
    ends_with_connection = {"content-length", "transfer-encoding"}.isdisjoint(raw.headers)
    had_ended = response.is_complete
    response.feed_eof()

    assert not had_ended or b"" == raw.data[at % len(raw.data) :].strip(b"\r\n")
    if response.status == 0 or not ends_with_connection:
        assert had_ended == response.is_complete
    assert raw.body.startswith(body)


class TestHeads:
    def test_look_up_ignores_case_and_gives_the_first_of_a_name(self) -> None:
        response, _ = fed([OK + b"X-A: one\r\nX-A: two\r\nx-a: three\r\nX-B: \xc3\xa9\xff\r\n\r\n"])
        headers = response.headers

        assert ("one", "one") == (headers["x-a"], headers.get("X-A"))
        assert ("é\udcff", None, "none") == (
            headers["X-b"],
            headers.get("x-c"),
            headers.get("x-c", "none"),
        )
        assert ["x-a", "x-b"] == list(headers)
        assert (True, False, 2) == ("X-A" in headers, "x-c" in headers, len(headers))
        assert "Headers({'x-a': 'one', 'x-b': 'é\\udcff'})" == repr(headers)
        with pytest.raises(KeyError):
            headers["x-c"]

    @pytest.mark.parametrize(
        ("raw", "is_complete", "is_reusable"),
        [
            (OK + b"Content-Length: 0\r\n\r\n", True, True),
            (b"HTTP/1.1 204 None\r\n\r\n", True, True),
            (b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", True, True),
            (OK + b"Content-Length: 0\r\nConnection: close\r\n\r\n", True, False),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", True, False),
            (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True, True),
            (OK + b"Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n", True, True),
            (b"HTTP/1.1 101 Other\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx", True, False),
            (OK + b"\r\n", False, False),
            (OK + b"Content-Length: 1\r\n\r\n", False, True),
        ],
        ids=[
            *("empty", "no content", "not modified", "closing", "1.0", "1.0 kept", "h2c offered"),
            *("upgraded", "until the end", "not yet"),
        ],
    )
    def test_head_says_how_the_reply_ends(
        self, raw: bytes, is_complete: bool, is_reusable: bool
    ) -> None:
        response, body = fed([raw])

        assert (b"", is_complete, is_reusable) == (
            body,
            response.is_complete,
            response.is_reusable,
        )

    def test_answer_to_head_has_no_body_whatever_it_says(self) -> None:
        response, body = fed([OK + b"Content-Length: 9\r\n\r\n"], has_body=False)

        assert (200, True, b"", "9") == (
            response.status,
            response.is_complete,
            body,
            response.headers["content-length"],
        )

    def test_as_much_head_as_is_taken_is_taken(self) -> None:
        head = OK + b"Content-Length: 1\r\nX-Long: "
        raw = head + b"x" * (MAX_HEAD_BYTES - len(head) - 4) + b"\r\n\r\na"

        for pieces in ([raw], one_by_one(raw)):
            assert b"a" == fed(pieces)[1]

    @pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
    @pytest.mark.parametrize(
        "raw",
        [
            OK + b"X-Long: " + b"x" * MAX_HEAD_BYTES + b"\r\nContent-Length: 0\r\n\r\n",
            OK + b"X-Long: " + b"x" * MAX_HEAD_BYTES,
            b"HTTP/1.1 200 " + b"x" * MAX_HEAD_BYTES + b"\r\nContent-Length: 0\r\n\r\n",
            OK + b"".join(b"X-%d: 1\r\n" % at for at in range(MAX_FIELDS + 1)) + b"\r\n",
            INFORMATIONAL[0] * 1_000,
            b"\r\n" * MAX_HEAD_BYTES,
            b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 099 Early\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 1000 Late\r\nContent-Length: 0\r\n\r\n",
            OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            OK + b"Content-Length: many\r\n\r\nab",
            OK + b"Content-Length: -1\r\n\r\nab",
            OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            OK + b"X-A: a\rb\r\n\r\n",
            OK + b"X-A: a\x00b\r\n\r\n",
            OK + b"X A: a\r\n\r\n",
        ],
        ids=[
            *("long field", "endless field", "long reason", "many fields", "endless 1xx"),
            *(
                "blank lines",
                "ssh",
                "a request",
                "099",
                "1000",
                "two lengths",
                "no number",
                "negative",
            ),
            *("length and chunks", "bare CR", "NUL", "space in a name"),
        ],
    )
    def test_head_that_is_none_is_told(self, raw: bytes, is_cut: bool) -> None:
        with pytest.raises(InvalidHTTPError):
            fed(one_by_one(raw) if is_cut else [raw])


class TestBodies:
    @pytest.mark.parametrize(
        "rest",
        [
            b"not-a-size\r\n",
            b"-1\r\n",
            b"fffffffffffffffff0\r\n",
            b"2\r\nlong\r\n",
            b"0\r\nX-Trailer: " + b"x" * 2 * MAX_HEAD_BYTES,
            b"1;" + b"x" * 2 * MAX_HEAD_BYTES,
        ],
        ids=["no size", "negative", "huge", "longer", "endless trailer", "endless extension"],
    )
    def test_body_that_breaks_is_told_after_what_came_of_it(self, rest: bytes) -> None:
        response, body = fed([CHUNKED + b"4\r\ngood\r\n"])
        assert b"good" == body

        with pytest.raises(InvalidHTTPError):
            feed_and_take(response, one_by_one(rest))

    def test_what_came_with_the_break_is_kept(self) -> None:
        response = Response()

        with pytest.raises(InvalidHTTPError):
            response.feed(CHUNKED + b"4\r\ngood\r\nnot-a-size\r\n")

        assert (200, b"good", False) == (response.status, response.take(), response.is_complete)

    def test_endless_trailer_is_told_though_nobody_takes_the_body(self) -> None:
        response = Response()
        response.feed(CHUNKED + b"4\r\ngood\r\n0\r\n")

        assert b"good" == response.take()
        with pytest.raises(InvalidHTTPError):
            feed_and_take(response, [b"X-T: 1\r\n"] * MAX_HEAD_BYTES)

    @pytest.mark.parametrize("rest", [OK, b"H", b"{}", OK + b"Content-Length: 2\r\n\r\nno"])
    @pytest.mark.parametrize("ending", ["keep-alive", "close"])
    def test_what_follows_a_reply_is_no_part_of_it(self, rest: bytes, ending: str) -> None:
        told = f"Content-Length: 3\r\nX-A: 1\r\nConnection: {ending}\r\n\r\nyes".encode()
        response, body = fed([OK + told + rest])

        assert (b"yes", "1", True, False) == (
            body,
            response.headers["x-a"],
            response.is_complete,
            response.is_reusable,
        )

    @pytest.mark.parametrize("coding", [b"gzip", b"chunked, gzip", b"gzip, chunked"])
    def test_body_in_a_transfer_coding_never_ends_with_the_connection(self, coding: bytes) -> None:
        """We ask for none; cut off, it would pass for complete."""
        response, _ = fed([OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n1\r\na"])
        response.feed_eof()

        assert not response.is_complete
