"""A broken stream is gone on with by another deployment, and reads as one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api.continuation import (
    MIN_REPEATED_CHARS,
    Part,
    Seam,
    continue_broken,
    continued_request,
    total_usage,
)
from one_api.errors import (
    GatewayError,
    InvalidRequest,
    UpstreamDisconnected,
    UpstreamOverloaded,
    UpstreamTimeout,
)
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
from one_api.schemas.chat import ChatCompletionRequest

CUT = UpstreamDisconnected("cut")
LONG = "Once upon a time there was"
STOP = Finish("stop")


class Provider:
    """Plays scripts one after another, the first as the stream that may break."""

    def __init__(self, *scripts: Sequence[Event | GatewayError] | GatewayError | None) -> None:
        self.scripts = list(scripts)
        self.asked: list[tuple[str, GatewayError]] = []
        self.open = 0

    async def play(self, script: Sequence[Event | GatewayError]) -> AsyncGenerator[Event, None]:
        self.open += 1
        try:
            for step in script:
                if isinstance(step, GatewayError):
                    raise step
                yield step
        finally:
            self.open -= 1

    def begin(self) -> AsyncGenerator[Event, None]:
        first = self.scripts.pop(0)
        assert isinstance(first, Sequence)
        return self.play(first)

    async def follow(self, text: str, error: GatewayError) -> AsyncGenerator[Event, None] | None:
        self.asked.append((text, error))
        script = self.scripts.pop(0)
        if isinstance(script, GatewayError):
            raise script
        return None if script is None else self.play(script)


async def told(provider: Provider, **options: Any) -> tuple[list[Event], GatewayError | None]:
    """What came before the end, and the error that was the end."""
    events: list[Event] = []
    error: GatewayError | None = None
    try:
        async for event in continue_broken(provider.begin(), provider.follow, **options):
            events.append(event)
    except GatewayError as exc:
        error = exc
    assert 0 == provider.open
    return events, error


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


class TestContinuing:
    async def test_whole_stream_passes_as_it_is(self) -> None:
        script: list[Event] = [
            Start("1"),
            ReasoningDelta("hm"),
            TextDelta("a"),
            KeepAlive(),
            Annotation({}),
            STOP,
            UsageReport(Usage(prompt_tokens=1, completion_tokens=2)),
        ]

        assert (script, None) == await told(Provider(script))

    async def test_broken_stream_is_gone_on_with(self) -> None:
        provider = Provider(
            [Start("1"), TextDelta("Hello"), TextDelta(", "), CUT],
            [Start("2"), KeepAlive(), TextDelta("wor"), TextDelta("ld"), STOP],
        )

        events, error = await told(provider)

        assert [
            Start("1"),
            TextDelta("Hello"),
            TextDelta(", "),
            KeepAlive(),
            TextDelta("wor"),
            TextDelta("ld"),
            STOP,
        ] == events
        assert None is error
        assert [("Hello, ", CUT)] == provider.asked

    async def test_end_without_a_finish_is_a_break(self) -> None:
        provider = Provider([TextDelta("Hel")], [TextDelta("lo"), STOP])

        assert ([TextDelta("Hel"), TextDelta("lo"), STOP], None) == await told(provider)
        assert [("Hel", UpstreamDisconnected)] == [(t, type(e)) for t, e in provider.asked]

    async def test_every_break_is_gone_on_with_up_to_the_limit(self) -> None:
        one, two = UpstreamDisconnected("cut"), UpstreamTimeout("slow")
        three = UpstreamOverloaded("busy")
        provider = Provider(
            [TextDelta("a"), one], [TextDelta("b"), two], [TextDelta("c"), three], [STOP]
        )

        events, error = await told(provider, max_continuations=2)

        assert "abc" == text_of(events)
        assert three is error
        assert [("a", one), ("ab", two)] == provider.asked

    async def test_no_continuation_is_the_error_at_once(self) -> None:
        provider = Provider([TextDelta("a"), CUT])

        assert ([TextDelta("a")], CUT) == await told(provider, max_continuations=0)

    async def test_model_may_have_nothing_to_add(self) -> None:
        provider = Provider([TextDelta("Hello"), CUT], [Start(), STOP])

        assert ([TextDelta("Hello"), STOP], None) == await told(provider)

    async def test_repetition_is_left_out_whatever_comes_between(self) -> None:
        provider = Provider(
            [TextDelta(LONG), CUT],
            [TextDelta(LONG[:9]), KeepAlive(), TextDelta(LONG[9:]), TextDelta(" a king"), STOP],
        )

        events, _ = await told(provider)

        assert [TextDelta(LONG), KeepAlive(), TextDelta(" a king"), STOP] == events

    async def test_what_follows_may_call_tools_but_not_be_gone_on_with_then(self) -> None:
        call = ToolCallDelta(0, "call_0", "look")
        later = UpstreamTimeout("later")
        provider = Provider([TextDelta("Hello"), CUT], [call, later])

        assert ([TextDelta("Hello"), call], later) == await told(provider)
        assert 1 == len(provider.asked)

    async def test_what_follows_leaves_out_what_counts_from_another_beginning(self) -> None:
        thinking = ThinkingBlockDelta(0, {"type": "thinking"})
        provider = Provider(
            [TextDelta("Hello"), CUT],
            [ReasoningDelta("hm"), thinking, TextDelta("."), Annotation({"start_index": 0}), STOP],
        )

        assert ([TextDelta("Hello"), TextDelta("."), STOP], None) == await told(provider)


NOT_PLAIN: dict[str, list[Event]] = {
    "nothing": [],
    "start": [Start()],
    "white space": [TextDelta(" \n")],
    "no letters": [TextDelta("")],
    "reasoning": [ReasoningDelta("hm")],
    "reasoning after text": [TextDelta("a"), ReasoningDelta("hm")],
    "signed reasoning": [TextDelta("a"), ThinkingBlockDelta(0, {"thinking": "hm"})],
    "tool call": [TextDelta("a"), ToolCallDelta(0, "call_0", "look")],
    "refusal": [TextDelta("a"), RefusalDelta("No")],
    "annotation": [TextDelta("a"), Annotation({})],
    "finished": [TextDelta("a"), STOP],
    "another choice": [TextDelta("a"), TextDelta("b", 1)],
    "another choice thinks": [TextDelta("a"), ReasoningDelta("b", 1), TextDelta("c")],
}


class TestNotContinuing:
    @pytest.mark.parametrize("before", NOT_PLAIN.values(), ids=NOT_PLAIN)
    async def test_what_is_not_plain_text_is_not_gone_on_with(self, before: list[Event]) -> None:
        provider = Provider([*before, CUT])

        assert (before, CUT) == await told(provider)
        assert [] == provider.asked

    async def test_text_after_reasoning_is_gone_on_with(self) -> None:
        provider = Provider([ReasoningDelta("hm"), TextDelta("a"), CUT], [TextDelta("b"), STOP])

        assert "ab" == text_of((await told(provider))[0])

    async def test_mistake_of_the_caller_is_not_gone_on_from(self) -> None:
        mistake = InvalidRequest("no")
        provider = Provider([TextDelta("a"), mistake])

        assert ([TextDelta("a")], mistake) == await told(provider)
        assert [] == provider.asked

    @pytest.mark.parametrize(
        "refusal",
        [
            None,
            InvalidRequest("cannot"),
            [UpstreamTimeout("slow")],
            [Start(), UpstreamTimeout("slow")],
            [],
            [Start()],
            [TextDelta("a long beginning, "), UpstreamTimeout("slow")],
        ],
        ids=["none", "raised", "at once", "after start", "nothing", "start", "repeating"],
    )
    async def test_refusal_to_go_on_is_the_first_error(
        self, refusal: list[Event | GatewayError] | GatewayError | None
    ) -> None:
        begun = TextDelta("a long beginning, and more")
        provider = Provider([begun, CUT], refusal)

        assert ([begun], CUT) == await told(provider)
        assert 1 == len(provider.asked)

    @pytest.mark.parametrize("taken", [1, 2])
    async def test_leaving_closes_whatever_is_open(self, taken: int) -> None:
        provider = Provider([TextDelta("a"), CUT], [TextDelta("b"), STOP])
        events = continue_broken(provider.begin(), provider.follow)
        for _ in range(taken):
            await anext(events)
        assert 1 == provider.open

        await events.aclose()

        assert 0 == provider.open

    async def test_cancelling_closes_whatever_is_open(self) -> None:
        waiting = asyncio.Event()
        provider = Provider()

        async def hanging() -> AsyncGenerator[Event, None]:
            provider.open += 1
            try:
                yield TextDelta("a")
                waiting.set()
                await asyncio.Event().wait()
            finally:
                provider.open -= 1

        async def read() -> None:
            async for _ in continue_broken(hanging(), provider.follow):
                pass

        task = asyncio.create_task(read())
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert 0 == provider.open


SEAMS = [
    ("new text", LONG, [" a king", "."], [" a king", "."]),
    ("text repeated", LONG, [LONG, " a king"], [" a king"]),
    ("text repeated in pieces", LONG, ["Once upon", " a time there", " was a", " king"], None),
    ("text repeated in one piece", LONG, [LONG + " a king"], [" a king"]),
    ("text repeated alone", LONG, [LONG], []),
    ("part repeated", LONG, ["Once upon", " another time"], ["Once upon", " another time"]),
    ("part repeated alone", LONG, ["Once upon"], ["Once upon"]),
    ("end repeated", LONG, ["there was", " a king"], ["there was", " a king"]),
    ("short text repeated", "ha", ["ha", "!"], ["ha", "!"]),
    ("space again", "Hello, ", [" world"], ["world"]),
    ("space not again", "Hello, ", ["world"], ["world"]),
    ("space alone again", "Hello, ", [" ", "world"], ["world"]),
    ("breaks again", "One.\n\n", ["\n", "\n", "Two."], ["Two."]),
    ("fewer breaks again", "One.\n\n", ["\n", "Two."], ["Two."]),
    ("more breaks", "One.\n", ["\n\nTwo."], ["\nTwo."]),
    ("other space", "One.\n", [" Two."], [" Two."]),
    ("space that is new", "Hello,", [" world"], [" world"]),
    ("text and space repeated", LONG + " ", [LONG, " ", "a king"], ["a king"]),
    ("text repeated without its space", LONG + " ", [LONG, "a king"], ["a king"]),
    ("nothing", LONG + "\n", [], []),
    ("emptiness", "Hello", ["", "a"], ["", "a"]),
]


class TestSeam:
    @pytest.mark.parametrize(
        ("given", "pieces", "expected"), [row[1:] for row in SEAMS], ids=[row[0] for row in SEAMS]
    )
    def test_what_the_client_has_read_does_not_come_twice(
        self, given: str, pieces: list[str], expected: list[str] | None
    ) -> None:
        seam = Seam(given)
        out = [delta for piece in pieces for delta in seam.take(TextDelta(piece))]
        out += seam.close()

        if expected is None:
            assert "".join(pieces).removeprefix(given) == text_of(out)
        else:
            assert expected == [delta.text for delta in out]

    def test_text_that_cannot_be_a_repetition_is_not_held_back(self) -> None:
        seam = Seam(LONG)
        first = TextDelta(" a king", 0, {"content": []})

        assert [first] == list(seam.take(first))
        assert [TextDelta(LONG)] == list(seam.take(TextDelta(LONG)))

    @given(st.text("ab \n", max_size=40), st.text("ab \n", max_size=40), st.data())
    def test_whatever_the_pieces_the_text_is_the_same(
        self, given: str, added: str, data: st.DataObject
    ) -> None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(added)), max_size=5)))
        bounds = [0, *cuts, len(added)]
        pieces = [added[a:b] for a, b in pairwise(bounds)]

        def joined(parts: Sequence[str]) -> str:
            seam = Seam(given)
            out = [delta for part in parts for delta in seam.take(TextDelta(part))]
            return text_of([*out, *seam.close()])

        assert joined([added]) == joined(pieces)
        assert added.endswith(joined(pieces))
        assert joined(pieces).strip() in (added.strip(), added.removeprefix(given.rstrip()).strip())

    def test_shortest_repetition_that_is_left_out(self) -> None:
        for length, expected in ((MIN_REPEATED_CHARS, "!"), (MIN_REPEATED_CHARS - 1, None)):
            said = "abcdefghijklmnopqrstuvwxyz"[:length]
            out = list(Seam(said).take(TextDelta(said + "!")))
            assert (expected or said + "!") == text_of(out)


def usage(prompt: int, completion: int, **details: Any) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion, **details)


class TestUsage:
    async def test_usage_of_all_parts_comes_last(self) -> None:
        provider = Provider(
            [UsageReport(usage(10, 1)), TextDelta("12345678"), UsageReport(usage(10, 9)), CUT],
            [TextDelta("9"), STOP, UsageReport(usage(13, 5, cached_tokens=4))],
        )

        events, error = await told(provider)

        reports = [event.usage for event in events if isinstance(event, UsageReport)]
        assert [usage(10, 1), usage(10, 9), usage(23, 14, cached_tokens=4)] == reports
        assert UsageReport(reports[-1]) == events[-1]
        assert None is error

    async def test_count_told_when_the_broken_part_began_is_not_its_last(self) -> None:
        provider = Provider(
            [UsageReport(usage(10, 1)), TextDelta("x" * 40), CUT],
            [STOP, UsageReport(usage(20, 3))],
        )

        *_, last = (await told(provider))[0]

        assert UsageReport(usage(30, 13, estimated=True)) == last

    async def test_usage_nobody_tells_is_not_made_up(self) -> None:
        events, _ = await told(Provider([TextDelta("a"), CUT], [TextDelta("b"), STOP]))

        assert [TextDelta("a"), TextDelta("b"), STOP] == events

    @pytest.mark.parametrize(
        ("parts", "expected"),
        [
            ([Part(), Part()], None),
            ([Part(told=usage(7, 3, reasoning_tokens=2))], usage(7, 3, reasoning_tokens=2)),
            # The first told nothing: it read 12 - 2 tokens and wrote 2.
            (
                [Part(words=["12345678"], is_broken=True), Part("12345678", told=usage(12, 5))],
                usage(10 + 12, 2 + 5, estimated=True),
            ),
            # The first told of one token when it began, and wrote two.
            (
                [
                    Part(words=["1234", "5678"], told=usage(10, 1), is_broken=True),
                    Part("12345678", told=usage(12, 5)),
                ],
                usage(10 + 12, 2 + 5, estimated=True),
            ),
            # The last told nothing: it read 10 + 2 tokens and wrote one.
            (
                [
                    Part(words=["12345678"], told=usage(10, 2), is_broken=True),
                    Part("12345678", ["9"]),
                ],
                usage(10 + 12, 2 + 1, estimated=True),
            ),
            # A count of fewer tokens than the estimate is the truth when the part is complete.
            ([Part(words=["1" * 40], told=usage(10, 2))], usage(10, 2)),
            # No prompt is less than nothing.
            (
                [Part(is_broken=True), Part("12345678", told=usage(1, 1))],
                usage(0 + 1, 1, estimated=True),
            ),
        ],
        ids=["none", "one", "first", "first begun", "last", "complete", "odd"],
    )
    def test_what_is_not_told_is_estimated(self, parts: list[Part], expected: Usage | None) -> None:
        assert expected == total_usage(parts)


HI: dict[str, Any] = {"role": "user", "content": "Hi"}


def asked(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.from_wire({"model": "m", "messages": [HI], **fields})


class TestRequest:
    @pytest.mark.parametrize(
        ("messages", "text", "expected"),
        [
            ([HI], "Hello", [HI, {"role": "assistant", "content": "Hello"}]),
            ([HI], "Hello, \n", [HI, {"role": "assistant", "content": "Hello,"}]),
            (
                [HI, {"role": "assistant", "content": "He", "name": "a"}],
                "llo ",
                [HI, {"role": "assistant", "content": "Hello", "name": "a"}],
            ),
            (
                [HI, {"role": "assistant", "content": [{"type": "text", "text": "He"}]}],
                "llo",
                [
                    HI,
                    {"role": "assistant", "content": [{"type": "text", "text": "He"}]},
                    {"role": "assistant", "content": "llo"},
                ],
            ),
        ],
        ids=["plain", "space", "prefilled", "prefilled in parts"],
    )
    def test_text_is_the_end_of_the_conversation(
        self, messages: list[Any], text: str, expected: list[Any]
    ) -> None:
        request = asked(messages=messages, stream=True)

        continued = continued_request(request, text)

        assert expected == continued.to_wire()["messages"]
        assert messages == request.to_wire()["messages"]
        assert ChatCompletionRequest.from_wire(continued.to_wire()) == continued

    @pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
    @pytest.mark.parametrize(("limit", "expected"), [(100, 98), (3, 1), (2, 1), (1, 1)])
    def test_limit_falls_by_what_was_written(self, name: str, limit: int, expected: int) -> None:
        continued = continued_request(asked(**{name: limit}), "12345678")

        assert expected == continued.completion_limit
        assert {"model", "messages", name} == continued.to_wire().keys()

    def test_all_else_is_kept(self) -> None:
        fields: dict[str, Any] = {
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.5,
            "unknown": 1,
        }

        continued = continued_request(asked(**fields), "Hello").to_wire()

        assert fields == {name: continued[name] for name in fields}
        assert {"model", "messages", *fields} == continued.keys()
