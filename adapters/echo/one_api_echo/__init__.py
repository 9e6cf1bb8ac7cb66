"""A provider that needs no key: it answers with the last user message, word by word.

It is the gateway's embedded default and the example for authors: one class, one generator.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence

from pydantic import Field
from typing_extensions import override

from one_api.adapter import (
    AdapterSettings,
    BaseModelAdapter,
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    ModelInfo,
    ModelNotFound,
    ParameterPolicy,
    Start,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReport,
)

__all__ = ["EchoAdapter", "EchoSettings"]

_WORD = re.compile(r"\s*\S+\s*$|\s*\S+|\s+")


class EchoSettings(AdapterSettings):
    """How fast the echo is."""

    delay_ms: float = Field(default=0, ge=0, le=60_000, validation_alias="ECHO_DELAY_MS")


class EchoAdapter(BaseModelAdapter):
    """Model `echo`. One token is one word with the white space before it."""

    Settings = EchoSettings
    settings: EchoSettings

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        return [ModelInfo(id="echo", owned_by="one_api", display_name="Echo")]

    @override
    def parameters(self, model_id: str) -> ParameterPolicy:
        return ParameterPolicy(
            frozenset({"max_tokens", "max_completion_tokens", "tools", "tool_choice"})
        )

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        if call.model != "echo":
            raise ModelNotFound(f"The model '{call.model}' does not exist.", param="model")
        prompt_tokens = sum(len(_words(_text(m.get("content")))) for m in request.messages)
        asked = [_text(m["content"]) for m in request.messages if m["role"] == "user"]
        yield Start()
        tool = _tool_to_call(request)
        if tool is not None:
            yield ToolCallDelta(0, "call_echo", tool, "{}")
            yield Finish("tool_calls")
            yield UsageReport(Usage(prompt_tokens=prompt_tokens, completion_tokens=1))
            return
        words = _words(asked[-1] if asked else "")
        told = words[: request.completion_limit]
        for word in told:
            await asyncio.sleep(self.settings.delay_ms / 1000)
            yield TextDelta(word)
        yield Finish("stop" if len(told) == len(words) else "length")
        yield UsageReport(Usage(prompt_tokens=prompt_tokens, completion_tokens=len(told)))


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _text(content: object) -> str:
    """The text of a message: a string, or the text parts of a list."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if part["type"] == "text")
    return content if isinstance(content, str) else ""


def _tool_to_call(request: ChatCompletionRequest) -> str | None:
    """The tool that must be called: a named one, or with `required` the first.

    With `auto`, a tool is called when the user's last message names it.
    """
    names = [tool["function"]["name"] for tool in request.tools or () if tool["type"] == "function"]
    last = request.messages[-1]
    match request.tool_choice:
        case {"type": "function", "function": {"name": str(name)}}:
            return name
        case "required":
            return names[0] if names else None
        case "none":
            return None
        case _:
            said = _text(last.get("content")) if last["role"] == "user" else ""
            return next((name for name in names if name in said), None)
