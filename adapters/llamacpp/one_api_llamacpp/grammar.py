"""The grammar that holds one answer to what its request demands.

It is in force from the answer's first token, so it also describes the reasoning that comes before
what is demanded: free text up to `</think>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, Final

from one_api.adapter import InvalidRequest
from one_api_llamacpp.gbnf import literal, text_through, text_without, to_text
from one_api_llamacpp.markup import THINK_BEGIN, THINK_END
from one_api_llamacpp.schema_grammar import SchemaGrammar
from one_api_llamacpp.tool_choice import Function
from one_api_llamacpp.tool_formats import ToolFormat, ToolUse, calls_body

_LAYOUT: Final = r"[ \n]{0,4}"


class Reasoning(Enum):
    """Whether reasoning comes before the answer."""

    NEVER = auto()
    POSSIBLY = auto()
    #: The prompt already wrote the marker that begins it.
    BEGUN = auto()


def answer_grammar(
    response_format: Any,
    functions: Sequence[Function],
    use: ToolUse | None,
    *,
    must_call: bool,
    reasoning: Reasoning,
) -> str | None:
    """A grammar for the answer; None when it may be anything.

    `use` is None when nothing may be called. Without `must_call` text may come instead of calls,
    or what `response_format` demands. Calls are left to the model where nothing demands that they
    be right. Arguments always follow the schema of a `strict` function; another one's schema only
    guides them: where it cannot be enforced, any JSON object will do.
    Raises: InvalidRequest for a schema that must be enforced and cannot be.
    """
    grammar = SchemaGrammar()
    # A wrong schema is told even where calls leave no room for it.
    demanded = _demanded(grammar, response_format)
    is_strict = any(function.definition.get("strict") for function in functions)
    if use is None or not (must_call or is_strict or demanded):
        answer = demanded
    else:
        arguments = [_arguments(grammar, function, must_call) for function in functions]
        calls = grammar.add("calls", calls_body(use, arguments))
        if must_call:
            answer = calls
        elif demanded:
            answer = f"{demanded} | {calls}"
        else:
            answer = _text_or(grammar, calls, use)
    if answer is None:
        return None
    grammar.rules["root"] = f"{_thought(grammar, reasoning)}({answer})"
    return to_text(grammar.rules)


def _demanded(grammar: SchemaGrammar, response_format: Any) -> str | None:
    kind = (response_format or {}).get("type", "text")
    if kind == "text":
        return None
    schema = response_format["json_schema"].get("schema") if kind == "json_schema" else None
    if schema is None:
        return "object"
    return grammar.schema(schema, "response_format.json_schema.schema")


def _arguments(grammar: SchemaGrammar, function: Function, must_call: bool) -> tuple[str, str]:
    """The function's name, and the name of a rule for its arguments."""
    definition = function.definition
    schema, is_strict = definition.get("parameters"), definition.get("strict")
    where = f"{function.where}.parameters"
    if schema is None:
        rule = grammar.add("none", literal("{}"))
    elif is_strict or (must_call and _can_be_enforced(schema, where)):
        rule = grammar.schema(schema, where)
    else:
        rule = "object"
    return function.name, rule


def _can_be_enforced(schema: Any, where: str) -> bool:
    try:
        SchemaGrammar().schema(schema, where)
    except InvalidRequest:
        return False
    return True


def _text_or(grammar: SchemaGrammar, calls: str, use: ToolUse) -> str:
    """An expression for text in which no call is but at its end, or only a call."""
    grammar.rules |= text_without(use.format.marker, "text")
    if use.format is not ToolFormat.LLAMA:
        return f"text {calls}?"
    # What begins like a call of a Llama must be one.
    return rf'{calls} | ([^{{<\x00-\x20] text)? | "<" [^|\x00] text'


def _thought(grammar: SchemaGrammar, reasoning: Reasoning) -> str:
    """An expression for what comes before the answer."""
    if reasoning is Reasoning.NEVER:
        return ""
    grammar.rules |= text_through(THINK_END, "thought")
    grammar.rules["reasoning"] = f"thought {_LAYOUT}"
    if reasoning is Reasoning.BEGUN:
        return "reasoning "
    return f"({literal(THINK_BEGIN)} reasoning)? "
