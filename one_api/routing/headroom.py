"""What a provider's rate-limit headers tell: how much may still be asked, and until when."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_MAX_HEADER_CHARS = 64
#: Below this share of its limit, a count of tokens will not suffice for another request.
_LEAST_SHARE = 0.01

#: What is limited, and its headers: remaining, limit, reset. OpenAI tells resets as durations,
#: Anthropic as RFC 3339 dates, Azure OpenAI as whole seconds.
_LIMITS = tuple(
    (kind, *(names.format(value=value, kind=kind) for value in ("remaining", "limit", "reset")))
    for names, kinds in (
        ("x-ratelimit-{value}-{kind}", ("requests", "tokens")),
        (
            "anthropic-ratelimit-{kind}-{value}",
            ("requests", "tokens", "input-tokens", "output-tokens"),
        ),
    )
    for kind in kinds
)
#: What the names of all of them hold.
_MARK = "-ratelimit-"

_DURATION = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d*)?)s)?(?:(\d+(?:\.\d*)?)ms)?"
)
_UNITS_S = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


@dataclass(frozen=True, slots=True)
class RateWindow:
    """One limit of a provider, as it told last.

    `limit` is None where it told none; `resets_at_s` is on the router's clock, None likewise.
    """

    kind: str
    remaining: float
    limit: float | None
    resets_at_s: float | None

    @property
    def is_used_up(self) -> bool:
        """Whether the next request is likely to be refused."""
        if self.remaining == 0:
            return True
        if self.kind == "requests" or self.limit is None:
            return False
        return self.remaining < _LEAST_SHARE * self.limit


def read_rate_windows(
    headers: Mapping[str, str], *, now_s: float, wall_now_s: float, longest_s: float
) -> Iterable[RateWindow]:
    """The limits that `headers` tell of; what cannot be read is left out.

    `headers` ignores case. No reset is further away than `longest_s`. `wall_now_s` is the time of
    day in seconds since 1970, for resets that are told as dates.
    """
    # Most providers tell none: to look for all at once takes a third of what each alone would.
    if _MARK not in "\n".join(headers).lower():
        return ()
    return _told_windows(headers, now_s, wall_now_s, longest_s)


def _told_windows(
    headers: Mapping[str, str], now_s: float, wall_now_s: float, longest_s: float
) -> Iterator[RateWindow]:
    for kind, remaining_name, limit_name, reset_name in _LIMITS:
        remaining = _number(headers.get(remaining_name))
        if remaining is None or remaining < 0:
            continue  # -1 is unknown to Azure OpenAI (Microsoft Q&A 5625878, read 2026-11).
        reset_s = parse_reset_s(headers.get(reset_name), wall_now_s=wall_now_s)
        yield RateWindow(
            kind=kind,
            remaining=remaining,
            limit=_number(headers.get(limit_name)),
            resets_at_s=None if reset_s is None else now_s + min(reset_s, longest_s),
        )


def parse_reset_s(value: str | None, *, wall_now_s: float) -> float | None:
    """Seconds until a reset: `1s`, `6m0s`, `850ms`, plain seconds, or an RFC 3339 date."""
    if not value or len(value) > _MAX_HEADER_CHARS:
        return None
    value = value.strip()
    if not value:
        return None
    duration = _DURATION.fullmatch(value)
    if duration is not None:
        return sum(
            float(count) * unit_s
            for count, unit_s in zip(duration.groups(), _UNITS_S, strict=True)
            if count is not None
        )
    seconds = _number(value)
    if seconds is not None:
        return max(seconds, 0.0)
    try:
        date = datetime.fromisoformat(value)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(date.timestamp() - wall_now_s, 0.0)
    except (ValueError, OverflowError):
        return None


def _number(value: str | None) -> float | None:
    """The finite number that a header holds, if it does: `float` also reads "nan" and "inf"."""
    if not value or len(value) > _MAX_HEADER_CHARS:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
