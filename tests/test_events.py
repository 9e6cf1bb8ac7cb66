"""Events are values: frozen, comparable, and each in the one union that consumers match."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest

from one_api import events
from one_api.events import CONTENT_EVENTS, Event, Usage

EVENT_CLASSES = get_args(Event)


def test_union_holds_every_event_class() -> None:
    values = {Usage}  # what a UsageReport carries, not an event
    classes = {
        value
        for value in vars(events).values()
        if dataclasses.is_dataclass(value) and isinstance(value, type)
    }
    assert classes - values == set(EVENT_CLASSES)


@pytest.mark.parametrize("cls", [*EVENT_CLASSES, Usage])
def test_values_cannot_be_changed(cls: Any) -> None:
    samples = {"reason": "stop", "index": 0, "prompt_tokens": 1, "completion_tokens": 1}
    required = [
        field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING
    ]
    event = cls(**{name: samples.get(name, "x") for name in required})
    assert not hasattr(event, "__dict__")
    for field in dataclasses.fields(cls):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(event, field.name, None)


def test_total_is_prompt_and_completion_without_their_details() -> None:
    usage = Usage(
        prompt_tokens=100,
        completion_tokens=10,
        cached_tokens=80,
        cache_write_tokens=5,
        reasoning_tokens=4,
        prompt_audio_tokens=3,
        completion_audio_tokens=2,
    )
    assert 110 == usage.total_tokens


def test_only_what_a_reader_sees_commits_a_stream() -> None:
    names = {cls.__name__ for cls in CONTENT_EVENTS}
    assert {"TextDelta", "ReasoningDelta", "RefusalDelta", "ToolCallDelta", "Finish"} == names
