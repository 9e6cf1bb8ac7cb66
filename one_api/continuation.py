"""A stream that breaks after the client has begun to read it, gone on with by another deployment.

What the client has read is given to the next model as the beginning of its answer. That works for
plain text alone: half a tool call, a refusal or a thought cannot be gone on with.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, fields, replace
from typing import Any

from one_api.errors import GatewayError, UpstreamDisconnected
from one_api.events import (
    CONTENT_EVENTS,
    Annotation,
    Event,
    KeepAlive,
    ReasoningDelta,
    Start,
    TextDelta,
    ThinkingBlockDelta,
    Usage,
    UsageReport,
)
from one_api.schemas.chat import ChatCompletionRequest
from one_api.tokens import estimate

#: Gives the events that go on from a text, or None where nobody goes on.
Follow = Callable[[str, GatewayError], Awaitable[AsyncGenerator[Event, None] | None]]

#: A shorter beginning that repeats the text so far may be meant: "ha" is gone on with by "ha".
MIN_REPEATED_CHARS = 16

_REASONING = (ReasoningDelta, ThinkingBlockDelta)
#: Of a part that goes on: the answer has begun, the client has seen what was thought before it,
#: and the positions of annotations count from another beginning. Usage is told of all parts.
_LEFT_OUT = (Start, *_REASONING, Annotation, UsageReport)


@dataclass(slots=True)
class Part:
    """What one deployment gave of an answer.

    `given` is the text it was asked to go on from, `words` what it added, `told` the last usage it
    reported.
    """

    given: str = ""
    words: list[str] = field(default_factory=list)
    told: Usage | None = None
    is_broken: bool = False
    has_content: bool = False

    @property
    def text(self) -> str:
        """What it added."""
        return "".join(self.words)


class _Answer:
    """The parts so far, and whether another may follow."""

    def __init__(self) -> None:
        self.parts = [Part()]
        self._is_plain = True
        self._ends_in_text = False

    @property
    def text(self) -> str:
        """All that the client has read."""
        return self.parts[-1].given + self.parts[-1].text

    @property
    def is_open(self) -> bool:
        """Whether there is text, and nothing but plain text of one choice since the reasoning."""
        return self._is_plain and self._ends_in_text and not self.text.isspace()

    def begin_part(self) -> Part:
        self.parts[-1].is_broken = True
        self.parts.append(Part(given=self.text))
        return self.parts[-1]

    def take(self, event: Event) -> None:
        """Take note of an event on its way to the client."""
        part = self.parts[-1]
        if isinstance(event, CONTENT_EVENTS):
            part.has_content = True
        if isinstance(event, UsageReport):
            part.told = event.usage
        elif isinstance(event, TextDelta) and event.choice == 0:
            part.words.append(event.text)
            self._ends_in_text = self._ends_in_text or bool(event.text)
        elif isinstance(event, _REASONING) and event.choice == 0:
            self._ends_in_text = False
        elif not isinstance(event, (Start, KeepAlive)):
            self._is_plain = False


async def continue_broken(
    first: AsyncGenerator[Event, None], follow: Follow, *, max_continuations: int = 2
) -> AsyncGenerator[Event, None]:
    """The events of `first`, gone on with by those that `follow` gives wherever they break.

    `follow` is asked when a retryable error, or an end without a `Finish`, comes after plain text
    of one choice, at most `max_continuations` times. Its events must answer `continued_request`.
    Where it gives None or raises, and where they fail before their first content, the error it
    was asked for is raised. What the client has read does not come twice (see `Seam`); reasoning
    and annotations of a part that goes on are left out. The last usage is that of all parts.
    No event may be a `Relay`: see `read_relayed`. Every generator is closed here.
    """
    answer = _Answer()
    source: AsyncGenerator[Event, None] = _noted(first, answer)
    broken_by: GatewayError | None = None
    for left in reversed(range(max_continuations + 1)):
        try:
            async with aclosing(source):
                async for event in source:
                    yield event
            break
        except GatewayError as exc:
            if broken_by is not None and not answer.parts[-1].has_content:
                raise broken_by from exc
            if not (left and exc.retryable and answer.is_open):
                raise
            broken_by = exc
        source = await _next_part(follow, answer, broken_by)
    if len(answer.parts) > 1 and (usage := total_usage(answer.parts)) is not None:
        yield UsageReport(usage)


async def _next_part(
    follow: Follow, answer: _Answer, broken_by: GatewayError
) -> AsyncGenerator[Event, None]:
    try:
        source = await follow(answer.text, broken_by)
    except GatewayError as exc:
        raise broken_by from exc
    if source is None:
        raise broken_by
    return _noted(_joined(source, answer.begin_part()), answer)


async def _noted(
    source: AsyncGenerator[Event, None], answer: _Answer
) -> AsyncGenerator[Event, None]:
    """The events of one part, noted; a text without an end is an error."""
    async with aclosing(source):
        async for event in source:
            answer.take(event)
            yield event
    if answer.is_open:
        raise UpstreamDisconnected("The provider's reply ended before it was complete.")


async def _joined(source: AsyncGenerator[Event, None], part: Part) -> AsyncGenerator[Event, None]:
    """The events of a part that goes on, as they fit what the client has read."""
    seam = Seam(part.given)
    async with aclosing(source):
        async for event in source:
            if isinstance(event, UsageReport):
                part.told = event.usage
            if isinstance(event, TextDelta) and event.choice == 0:
                for delta in seam.take(event):
                    yield delta
            elif not isinstance(event, _LEFT_OUT):
                if not isinstance(event, KeepAlive):
                    for delta in seam.close():
                        yield delta
                yield event
        for delta in seam.close():
            yield delta


class Seam:
    """Where a text is gone on with: nothing of `given` comes twice.

    Some providers begin with the whole text they were given, which is left out when it is long
    enough not to be meant; a part of it never is. White space that `given` ends in was not shown
    to the model, which may say it again. Text is held back while it may be one of the two.
    """

    def __init__(self, given: str) -> None:
        self._shown = shown_text(given)
        self._hidden = given[len(self._shown) :]
        self._held: list[TextDelta] = []
        self._is_passed = False

    def take(self, delta: TextDelta) -> Iterator[TextDelta]:
        """What may be sent on now that `delta` came."""
        if self._is_passed:
            yield delta
            return
        self._held.append(delta)
        text = "".join(held.text for held in self._held)
        repeated = self._shown if self._is_repeatable else ""
        expected = repeated + self._hidden
        if any(
            len(text) < len(said) and said.startswith(text) for said in (expected, self._hidden)
        ):
            return
        yield from self.close()

    def close(self) -> Iterator[TextDelta]:
        """What was held back, without what the client has read."""
        if self._is_passed:
            return
        self._is_passed = True
        text = rest = "".join(held.text for held in self._held)
        if self._is_repeatable:
            rest = rest.removeprefix(self._shown)
        said_again = os.path.commonprefix([rest, self._hidden])  # noqa: RUF071 - of text, not paths
        rest = rest.removeprefix(said_again)
        if rest == text:
            yield from self._held
        elif rest:
            yield TextDelta(rest)

    @property
    def _is_repeatable(self) -> bool:
        return len(self._shown) >= MIN_REPEATED_CHARS


def shown_text(text: str) -> str:
    """What is shown of `text` to a model that goes on: Anthropic refuses white space at its end."""
    return text.rstrip()


def continued_request(request: ChatCompletionRequest, text: str) -> ChatCompletionRequest:
    """`request`, to be answered by what follows `text`.

    `text` becomes a last assistant message, or the end of the one the client gave. The limit of
    completion tokens falls by what `text` is estimated to have cost, to no less than 1.
    """
    messages: list[Any] = list(request.messages)
    last = messages[-1]
    given = last.get("content") if last["role"] == "assistant" else None
    if isinstance(given, str) and not last.get("tool_calls"):
        messages[-1] = {**last, "content": shown_text(given + text)}
    else:
        messages.append({"role": "assistant", "content": shown_text(text)})
    changed: dict[str, Any] = {"messages": messages}
    for name in ("max_completion_tokens", "max_tokens"):
        limit = getattr(request, name)
        if limit is not None:
            changed[name] = max(1, limit - estimate(text))
    return request.model_copy(update=changed)


def total_usage(parts: Sequence[Part]) -> Usage | None:
    """What all parts cost together; None when none told.

    A part that told nothing read what the others did, besides the text it was given. A broken one
    wrote at least what arrived. Where that had to be estimated, the sum is.
    """
    prompts = [
        max(0, part.told.prompt_tokens - estimate(part.given)) for part in parts if part.told
    ]
    if not prompts:
        return None
    costs = [_cost(part, prompts[0]) for part in parts]
    counts = [each.name for each in fields(Usage) if each.name != "estimated"]
    return Usage(
        **{name: sum(getattr(cost, name) for cost in costs) for name in counts},
        estimated=any(cost.estimated for cost in costs),
    )


def _cost(part: Part, prompt_tokens: int) -> Usage:
    written = estimate(part.text)
    if part.told is None:
        read = prompt_tokens + estimate(part.given)
        return Usage(prompt_tokens=read, completion_tokens=written, estimated=True)
    if part.is_broken and part.told.completion_tokens < written:
        return replace(part.told, completion_tokens=written, estimated=True)
    return part.told
