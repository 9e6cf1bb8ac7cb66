"""Grammars in llama.cpp's notation (GBNF): literals, the rules of JSON, and text up to a marker.

Checked against the grammar parser of llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import json
from typing import Any, Final

#: llama.cpp refuses grammars that repeat something more often.
MAX_REPETITIONS: Final = 2000

#: Rules of JSON. Strings have neither raw control characters nor halves of surrogate pairs, and
#: numbers no more digits than a double holds, so that every parser reads them.
JSON_RULES: Final = {
    "ws": r'| " " | "\n" [ \t]{0,20}',
    "hex": r"[0-9a-fA-F]",
    "char": (
        r"[ !#-\[\]-~\U00000080-\U0000D7FF\U0000E000-\U0010FFFF] | "
        r'"\\" (["\\/bfnrt] | "u" ([0-9a-cA-CefEF] hex hex hex | [dD] [0-7] hex hex))'
    ),
    "string": r'"\"" char* "\""',
    "integer": r'"-"? ("0" | [1-9] [0-9]{0,14})',
    "number": r'integer ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?',
    "boolean": r'"true" | "false"',
    "null": r'"null"',
    "value": "object | array | string | number | boolean | null",
    "object": r'"{" ws (member ("," ws member)* ws)? "}"',
    "member": r'string ":" ws value',
    "array": r'"[" ws (value ("," ws value)* ws)? "]"',
}

_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_CLASS_ESCAPES: Final = str.maketrans({"[": "\\[", "]": "\\]", "\\": "\\\\"})


def literal(text: str) -> str:
    """An expression for exactly `text`."""
    return f'"{text.translate(_ESCAPES)}"'


def json_literal(value: Any) -> str:
    """An expression for `value` as JSON."""
    return literal(json.dumps(value, ensure_ascii=False))


def text_without(marker: str, name: str) -> dict[str, str]:
    """Rules for text of any length that does not contain `marker`; `name` is the first one's."""
    return _text_states(marker, name, ends_anywhere=True)


def text_through(marker: str, name: str) -> dict[str, str]:
    """Rules for text of any length that ends with its first `marker`; `name` is the first one's."""
    return _text_states(marker, name, ends_anywhere=False)


def to_text(rules: dict[str, str]) -> str:
    """The grammar of `rules`, in which `root` is the whole text."""
    return "".join(f"{name} ::= {body}\n" for name, body in rules.items())


def _text_states(marker: str, name: str, *, ends_anywhere: bool) -> dict[str, str]:
    """A rule for each number of the marker's characters that were just seen.

    The marker's first character is nowhere else in it, so after a mismatch one starts anew.
    """
    first = marker[0]
    names = [name, *(f"{name}-{seen}" for seen in range(1, len(marker)))]
    rules = {}
    for seen, state in enumerate(names):
        following = marker[seen]
        # U+0000 is how llama.cpp reads bytes of no character.
        excluded = "".join(dict.fromkeys(first + following)).translate(_CLASS_ESCAPES)
        alternatives = [f"[^{excluded}\\x00] {name}"]
        if seen:
            alternatives.append(f"{literal(first)} {names[1]}")
        if seen + 1 < len(marker):
            alternatives.append(f"{literal(following)} {names[seen + 1]}")
        elif not ends_anywhere:
            alternatives.append(literal(following))
        if ends_anywhere:
            alternatives.append('""')
        rules[state] = " | ".join(alternatives)
    return rules
