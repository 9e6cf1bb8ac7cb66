"""Replies as events: random ones within the contract, and how to have them converted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from hypothesis import strategies as st

from one_api.converter import DONE, PING, ChunkWriter, CompletionFold, ReplyForm
from one_api.events import (
    Annotation,
    Event,
    Finish,
    FinishReason,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    Start,
    TextDelta,
    ThinkingBlockDelta,
    ToolCallDelta,
    Usage,
    UsageReport,
)
from one_api.schemas import JsonObject


def form(**differences: Any) -> ReplyForm:
    """A form with a fixed identity."""
    return ReplyForm(model="m", given_id="chatcmpl-1", created=1_790_000_000, **differences)


def written(events: Iterable[Event], reply_form: ReplyForm | None = None) -> bytes:
    """The stream that `ChunkWriter` makes of `events`."""
    writer = ChunkWriter(reply_form or form())
    return b"".join([writer.write(event) for event in events]) + writer.close()


def folded(events: Iterable[Event], reply_form: ReplyForm | None = None) -> JsonObject:
    """The completion that `CompletionFold` makes of `events`."""
    fold = CompletionFold(reply_form or form())
    for event in events:
        fold.write(event)
    return fold.close()


def chunks_of(stream: bytes) -> list[JsonObject]:
    """The chunks in `stream`, which holds data frames, pings and one `[DONE]` at its end."""
    assert stream.endswith(DONE)
    frames = stream.removesuffix(DONE).split(b"\n\n")
    assert b"" == frames.pop()
    data = [frame for frame in frames if frame + b"\n\n" != PING]
    assert all(frame.startswith(b"data: {") for frame in data)
    return [orjson.loads(frame.removeprefix(b"data: ")) for frame in data]


def deltas_of(stream: bytes, choice: int = 0) -> list[JsonObject]:
    """The deltas of one choice in `stream`."""
    return [
        entry["delta"]
        for chunk in chunks_of(stream)
        for entry in chunk["choices"]
        if entry["index"] == choice
    ]


def logprobs(*tokens: str) -> JsonObject:
    """Log probabilities in OpenAI's shape."""
    content: list[JsonObject] = [
        {"token": token, "logprob": -0.5, "bytes": None, "top_logprobs": []} for token in tokens
    ]
    return {"content": content, "refusal": None}


def citation(url: str) -> JsonObject:
    """An annotation in OpenAI's shape."""
    where = {"start_index": 0, "end_index": 1, "title": "t", "url": url}
    return {"type": "url_citation", "url_citation": where}


REASONS: tuple[FinishReason, ...] = (
    "stop",
    "length",
    "tool_calls",
    "content_filter",
    "function_call",
)
_TEXT = st.text(max_size=6)
_COUNT = st.integers(0, 10**9)
_USAGE = st.builds(Usage, prompt_tokens=_COUNT, completion_tokens=_COUNT, cached_tokens=_COUNT)
_KINDS = st.sampled_from(
    ["text", "logprobs", "reasoning", "refusal", "thinking", "citation", "call", "more", "ping"]
)


@st.composite
def replies(draw: st.DrawFn) -> list[Event]:
    """Events that keep the contract: up to three choices, their deltas in any order."""
    events: list[Event] = []
    if draw(st.booleans()):
        events.append(Start(id=draw(st.sampled_from([None, "chatcmpl-theirs"]))))
    calls: dict[int, int] = {}
    blocks: dict[int, int] = {}
    choices = draw(st.integers(1, 3))
    for choice, kind, text in draw(
        st.lists(st.tuples(st.integers(0, choices - 1), _KINDS, _TEXT), max_size=20)
    ):
        if kind == "call":
            index = calls.get(choice, 0)
            calls[choice] = index + 1
            name = f"call_{choice}_{index}"
            events.append(ToolCallDelta(index, name, f"f{index}", text, choice))
        elif kind == "more" and choice in calls:
            index = draw(st.integers(0, calls[choice] - 1))
            events.append(ToolCallDelta(index, arguments=text, choice=choice))
        elif kind == "thinking":
            index = blocks.get(choice, 0)
            if draw(st.booleans()) or not index:
                blocks[choice] = index + 1
                fields = {"type": "thinking", "thinking": text}
                events.append(ThinkingBlockDelta(index, fields, choice))
            else:
                events.append(ThinkingBlockDelta(index - 1, {"signature": text}, choice))
        else:
            events.append(_plain_event(kind, text, choice))
    for choice in draw(st.permutations(range(choices))):
        events.append(Finish(draw(st.sampled_from(REASONS)), choice))
    for usage in draw(st.lists(_USAGE, max_size=2)):
        events.insert(draw(st.integers(min(1, len(events)), len(events))), UsageReport(usage))
    return events


def _plain_event(kind: str, text: str, choice: int) -> Event:
    match kind:
        case "text":
            return TextDelta(text, choice)
        case "logprobs":
            return TextDelta(text, choice, logprobs(text))
        case "reasoning":
            return ReasoningDelta(text, choice)
        case "refusal":
            return RefusalDelta(text, choice)
        case "citation":
            return Annotation(citation(f"https://example.org/{text}"), choice)
        case _:
            return KeepAlive()
