"""What holds for every reply that an adapter may yield, found by generating them."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.converter import ReasoningField
from one_api.events import Event, KeepAlive, UsageReport
from tests.converter.digest import digest, facts
from tests.converter.replies import chunks_of, folded, form, replies, written

_EXAMPLES = settings(deadline=None)
_FIELDS: st.SearchStrategy[ReasoningField] = st.sampled_from(
    ["both", "reasoning", "reasoning_content"]
)


@settings(deadline=None)
@given(replies(), st.booleans(), _FIELDS)
def test_sdk_makes_of_the_stream_what_the_fold_makes_of_the_events(
    events: list[Event], functions: bool, reasoning_field: ReasoningField
) -> None:
    """One provider parser feeds both reply forms: they must say the same."""
    asked = form(include_usage=True, functions=functions, reasoning_field=reasoning_field)

    streamed = facts(digest(written(events, asked)))

    assert facts(folded(events, asked)) == streamed


@_EXAMPLES
@given(replies())
def test_stream_has_one_identity(events: list[Event]) -> None:
    identities = {
        (chunk["id"], chunk["object"], chunk["created"], chunk["model"])
        for chunk in chunks_of(written(events, form(include_usage=True)))
    }

    assert 1 == len(identities)


@_EXAMPLES
@given(replies())
def test_each_choice_is_introduced_once_in_ascending_order(events: list[Event]) -> None:
    entries = [entry for chunk in chunks_of(written(events)) for entry in chunk["choices"]]
    introduced = [entry["index"] for entry in entries if "role" in entry["delta"]]
    first_seen = list(dict.fromkeys(entry["index"] for entry in entries))

    assert list(range(len(introduced))) == introduced == first_seen


@_EXAMPLES
@given(replies())
def test_each_choice_finishes_once_with_an_empty_delta(events: list[Event]) -> None:
    entries = [entry for chunk in chunks_of(written(events)) for entry in chunk["choices"]]
    finished = [entry for entry in entries if entry["finish_reason"] is not None]

    assert {entry["index"]: 1 for entry in entries} == Counter(e["index"] for e in finished)
    assert all(entry["delta"] == {} for entry in finished)


@_EXAMPLES
@given(replies())
def test_usage_comes_last_and_is_null_before(events: list[Event]) -> None:
    told = [event.usage for event in events if isinstance(event, UsageReport)]
    chunks = chunks_of(written(events, form(include_usage=True)))

    if told:
        last = chunks.pop()
        assert [] == last["choices"]
        assert told[-1].total_tokens == last["usage"]["total_tokens"]
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in chunks)


@_EXAMPLES
@given(replies())
def test_usage_is_hidden_from_who_did_not_ask(events: list[Event]) -> None:
    chunks = chunks_of(written(events))

    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


@_EXAMPLES
@given(replies())
def test_tool_calls_count_from_zero_and_say_id_and_name_once(events: list[Event]) -> None:
    named: Counter[tuple[int, int]] = Counter()
    for chunk in chunks_of(written(events)):
        for entry in chunk["choices"]:
            for call in entry["delta"].get("tool_calls", ()):
                at = (entry["index"], call["index"])
                if "id" in call:
                    assert call["index"] == sum(choice == at[0] for choice, _ in named)
                    assert {"index", "id", "type", "function"} == call.keys()
                    assert {"name", "arguments"} == call["function"].keys()
                    named[at] += 1
                else:
                    assert at in named
                    assert {"arguments"} == call["function"].keys()

    assert all(count == 1 for count in named.values())


@_EXAMPLES
@given(replies())
def test_pings_are_comments_and_change_nothing(events: list[Event]) -> None:
    silent = [event for event in events if not isinstance(event, KeepAlive)]

    assert chunks_of(written(silent)) == chunks_of(written(events))
