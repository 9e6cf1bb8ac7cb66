"""Legacy text completions: events in, `text_completion` objects and chunks out.

Also the chat that a text completion stands for, where a provider knows chats only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from typing_extensions import override

from one_api.converter.choice import ChoiceState, introduce, require_complete
from one_api.converter.dialect import Dialect, Fold, StreamWriter
from one_api.converter.form import DONE, PING, ReplyForm, error_frame, frame, usage_to_wire
from one_api.errors import GatewayError, UnsupportedParameter
from one_api.events import (
    Event,
    Finish,
    KeepAlive,
    RefusalDelta,
    Start,
    TextDelta,
    Usage,
    UsageReport,
)
from one_api.schemas import JsonObject
from one_api.schemas.chat import ChatCompletionRequest
from one_api.schemas.completions import CompletionRequest

#: Fields that mean the same in a chat.
_SHARED: Final = (
    "frequency_penalty",
    "logit_bias",
    "model",
    "n",
    "presence_penalty",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "user",
)


def completion_as_chat(request: CompletionRequest) -> ChatCompletionRequest:
    """The chat whose answer continues the one prompt of `request`: a message of a user.

    Raises: UnsupportedParameter for what no chat can give; InvalidRequest.
    """
    n = request.n or 1
    for name, is_asked in (
        ("prompt", not isinstance(request.prompt, str) and not _is_one_text(request)),
        ("suffix", bool(request.suffix)),
        ("echo", bool(request.echo)),
        ("logprobs", request.logprobs is not None),
        ("best_of", (request.best_of or n) != n),
        ("max_tokens", request.max_tokens == 0),
    ):
        if is_asked:
            raise UnsupportedParameter(
                f"Unsupported parameter: '{name}' is not supported with this model, which answers "
                "chats only: it continues one prompt, given as a string.",
                param=name,
            )
    given = request.to_wire()
    chat: JsonObject = {
        "messages": [{"role": "user", "content": request.prompts[0]}],
        "max_completion_tokens": request.completion_limit,
    }
    chat.update((name, given[name]) for name in _SHARED if name in given)
    return ChatCompletionRequest.from_wire({**(request.model_extra or {}), **chat})


def _is_one_text(request: CompletionRequest) -> bool:
    return len(request.prompts) == 1 and isinstance(request.prompts[0], str)


class TextDialect(Dialect):
    """OpenAI's legacy text completions."""

    @property
    @override
    def relays(self) -> bool:
        return False

    @override
    def stream_writer(self, form: ReplyForm) -> StreamWriter:
        return TextChunkWriter(form)

    @override
    def fold(self, form: ReplyForm) -> Fold:
        return TextFold(form)

    @override
    def error_frame(self, error: GatewayError) -> bytes:
        return error_frame(error)


TEXT: Final = TextDialect()


class _Reply:
    """What the events of one reply have told so far."""

    def __init__(self, form: ReplyForm) -> None:
        self.form = form
        self.choices: dict[int, ChoiceState] = {}
        self.usage: Usage | None = None
        self._start = Start()

    def take(self, event: Event) -> TextDelta | None:
        """Take `event` in; the text it adds, if any. Reasoning and calls have no place here."""
        match event:
            case Start():
                self._start = event
            case UsageReport(usage=usage):
                self.usage = usage
            case TextDelta() | RefusalDelta():
                state = self._choice(event.choice)
                state.text.append(event.text)
                if isinstance(event, RefusalDelta):
                    return TextDelta(event.text, event.choice)
                if event.logprobs is not None:
                    state.logprobs.append(event.logprobs)
                return event if event.text or event.logprobs is not None else None
            case Finish(reason=reason, choice=choice):
                is_called = reason in ("tool_calls", "function_call")
                self._choice(choice).finish_reason = "stop" if is_called else reason
            case _:
                pass
        return None

    def _choice(self, index: int) -> ChoiceState:
        if index not in self.choices:
            introduce(self.choices, index)
        return self.choices[index]

    @property
    def texts(self) -> list[str]:
        return [text for choice in self.choices.values() for text in choice.text]

    def envelope(self) -> JsonObject:
        envelope: JsonObject = {
            "id": _completion_id(self._start.id or self.form.id),
            "object": "text_completion",
            "created": self.form.created,
            "model": self.form.model,
        }
        if self._start.system_fingerprint is not None:
            envelope["system_fingerprint"] = self._start.system_fingerprint
        return envelope


