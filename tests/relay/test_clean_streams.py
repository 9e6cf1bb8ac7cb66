"""What needs no mending is not touched: the bytes that arrive are the bytes that leave."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.converter import usage_from_wire
from one_api.relay import StreamRelay
from one_api.relay.template import FrameTemplate
from tests.converter.digest import digest, facts
from tests.relay.streams import ANSWERS, ASKED, assert_digests_to, relayed, usage_of
from tests.scripted_upstream import (
    HELLO,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    Answer,
    openai_chunks,
    openai_frames,
    split,
)


@pytest.mark.parametrize("answer", [HELLO, ONE_TOOL_CALL], ids=["text", "call"])
def test_leaves_byte_identical_wherever_it_is_cut(answer: Answer) -> None:
    whole = b"".join(openai_frames(openai_chunks(answer)))

    for cut in range(len(whole) + 1):
        out, relay = relayed([whole[:cut], whole[cut:]])

        assert whole == out
        assert usage_of(answer) == relay.usage


@pytest.mark.parametrize("answer", [HELLO, ONE_TOOL_CALL, PARALLEL_TOOL_CALLS], ids=repr)
@pytest.mark.parametrize("size", [1, 2, 3, 64, 4096])
def test_leaves_byte_identical_in_pieces_of_any_size(answer: Answer, size: int) -> None:
    whole = b"".join(openai_frames(openai_chunks(answer)))

    assert whole == relayed(split(whole, size))[0]


@settings(deadline=None)
@given(st.data())
def test_leaves_byte_identical_however_it_is_cut(data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from([HELLO, PARALLEL_TOOL_CALLS, ANSWERS["unicode"]]))
    whole = b"".join(openai_frames(openai_chunks(answer)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert whole == relayed(pieces)[0]


def test_leaves_at_once() -> None:
    """Nothing is held back: each whole frame leaves with the read that completed it."""
    relay = StreamRelay(ASKED)
    frames = openai_frames()[:-2]

    assert frames == [relay.feed(frame) for frame in frames]


def test_text_that_looks_like_protocol_is_text() -> None:
    words = ('"error":', "data: [DONE]", '"usage":{"prompt_tokens":9}', '"role":"x"', "\\r\\n")
    answer = replace(HELLO, words=words)

    out, relay = relayed(openai_frames(openai_chunks(answer)))

    assert_digests_to(answer, out)
    assert usage_from_wire(facts(digest(out))["usage"]) == relay.usage


def test_several_choices_are_kept_apart() -> None:
    chunks = openai_chunks()
    doubled = []
    for chunk in chunks:
        for index in range(2) if chunk["choices"] else range(1):
            copy = json.loads(json.dumps(chunk))
            for choice in copy["choices"]:
                choice["index"] = index
            doubled.append(copy)
    whole = b"".join(openai_frames(doubled))

    assert whole == relayed(split(whole, 100))[0]


def test_a_template_fits_what_differs_in_its_strings_alone() -> None:
    template = FrameTemplate.of(b'data: {"delta":{"content":"a"},"n":1,"obfuscation":"x"}')
    assert template.fits(rb'data: {"delta":{"content":"\"b\\"},"n":1,"obfuscation":""}')
    for other in (
        b'data: {"delta":{"content":"a"},"n":2,"obfuscation":"x"}',
        b'data: {"delta":{"content":"a"},"n":1,"obfuscation":"x","usage":{}}',
        b'data: {"delta":{"content":"a","role":"b"},"n":1,"obfuscation":"x"}',
        b'data: {"delta":{"content":null},"n":1,"obfuscation":"x"}',
        b'data: {"delta":{"content":"a"},"n":1,"obfuscation":"x',
        b'data: {"delta":{"content":"a',
        b": a comment",
        b"",
    ):
        assert not template.fits(other)


FRAME = b'data: {"delta":{"content":"%b"},"n":1}\n\n'
KNOWN = FrameTemplate.of(FRAME % b"a")


@pytest.mark.parametrize("text", [b"", b"b", rb"\"", rb"\\", "\u2028é".encode()], ids=repr)
def test_a_frame_with_another_string_fits(text: bytes) -> None:
    assert KNOWN.fits(FRAME % text)


@pytest.mark.parametrize(
    "other",
    [
        b"",
        (FRAME % b"b")[:-1],
        (FRAME % b"b") + b"\n",
        (FRAME % b"b") * 2,
        (FRAME % b"b").replace(b"1", b"2"),
        b'data: {"delta":{"content":"},"n":1}\n\n',
        *(FRAME % text for text in (b'b"', b"\\", b"b\nc", b"b\rc", b"\\\r")),
    ],
    ids=repr,
)
def test_nothing_but_one_such_frame_fits(other: bytes) -> None:
    assert not KNOWN.fits(other)


@settings(deadline=None)
@given(
    texts=st.lists(st.sampled_from([b"", b"b", rb"\"", rb"\\", b'"}', b"data: "]), max_size=6),
    other=st.sampled_from([b"", b": ping\n\n", b"data: [DONE]\n\n", (FRAME % b"c")[:-3]]),
)
def test_a_row_holds_the_frames_that_fit_one_by_one(texts: list[bytes], other: bytes) -> None:
    fitting = [FRAME % text for text in texts if text != b'"}']
    row = b"".join(fitting)

    assert (len(fitting), len(row)) == KNOWN.row(row + other)


@pytest.mark.parametrize("text", [b'b"', b"\\", b"b\nc", b"b\rc"], ids=repr)
def test_a_row_with_a_string_that_is_none_is_not_known(text: bytes) -> None:
    assert (0, 0) == KNOWN.row(FRAME % b"a" + FRAME % text + FRAME % b"c")


def test_a_row_ends_before_a_frame_that_is_cut_by_an_empty_line() -> None:
    first = FRAME % b"a"
    assert (1, len(first)) == KNOWN.row(first + FRAME % b"b\n\nc" + FRAME % b"d")


def test_a_row_of_frames_with_two_strings_is_not_known() -> None:
    frame = b'data: {"delta":{"content":"a"},"n":1,"obfuscation":"x"}\n\n'
    assert (0, 0) == FrameTemplate.of(frame).row(frame)


@pytest.mark.parametrize("blank", [b"\n", b"\n\n", b"\n\n\n"], ids=repr)
def test_more_empty_lines_than_one_end_a_frame(blank: bytes) -> None:
    frames = openai_frames(openai_chunks(HELLO))

    assert b"".join(frames) == relayed([b"".join(frame + blank for frame in frames)])[0]
