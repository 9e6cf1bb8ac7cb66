"""The whole file in, `Upstreams` out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import get_args

from pydantic import SecretStr

from one_api.deployment import NO_TERMS, AfterCommit, Group, StrategyName, Timeouts
from one_api.upstreams import UpstreamEntry, Upstreams
from one_api.upstreams_file.breaker import read_breaker
from one_api.upstreams_file.entry import check_model, check_name, read_entry, read_models
from one_api.upstreams_file.source import read_source
from one_api.upstreams_file.value import Reading, Value, shown

logger = logging.getLogger(__name__)

_STRATEGIES: Mapping[str, StrategyName] = {name: name for name in get_args(StrategyName)}
_AFTER_COMMIT: Mapping[str, AfterCommit] = {name: name for name in get_args(AfterCommit)}
_MIN_KEY_CHARS = 8


def read_upstreams(path: Path, environment: Mapping[str, str], *, timeouts: Timeouts) -> Upstreams:
    """What the file at `path` says, with variables from `environment`.

    `timeouts` hold for entries that give none of their own. Blocks while it reads.
    Raises: ConfigurationError that names file, line and field, and never a value.
    """
    source = read_source(path)
    reading = Reading(path, environment)
    root = Value(source.root, "", reading)
    fields = root.fields(("authorization", "groups", "aliases", "upstreams"))
    groups: dict[str, Group] = fields.read("groups", _groups, {})

    def group_called(name: str) -> Group:
        return groups.setdefault(name, Group(name=name))

    def entries(value: Value) -> tuple[UpstreamEntry, ...]:
        items = value.items()
        found = [
            read_entry(item, position, group_called, timeouts)
            for position, item in enumerate(items, 1)
        ]
        _check_names(items, found)
        return tuple(found)

    upstreams = Upstreams(
        authorization=fields.read("authorization", _authorization, ()),
        aliases=fields.read("aliases", _aliases, {}),
        entries=fields.read("upstreams", entries, ()),
        groups=tuple(groups.values()),
        path=path,
    )
    if source.is_open and reading.literal_keys:
        logger.warning(
            "%s holds keys, and other accounts of this machine can read it: "
            "chmod 600 it, or take the keys from variables (${NAME})",
            path,
        )
    return upstreams


def _authorization(value: Value) -> tuple[SecretStr, ...]:
    keys = []
    for item in value.one_or_more():
        key = item.key()
        if len(key) < _MIN_KEY_CHARS:
            raise item.error(f"must be at least {_MIN_KEY_CHARS} characters long")
        keys.append(key)
    return tuple(keys)


def _groups(value: Value) -> dict[str, Group]:
    return {name: _group(name, member) for name, member in value.members().items()}


def _group(name: str, value: Value) -> Group:
    check_name(name, value)
    if value.is_null:  # named for its place in the order only
        return Group(name=name)
    fields = value.fields(("strategy", "after_commit", "sticky", "breaker", "probe"))
    return Group(
        name=name,
        strategy=fields.read("strategy", _strategy, "ordered"),
        after_commit=fields.read("after_commit", _after_commit, "error"),
        sticky=fields.read("sticky", Value.flag, False),
        breaker=fields.read("breaker", read_breaker, NO_TERMS),
        probe=fields.read("probe", Value.flag, True),
    )


def _strategy(value: Value) -> StrategyName:
    return value.choice(_STRATEGIES)


def _after_commit(value: Value) -> AfterCommit:
    return value.choice(_AFTER_COMMIT)


def _aliases(value: Value) -> dict[str, tuple[str, ...]]:
    members = value.members()
    aliases = {
        check_model(name, member, is_pattern_allowed=True): read_models(member)
        for name, member in members.items()
    }
    # A pattern's targets are asked for as they are: `"*": [small]` does not lead back to itself.
    exact = {name: targets for name, targets in aliases.items() if "*" not in name}
    try:
        TopologicalSorter(exact).prepare()
    except CycleError as exc:
        circle = set(exc.args[1])
        first = next(name for name in exact if name in circle)
        second = next(target for target in exact[first] if target in circle)
        through = "" if second == first else f" through '{shown(second)}'"
        raise members[first].error(f"leads back to itself{through}") from None
    return aliases


def _check_names(values: Sequence[Value], entries: Sequence[UpstreamEntry]) -> None:
    taken: dict[str, Value] = {}
    for value, entry in zip(values, entries, strict=True):
        other = taken.setdefault(entry.name, value)
        if other is not value:
            raise value.error(f"has the same name as {other.field} on line {other.line}")
