"""What the requests of one API key are counted by, worked out once for all of them."""

from __future__ import annotations

from typing import Final

from one_api.adapter.http_errors import duration_to_wire
from one_api.counters import Ask, Grant
from one_api.policy.auth import KeyLimits
from one_api.policy.demand import Demand

#: What a completion is expected to take, in tokens, where nobody set a limit.
DEFAULT_COMPLETION_TOKENS: Final = 1_024

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

    __slots__ = ("_asks", "_headers", "_tokens", "own")

    def __init__(
        self, key_id: str, own: KeyLimits, *, per_key: KeyLimits, overall: KeyLimits
    ) -> None:
        self.own = own
        mine = f"key:{key_id}"
        asks: list[Ask] = []
        #: Windows of tokens, and their limits.
        self._tokens: dict[str, int] = {}
        for scope, limits in ((mine, own.over(per_key)), ("all", overall)):
            if limits.requests_per_minute is not None:
                asks.append(Ask(f"{scope}:requests", 1, limits.requests_per_minute))
            if limits.concurrent_requests is not None:
                asks.append(Ask(f"{scope}:running", 1, limits.concurrent_requests, "concurrency"))
            if limits.tokens_per_minute is not None:
                self._tokens[f"{scope}:tokens"] = limits.tokens_per_minute
        #: The same for every request; those for tokens come after them.
        self._asks = tuple(asks)
        # What limits all keys together is nobody's own.
        self._headers = {f"{mine}:requests": _REQUESTS, f"{mine}:tokens": _TOKENS}

    @property
    def counts_tokens(self) -> bool:
        """Whether it matters what a request may use."""
        return bool(self._tokens)

    def asks(self, demand: Demand | None) -> tuple[Ask, ...]:
        """What a request is to take, all at once; without a `demand`, no tokens."""
        if demand is None or not self._tokens:
            return self._asks
        expected = expected_tokens(demand)
        tokens = [Ask(name, expected, limit) for name, limit in self._tokens.items()]
        return (*self._asks, *tokens)

    def used(self, tokens: int) -> dict[str, int]:
        """What a request has used of each window that it was not known of before."""
        return dict.fromkeys(self._tokens, tokens)

    def unused(self) -> dict[str, int]:
        """What a request has used that was refused in the end."""
        return dict.fromkeys((*self._tokens, *(ask.name for ask in self._asks)), 0)

    def headers(self, grant: Grant) -> dict[str, str]:
        """Where the key stands, as OpenAI tells it."""
        headers: dict[str, str] = {}
        for ask, remaining, reset_s, _ in grant.standings:
            names = self._headers.get(ask.name)
            if names is not None:
                headers[names[0]] = str(ask.limit)
                headers[names[1]] = str(remaining)
                headers[names[2]] = duration_to_wire(reset_s)
        return headers


def expected_tokens(demand: Demand) -> int:
    """What a request is taken to use, until it is known."""
    completion = demand.completion_tokens
    return demand.prompt_tokens + (DEFAULT_COMPLETION_TOKENS if completion is None else completion)
