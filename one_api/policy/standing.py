"""What a caller is told whom a limit stands in the way of."""

from __future__ import annotations

from typing import Final

from one_api.counters import Grant
from one_api.errors import ConcurrencyExceeded, RateLimitExceeded, TokenLimitExceeded

_ERRORS: Final = {
    "requests": RateLimitExceeded,
    "tokens": TokenLimitExceeded,
    "running": ConcurrencyExceeded,
}


def refusal_of(grant: Grant, headers: dict[str, str]) -> RateLimitExceeded:
    """The error for what was refused."""
    ask = grant.refused
    assert ask is not None, "a grant that is not granted was refused"  # noqa: S101
    kind = ask.name.rpartition(":")[2]
    what = {
        "requests": f"{ask.limit} requests per minute",
        "tokens": f"{ask.limit} tokens per minute",
        "running": f"{ask.limit} requests at the same time",
    }[kind]
    whose = "this gateway" if ask.name.startswith("all:") else "this API key"
    if grant.retry_after_s is None:
        advice = f"This request alone needs {ask.amount}: make it smaller."
    else:
        advice = f"Try again in {max(round(grant.retry_after_s + 0.5), 1)} s."
    error = _ERRORS[kind]
    return error(
        f"Rate limit reached: {what} for {whose}. {advice}",
        retry_after_s=grant.retry_after_s,
        limit_headers=headers,
    )
