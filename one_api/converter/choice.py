"""What an adapter's events have told of one choice so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from one_api.converter.form import random_id
from one_api.errors import UpstreamDisconnected, UpstreamInvalidResponse
from one_api.events import Finish, FinishReason, ToolCallDelta
from one_api.schemas import JsonObject


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

        Raises: UpstreamInvalidResponse for a call out of order.
        """
        is_new = event.index == len(self.tool_calls)
        if is_new:
            call = ToolCallState(event.id or random_id("call_", 24), event.name or "")
            self.tool_calls.append(call)
        elif not 0 <= event.index < len(self.tool_calls):
            raise UpstreamInvalidResponse("The provider's tool calls are out of order.")
        self.tool_calls[event.index].arguments += event.arguments
        return self.tool_calls[event.index], is_new


def settled_reason(finish: Finish, calls: int) -> FinishReason:
    """The reason to tell: a turn without a tool call did not end in one."""
    if finish.reason in ("tool_calls", "function_call") and not calls:
        return "stop"
    return finish.reason


def require_complete(choices: Mapping[int, ChoiceState]) -> None:
    """Raises: UpstreamDisconnected when there is no choice, or one was not finished."""
    if not choices or any(choice.finish_reason is None for choice in choices.values()):
        raise UpstreamDisconnected("The provider's reply ended before it was complete.")
