"""Where a caller stands with its limits, as headers and as errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from one_api.adapter.http_errors import duration_to_wire
from one_api.counters import Grant
from one_api.errors import ConcurrencyExceeded, RateLimitExceeded, TokenLimitExceeded

_ERRORS: Final = {
    "requests": RateLimitExceeded,
    "tokens": TokenLimitExceeded,
    "running": ConcurrencyExceeded,
}


def headers_of(grant: Grant) -> Iterator[tuple[str, str]]:
    """Where the key stands, as OpenAI tells it; what limits all keys together is nobody's own."""
    for standing in grant.standings:
        scope, _, kind = standing.ask.name.rpartition(":")
        if kind in ("requests", "tokens") and scope != "all":
            yield f"x-ratelimit-limit-{kind}", str(standing.ask.limit)
            yield f"x-ratelimit-remaining-{kind}", str(standing.remaining)
            yield f"x-ratelimit-reset-{kind}", duration_to_wire(standing.reset_s)


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
