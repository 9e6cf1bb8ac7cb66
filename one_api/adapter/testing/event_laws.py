"""Laws of the events in which an adapter answers."""

from __future__ import annotations

from typing import Any

from one_api.adapter.testing.answers import (
    CUT_SHORT,
    HELLO,
    NO_TOOL_CALL,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    REASONED,
    TEXT_AND_TOOL_CALL,
    TOOL_CALL_WITHOUT_ARGUMENTS,
    Answer,
)
from one_api.adapter.testing.bench import Subject, open_bench
from one_api.adapter.testing.exchange import EVENT_TYPES, Exchange
from one_api.adapter.testing.law import Chapter
from one_api.adapter.testing.verdict import require, require_equal
from one_api.events import (
    Finish,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    Relay,
    Start,
    TextDelta,
    ThinkingBlockDelta,
    ToolCallDelta,
)

_DELTAS = (ReasoningDelta, RefusalDelta, TextDelta, ThinkingBlockDelta, ToolCallDelta)
_STRING = {"type": "string"}


def _function(name: str, *parameters: str) -> dict[str, object]:
    schema = {"type": "object", "properties": dict.fromkeys(parameters, _STRING)}
    return {
        "type": "function",
        "function": {"name": name, "description": f"Does {name}.", "parameters": schema},
    }


#: What the scripted models call.
TOOLS = [
    _function("get_weather", "city"),
    _function("get_time", "zone"),
    _function("get_news"),
]

chapter = Chapter()


@chapter.law("events-typed", need="answers")
async def yields_events(subject: Subject) -> None:
    """All that is yielded are events, relayed or read, never both."""
    told = await _hear(subject)
    strange = [event for event in told.yielded if not isinstance(event, EVENT_TYPES)]
    require_equal([], strange, "yielded besides events")
    kinds = {isinstance(event, Relay) for event in told.yielded}
    require(len(kinds) == 1, "relayed bytes and events are mixed")


@chapter.law("start-first", need="answers")
async def starts_first(subject: Subject) -> None:
    """One Start comes, before everything else."""
    told = await _hear(subject)
    kinds = [type(event) for event in told.events if not isinstance(event, KeepAlive)]
    require_equal(1, kinds.count(Start), "number of Start events")
    require_equal(Start, kinds[0], "the first event")


@chapter.law("finish-once", need="answers")
async def finishes_once(subject: Subject) -> None:
    """A choice finishes once, and says nothing after."""
    told = await _hear(subject)
    ends = [at for at, event in enumerate(told.events) if isinstance(event, Finish)]
    require_equal(1, len(ends), "number of Finish events")
    late = [event for event in told.events[ends[0] :] if isinstance(event, _DELTAS)]
    require_equal([], late, "content after the Finish")


@chapter.law("text-whole", need="profile")
async def tells_the_text(subject: Subject) -> None:
    """The answer's text is what the provider said."""
    told = await _hear(subject, HELLO)
    require_equal((HELLO.text, "stop"), (told.text, told.finish_reason), "the answer")


@chapter.law("streams", need="profile")
async def tells_in_pieces(subject: Subject) -> None:
    """Content is told as it comes, not when the reply is complete."""
    told = await _hear(subject, HELLO)
    pieces = [event.text for event in told.events if isinstance(event, TextDelta)]
    require(len(pieces) > 1, f"a stream of {len(HELLO.words)} pieces was told in one")


@chapter.law("fold-equals-stream", need="answers")
async def folds_alike(subject: Subject) -> None:
    """Streamed or not, the same request has the same answer."""
    async with open_bench(subject) as bench:
        answers = [HELLO, TEXT_AND_TOOL_CALL] if subject.profile else [HELLO]
        for answer in answers:
            options = {"tools": TOOLS} if answer.tool_calls else {}
            streamed = await bench.hear(answer, stream=True, **options)
            folded = await bench.hear(answer, stream=False, **options)
            require_equal(streamed.gist, folded.gist, "the reply that is not streamed")


@chapter.law("length-told", need="profile")
async def tells_length(subject: Subject) -> None:
    """An answer cut short at the limit says so."""
    told = await _hear(subject, CUT_SHORT)
    require_equal("length", told.finish_reason, "finish reason")


