"""What values look like: those that a setting takes, and the one that it has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo


def form_of(info: FieldInfo) -> str:
    """What a good value of a setting looks like, its default, and what it means."""
    default = _default_of(info)
    shown = "" if default is None or default in ((), {}) else f" (default {default})"
    return f"{_kind(info)}{shown}. {info.description}"


def shown(value: Any, info: FieldInfo) -> str:
    """`value` as it would be written, or masked if it is a secret; "-" for none."""
    if value is not None and value == info.default:
        value = _default_of(info)
    if isinstance(value, Mapping):
        value = tuple(f"{name}={'|'.join(targets)}" for name, targets in value.items())
    if value is None or value == ():
        return "-"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _kind(info: FieldInfo) -> str:
    default = info.default
    # Annotations of optional values nest what they are made of.
    kind = str(info.annotation)
    members = {info.annotation, *(_bare(member) for member in get_args(info.annotation))}
    if "Literal" in kind:
        return "one of " + ", ".join(re.findall(r"'([^']*)'", kind))
    if isinstance(default, bool):
        return "true or false"
    if int in members:
        return "a whole number"
    if float in members:
        return "a number"
    if isinstance(default, Mapping):
        return "a comma-separated list of name=model"
    return "a comma-separated list" if "tuple" in kind else "text"


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation


def _default_of(info: FieldInfo) -> Any:
    # What everybody has unless they say otherwise is no secret.
    default = info.default
    return default.get_secret_value() if isinstance(default, SecretStr) else default
