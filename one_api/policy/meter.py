"""What the requests of one API key are counted by, worked out once for all of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from one_api.adapter.http_errors import duration_to_wire
from one_api.counters import Ask, Grant
from one_api.policy.auth import KeyLimits
from one_api.policy.demand import Demand

#: What a completion is expected to take, in tokens, where nobody set a limit.
DEFAULT_COMPLETION_TOKENS: Final = 1_024

#: Within a millisecond, and of all windows of one length, it is the same for everybody.
_in_wire_form = lru_cache(maxsize=256)(duration_to_wire)

#: How OpenAI tells where a key stands: what its limit is, what is left, and until when it fades.
_REQUESTS: Final = (
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
)
_TOKENS: Final = (
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
)


class Meter:
    """What to ask counters for when a key sends a request: its limits, and those `overall`.

    `own` are limits that the key has for itself; `per_key` count where it has none.
    """

    __slots__ = ("_asks", "_headers", "_sized", "counts_tokens", "has_budgets", "own")

    def __init__(
        self, key_id: str, own: KeyLimits, *, per_key: KeyLimits, overall: KeyLimits
    ) -> None:
        self.own = own
        self.has_budgets = own.has_budgets
        mine = f"key:{key_id}"
        asks: list[Ask] = []
        #: Those for tokens, by name; what is asked for is another amount each time.
        self._sized: dict[str, Ask] = {}
        for scope, limits in ((mine, own.over(per_key)), ("all", overall)):
            if limits.requests_per_minute is not None:
                asks.append(Ask(f"{scope}:requests", 1, limits.requests_per_minute))
            if limits.concurrent_requests is not None:
                asks.append(Ask(f"{scope}:running", 1, limits.concurrent_requests, "concurrency"))
            if limits.tokens_per_minute is not None:
                name = f"{scope}:tokens"
                self._sized[name] = Ask(name, 0, limits.tokens_per_minute)
        #: The same for every request; those for tokens come after them.
        self._asks = tuple(asks)
        #: Whether it matters what a request may use.
        self.counts_tokens = bool(self._sized)
        # What limits all keys together is nobody's own.
        self._headers = {f"{mine}:requests": _REQUESTS, f"{mine}:tokens": _TOKENS}

    def asks(self, demand: Demand | None) -> tuple[Ask, ...]:
        """What a request is to take, all at once; without a `demand`, no tokens."""
        if demand is None or not self._sized:
            return self._asks
        expected = expected_tokens(demand)
        return (*self._asks, *[ask.of(expected) for ask in self._sized.values()])

    def used(self, tokens: int) -> dict[str, int]:
        """What a request has used of each window that it was not known of before."""
        return dict.fromkeys(self._sized, tokens)

    def unused(self) -> dict[str, int]:
        """What a request has used that was refused in the end."""
        return dict.fromkeys((*self._sized, *(ask.name for ask in self._asks)), 0)

    def headers(self, grant: Grant) -> dict[str, str]:
        """Where the key stands, as OpenAI tells it."""
        headers: dict[str, str] = {}
        for ask, remaining, reset_s, _ in grant.standings:
            names = self._headers.get(ask.name)
            if names is not None:
                limit_name, remaining_name, reset_name = names
                headers[limit_name] = str(ask.limit)
                headers[remaining_name] = str(remaining)
                headers[reset_name] = _in_wire_form(reset_s)
        return headers


def expected_tokens(demand: Demand) -> int:
    """What a request is taken to use, until it is known."""
    completion = demand.completion_tokens
    return demand.prompt_tokens + (DEFAULT_COMPLETION_TOKENS if completion is None else completion)
