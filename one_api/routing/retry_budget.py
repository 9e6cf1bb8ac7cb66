"""How many retries may be on their way: an outage must not be made worse by its own retries."""

from __future__ import annotations

#: What a product of floats may fall short of the whole number that is meant.
_ROUNDING = 1e-9


class RetryBudget:
    """At most `ratio` of the active requests are retries, and `min_retries` always may be.

    After Envoy's retry budget, counted in retries in flight.
    """

    __slots__ = ("active", "min_retries", "ratio", "retrying")

    def __init__(self, *, ratio: float = 0.1, min_retries: int = 3) -> None:
        self.ratio = ratio
        self.min_retries = min_retries
        self.active = 0
        self.retrying = 0

    @property
    def limit(self) -> int:
        """How many retries may be in flight at the moment."""
        return max(self.min_retries, int(self.ratio * self.active + _ROUNDING))

    def enter(self) -> None:
        """A request becomes active; `leave` ends it."""
        self.active += 1

    def leave(self) -> None:
        """A request that entered is over."""
        self.active = max(self.active - 1, 0)

    def try_retry(self) -> bool:
        """Whether a retry may be made now; where it may, `end_retry` ends it."""
        if self.retrying >= self.limit:
            return False
        self.retrying += 1
        return True

    def end_retry(self) -> None:
        """A retry that was permitted is over."""
        self.retrying = max(self.retrying - 1, 0)
