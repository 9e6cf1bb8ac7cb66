"""YAML nodes in, typed values out; whatever is wrong is told with its line and field."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import SecretStr

from one_api.errors import ConfigurationError
from one_api.redaction import redact
from one_api.upstreams_file.source import MAX_DEPTH, MAX_NODES, wrong
from one_api.upstreams_file.variables import WrongReferenceError, fill_in, has_references

T = TypeVar("T")
D = TypeVar("D")

_TAG = "tag:yaml.org,2002:"
_TEXT, _NULL, _MERGE = f"{_TAG}str", f"{_TAG}null", f"{_TAG}merge"
_KINDS = ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "seq", "map")
_KNOWN_TAGS = {_TAG + kind for kind in _KINDS}

# As people write numbers: YAML 1.1 would read 010 as eight, and 1:30 as ninety.
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)")
_DECIMAL = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*(?:_[0-9]+)*)(?:\.[0-9]*)?|\.[0-9]+)")
_NUMBER = re.compile(rf"{_DECIMAL.pattern}(?:[eE][-+]?[0-9]{{1,3}})?")
_MAX_DIGITS = 40
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

#: Names that can be shown: one that was meant as a field, and one that was meant as a name.
_FIELD_LIKE = re.compile(r"[a-z]{1,16}(?:[_-][a-z]{1,16}){0,3}")
_NAME_LIKE = re.compile(r"[\w./:*@+\-]{1,64}")


@dataclass(slots=True)
class Reading:
    """One reading of one file: where variables come from, and what has been seen so far.

    `literal_keys` counts the keys that stand in the file itself.
    """

    path: Path
    environment: Mapping[str, str]
    literal_keys: int = 0
    _visits: int = field(default=0, init=False)

    def visit(self, node: yaml.Node) -> None:
        """Count a value: a short file can stand for very many, since YAML's aliases multiply."""
        self._visits += 1
        if self._visits > MAX_NODES:
            line = node.start_mark.line + 1
            raise wrong(self.path, line, "", f"stands for more than {MAX_NODES:,} values")


