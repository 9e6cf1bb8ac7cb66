"""Writes the table of docs/protocol.md from what the adapters themselves say.

Run `python docs/protocol_table.py --write` after a change; without `--write` it prints the table.
A test compares the two.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    BaseModelAdapter,
    ChatCompletionRequest,
    HTTPTransport,
    ParameterPolicy,
    Timeouts,
    WireReply,
    WireRequest,
)
from one_api_claude import ClaudeAdapter
from one_api_echo import EchoAdapter
from one_api_gemini import GeminiAdapter
from one_api_llamacpp import LlamaCppAdapter
from one_api_ollama import OllamaAdapter
from one_api_openai import OpenAIAdapter

PAGE = Path(__file__).with_name("protocol.md")
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"

#: Fields that say what is asked and how it is delivered; every provider has them.
_ALWAYS_THERE = frozenset({"messages", "model", "models", "stream", "stream_options"})


class _NoNetwork(HTTPTransport):
    """A transport that is never used: policies are known without asking a provider."""

    @override
    def send(
        self, request: WireRequest, timeouts: Timeouts
    ) -> AbstractAsyncContextManager[WireReply]:
        """Refuse."""
        raise RuntimeError("the table is made without a network")


def _policies() -> Iterator[tuple[str, ParameterPolicy]]:
    context = AdapterContext(http=_NoNetwork(), logger=logging.getLogger("docs"))
    environment = {
        "OPENAI_API_KEY": "-",
        "CLAUDE_API_KEY": "-",
        "GEMINI_API_KEY": "-",
        "OLLAMA_BASE_URL": "http://127.0.0.1:11434",
        "LOCAL_MODELS_ENABLED": "true",
    }
    adapters: list[tuple[str, type[BaseModelAdapter], str, str]] = [
        ("OpenAI-shaped", OpenAIAdapter, "openai", "any"),
        ("Claude 4.7 and later", ClaudeAdapter, "claude", "claude-opus-5-5"),
        ("Claude up to 4.6", ClaudeAdapter, "claude", "claude-sonnet-4-6"),
        ("Gemini 3.5 and later", GeminiAdapter, "gemini", "gemini-3.8-flash"),
        ("Ollama", OllamaAdapter, "ollama", "any"),
        ("llama.cpp", LlamaCppAdapter, "llamacpp", "any"),
        ("echo", EchoAdapter, "echo", "echo"),
    ]
    for title, adapter_class, name, model in adapters:
        adapter = adapter_class.build(name, environment, context)[name]
        yield title, adapter.parameters(model)


def table() -> str:
    """The table as Markdown: a row for each request field, a column for each kind of provider."""
    policies = list(_policies())
    lines = [
        "| Field | " + " | ".join(title for title, _ in policies) + " |",
        "|---" * (len(policies) + 1) + "|",
    ]
    for field in sorted(set(ChatCompletionRequest.model_fields) - _ALWAYS_THERE):
        cells = (policy.treatment(field) for _, policy in policies)
        lines.append(f"| `{field}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def page_with(new_table: str) -> str:
    """The page with `new_table` in the place of the old one."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + new_table + END + after


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page_with(table()))
    else:
        sys.stdout.write(table())
