"""What an adapter's events have told of one choice so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from one_api.converter.form import random_id
from one_api.errors import UpstreamDisconnected, UpstreamInvalidResponse
from one_api.events import Finish, FinishReason, ThinkingBlockDelta, ToolCallDelta
from one_api.schemas import JsonObject

#: OpenAI's bound on `n`: no request asks for more choices.
MAX_CHOICES = 128


@dataclass(slots=True)
class ToolCallState:
    """One call, as far as it was told."""

    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class ChoiceState:
    """What has been told of one choice so far."""

    tool_calls: list[ToolCallState] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    text: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    logprobs: list[Mapping[str, Any]] = field(default_factory=list)
    annotations: list[JsonObject] = field(default_factory=list)
    thinking_blocks: list[JsonObject] = field(default_factory=list)

    def texts(self) -> list[str]:
        """Everything the model wrote for this choice."""
        calls = [part for call in self.tool_calls for part in (call.name, call.arguments)]
        return [*self.text, *self.reasoning, *self.refusal, *calls]

    def take_tool_call(self, event: ToolCallDelta) -> tuple[ToolCallState, bool]:
        """The call `event` is about, with its arguments added, and whether it is a new one.

        Raises: UpstreamInvalidResponse for a call out of order or without a name.
        """
        is_new = event.index == len(self.tool_calls)
        if is_new:
            if not event.name:
                raise UpstreamInvalidResponse("The provider's tool call has no name.")
            call = ToolCallState(event.id or random_id("call_", 24), event.name)
            self.tool_calls.append(call)
        elif not 0 <= event.index < len(self.tool_calls):
            raise UpstreamInvalidResponse("The provider's tool calls are out of order.")
        self.tool_calls[event.index].arguments += event.arguments
        return self.tool_calls[event.index], is_new

    def take_thinking_block(self, event: ThinkingBlockDelta) -> None:
        """Add a part of a reasoning block.

        Raises: UpstreamInvalidResponse for a block out of order.
        """
        if event.index == len(self.thinking_blocks):
            self.thinking_blocks.append({})
        elif not 0 <= event.index < len(self.thinking_blocks):
            raise UpstreamInvalidResponse("The provider's reasoning blocks are out of order.")
        block = self.thinking_blocks[event.index]
        for key, value in event.fields.items():
            block[key] = block.get(key, "") + value


def introduce(choices: dict[int, ChoiceState], index: int) -> list[int]:
    """Add choice `index` and those before it to `choices`; the new ones, in ascending order.

    Raises: UpstreamInvalidResponse for an index that no request can ask for.
    """
    if not 0 <= index < MAX_CHOICES:
        raise UpstreamInvalidResponse("The provider's reply has a choice nobody asked for.")
    new = [at for at in range(index + 1) if at not in choices]
    choices.update((at, ChoiceState()) for at in new)
    return new


def settled_reason(finish: Finish, calls: int, *, functions: bool) -> FinishReason:
    """The reason to tell: a turn without a call did not end in one, and a call has the name that
    the client knows (`functions` is the legacy one).
    """
    if finish.reason not in ("tool_calls", "function_call"):
        return finish.reason
    if not calls:
        return "stop"
    return "function_call" if functions else "tool_calls"


def is_cut(reason: FinishReason | None) -> bool:
    """Whether the answer was cut, perhaps within a call: arguments that lack are not `{}` then."""
    return reason in ("length", "content_filter")


def require_complete(choices: Mapping[int, ChoiceState]) -> None:
    """Raises: UpstreamDisconnected when there is no choice, or one was not finished."""
    if not choices or any(choice.finish_reason is None for choice in choices.values()):
        raise UpstreamDisconnected("The provider's reply ended before it was complete.")