@chapter.law("reasoning-apart", need="reasoning")
async def keeps_reasoning_apart(subject: Subject) -> None:
    """What the model thinks aloud is not part of its answer."""
    told = await _hear(subject, REASONED)
    expected = (REASONED.reasoning_text, REASONED.text)
    require_equal(expected, (told.reasoning, told.text), "reasoning and text")


@chapter.law("usage-once", need="answers")
async def tells_usage_once(subject: Subject) -> None:
    """Usage is told exactly once, streamed or not."""
    async with open_bench(subject) as bench:
        answers = [HELLO, CUT_SHORT, TEXT_AND_TOOL_CALL] if subject.profile else [HELLO]
        for answer in answers:
            options = {"tools": TOOLS} if answer.tool_calls else {}
            for stream in (True, False):
                told = await bench.hear(answer, stream=stream, **options)
                require_equal(1, len(told.usages), f"reports of usage with stream={stream}")


@chapter.law("usage-sane", need="answers")
async def tells_sane_usage(subject: Subject) -> None:
    """Usage is the provider's own; details are part of the totals."""
    told = await _hear(subject)
    require(bool(told.usages), "no usage is told")
    usage = told.usages[-1]
    counts = (
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
        usage.reasoning_tokens,
    )
    require(min(counts) >= 0, f"negative: {usage}")
    is_part = (
        usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens
        and usage.cache_write_1h_tokens <= usage.cache_write_tokens
        and usage.reasoning_tokens <= usage.completion_tokens
    )
    require(is_part, f"details exceed the totals: {usage}")
    if subject.profile is not None:
        expected = (HELLO.usage.prompt, HELLO.usage.completion)
        require_equal(expected, (usage.prompt_tokens, usage.completion_tokens), "usage")
        require(usage.cached_tokens in (0, HELLO.usage.cached), f"cached tokens: {usage}")


@chapter.law("tools-none", need="profile")
async def calls_no_tool(subject: Subject) -> None:
    """Tools that are offered and not called leave a plain answer."""
    told = await _hear(subject, NO_TOOL_CALL, tools=TOOLS)
    require_equal(
        ([], NO_TOOL_CALL.text, "stop"),
        (told.calls, told.text, told.finish_reason),
        "calls, text and finish",
    )
    ends = {event.reason for event in told.events if isinstance(event, Finish)}
    require_equal({"stop"}, ends, "the reason in the Finish")


@chapter.law("tools-one", need="profile")
async def calls_one_tool(subject: Subject) -> None:
    """One tool call arrives with its id, its name and its arguments."""
    told = await _hear(subject, ONE_TOOL_CALL, tools=TOOLS)
    require_equal("tool_calls", told.finish_reason, "finish reason")
    _require_calls(ONE_TOOL_CALL, told)


@chapter.law("tools-parallel", need="profile")
async def calls_tools_in_parallel(subject: Subject) -> None:
    """Parallel tool calls stay apart and in order."""
    told = await _hear(subject, PARALLEL_TOOL_CALLS, tools=TOOLS)
    require_equal(PARALLEL_TOOL_CALLS.text, told.text, "the text before the calls")
    _require_calls(PARALLEL_TOOL_CALLS, told)
    ids = [call["id"] for call in told.message["tool_calls"]]
    require(len(set(ids)) == len(ids), f"ids of calls are not unique: {ids}")


@chapter.law("tools-no-arguments", need="profile")
async def calls_without_arguments(subject: Subject) -> None:
    """A call without arguments has an empty object of them."""
    told = await _hear(subject, TOOL_CALL_WITHOUT_ARGUMENTS, tools=TOOLS)
    require_equal([("get_news", "{}")], told.calls, "calls")
    raw = [e.arguments for e in told.events if isinstance(e, ToolCallDelta) and e.arguments]
    require("".join(raw) in ("", "{}"), f"arguments out of nothing: {raw}")


async def _hear(subject: Subject, answer: Answer | None = None, **fields: Any) -> Exchange:
    async with open_bench(subject) as bench:
        return await bench.hear(answer, **fields)


def _require_calls(answer: Answer, told: Exchange) -> None:
    expected = [(call.name, "".join(call.arguments)) for call in answer.tool_calls]
    require_equal(expected, told.calls, "calls")
    opened = [event for event in told.events if isinstance(event, ToolCallDelta) and event.name]
    require_equal(len(expected), len(opened), "calls that begin")
    require(all(event.id for event in opened), "a call begins without an id")
    require_equal(list(range(len(expected))), [event.index for event in opened], "their numbers")
