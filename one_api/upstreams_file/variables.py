"""Text with `${VAR}` in, text with the environment's values out."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<inside>[^}]*)\}|\$\{")
_INSIDE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.ASCII | re.S)


class WrongReferenceError(ValueError):
    """A reference that cannot be followed; the message names no value."""


def has_references(text: str) -> bool:
    """Whether a variable is meant to be filled in."""
    return any(match[0] != "$${" for match in _REFERENCE.finditer(text))


def fill_in(text: str, environment: Mapping[str, str]) -> str:
    """`text` with each `${VAR}` replaced, and `$${` by a plain `${`.

    `${VAR:-default}` stands for `default` where the variable is absent or empty. White space
    around a variable's value is dropped. What was filled in is not searched again.
    Raises: WrongReferenceError for a variable that is absent or empty, or a reference that is
    none.
    """

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        reference = _INSIDE.fullmatch(match["inside"] or "")
        if reference is None or "${" in (reference["default"] or ""):
            raise WrongReferenceError(
                "'${' begins no ${VARIABLE} or ${VARIABLE:-default}; a plain '${' is written '$${'"
            )
        # Keys are pasted with a line's end more often than they have one.
        value = environment.get(reference["name"], "").strip()
        if value:
            return value
        if reference["default"] is None:
            raise WrongReferenceError(f"the variable {reference['name']} is not set, or empty")
        return reference["default"]

    return _REFERENCE.sub(replacement, text)
