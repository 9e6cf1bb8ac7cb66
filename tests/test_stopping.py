"""Stop sequences end every choice where they would end its whole text, however it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.errors import UpstreamDisconnected, UpstreamInvalidResponse
from one_api.events import (
    Annotation,
    Event,
    Finish,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    Relay,
    Start,
    TextDelta,
    ThinkingBlockDelta,
    ToolCallDelta,
    Usage,
    UsageReport,
)
from one_api.stopping import enforce_stops, read_relayed
from tests.adapter.test_stop import cut_at_first, unnested_stops
from tests.converter.replies import citation, form, logprobs, replies
from tests.scripted_upstream import openai_completion_body, openai_frames, split

USAGE = UsageReport(Usage(prompt_tokens=3, completion_tokens=1))
STOP = Finish("stop")
CALL = ToolCallDelta(0, "c", "f", "{}")


class Source:
    """Events as an adapter yields them; `unread` are those nobody asked for."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.unread = list(events)
        self.is_closed = False

    async def events(self) -> AsyncGenerator[Event, None]:
        try:
            while self.unread:
                yield self.unread.pop(0)
        finally:
            self.is_closed = True


async def enforced(events: Iterable[Event] | Source, *stops: str, choices: int = 1) -> list[Event]:
    source = events if isinstance(events, Source) else Source(events)
    given = [event async for event in enforce_stops(source.events(), stops, choices=choices)]
    assert source.is_closed
    return given


async def read(events: Iterable[Event], *, is_stream: bool) -> list[Event]:
    source = Source(events)
    given = [event async for event in read_relayed(source.events(), form(), is_stream=is_stream)]
    assert source.is_closed
    return given


def text_of(events: Iterable[Event], choice: int = 0) -> str:
    return "".join(e.text for e in events if isinstance(e, TextDelta) and e.choice == choice)


def finishes_of(events: Iterable[Event], choice: int) -> list[Finish]:
    return [event for event in events if isinstance(event, Finish) and event.choice == choice]


def merged(events: Sequence[Event]) -> list[Event]:
    """`events` of one choice with the deltas of a text put together, as far as it is one."""
    whole: list[Event] = []
    for event in events:
        last = whole[-1] if whole else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            tokens = [
                token
                for delta in (last, event)
                if delta.logprobs
                for token in delta.logprobs["content"]
            ]
            told = {"content": tokens, "refusal": None} if tokens else None
            whole[-1] = TextDelta(last.text + event.text, event.choice, told)
        else:
            whole.append(event)
    return whole


@given(
    pieces=st.lists(st.tuples(st.integers(0, 2), st.text(alphabet="abc", max_size=5)), max_size=20),
    stops=unnested_stops(),
)
@settings(deadline=None)
async def test_every_choice_ends_where_its_whole_text_would(
    pieces: list[tuple[int, str]], stops: list[str]
) -> None:
    """Choices do not disturb each other, and nothing of one comes after its end."""
    events: list[Event] = [TextDelta(text, choice) for choice, text in pieces]
    events += [Finish("length", choice) for choice in range(3)]

    given = await enforced(events, *stops, choices=3)

    for choice in range(3):
        text, stop = cut_at_first(text_of(events, choice), stops)
        reason = Finish("length", choice) if stop is None else Finish("stop", choice, stop)
        assert (text, [reason]) == (text_of(given, choice), finishes_of(given, choice))
        assert reason == [event for event in given if getattr(event, "choice", None) == choice][-1]


@given(events=replies())
@settings(deadline=None)
async def test_a_reply_without_a_stop_sequence_comes_whole(events: list[Event]) -> None:
    """Text may come in other pieces, never at another place among what is told of its choice."""
    # What belongs to no text may overtake one that is held back.
    events = [event for event in events if not isinstance(event, Annotation | KeepAlive)]

    # No text is as long; but Hypothesis is fond of zeros, which are held back then.
    given = await enforced(events, "0" * 200, choices=3)

    for choice in (0, 1, 2):
        assert merged([e for e in events if getattr(e, "choice", choice) == choice]) == merged(
            [e for e in given if getattr(e, "choice", choice) == choice]
        )


async def test_text_passes_in_the_deltas_it_came_in() -> None:
    events: list[Event] = [
        Start(),
        TextDelta("one ", logprobs=logprobs("one", " ")),
        TextDelta("", logprobs=logprobs("<eot>")),
        TextDelta("two"),
        STOP,
        USAGE,
    ]

    assert events == await enforced(events, "###")


@pytest.mark.parametrize(
    "between",
    [CALL, ReasoningDelta("hm"), RefusalDelta("no"), ThinkingBlockDelta(0, {"thinking": "hm"})],
    ids=lambda event: type(event).__name__,
)
async def test_held_text_stands_before_what_follows_it(between: Event) -> None:
    events: list[Event] = [TextDelta("a<"), between, TextDelta("end>"), STOP]

    assert [
        TextDelta("a"),
        TextDelta("<"),
        between,
        TextDelta("end>"),
        STOP,
    ] == await enforced(events, "<end>")


