"""Replies as events: random ones, whatever their order, and how to have them converted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson
from hypothesis import strategies as st

from one_api.converter.messages import MessagesDialect
from one_api.events import (
    Annotation,
    Event,
    Finish,
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
from tests.converter.replies import REASONS, citation, form


def dialect(names: Mapping[str, str] | None = None, prompt_tokens: int = 0) -> MessagesDialect:
    return MessagesDialect(request_id="req_1", names=names or {}, prompt_tokens=prompt_tokens)


def written(events: Iterable[Event], spoken: MessagesDialect | None = None) -> bytes:
    """The stream that is made of `events`."""
    writer = (spoken or dialect()).stream_writer(form())
    return b"".join([writer.write(event) for event in events]) + writer.close()


def folded(events: Iterable[Event], spoken: MessagesDialect | None = None) -> JsonObject:
    """The message that is made of `events`."""
    fold = (spoken or dialect()).fold(form())
    for event in events:
        fold.write(event)
    return fold.close()


def events_of(stream: bytes) -> list[JsonObject]:
    """The events in `stream`, each of which is named by its type."""
    frames = stream.split(b"\n\n")
    assert b"" == frames.pop()
    found: list[JsonObject] = []
    for frame in frames:
        name, data = frame.split(b"\n")
        event = orjson.loads(data.removeprefix(b"data: "))
        assert f"event: {event['type']}".encode() == name
        found.append(event)
    return found


_TEXT = st.text(max_size=6)
_COUNT = st.integers(0, 10**6)
_USAGE = st.builds(
    Usage,
    prompt_tokens=_COUNT,
    completion_tokens=_COUNT,
    cached_tokens=_COUNT,
    cache_write_tokens=_COUNT,
    reasoning_tokens=_COUNT,
)
_VALUES: st.SearchStrategy[object] = st.booleans() | _TEXT | st.none()
_OBJECTS = st.dictionaries(st.text(max_size=3), _VALUES, max_size=3).map(
    lambda value: orjson.dumps(value).decode()
)
_ARGUMENTS = st.one_of(
    _OBJECTS, st.sampled_from(["", "  ", "[1]", "null", "7", '"s"', "oops", ' {"a": 1} '])
)
_KINDS = st.sampled_from(
    ["text", "reasoning", "refusal", "call", "more", "ping", "citation", "signed", "other choice"]
)


@st.composite
def replies(draw: st.DrawFn) -> list[Event]:
    """Events in any order: calls interleaved with each other and with everything else."""
    events: list[Event] = [Start()] if draw(st.booleans()) else []
    rest: dict[int, str] = {}
    for kind, text in draw(st.lists(st.tuples(_KINDS, _TEXT), max_size=25)):
        if kind == "call":
            index = len(rest)
            whole = draw(_ARGUMENTS)
            cut = draw(st.integers(0, len(whole)))
            rest[index] = whole[cut:]
            events.append(ToolCallDelta(index, f"call {index}", f"f{index}", whole[:cut]))
        elif kind == "more" and rest:
            index = draw(st.sampled_from(sorted(rest)))
            cut = draw(st.integers(0, len(rest[index])))
            events.append(ToolCallDelta(index, arguments=rest[index][:cut]))
            rest[index] = rest[index][cut:]
        else:
            events.append(_plain_event(kind, text))
    if draw(st.booleans()):
        events += [ToolCallDelta(index, arguments=more) for index, more in rest.items()]
    events.append(Finish(draw(st.sampled_from(REASONS))))
    for usage in draw(st.lists(_USAGE, max_size=2)):
        events.insert(draw(st.integers(0, len(events))), UsageReport(usage))
    return events


def _plain_event(kind: str, text: str) -> Event:
    match kind:
        case "text":
            return TextDelta(text)
        case "reasoning":
            return ReasoningDelta(text)
        case "refusal":
            return RefusalDelta(text)
        case "citation":
            return Annotation(citation("https://example.org"))
        case "signed":
            return ThinkingBlockDelta(0, {"type": "thinking", "thinking": text})
        case "other choice":
            return TextDelta(text, choice=1)
        case _:
            return KeepAlive()
