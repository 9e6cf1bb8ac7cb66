"""Before the first content another deployment may still be asked; after it, no more."""

from __future__ import annotations

import pytest

from one_api.relay import StreamRelay
from one_api.schemas import JsonObject
from tests.relay.streams import ASKED, chunk_with
from tests.scripted_upstream import (
    HELLO,
    ONE_TOOL_CALL,
    REASONED,
    Answer,
    openai_chunks,
    openai_frames,
    sse_frame,
)


@pytest.mark.parametrize(
    "answer", [HELLO, ONE_TOOL_CALL, REASONED], ids=["text", "call", "reasoning"]
)
def test_first_content_commits(answer: Answer) -> None:
    opening, first, *_ = openai_frames(openai_chunks(answer))
    relay = StreamRelay(ASKED)

    relay.feed(opening)
    assert not relay.is_committed
    relay.feed(first)
    assert relay.is_committed


@pytest.mark.parametrize(
    "delta",
    [{"refusal": "no"}, {"function_call": {"name": "f", "arguments": ""}}, {"audio": {"id": "a"}}],
    ids=lambda delta: next(iter(delta)),
)
def test_content_of_any_kind_commits(delta: JsonObject) -> None:
    relay = StreamRelay(ASKED)

    relay.feed(sse_frame(chunk_with(delta)))

    assert relay.is_committed


@pytest.mark.parametrize(
    "silent",
    [
        b": OPENROUTER PROCESSING\n\n",
        b"event: ping\n\n",
        b"retry: 1000\n\n",
        sse_frame({"choices": []}),
        sse_frame({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 0}}),
        sse_frame({"prompt_filter_results": []}),
        b"data: not json\n\n",
        b"data: [1]\n\n",
        b'data: {"choi',
        sse_frame(openai_chunks()[0]),
        sse_frame({**openai_chunks()[0], "choices": [{"index": 0, "delta": {"content": ""}}]}),
        sse_frame({**openai_chunks()[0], "choices": [{"index": 0, "delta": {"content": None}}]}),
        sse_frame({**openai_chunks()[0], "choices": [{"index": 0, "delta": {}}]}),
        sse_frame({**openai_chunks()[0], "choices": [{"index": 0, "delta": {"tool_calls": []}}]}),
    ],
    ids=lambda frame: frame[:60].decode().strip(),
)
@pytest.mark.parametrize("opening", [b"", openai_frames()[0]], ids=["first", "after-role"])
def test_nothing_that_is_no_content_commits(opening: bytes, silent: bytes) -> None:
    relay = StreamRelay(ASKED)

    relay.feed(opening + silent)
    relay.feed(silent)

    assert not relay.is_committed


def test_finish_commits() -> None:
    """An empty answer is an answer: asking somebody else would change it."""
    relay = StreamRelay(ASKED)

    relay.feed(sse_frame(openai_chunks()[-2]))

    assert relay.is_committed
