"""A file of prices: YAML in, a `Price` for each name out, or an error with its line.

docs/prices.md describes the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import yaml

from one_api.deployment import Price, PriceTier
from one_api.errors import ConfigurationError
from one_api.redaction import redact

#: US dollars per million tokens beyond which a price is a mistake of units.
MAX_PRICE_USD = Decimal(1_000_000)
#: Tokens of a prompt beyond which no price begins to count.
MAX_PROMPT_TOKENS = 100_000_000

_MAX_BYTES = 1_000_000
_AMOUNTS = ("input", "output", "cached_input", "cache_write", "cache_write_1h", "reasoning")
_OF_ENTRY = (*_AMOUNTS, "tiers", "source")
_OF_TIER = ("above_input_tokens", *_AMOUNTS)
_AMOUNT = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,12})?")
_COUNT = re.compile(r"[1-9][0-9]{0,8}")
_SHOWN = re.compile(r"[\w./:*@+\-]{1,64}")

#: libyaml, where PyYAML was built with it: 2 ms of a start for what ships, where PyYAML's own
#: parser takes 13. It tells errors in other words, so what operators write is left to that one.
_QUICK_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: Names in a mapping, each with the node that says it and the one of its value.
_Members: TypeAlias = Mapping[str, tuple[yaml.Node, yaml.Node]]


def read_prices(path: Path) -> dict[str, Price]:
    """The prices in the file at `path`, by the names of models. Blocks while it reads.

    Raises: ConfigurationError that names the file, the line and the field.
    """
    return _File(str(path)).read(_content(path))


def parse_prices(name: str, content: bytes) -> dict[str, Price]:
    """The prices in `content`, which is that of our own file `name`.

    Raises: ConfigurationError that names the file, the line and the field.
    """
    return _File(name, _QUICK_LOADER).read(content)


def _content(path: Path) -> bytes:
    file = _File(str(path))
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)  # one more than allowed: it may have no end
    except FileNotFoundError:
        file.refuse("there is no such file")
    except OSError as exc:
        file.refuse(f"cannot be read: {exc.strerror or type(exc).__name__}")
    except ValueError:
        file.refuse("is not a path")
    if len(content) > _MAX_BYTES:
        file.refuse(f"is larger than {_MAX_BYTES:,} bytes")
    return content


@dataclass(frozen=True, slots=True)
class _File:
    """Reads one file of prices; what is wrong is told with its line, and never with its value."""

    name: str
    loader: Any = yaml.SafeLoader

    def refuse(self, problem: str, node: yaml.Node | None = None, field: str = "") -> NoReturn:
        self._refuse_at(
            node.start_mark if node else None, ": ".join(filter(None, (field, problem)))
        )

    def _refuse_at(self, mark: yaml.Mark | None, problem: str) -> NoReturn:
        place = f"{self.name}:{mark.line + 1}" if mark else self.name
        raise ConfigurationError("PRICES_FILE", f"{place}: {problem}")

    def read(self, content: bytes) -> dict[str, Price]:
        root = self._root(content)
        if root is None or root.tag.endswith(":null"):
            self.refuse("is empty; a mapping of 'prices' is expected")
        members = self._members(root, "")
        for name, (key, _) in members.items():
            if name != "prices":
                self.refuse("unknown field; 'prices' is expected", key, _shown(name))
        if "prices" not in members:
            self.refuse("'prices' is missing", root)
        models = self._members(members["prices"][1], "prices")
        return {name: self._price(name, key, node) for name, (key, node) in models.items()}

    def _root(self, content: bytes) -> yaml.Node | None:
        try:
            return yaml.compose(content.decode("utf-8-sig"), Loader=self.loader)
        except UnicodeDecodeError:
            self.refuse("is not UTF-8 text")
        except yaml.MarkedYAMLError as exc:
            self._refuse_at(exc.problem_mark or exc.context_mark, "is not valid YAML")
        except RecursionError:
            self.refuse("is nested too deeply")
        except (yaml.YAMLError, ValueError, OverflowError):
            # An escape or a version that PyYAML cannot represent, or a control character.
            self.refuse("is not valid YAML")

    def _members(self, node: yaml.Node, field: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            self.refuse("must be a mapping", node, field)
        members: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                self.refuse("a name must be text", key, field)
            if key.value in members:
                self.refuse("is given twice", key, _path(field, key.value))
            members[key.value] = (key, value)
        return members

    def _price(self, name: str, key: yaml.Node, node: yaml.Node) -> Price:
        field = _path("prices", name)
        if not name.isprintable() or " " in name:
            self.refuse("must be the name of a model, without white space", key, field)
        members = self._known_members(node, field, _OF_ENTRY)
        tiers = (
            self._tiers(members["tiers"][1], _path(field, "tiers")) if "tiers" in members else ()
        )
        return self._amounts(members, key, field, tiers)

    def _known_members(self, node: yaml.Node, field: str, known: tuple[str, ...]) -> _Members:
        members = self._members(node, field)
        for part, (part_key, _) in members.items():
            if part not in known:
                self.refuse(
                    f"unknown field; known are: {', '.join(known)}", part_key, _path(field, part)
                )
        return members

    def _amounts(
        self, members: _Members, key: yaml.Node, field: str, tiers: tuple[PriceTier, ...] = ()
    ) -> Price:
        amounts = {
            part: self._amount(members[part][1], _path(field, part))
            for part in _AMOUNTS
            if part in members
        }
        for part in ("input", "output"):
            if part not in amounts:
                self.refuse(f"'{part}' is missing", key, field)
        return Price(
            input_usd=amounts["input"],
            output_usd=amounts["output"],
            cached_input_usd=amounts.get("cached_input"),
            cache_write_usd=amounts.get("cache_write"),
            cache_write_1h_usd=amounts.get("cache_write_1h"),
            reasoning_usd=amounts.get("reasoning"),
            tiers=tiers,
        )

    def _tiers(self, node: yaml.Node, field: str) -> tuple[PriceTier, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self.refuse("must be a list of prices for long prompts", node, field)
        tiers: list[PriceTier] = []
        for number, item in enumerate(node.value):
            tier = self._tier(item, f"{field}[{number}]")
            if tiers and tier.above_input_tokens <= tiers[-1].above_input_tokens:
                self.refuse(
                    "'above_input_tokens' must be more than in the one before",
                    item,
                    f"{field}[{number}]",
                )
            tiers.append(tier)
        return tuple(tiers)

    def _tier(self, node: yaml.Node, field: str) -> PriceTier:
        members = self._known_members(node, field, _OF_TIER)
        if "above_input_tokens" not in members:
            self.refuse("'above_input_tokens' is missing", node, field)
        return PriceTier(
            above_input_tokens=self._count(
                members["above_input_tokens"][1], _path(field, "above_input_tokens")
            ),
            price=self._amounts(members, node, field),
        )

    def _count(self, node: yaml.Node, field: str) -> int:
        text = node.value if isinstance(node, yaml.ScalarNode) and not node.style else ""
        if _COUNT.fullmatch(text) is None or int(text) > MAX_PROMPT_TOKENS:
            self.refuse(
                f"must be a whole number of tokens, from 1 to {MAX_PROMPT_TOKENS:,}", node, field
            )
        return int(text)

    def _amount(self, node: yaml.Node, field: str) -> Decimal:
        # The text as it stands: YAML would read it as a binary fraction.
        text = node.value if isinstance(node, yaml.ScalarNode) and not node.style else ""
        if _AMOUNT.fullmatch(text) is None or Decimal(text) > MAX_PRICE_USD:
            self.refuse(
                "must be a number of US dollars per million tokens, "
                f"from 0 to {MAX_PRICE_USD:,}, such as 0.25",
                node,
                field,
            )
        return Decimal(text)


def _path(field: str, name: str) -> str:
    return f"{field}.{_shown(name)}" if field else _shown(name)


def _shown(name: str) -> str:
    return name if _SHOWN.fullmatch(name) and redact(name) == name else "?"
