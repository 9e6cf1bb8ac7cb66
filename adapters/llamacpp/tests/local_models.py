"""What the tests of this package share: adapters, and a model without llama.cpp."""

from __future__ import annotations

import logging
import os
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
from one_api_llamacpp.language_model import Tokeniser, Vocabulary
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


def worker_processes() -> list[int]:
    """The worker processes of this one that live now."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text("ascii").rpartition(")")[2].split()[:2]
            command = status.with_name("cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        if int(parent) == os.getpid() and state != "Z" and b"one_api_llamacpp.worker" in command:
            found.append(int(status.parent.name))
    return found


def make_prompt(text: str = "prompt", *, limit: int = 1000, **fields: Any) -> Prompt:
    """A prompt for a `ByteTokeniser`."""
    wishes: dict[str, Any] = {
        "sampling": Sampling(),
        "stops": (),
        **fields,
    }
    return Prompt(tokens=list(text.encode()), limit=limit, **wishes)


class ByteTokeniser(Tokeniser):
    """Tokens are bytes, but for the one that ends a turn."""

    def __init__(
        self, context_tokens: int = 1000, *, size: int = 257, end_of_turn: int = END_OF_TURN
    ) -> None:
        self.context_tokens = context_tokens
        self.vocabulary = Vocabulary(
            size=size, bos="<s>", eos="</s>", control_texts=("<|end|>",), chat_template=None
        )
        self._end_of_turn = end_of_turn

    @override
    def tokenise(self, segments: Sequence[str]) -> list[int]:
        return list("".join(segments).encode())

    @override
    def piece(self, token: int) -> bytes:
        return bytes([token])

    @override
    def ends_turn(self, token: int) -> bool:
        return token == self._end_of_turn
