"""What holds for every reply that an adapter may yield, found by generating them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.events import Event
from one_api.schemas import JsonObject
from tests.converter.replies import replies
from tests.converter.responses.digest import final_response, wire_events
from tests.converter.responses.rendering import folded, streamed

_EXAMPLES = settings(deadline=None)
_REQUESTS: st.SearchStrategy[JsonObject] = st.sampled_from([{}, {"reasoning": {"summary": "auto"}}])


@_EXAMPLES
@given(replies(), _REQUESTS)
def test_sdk_makes_of_the_stream_what_the_fold_makes_of_the_events(
    events: list[Event], request_fields: dict[str, Any]
) -> None:
    whole = folded(events, **request_fields)
    final = final_response(streamed(events, **request_fields))

    assert (whole.pop("completed_at") is None) == (final.pop("completed_at") is None)
    assert whole == final


@_EXAMPLES
@given(replies())
def test_events_are_numbered_from_zero_without_gaps(events: list[Event]) -> None:
    numbers = [event["sequence_number"] for event in wire_events(streamed(events))]

    assert list(range(len(numbers))) == numbers


@_EXAMPLES
@given(replies())
def test_every_item_is_added_once_and_done_once(events: list[Event]) -> None:
    told = wire_events(streamed(events))
    added = [e["output_index"] for e in told if e["type"] == "response.output_item.added"]
    done = [e["output_index"] for e in told if e["type"] == "response.output_item.done"]

    assert list(range(len(added))) == added == sorted(done)
    assert len(added) == len(told[-1]["response"]["output"])


@_EXAMPLES
@given(replies())
def test_deltas_of_an_item_add_up_to_it(events: list[Event]) -> None:
    told = wire_events(streamed(events))
    pieces: dict[str, str] = {}
    for event in told:
        if event["type"].endswith(".delta"):
            pieces[event["item_id"]] = pieces.get(event["item_id"], "") + event["delta"]

    output = told[-1]["response"]["output"]
    assert {item["id"]: _text(item) for item in output} == {
        item["id"]: pieces.get(item["id"], "") for item in output
    }


def _text(item: JsonObject) -> str:
    parts = item.get("content", [])
    texts = [part.get("text", "") + part.get("refusal", "") for part in parts]
    return "".join(texts) + str(item.get("arguments", ""))