@dataclass(frozen=True, slots=True)
class _Scalar:
    text: str
    tag: str
    is_plain: bool
    is_filled_in: bool


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the file and the field it stands in (`upstreams[1].timeout`).

    Every reading method raises ConfigurationError when the value is not of its type, and never
    shows the value: it may be a secret.
    """

    node: yaml.Node
    field: str
    reading: Reading

    def __post_init__(self) -> None:
        self.reading.visit(self.node)
        if self.node.tag not in _KNOWN_TAGS:
            raise self.error("has a YAML tag that means nothing here")

    @property
    def line(self) -> int:
        """The line it begins on, from 1."""
        return int(self.node.start_mark.line) + 1

    @property
    def is_mapping(self) -> bool:
        """Whether it has members by name."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_null(self) -> bool:
        """Whether nothing was written."""
        return str(self.node.tag) == _NULL

    def error(self, problem: str) -> ConfigurationError:
        """What to raise when this value is wrong."""
        return wrong(self.reading.path, self.line, self.field, problem)

    def text(self) -> str:
        """Text of one line, not empty."""
        return self._text_of(self._scalar("text"), lambda scalar: scalar.tag == _TEXT)

    def text_as_written(self) -> str:
        """Text, a number or a flag, as it stands in the file."""
        return self._text_of(self._scalar("text, a number, or true or false"), lambda _: True)

    def key(self) -> SecretStr:
        """A key that can be sent in a header."""
        scalar = self._scalar("text")
        text = self._text_of(scalar, lambda scalar: scalar.tag == _TEXT)
        if not text.isascii() or " " in text:
            raise self.error("must be ASCII characters without white space")
        self.reading.literal_keys += not scalar.is_filled_in
        return SecretStr(text)

    def flag(self) -> bool:
        """True or false."""
        scalar = self._scalar("true or false")
        value = _FLAGS.get(scalar.text.lower())
        if value is None or not (scalar.is_plain or scalar.is_filled_in):
            raise self.error("must be true or false")
        return value

    def choice(self, choices: Mapping[str, T]) -> T:
        """What the text stands for in `choices`."""
        scalar = self._scalar("text")
        if scalar.text not in choices:
            raise self.error(f"must be one of {', '.join(choices)}")
        return choices[scalar.text]

    def whole(self, expected: str, is_right: Callable[[int], bool]) -> int:
        """A whole number for which `is_right` holds; `expected` says which ones those are."""
        number = int(self._digits(_WHOLE, expected))
        if not is_right(number):
            raise self.error(f"must be {expected}")
        return number

    def number(self, expected: str, is_right: Callable[[float], bool]) -> float:
        """A number for which `is_right` holds; `expected` says which ones those are."""
        number = float(self._digits(_NUMBER, expected))
        if not is_right(number):
            raise self.error(f"must be {expected}")
        return number

    def decimal(self, expected: str, is_right: Callable[[Decimal], bool]) -> Decimal:
        """An exact number for which `is_right` holds; `expected` says which ones those are."""
        number = Decimal(self._digits(_DECIMAL, expected))
        if not is_right(number):
            raise self.error(f"must be {expected}")
        return number

    def items(self) -> list[Value]:
        """The members of a list."""
        if self.is_null:
            raise self._no_value()
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error("must be a list")
        return [
            Value(node, f"{self.field}[{index}]", self.reading)
            for index, node in enumerate(self.node.value)
        ]

    def one_or_more(self) -> list[Value]:
        """The members of a list that has some, or this very value where it is no list."""
        if not isinstance(self.node, yaml.SequenceNode):
            return [self]
        items = self.items()
        if not items:
            raise self.error("must not be an empty list")
        return items

    def members(self) -> dict[str, Value]:
        """The members of a mapping by names that the operator chose, in the file's order."""
        found = {}
        for key, node in self._pairs():
            if not key.value or "${" in key.value:
                problem = "a name must not be empty, and ${VARIABLE}s are filled into values only"
                raise wrong(self.reading.path, _line(key), self.field, problem)
            found[key.value] = Value(node, f"{self.field}.{shown(key.value)}", self.reading)
        return found

    def fields(self, known: Sequence[str], aliases: Mapping[str, str] | None = None) -> Fields:
        """The members of a mapping whose names are all `known`; `aliases` are other names."""
        names = {**{name: name for name in known}, **(aliases or {})}
        found: dict[str, Value] = {}
        for key, node in self._pairs():
            name = names.get(key.value)
            if name is None:
                raise self._unknown(key, list(names))
            value = Value(node, self._path_of(key.value), self.reading)
            if name in found:
                other = found[name]
                raise wrong(
                    self.reading.path,
                    _line(key),
                    value.field,
                    f"says the same as {other.field} on line {other.line}; give one of the two",
                )
            found[name] = value
        return Fields(self, found)

    def _path_of(self, name: str) -> str:
        return f"{self.field}.{name}" if self.field else name

    def _unknown(self, key: yaml.ScalarNode, names: list[str]) -> ConfigurationError:
        near = difflib.get_close_matches(key.value.lower(), names, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known are: {', '.join(names)}"
        # A key that stands where a field is expected may be half of a secret.
        is_field = bool(near) or _FIELD_LIKE.fullmatch(key.value) is not None
        path = self._path_of(shown(key.value)) if is_field else self.field
        return wrong(self.reading.path, _line(key), path, f"unknown field; {hint}")

    def _pairs(self) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
        if self.is_null:
            raise self._no_value()
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error("must be a mapping of fields")
        found: dict[str, tuple[yaml.ScalarNode, yaml.Node]] = {}
        for key, node in self._merged(self.node, 0):
            found.setdefault(key.value, (key, node))
        return list(found.values())

    def _merged(
        self, mapping: yaml.MappingNode, depth: int
    ) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """The members of `mapping`, then those that its `<<` brings; the first of a name counts."""
        if depth > MAX_DEPTH:
            raise self.error("'<<' brings in mappings in a circle, or too many of them")
        lines: dict[str, int] = {}
        brought: list[yaml.Node] = []
        for key, node in mapping.value:
            self.reading.visit(key)
            if not isinstance(key, yaml.ScalarNode):
                raise wrong(self.reading.path, _line(key), self.field, "a name must be text")
            if key.value in lines:
                path = self._path_of(shown(key.value))
                problem = f"is given twice, first on line {lines[key.value]}"
                raise wrong(self.reading.path, _line(key), path, problem)
            lines[key.value] = _line(key)
            if key.tag == _MERGE:
                brought += node.value if isinstance(node, yaml.SequenceNode) else [node]
            else:
                yield key, node
        for node in brought:
            if not isinstance(node, yaml.MappingNode):
                raise wrong(self.reading.path, _line(node), self.field, "'<<' takes mappings only")
            yield from self._merged(node, depth + 1)

    def _scalar(self, expected: str) -> _Scalar:
        if self.is_null:
            raise self._no_value()
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.error(f"must be {expected}")
        written = str(self.node.value)
        try:
            text = fill_in(written, self.reading.environment)
        except WrongReferenceError as exc:
            raise self.error(str(exc)) from None
        return _Scalar(text, self.node.tag, self.node.style is None, has_references(written))

    def _text_of(self, scalar: _Scalar, is_right: Callable[[_Scalar], bool]) -> str:
        if not scalar.is_filled_in and not is_right(scalar):
            raise self.error("must be text: put it in quotes")
        if not scalar.text:
            raise self.error("must not be empty")
        if not scalar.text.isprintable():
            raise self.error("must be one line of printable characters")
        return scalar.text

    def _digits(self, form: re.Pattern[str], expected: str) -> str:
        scalar = self._scalar(expected)
        is_number = len(scalar.text) <= _MAX_DIGITS and form.fullmatch(scalar.text) is not None
        if not is_number or not (scalar.is_plain or scalar.is_filled_in):
            raise self.error(f"must be {expected}")
        return scalar.text.replace("_", "")

    def _no_value(self) -> ConfigurationError:
        return self.error("has no value; give it one, or leave it out")


@dataclass(frozen=True, slots=True)
class Fields:
    """The members of a mapping by the names of its fields."""

    owner: Value
    values: Mapping[str, Value]

    def read(self, name: str, read: Callable[[Value], T], default: D) -> T | D:
        """What `read` makes of the field `name`, or `default` where it is left out."""
        value = self.values.get(name)
        return default if value is None else read(value)

    def require(self, name: str, read: Callable[[Value], T]) -> T:
        """What `read` makes of the field `name`.

        Raises: ConfigurationError when it is left out.
        """
        value = self.values.get(name)
        if value is None:
            raise self.owner.error(f"'{name}' is missing")
        return read(value)


def shown(name: str) -> str:
    """`name` as errors show it: `?` for what is no plain name, or looks like a key."""
    return name if _NAME_LIKE.fullmatch(name) and redact(name) == name else "?"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
