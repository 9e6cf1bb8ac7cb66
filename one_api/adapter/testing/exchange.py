"""What one request brought forth: the adapter's events, and the reply the gateway makes of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from one_api.adapter.testing.core import RelayReader, make_relay_reader
from one_api.converter import CompletionFold, ReplyForm
from one_api.errors import GatewayError
from one_api.events import Event, Relay, Usage, UsageReport
from one_api.schemas import JsonObject
from one_api.schemas.chat import ChatCompletionRequest

EVENT_TYPES: tuple[type, ...] = get_args(Event)


@dataclass(slots=True)
class Exchange:
    """One request and what came of it; `error` is what ended it early.

    `yielded` is what the adapter gave, `events` the same with relayed bytes read as events,
    `dropped` the parameters that are told to have had no effect.
    """

    yielded: list[object] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    reply: JsonObject = field(default_factory=dict)
    error: BaseException | None = None
    dropped: list[str] = field(default_factory=list)

    @property
    def message(self) -> JsonObject:
        """The message of the first choice."""
        message: JsonObject = self.reply["choices"][0]["message"]
        return message

    @property
    def text(self) -> str:
        """The answer's text."""
        return self.message.get("content") or ""

    @property
    def reasoning(self) -> str:
        """What the model thought aloud."""
        return self.message.get("reasoning_content") or ""

    @property
    def finish_reason(self) -> object:
        """Why the first choice ended."""
        return self.reply["choices"][0]["finish_reason"]

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Names and arguments of the functions called, in order."""
        return [
            (call["function"]["name"], call["function"]["arguments"])
            for call in self.message.get("tool_calls") or ()
        ]

    @property
    def usages(self) -> list[Usage]:
        """Every report of usage."""
        return [event.usage for event in self.events if isinstance(event, UsageReport)]

    @property
    def gist(self) -> JsonObject:
        """What must not depend on how the reply was asked for: neither ids nor luck with caches."""
        return {
            "content": self.text,
            "reasoning": self.reasoning,
            "refusal": self.message.get("refusal"),
            "calls": self.calls,
            "finish_reason": self.finish_reason,
            "usage": [(u.prompt_tokens, u.completion_tokens) for u in self.usages[-1:]],
        }


async def exchange(
    events: AsyncIterator[Event], request: ChatCompletionRequest, model: str
) -> Exchange:
    """Take in all of `events`, as the gateway does, and what error ended them."""
    form = ReplyForm(model=model, include_usage=True)
    relay: RelayReader | None = None
    told = Exchange()
    try:
        async with aclosing(as_generator(events)) as source:
            async for event in source:
                told.yielded.append(event)
                if isinstance(event, Relay):
                    relay = relay or make_relay_reader(form, is_stream=request.wants_stream)
                    told.events += relay.feed(event.data)
                elif isinstance(event, EVENT_TYPES):
                    told.events.append(event)
        if relay is not None:
            told.events += relay.close()
        told.reply = _fold(told.events, form)
    except Exception as exc:  # noqa: BLE001 - whatever an adapter raises is what a law looks at
        told.error = exc
    return told


def as_generator(events: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    """`events` as what the contract says they are."""
    return cast("AsyncGenerator[Event, None]", events)


def texts_of(error: BaseException | None) -> list[str]:
    """Everything of `error` that a client or a log may get to see."""
    if error is None:
        return []
    texts = [str(error), repr(error), repr(error.args)]
    if isinstance(error, GatewayError):
        told: list[Any] = [error.message, error.code, error.param, error.headers()]
        texts += [str(value) for value in told]
    return texts


def _fold(events: list[Event], form: ReplyForm) -> JsonObject:
    fold = CompletionFold(form)
    for event in events:
        fold.write(event)
    return fold.close()
