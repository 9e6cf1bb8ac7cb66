"""The notations in which models write calls of tools, told apart by their chat templates.

- Hermes and Qwen: `<tool_call>{"name": …, "arguments": …}</tool_call>`
- Llama 3: `{"name": …, "parameters": …}` and nothing else, perhaps after `<|python_tag|>`
- Mistral: `[TOOL_CALLS][{"name": …, "arguments": …}, …]`
- Mistral since 2025: `[TOOL_CALLS]name[ARGS]{…}`, again for each call

Source: the templates in llama.cpp's `models/templates` (2026-10).
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from one_api_llamacpp.gbnf import json_literal, literal

HERMES_BEGIN: Final = "<tool_call>"
HERMES_END: Final = "</tool_call>"
LLAMA_BEGIN: Final = "<|python_tag|>"
MISTRAL_BEGIN: Final = "[TOOL_CALLS]"
MISTRAL_ID: Final = "[CALL_ID]"
MISTRAL_ARGUMENTS: Final = "[ARGS]"
#: Control tokens in some vocabularies; their text is needed all the same.
MARKERS: Final = (
    HERMES_BEGIN,
    HERMES_END,
    LLAMA_BEGIN,
    MISTRAL_BEGIN,
    MISTRAL_ID,
    MISTRAL_ARGUMENTS,
)
#: Most calls of one answer that a grammar lets through.
_MAX_CALLS: Final = 16


class ToolFormat(Enum):
    """How a model writes calls."""

    HERMES = "hermes"
    LLAMA = "llama"
    MISTRAL_LIST = "mistral list"
    MISTRAL = "mistral"

    @classmethod
    def of_template(cls, source: str) -> ToolFormat | None:
        """The format that a chat template shows to its model; None for one not known here."""
        if MISTRAL_BEGIN in source:
            return cls.MISTRAL if MISTRAL_ARGUMENTS in source else cls.MISTRAL_LIST
        # Qwen3-Coder and GLM write XML between the same markers; it is not read here.
        if HERMES_BEGIN in source and "<function=" not in source and "<arg_key>" not in source:
            return cls.HERMES
        is_llama = "<|start_header_id|>ipython" in source and "<function=" not in source
        return cls.LLAMA if is_llama else None

    @property
    def marker(self) -> str:
        """What the first call begins with; a Llama's may also begin with its `{`."""
        return _MARKER_OF[self]

    def new_id(self) -> str:
        """An id for a call; Mistral's templates refuse any but nine letters and digits."""
        if self in (ToolFormat.MISTRAL, ToolFormat.MISTRAL_LIST):
            return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))
        return f"call_{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class ToolUse:
    """How one answer may call tools: in which notation, which by name, and only once or not."""

    format: ToolFormat
    names: frozenset[str]
    is_single: bool = False


def calls_body(use: ToolUse, arguments: Sequence[tuple[str, str]]) -> str:
    """An expression for one or more calls of the functions in `arguments`.

    These are names of functions, each with the name of a grammar's rule for its arguments.
    """
    more = 0 if use.is_single else _MAX_CALLS - 1
    return _BODY_OF[use.format](arguments, more)


def _hermes(arguments: Sequence[tuple[str, str]], more: int) -> str:
    begin, end = literal(HERMES_BEGIN), literal(HERMES_END)
    call = rf'{begin} "\n"? {_objects(arguments, "arguments")} "\n"? {end}'
    return rf'{call} ("\n"? {call}){{0,{more}}}' if more else call


def _llama(arguments: Sequence[tuple[str, str]], _: int) -> str:
    # Its templates refuse conversations with several calls in one turn.
    return f"{literal(LLAMA_BEGIN)}? {_objects(arguments, 'parameters')}"


def _mistral_list(arguments: Sequence[tuple[str, str]], more: int) -> str:
    call = _objects(arguments, "arguments")
    others = f'("," " "? {call}){{0,{more}}}' if more else ""
    return f'{literal(MISTRAL_BEGIN)} " "? "[" {call} {others} "]"'


def _mistral(arguments: Sequence[tuple[str, str]], more: int) -> str:
    calls = (
        f"{literal(MISTRAL_BEGIN + name + MISTRAL_ARGUMENTS)} {rule}" for name, rule in arguments
    )
    call = f"({' | '.join(calls)})"
    return f"{call} {call}{{0,{more}}}" if more else call


def _objects(arguments: Sequence[tuple[str, str]], key: str) -> str:
    """An expression for one call as an object, written as the templates write them."""
    before, between, after = literal('{"name": '), literal(f', "{key}": '), literal("}")
    calls = (f"{before} {json_literal(name)} {between} {rule} {after}" for name, rule in arguments)
    return f"({' | '.join(calls)})"


_BODY_OF: Final[dict[ToolFormat, Callable[[Sequence[tuple[str, str]], int], str]]] = {
    ToolFormat.HERMES: _hermes,
    ToolFormat.LLAMA: _llama,
    ToolFormat.MISTRAL_LIST: _mistral_list,
    ToolFormat.MISTRAL: _mistral,
}
_MARKER_OF: Final = {
    ToolFormat.HERMES: HERMES_BEGIN,
    ToolFormat.LLAMA: LLAMA_BEGIN,
    ToolFormat.MISTRAL_LIST: MISTRAL_BEGIN,
    ToolFormat.MISTRAL: MISTRAL_BEGIN,
}
