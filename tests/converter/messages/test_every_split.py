"""A provider's chunks as a stream of Anthropic's events, whatever pieces they arrive in."""

from __future__ import annotations

import orjson
import pytest

from one_api.events import Relay
from one_api.reply import ReplyBody, ReplyStream
from one_api.schemas import JsonObject
from tests.converter.messages.replies import dialect
from tests.converter.messages.sdk import digest, read
from tests.converter.replies import form
from tests.scripted_upstream import (
    HELLO,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    REASONED,
    TOOL_CALL_WITHOUT_ARGUMENTS,
    Answer,
    TokenCount,
    openai_chunks,
    openai_completion_body,
    openai_frames,
    split,
)
from tests.scripted_upstream.replies import dump

ANSWERS = [
    pytest.param(HELLO, id="text"),
    pytest.param(ONE_TOOL_CALL, id="tool call"),
    pytest.param(PARALLEL_TOOL_CALLS, id="tool calls"),
    pytest.param(TOOL_CALL_WITHOUT_ARGUMENTS, id="no arguments"),
    pytest.param(REASONED, id="reasoning"),
    pytest.param(Answer(usage=TokenCount(prompt=100, cached=80)), id="cached"),
    pytest.param(Answer(finish_reason="length"), id="length"),
    pytest.param(Answer(words=()), id="nothing"),
]


def streamed(pieces: list[bytes]) -> JsonObject:
    stream = ReplyStream(form(), dialect=dialect())
    out = b""
    for piece in pieces:
        if not stream.is_done:
            out += stream.take(Relay(piece))
    return digest(out + stream.close())


def whole(answer: Answer) -> JsonObject:
    body = ReplyBody(form(), dialect=dialect())
    body.take(Relay(dump(openai_completion_body(answer))))
    body.end()
    return read(orjson.loads(body.close()))


@pytest.mark.parametrize("answer", ANSWERS)
def test_any_pieces_give_the_message_that_a_whole_reply_gives(answer: Answer) -> None:
    frames = openai_frames(openai_chunks(answer))
    expected = whole(answer)
    for size in (1, 2, 3, 7, 64, 300, 100_000):
        assert expected == streamed(split(frames, size))


def test_any_cut_in_two_gives_the_same_message() -> None:
    data = b"".join(openai_frames(openai_chunks(PARALLEL_TOOL_CALLS)))
    expected = whole(PARALLEL_TOOL_CALLS)
    for at in range(0, len(data), 11):
        assert expected == streamed([data[:at], data[at:]])