async def test_what_is_no_content_holds_nothing_up() -> None:
    note = Annotation(citation("https://example.org"))
    events: list[Event] = [TextDelta("a<"), KeepAlive(), note, USAGE, TextDelta("end>b")]

    assert [
        TextDelta("a"),
        KeepAlive(),
        note,
        USAGE,
        Finish("stop", stop_sequence="<end>"),
    ] == await enforced(events, "<end>")


async def test_nothing_is_read_after_the_last_choice_has_ended() -> None:
    source = Source([Start(), TextDelta("a.b"), TextDelta("c"), STOP, USAGE])

    given = await enforced(source, ".")

    assert [Start(), TextDelta("a"), Finish("stop", stop_sequence=".")] == given
    assert [TextDelta("c"), STOP, USAGE] == source.unread


async def test_other_choices_go_on_after_one_was_stopped() -> None:
    calls = ToolCallDelta(0, "c", "f", "{}", 1)
    source = Source(
        [
            TextDelta("a."),
            TextDelta("never", 0),
            TextDelta("b", 1),
            calls,
            Finish("tool_calls", 0),
            Finish("tool_calls", 1),
            USAGE,
        ]
    )

    given = await enforced(source, ".", choices=2)

    assert [
        TextDelta("a"),
        Finish("stop", 0, "."),
        TextDelta("b", 1),
        calls,
        Finish("tool_calls", 1),
    ] == given
    assert [USAGE] == source.unread


async def test_usage_after_ends_of_the_providers_own_is_waited_for() -> None:
    events: list[Event] = [TextDelta("a"), STOP, TextDelta("late"), USAGE]

    assert [TextDelta("a"), STOP, USAGE] == await enforced(events, ".")


async def test_arguments_and_reasoning_may_hold_stop_sequences() -> None:
    events: list[Event] = [ReasoningDelta("a."), ToolCallDelta(0, "c", "f", '{"a": "."}'), STOP]

    assert events == await enforced(events, ".")


async def test_logprobs_go_with_the_text_of_their_tokens() -> None:
    whole = TextDelta("ab<x", logprobs=logprobs("a", "b", "<", "x"))

    assert [TextDelta("ab", logprobs=logprobs("a", "b")), Finish("stop", 0, "<x")] == (
        await enforced([whole], "<x")
    )
    assert [
        TextDelta("ab", logprobs=logprobs("a", "b")),
        TextDelta("<x", logprobs=logprobs("<", "x")),
        STOP,
    ] == await enforced([whole, STOP], "<x>")


async def test_deltas_that_are_held_keep_their_order() -> None:
    events: list[Event] = [TextDelta("aba"), TextDelta("b"), TextDelta("c"), STOP]

    assert [
        TextDelta("ab"),
        TextDelta("a"),
        TextDelta("b"),
        TextDelta("c"),
        STOP,
    ] == await enforced(events, "abaa")


@pytest.mark.parametrize(
    "content", [None, ["ab"], [{}], [{"token": None}]], ids=["none", "text", "empty", "null"]
)
async def test_logprobs_of_another_shape_do_no_harm(content: object) -> None:
    told = await enforced([TextDelta("ab.", logprobs={"content": content})], ".")

    assert ("ab", [Finish("stop", 0, ".")]) == (text_of(told), finishes_of(told, 0))


async def test_leaving_early_closes_the_source() -> None:
    source = Source([TextDelta("a"), TextDelta("b"), STOP])

    async with aclosing(enforce_stops(source.events(), ["."], choices=1)) as events:
        assert TextDelta("a") == await anext(events)

    assert source.is_closed


class TestReadingWhatIsRelayed:
    async def test_typed_events_pass(self) -> None:
        events: list[Event] = [Start(), TextDelta("a"), STOP, USAGE]

        for is_stream in (False, True):
            assert events == await read(events, is_stream=is_stream)

    @pytest.mark.parametrize("size", [1, 7, 100_000])
    async def test_streams_in_any_pieces(self, size: int) -> None:
        data = b"".join(openai_frames())

        told = await read([Relay(piece) for piece in split([data], size)], is_stream=True)

        assert ("Hello, world", [STOP]) == (text_of(told), finishes_of(told, 0))
        assert [18] == [e.usage.total_tokens for e in told if isinstance(e, UsageReport)]

    async def test_whole_replies_in_pieces(self) -> None:
        data = orjson.dumps(openai_completion_body())

        told = await read([Relay(data[:50]), Relay(data[50:])], is_stream=False)

        assert ("Hello, world", [STOP]) == (text_of(told), finishes_of(told, 0))
        # First, or what a stop sequence cuts off would take it along.
        assert isinstance(told[0], UsageReport)

    async def test_nothing_is_waited_for_after_the_end(self) -> None:
        source = Source([*map(Relay, openai_frames()), Relay(b": still here\n\n")])

        told = [e async for e in read_relayed(source.events(), form(), is_stream=True)]

        assert [STOP] == finishes_of(told, 0)
        assert [Relay(b": still here\n\n")] == source.unread

    async def test_a_cut_reply_is_never_complete(self) -> None:
        with pytest.raises(UpstreamDisconnected):
            await read([*map(Relay, openai_frames()[:3])], is_stream=True)
        with pytest.raises(UpstreamInvalidResponse):
            await read([Relay(b'{"choices": [')], is_stream=False)