class TextChunkWriter:
    """Maps events to the bytes of a stream of `text_completion` chunks."""

    def __init__(self, form: ReplyForm) -> None:
        self._reply = _Reply(form)

    @property
    def usage(self) -> Usage | None:
        """The usage told so far."""
        return self._reply.usage

    @usage.setter
    def usage(self, usage: Usage | None) -> None:
        self._reply.usage = usage

    @property
    def texts(self) -> list[str]:
        """Everything the model wrote so far, in pieces."""
        return self._reply.texts

    def write(self, event: Event) -> bytes:
        """The chunk that `event` gives rise to, if any."""
        if isinstance(event, KeepAlive):
            return PING
        added = self._reply.take(event)
        if added is not None:
            return self._chunk(added.choice, added.text, logprobs=added.logprobs)
        if isinstance(event, Finish):
            reason = self._reply.choices[event.choice].finish_reason
            return self._chunk(event.choice, "", finish_reason=reason)
        return b""

    def close(self) -> bytes:
        """The end of the stream: usage where it was asked for, and `[DONE]`.

        Raises: UpstreamDisconnected when a choice was not finished.
        """
        require_complete(self._reply.choices)
        usage = self._reply.usage
        if not self._reply.form.include_usage or usage is None:
            return DONE
        chunk = {**self._reply.envelope(), "choices": [], "usage": usage_to_wire(usage)}
        return frame(chunk) + DONE

    def _chunk(
        self,
        choice: int,
        text: str,
        *,
        finish_reason: str | None = None,
        logprobs: Mapping[str, Any] | None = None,
    ) -> bytes:
        chunk = self._reply.envelope()
        chunk["choices"] = [
            {"text": text, "index": choice, "logprobs": logprobs, "finish_reason": finish_reason}
        ]
        if self._reply.form.include_usage:
            chunk["usage"] = None
        return frame(chunk)


class TextFold:
    """Folds events into one `text_completion`."""

    def __init__(self, form: ReplyForm) -> None:
        self._reply = _Reply(form)

    @property
    def usage(self) -> Usage | None:
        """The usage told so far."""
        return self._reply.usage

    @usage.setter
    def usage(self, usage: Usage | None) -> None:
        self._reply.usage = usage

    @property
    def texts(self) -> list[str]:
        """Everything the model wrote so far, in pieces."""
        return self._reply.texts

    def write(self, event: Event) -> None:
        """Take one more event in."""
        self._reply.take(event)

    def close(self) -> JsonObject:
        """The complete reply.

        Raises: UpstreamDisconnected when a choice was not finished.
        """
        choices = self._reply.choices
        require_complete(choices)
        wire = self._reply.envelope()
        wire["choices"] = [
            {
                "text": "".join(state.text),
                "index": index,
                "logprobs": _merged(state.logprobs),
                "finish_reason": state.finish_reason,
            }
            for index, state in sorted(choices.items())
        ]
        if self._reply.usage is not None:
            wire["usage"] = usage_to_wire(self._reply.usage)
        return wire


def _merged(parts: list[Mapping[str, Any]]) -> JsonObject | None:
    """The lists of `parts`, joined."""
    if not parts:
        return None
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: [value for part in parts for value in part.get(name) or ()] or None for name in names
    }


def _completion_id(given: str) -> str:
    return f"cmpl-{given.removeprefix('chatcmpl-')}" if given.startswith("chatcmpl-") else given
