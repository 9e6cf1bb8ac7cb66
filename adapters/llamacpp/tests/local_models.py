"""What the tests of this package share: adapters, and a model without llama.cpp."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    Timeouts,
    ToolCallDelta,
    Usage,
    UsageReport,
    WireReply,
    WireRequest,
)
from one_api_llamacpp.adapter import LlamaCppAdapter
from one_api_llamacpp.language_model import Interrupted, LanguageModel, Sampler, Vocabulary
from one_api_llamacpp.prompt import Prompt
from one_api_llamacpp.sampling import Sampling

LOGGER = logging.getLogger("one_api.tests.llamacpp")
END_OF_TURN = 256


class NoNetwork:
    """An HTTP client for adapters that must not use one."""

    def send(
        self, request: WireRequest, timeouts: Timeouts
    ) -> AbstractAsyncContextManager[WireReply]:
        raise AssertionError(f"a local model asked for {request.url}")


def make_adapter(directory: Path, **variables: str) -> LlamaCppAdapter:
    """The adapter over `directory`, as the gateway would build it from `variables`."""
    environment = {
        "LOCAL_MODELS_ENABLED": "true",
        "LOCAL_MODELS_DIR": str(directory),
        "LOCAL_THREADS": "1",
        **variables,
    }
    context = AdapterContext(http=NoNetwork(), logger=LOGGER)
    adapter = LlamaCppAdapter.build("llamacpp", environment, context)["llamacpp"]
    assert isinstance(adapter, LlamaCppAdapter)
    return adapter


def make_request(content: str = "hi", **fields: Any) -> ChatCompletionRequest:
    """A request with one user message, unless `fields` says otherwise."""
    return ChatCompletionRequest.from_wire(
        {"messages": [{"role": "user", "content": content}], **fields}
    )


async def ask(
    adapter: LlamaCppAdapter, model: str, content: str = "hi", **fields: Any
) -> list[Event]:
    """All events of the answer."""
    request = make_request(content, **fields)
    return [event async for event in adapter.generate_completion(request, Call(model=model))]


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def reasoning_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, ReasoningDelta))


def calls_of(events: Sequence[Event]) -> list[tuple[int, str | None, str]]:
    """Index, name and arguments of the tool calls."""
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    return [(call.index, call.name, call.arguments) for call in calls]


def finish_of(events: Sequence[Event]) -> str:
    """The reason of the one finish there must be."""
    (finish,) = [event for event in events if isinstance(event, Finish)]
    return finish.reason


def usage_of(events: Sequence[Event]) -> Usage:
    """The one report there must be, and it comes last."""
    (report,) = [event for event in events if isinstance(event, UsageReport)]
    assert events[-1] is report
    return report.usage


def engine_threads() -> list[str]:
    """The threads of engines that live now."""
    return [t.name for t in threading.enumerate() if t.name.startswith("llamacpp-")]


def make_prompt(text: str = "prompt", *, limit: int = 1000, **fields: Any) -> Prompt:
    """A prompt for a `ScriptedModel`, whose tokens are bytes."""
    wishes: dict[str, Any] = {
        "sampling": Sampling(),
        "stops": (),
        "parses_tools": False,
        "opens_reasoning": False,
        **fields,
    }
    return Prompt(tokens=list(text.encode()), limit=limit, **wishes)


class ScriptedModel(LanguageModel):
    """Answers the same text to every prompt; its tokens are bytes.

    With `gated`, an evaluation waits until it is interrupted or `release` lets all of them go on.
    """

    def __init__(
        self, answer: str = "fine", *, gated: bool = False, error: Exception | None = None
    ) -> None:
        self.context_tokens = 1000
        self.batch_tokens = 4
        self.vocabulary = Vocabulary(
            size=257, bos="<s>", eos="</s>", control_texts=("<|end|>",), chat_template=None
        )
        self.answer = answer.encode()
        #: Raised by the next evaluation.
        self.error = error
        #: The prompts that were begun, and the batches of each evaluation.
        self.begun: list[str] = []
        self.batches: list[int] = []
        self.closed = 0
        self.evaluating = threading.Event()
        self._state: list[int] = []
        self._change = threading.Condition()
        self._is_open = not gated
        self._is_interrupted = False

    def release(self) -> None:
        with self._change:
            self._is_open = True
            self._change.notify_all()

    @override
    def tokenise(self, segments: Sequence[str]) -> list[int]:
        return list("".join(segments).encode())

    @override
    def piece(self, token: int) -> bytes:
        return bytes([token])

    @override
    def ends_turn(self, token: int) -> bool:
        return token == END_OF_TURN

    @override
    def rewind(self, tokens: Sequence[int]) -> int:
        if tokens:
            self.begun.append(bytes(tokens).decode())
        keep = 0
        while keep < min(len(self._state), len(tokens) - 1) and self._state[keep] == tokens[keep]:
            keep += 1
        del self._state[keep:]
        return keep

    @override
    def evaluate(self, tokens: Sequence[int]) -> None:
        self.evaluating.set()
        with self._change:
            self._change.wait_for(lambda: self._is_open or self._is_interrupted)
            if self._is_interrupted:
                raise Interrupted
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.batches.append(len(tokens))
        self._state.extend(tokens)

    @override
    def sampler(self, sampling: Sampling) -> Sampler:
        return _Script([*self.answer, END_OF_TURN])

    @override
    def interrupt(self) -> None:
        with self._change:
            self._is_interrupted = True
            self._change.notify_all()

    @override
    def allow(self) -> None:
        self._is_interrupted = False

    @override
    def close(self) -> None:
        self.closed += 1


class _Script(Sampler):
    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = iter(tokens)

    @override
    def sample(self) -> int:
        return next(self._tokens)

    @override
    def close(self) -> None:
        self._tokens = iter(())
