"""One entry below `upstreams:` in, an `UpstreamEntry` out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar, get_args

from one_api.adapter.settings import UpstreamSettings
from one_api.deployment import (
    NO_LIMITS,
    NO_TERMS,
    DeploymentLimits,
    Group,
    OnHangUp,
    Price,
    PriceTier,
    Timeouts,
)
from one_api.upstreams import ALL_MODELS, UpstreamEntry
from one_api.upstreams_file.breaker import read_breaker
from one_api.upstreams_file.value import Fields, Value

T = TypeVar("T")

#: What an entry may say.
FIELDS = (
    "name", "adapter", "sk", "endpoint", "timeout", "timeouts", "options", "models", "model_map",
    "group", "weight", "order", "limits", "breaker", "price", "context_window", "on_hang_up",
    "probe",
)  # fmt: skip
_AMOUNTS = ("input", "output", "cached_input", "cache_write", "cache_write_1h", "reasoning")
_OTHER_NAMES = {"api_key": "sk", "base_url": "endpoint"}
_OWN_OPTIONS = {"api_key": "sk", "sk": "sk", "base_url": "endpoint", "endpoint": "endpoint"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_MODEL_CHARS = 256
_ON_HANG_UP: dict[str, OnHangUp] = {name: name for name in get_args(OnHangUp)}


def read_entry(
    value: Value, position: int, group_called: Callable[[str], Group], timeouts: Timeouts
) -> UpstreamEntry:
    """What `value`, which is entry number `position` from 1, says.

    `timeouts` hold where the entry says nothing.
    Raises: ConfigurationError.
    """
    fields = value.fields(FIELDS, _OTHER_NAMES)
    adapter = fields.read("adapter", read_name, None)
    return UpstreamEntry(
        name=fields.read("name", read_name, f"upstream-{position}"),
        adapter=adapter,
        settings=UpstreamSettings(
            provider=adapter or "",
            api_key=fields.read("sk", Value.key, None),
            base_url=fields.read("endpoint", Value.text, ""),
            options=fields.read("options", _options, {}),
        ),
        timeouts=_timeouts(fields, timeouts),
        models=fields.read("models", _models, None),
        model_map=fields.read("model_map", _model_map, {}),
        group=group_called(fields.read("group", read_name, "default")),
        weight=fields.read("weight", _weight, 1.0),
        order=fields.read("order", _order, 0),
        limits=fields.read("limits", _limits, NO_LIMITS),
        breaker=fields.read("breaker", read_breaker, NO_TERMS),
        on_hang_up=fields.read("on_hang_up", _on_hang_up, "cancel"),
        probe=fields.read("probe", Value.flag, None),
        prices=fields.read("price", _prices, {}),
        context_windows=fields.read("context_window", _context_windows, {}),
        line=value.line,
    )


def read_name(value: Value) -> str:
    """The name of an upstream, a group or an adapter."""
    return check_name(value.text(), value)


def check_name(name: str, value: Value) -> str:
    """`name`, which stands at `value`, as the name of an upstream, a group or an adapter."""
    if _NAME.fullmatch(name) is None:
        raise value.error(
            "must be a name: 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first"
        )
    return name


def check_model(name: str, value: Value, *, is_pattern_allowed: bool = False) -> str:
    """`name`, which stands at `value`, as the name of a model."""
    if len(name) > _MAX_MODEL_CHARS or not name.isprintable() or " " in name:
        raise value.error("must be the name of a model, without white space")
    if "*" in name and not is_pattern_allowed:
        raise value.error("must be the name of one model: '*' means nothing here")
    return name


def read_models(value: Value, *, is_pattern_allowed: bool = False) -> tuple[str, ...]:
    """Names of models: one, or a list in which none stands twice."""
    found: dict[str, str] = {}
    for item in value.one_or_more():
        name = check_model(item.text(), item, is_pattern_allowed=is_pattern_allowed)
        if name in found:
            raise item.error(f"is the same as {found[name]}")
        found[name] = item.field
    return tuple(found)


def _models(value: Value) -> tuple[str, ...]:
    return read_models(value, is_pattern_allowed=True)


def _model_map(value: Value) -> Mapping[str, str]:
    return {
        check_model(public, member): check_model(member.text(), member)
        for public, member in value.members().items()
    }


def _options(value: Value) -> Mapping[str, str]:
    options = {}
    for name, member in value.members().items():
        if name in _OWN_OPTIONS:
            raise member.error(f"is no option: give it as '{_OWN_OPTIONS[name]}' of the entry")
        options[name] = member.text_as_written()
    return options


def _timeouts(fields: Fields, defaults: Timeouts) -> Timeouts:
    timeouts = defaults
    total_s = fields.read("timeout", _seconds, None)
    if total_s is not None:
        timeouts = _with_total(timeouts, total_s)
        if total_s < timeouts.first_content_s:
            timeouts = _with_first_content(timeouts, total_s)
    value = fields.values.get("timeouts")
    return timeouts if value is None else _each_timeout(value, timeouts)


def _each_timeout(value: Value, timeouts: Timeouts) -> Timeouts:
    fields = value.fields(
        ("connect", "first_content", "idle", "total"), {"first_token": "first_content"}
    )
    first_content_s = fields.read("first_content", _seconds, None)
    if first_content_s is not None:
        timeouts = _with_first_content(timeouts, first_content_s)
    total_s = fields.read("total", _seconds, None)
    if total_s is not None:
        timeouts = _with_total(timeouts, total_s)
    return replace(
        timeouts,
        connect_s=fields.read("connect", _seconds, timeouts.connect_s),
        idle_s=fields.read("idle", _seconds, timeouts.idle_s),
    )


# Whoever gives a number means it: the wait is no shorter where another deployment is left.
def _with_total(timeouts: Timeouts, total_s: float) -> Timeouts:
    return replace(timeouts, total_s=total_s, failover_total_s=total_s)


def _with_first_content(timeouts: Timeouts, first_content_s: float) -> Timeouts:
    return replace(
        timeouts, first_content_s=first_content_s, failover_first_content_s=first_content_s
    )


def _on_hang_up(value: Value) -> OnHangUp:
    return value.choice(_ON_HANG_UP)


def _limits(value: Value) -> DeploymentLimits:
    fields = value.fields(("requests_per_minute", "tokens_per_minute", "concurrent_requests"))
    return DeploymentLimits(
        requests_per_minute=fields.read("requests_per_minute", _count, None),
        tokens_per_minute=fields.read("tokens_per_minute", _count, None),
        concurrent_requests=fields.read("concurrent_requests", _count, None),
    )


def _prices(value: Value) -> Mapping[str, Price]:
    if not value.is_mapping:
        raise value.error("must be a mapping with 'input' and 'output', or one by model of such")
    members = value.members()
    if members and all(member.is_mapping for member in members.values()):
        return _by_model(members, _price)
    return {ALL_MODELS: _price(value)}


def _price(value: Value) -> Price:
    fields = value.fields((*_AMOUNTS, "tiers"))
    return replace(_amounts(fields), tiers=fields.read("tiers", _tiers, ()))


def _amounts(fields: Fields) -> Price:
    return Price(
        input_usd=fields.require("input", _usd),
        output_usd=fields.require("output", _usd),
        cached_input_usd=fields.read("cached_input", _usd, None),
        cache_write_usd=fields.read("cache_write", _usd, None),
        cache_write_1h_usd=fields.read("cache_write_1h", _usd, None),
        reasoning_usd=fields.read("reasoning", _usd, None),
    )


def _tiers(value: Value) -> tuple[PriceTier, ...]:
    tiers: list[PriceTier] = []
    for item in value.items():
        fields = item.fields(("above_input_tokens", *_AMOUNTS))
        above = fields.require("above_input_tokens", _tokens)
        if tiers and above <= tiers[-1].above_input_tokens:
            raise item.error("'above_input_tokens' must be more than in the one before")
        tiers.append(PriceTier(above_input_tokens=above, price=_amounts(fields)))
    return tuple(tiers)


def _context_windows(value: Value) -> Mapping[str, int]:
    if value.is_mapping:
        return _by_model(value.members(), _tokens)
    return {ALL_MODELS: _tokens(value)}


def _by_model(members: Mapping[str, Value], read: Callable[[Value], T]) -> Mapping[str, T]:
    return {
        model if model == ALL_MODELS else check_model(model, member): read(member)
        for model, member in members.items()
    }


def _seconds(value: Value) -> float:
    return value.number("a number of seconds greater than 0", lambda number: 0 < number < math.inf)


def _weight(value: Value) -> float:
    return value.number("a number, 0 or greater", lambda number: 0 <= number < math.inf)


def _order(value: Value) -> int:
    return value.whole("a whole number", lambda _: True)


def _count(value: Value) -> int:
    return value.whole("a whole number, 1 or greater", lambda number: number >= 1)


def _tokens(value: Value) -> int:
    return value.whole("a whole number of tokens, 1 or greater", lambda number: number >= 1)


def _usd(value: Value) -> Decimal:
    return value.decimal(
        "a number of US dollars per million tokens, 0 or greater", lambda number: number >= 0
    )
