"""What `breaker:` says in an entry or a group."""

from __future__ import annotations

from one_api.deployment import BreakerTerms
from one_api.upstreams_file.value import Value

#: The shortest window and cooldown, in seconds, and the longest: a day.
_MIN_S, _MAX_S = 0.001, 86_400
_MAX_GROWTH = 10


def read_breaker(value: Value) -> BreakerTerms:
    """When to leave a deployment alone, and for how long."""
    fields = value.fields(
        ("failures", "ratio", "min_requests", "window", "cooldown", "growth", "max_cooldown")
    )
    return BreakerTerms(
        failures=fields.read("failures", _count, None),
        ratio=fields.read("ratio", _ratio, None),
        min_requests=fields.read("min_requests", _count, None),
        window_s=fields.read("window", _seconds, None),
        cooldown_s=fields.read("cooldown", _seconds, None),
        growth=fields.read("growth", _growth, None),
        max_cooldown_s=fields.read("max_cooldown", _seconds, None),
    )


def _count(value: Value) -> int:
    return value.whole("a whole number, 1 or greater", lambda number: number >= 1)


def _ratio(value: Value) -> float:
    return value.number("a number greater than 0, up to 1", lambda number: 0 < number <= 1)


def _seconds(value: Value) -> float:
    return value.number(
        f"a number of seconds from {_MIN_S} to {_MAX_S}",
        lambda number: _MIN_S <= number <= _MAX_S,
    )


def _growth(value: Value) -> float:
    return value.number(
        f"a number from 1 to {_MAX_GROWTH}", lambda number: 1 <= number <= _MAX_GROWTH
    )
