"""Noise and damage in a stream, which end it but never break the parser."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.claude.tests.recorded import reply, told
from one_api.adapter import Event, Finish, GatewayError, JsonObject

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS)
FIELDS = st.sampled_from(
    [
        "citation",
        "data",
        "id",
        "input",
        "message",
        "name",
        "partial_json",
        "signature",
        "stop_details",
        "stop_reason",
        "text",
        "thinking",
        "type",
        "usage",
    ]
)
KINDS = st.sampled_from(
    [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
        "ping",
        "text",
        "thinking",
        "tool_use",
        "text_delta",
        "thinking_delta",
        "input_json_delta",
        "citations_delta",
        "signature_delta",
        "pause_turn",
        "tool_use",
    ]
)


@st.composite
def noise(draw: st.DrawFn) -> JsonObject:
    """An event with the right names and any values."""
    inner = st.dictionaries(FIELDS, KINDS | VALUES, max_size=5)
    event: JsonObject = {"type": draw(KINDS)}
    for name in ("index", "message", "content_block", "delta", "usage", "error"):
        if draw(st.booleans()):
            event[name] = draw(st.integers(0, 2) if name == "index" else inner | VALUES)
    return event


def frames(events: list[JsonObject]) -> Iterator[bytes]:
    for event in events:
        yield b"data: " + orjson.dumps(event) + b"\n\n"


def outcome(data: bytes) -> Event | GatewayError:
    """The last event, or the error."""
    events, error = told(data, 16)
    return error or events[-1]


@settings(deadline=None)
@given(st.lists(noise(), max_size=8))
def test_noise_never_breaks_the_parser(events: list[JsonObject]) -> None:
    assert isinstance(outcome(b"".join(frames(events)) or b"\n"), GatewayError | Finish)


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400))
def test_damage_never_breaks_the_parser(damage: bytes, at: int) -> None:
    data = reply("thinking_text_tool")
    assert isinstance(outcome(data[:at] + damage + data[at:]), GatewayError | Finish)
