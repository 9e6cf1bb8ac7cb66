"""Events in, the events of a response stream out; what they add up to is the response.

Stream and complete reply are made by the same builder: they cannot differ.
"""

from __future__ import annotations

import time

from one_api.converter.choice import ChoiceState, is_cut, require_complete, settled_reason
from one_api.converter.form import ReplyForm
from one_api.converter.responses.envelope import Envelope, identity
from one_api.converter.responses.items import (
    CallItem,
    MessageItem,
    OutputItem,
    ReasoningItem,
    Status,
)
from one_api.errors import GatewayError, UpstreamInvalidResponse
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
from one_api.schemas import JsonObject

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseBuilder:
    """Builds one response; `told` collects the stream's events until somebody takes them.

    A message or reasoning ends where something else begins. Calls stay open to the end: a provider
    may write several at once. There is one choice; others are not told of.
    """

    def __init__(self, form: ReplyForm, envelope: Envelope) -> None:
        self._form = form
        self._envelope = envelope
        self._start = Start()
        self._is_begun = False
        self._choice = ChoiceState()
        self._items: list[OutputItem] = []
        self._calls: list[CallItem] = []
        self._current: MessageItem | ReasoningItem | None = None
        self.told: list[JsonObject] = []
        self.usage: Usage | None = None

    def take(self, event: Event) -> None:
        """Take one more event in.

        Raises: UpstreamInvalidResponse for an event out of contract.
        """
        match event:
            case UsageReport(usage=usage):
                self.usage = usage
            case Start():
                if not self._is_begun:
                    self._start = event
                self._begin()
            case KeepAlive():
                pass
            case Relay():
                raise UpstreamInvalidResponse("The adapter yielded what is no event of a reply.")
            case _ if event.choice == 0:
                self._begin()
                self._take_content(event)
            case _:
                pass

    def _take_content(
        self,
        event: TextDelta
        | ReasoningDelta
        | ThinkingBlockDelta
        | RefusalDelta
        | ToolCallDelta
        | Annotation
        | Finish,
    ) -> None:
        match event:
            case (
                TextDelta(text="", logprobs=None) | ReasoningDelta(text="") | RefusalDelta(text="")
            ):
                pass
            case TextDelta(text=text, logprobs=logprobs):
                self._message().write(text, logprobs)
            case ReasoningDelta(text=text):
                self._reasoning().write(text)
            case RefusalDelta(text=text):
                self._message().refuse(text)
            case Annotation(annotation=annotation):
                self._message().cite(annotation)
            case ToolCallDelta():
                self._take_call(event)
            case ThinkingBlockDelta():
                self._take_block(event)
            case Finish():
                calls = len(self._calls)
                self._choice.finish_reason = settled_reason(event, calls, functions=False)

    def close(self) -> JsonObject:
        """The complete response, after the events that end it.

        Raises: UpstreamDisconnected when the provider did not finish.
        """
        require_complete({0: self._choice})
        reason = self._choice.finish_reason or "stop"
        status: Status = "incomplete" if is_cut(reason) else "completed"
        if not self._items and status == "completed":
            self._message().text_part()
        self._settle(status)
        for call in self._calls:
            if call.is_bare and status == "completed":
                call.write("{}")
            call.close(status)
        why = _INCOMPLETE.get(reason)
        if why is not None:
            response = self._response(status, incomplete_details={"reason": why})
        else:
            response = self._response(status, completed_at=int(time.time()))
        self.told.append({"type": f"response.{status}", "response": response})
        return response

    def fail(self, error: GatewayError) -> None:
        """End with `error`; items that were being written stay as they are.

        `response.failed` is what the format has for it, but openai-python takes that one for a
        reply like others: the `error` event behind it, with the error's body inside, is what makes
        it raise.
        """
        for item in self._items:
            if item.status == "in_progress":
                item.status = "incomplete"
        if self._is_begun:
            told = {"code": error.code or "server_error", "message": error.message}
            response = self._response("failed", error=told)
            self.told.append({"type": "response.failed", "response": response})
        self.told.append(error_event(error))

    @property
    def texts(self) -> list[str]:
        """Everything the model wrote so far, in pieces."""
        return [text for item in self._items for text in item.texts()]

    def _begin(self) -> None:
        if self._is_begun:
            return
        self._is_begun = True
        for kind in ("response.created", "response.in_progress"):
            self.told.append({"type": kind, "response": self._response("in_progress")})

    def _response(self, status: str, **others: object) -> JsonObject:
        return self._envelope.response(
            self._form,
            self._start,
            status=status,
            output=[item.to_wire() for item in self._items],
            usage=self.usage if status != "in_progress" else None,
            **others,
        )

    def _message(self) -> MessageItem:
        if not isinstance(self._current, MessageItem):
            self._settle("completed")
            self._current = MessageItem(*self._place("msg"), self.told.append)
            self._add(self._current)
        return self._current

    def _reasoning(self) -> ReasoningItem:
        if not isinstance(self._current, ReasoningItem):
            self._settle("completed")
            self._current = ReasoningItem(
                *self._place("rs"), self.told.append, is_summary=self._envelope.summarises
            )
            self._add(self._current)
        return self._current

    def _take_call(self, event: ToolCallDelta) -> None:
        call, is_new = self._choice.take_tool_call(event)
        if is_new:
            self._settle("completed")
            item = CallItem(*self._place("fc"), self.told.append, call)
            self._calls.append(item)
            self._add(item)
        self._calls[event.index].write(event.arguments)

    def _take_block(self, event: ThinkingBlockDelta) -> None:
        is_new = event.index == len(self._choice.thinking_blocks)
        self._choice.take_thinking_block(event)
        if is_new:
            # The block itself is shared: what comes for it later is in its item already.
            self._reasoning().blocks.append(self._choice.thinking_blocks[event.index])

    def _place(self, prefix: str) -> tuple[str, int]:
        index = len(self._items)
        return f"{prefix}_{identity(self._form)}_{index}", index

    def _add(self, item: OutputItem) -> None:
        self._items.append(item)
        item.open()

    def _settle(self, status: Status) -> None:
        """End the message or the reasoning that is being written, if any."""
        current, self._current = self._current, None
        if current is not None:
            current.close(status)


def error_event(error: GatewayError) -> JsonObject:
    """The event that tells of `error`: as the format has it, and with the body that SDKs raise."""
    body = error.to_wire()["error"]
    return {
        "type": "error",
        "code": body["code"],
        "message": body["message"],
        "param": body["param"],
        "error": body,
    }
