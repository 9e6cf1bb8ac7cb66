"""Events in, one complete `chat.completion` out: a complete reply is the fold of its events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from one_api.converter.choice import (
    ChoiceState,
    introduce,
    is_cut,
    require_complete,
    settled_reason,
)
from one_api.converter.form import ReplyForm, usage_to_wire
from one_api.errors import UpstreamInvalidResponse
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
from one_api.schemas import JsonObject


class CompletionFold:
    """Folds events into one `chat.completion`."""

    def __init__(self, form: ReplyForm) -> None:
        self._form = form
        self._choices: dict[int, ChoiceState] = {}
        self._start = Start()
        self.usage: Usage | None = None

    @property
    def texts(self) -> list[str]:
        """Everything the model wrote so far, in pieces."""
        return [text for choice in self._choices.values() for text in choice.texts()]

    def write(self, event: Event) -> None:  # noqa: C901 - one arm for each event of a closed set
        """Take one more event in.

        Raises: UpstreamInvalidResponse for an event out of contract.
        """
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                state = self._choice(event.choice)
                state.text.append(text)
                if logprobs is not None:
                    state.logprobs.append(logprobs)
            case ToolCallDelta():
                self._choice(event.choice).take_tool_call(event)
            case ReasoningDelta(text=text):
                self._choice(event.choice).reasoning.append(text)
            case ThinkingBlockDelta():
                self._choice(event.choice).take_thinking_block(event)
            case RefusalDelta(text=text):
                self._choice(event.choice).refusal.append(text)
            case Annotation(annotation=annotation):
                self._choice(event.choice).annotations.append(dict(annotation))
            case Finish():
                state = self._choice(event.choice)
                state.finish_reason = settled_reason(
                    event, len(state.tool_calls), functions=self._form.functions
                )
            case UsageReport(usage=usage):
                self.usage = usage
            case Start():
                if not self._choices:
                    self._start = event
                self._choice(0)
            case KeepAlive():
                pass
            case _:
                raise UpstreamInvalidResponse("The adapter yielded what is no event of a reply.")

    def close(self) -> JsonObject:
        """The complete reply.

        Raises: UpstreamDisconnected when a choice was not finished.
        """
        require_complete(self._choices)
        reply: JsonObject = {
            "id": self._start.id or self._form.id,
            "object": "chat.completion",
            "created": self._form.created,
            "model": self._form.model,
            "choices": [self._choice_to_wire(i, self._choices[i]) for i in sorted(self._choices)],
            "service_tier": self._start.service_tier,
            "system_fingerprint": self._start.system_fingerprint,
        }
        if self.usage is not None:
            reply["usage"] = usage_to_wire(self.usage)
        return reply

    def _choice(self, index: int) -> ChoiceState:
        if index not in self._choices:
            introduce(self._choices, index)
        return self._choices[index]

    def _choice_to_wire(self, index: int, state: ChoiceState) -> JsonObject:
        called = bool(state.tool_calls)
        no_arguments = "" if is_cut(state.finish_reason) else "{}"
        text = "".join(state.text)
        message: JsonObject = {
            "role": "assistant",
            "content": text if text or not called else None,
            "refusal": "".join(state.refusal) or None,
            "annotations": state.annotations,
        }
        if state.reasoning:
            message.update(dict.fromkeys(self._form.reasoning_names, "".join(state.reasoning)))
        if state.thinking_blocks:
            message["thinking_blocks"] = state.thinking_blocks
        if called and self._form.functions:
            call = state.tool_calls[0]
            message["function_call"] = {
                "name": call.name,
                "arguments": call.arguments or no_arguments,
            }
        elif called:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {
                        "name": call.name,
                        "arguments": call.arguments or no_arguments,
                    },
                }
                for call in state.tool_calls
            ]
        return {
            "index": index,
            "message": message,
            "logprobs": _merged_logprobs(state.logprobs),
            "finish_reason": state.finish_reason,
        }


def _merged_logprobs(parts: list[Mapping[str, Any]]) -> JsonObject | None:
    if not parts:
        return None
    content = [token for part in parts for token in part.get("content") or ()]
    return {"content": content, "refusal": None}
