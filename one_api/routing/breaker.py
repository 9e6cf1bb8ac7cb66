"""A circuit breaker: stop asking what keeps failing, and find out gently when it is back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Literal

from one_api.deployment import NO_TERMS, BreakerTerms
from one_api.routing.windows import RollingCounter

BreakerState = Literal["closed", "open", "half_open"]
#: The right to report what came of one attempt; its bits are the breaker's business.
Ticket = int

_WINDOW_STEPS = 10
#: Growth stops here: past it a float would overflow long before a cooldown is of any use.
_MAX_GROWTHS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRule:
    """When to open, and for how long: `BreakerTerms` in full. `ratio` None counts no ratio."""

    failures: int
    cooldown_s: float
    max_cooldown_s: float
    growth: float = 2.0
    ratio: float | None = None
    min_requests: int = 1
    window_s: float = 30.0

    def under(self, terms: Iterable[BreakerTerms]) -> BreakerRule:
        """This rule where none of `terms` says otherwise; the last of them counts."""
        given = {
            name: value
            for one in terms
            if one is not NO_TERMS
            for name in _TERMS
            if (value := getattr(one, name)) is not None
        }
        return replace(self, **given) if given else self


_TERMS = tuple(field.name for field in fields(BreakerTerms))


class Breaker:
    """Closed, open or half-open; each attempt takes a ticket and reports with it exactly once.

    Reports with tickets from before the last change of state are ignored: a failure that began
    before the breaker opened says nothing about now. Attempts that are made in spite of an open
    breaker (a last resort) close it by succeeding, and change nothing by failing.
    """

    __slots__ = (
        "_closed_at_s",
        "_cooldown_s",
        "_epoch",
        "_failures",
        "_has_probe",
        "_reopens_at_s",
        "_repeats",
        "_requests",
        "_rule",
        "consecutive_failures",
        "opened_because",
        "openings",
        "state",
    )

    def __init__(self, rule: BreakerRule) -> None:
        self._rule = rule
        self.state: BreakerState = "closed"
        self.consecutive_failures = 0
        #: How often it opened, ever.
        self.openings = 0
        #: What opened it the last time, as a phrase.
        self.opened_because = ""
        self._repeats = 0
        self._cooldown_s = 0.0
        self._closed_at_s = 0.0
        self._reopens_at_s = 0.0
        self._epoch = 0
        self._has_probe = False
        self._requests = RollingCounter(rule.window_s, steps=_WINDOW_STEPS)
        self._failures = RollingCounter(rule.window_s, steps=_WINDOW_STEPS)

    @property
    def rule(self) -> BreakerRule:
        """When it opens, and for how long."""
        return self._rule

    @property
    def cooldown_s(self) -> float:
        """For how long it opened the last time."""
        return self._cooldown_s

    @property
    def has_probe(self) -> bool:
        """Whether the one attempt that a half-open breaker permits is on its way."""
        return self._has_probe

    def window(self, now_s: float) -> tuple[int, int]:
        """Requests and failures that count at the moment."""
        return self._requests.total(now_s), self._failures.total(now_s)

    def reopens_in_s(self, now_s: float) -> float:
        """Seconds until an open breaker permits a probe; 0 in the other states."""
        return max(self._reopens_at_s - now_s, 0.0) if self.state == "open" else 0.0

    def admits(self, now_s: float) -> bool:
        """Whether an attempt may be made now."""
        if self.state == "closed":
            return True
        if self.state == "open":
            return now_s >= self._reopens_at_s
        return not self._has_probe

    def begin(self, now_s: float) -> Ticket:
        """The ticket of an attempt made now: the probe's where one is due."""
        if self.state == "closed":
            return self._epoch << 1
        if not self.admits(now_s):
            return self._epoch << 1
        self.state = "half_open"
        self._has_probe = True
        return self._epoch << 1 | 1

    def succeed(self, ticket: Ticket, now_s: float) -> bool:
        """The attempt went well. Whether that closed the breaker."""
        if ticket >> 1 != self._epoch:
            return False
        if self.state != "closed":
            self._close(now_s)
            return True
        self.consecutive_failures = 0
        if self._rule.ratio is not None:
            self._requests.add(now_s)
        if self._repeats and now_s - self._closed_at_s >= self._cooldown_s:
            self._repeats = 0
        return False

    def fail(self, ticket: Ticket, now_s: float) -> bool:
        """The attempt failed. Whether that opened the breaker."""
        if ticket >> 1 != self._epoch:
            return False
        if self.state != "closed":
            if not ticket & 1:
                return False
            self.consecutive_failures += 1
            self._open(now_s, "the request that tried it failed")
            return True
        self.consecutive_failures += 1
        if self._rule.ratio is not None:
            self._requests.add(now_s)
            self._failures.add(now_s)
        reason = self._reason_to_open(now_s)
        if reason is None:
            return False
        self._open(now_s, reason)
        return True

    def abandon(self, ticket: Ticket) -> None:
        """Nothing is known of the attempt: a probe's permit goes to the next one."""
        if ticket >> 1 == self._epoch and ticket & 1:
            self._has_probe = False

    def _reason_to_open(self, now_s: float) -> str | None:
        rule = self._rule
        if self.consecutive_failures >= rule.failures:
            return f"{self.consecutive_failures} failures in a row"
        if rule.ratio is None:
            return None
        requests, failures = self.window(now_s)
        if requests < rule.min_requests or failures < rule.ratio * requests:
            return None
        return f"{failures} of {requests} requests failed"

    def _open(self, now_s: float, reason: str) -> None:
        rule = self._rule
        self.opened_because = reason
        grown_s = rule.cooldown_s * rule.growth ** min(self._repeats, _MAX_GROWTHS)
        self._cooldown_s = min(grown_s, max(rule.max_cooldown_s, rule.cooldown_s))
        self._repeats += 1
        self._reopens_at_s = now_s + self._cooldown_s
        self.openings += 1
        self._change("open")

    def _close(self, now_s: float) -> None:
        self._closed_at_s = now_s
        self.consecutive_failures = 0
        self._requests.clear()
        self._failures.clear()
        self._change("closed")

    def _change(self, state: BreakerState) -> None:
        self.state = state
        self._epoch += 1
        self._has_probe = False
