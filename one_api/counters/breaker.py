"""Stops asking a server that does not answer, and finds out when it is back."""

from __future__ import annotations

from collections.abc import Callable


class Breaker:
    """Opens after so many failures in a row; then one call in every `retry_s` seconds is let by.

    Whoever was admitted tells what came of it, once.
    """

    def __init__(self, clock: Callable[[], float], *, failures: int, retry_s: float) -> None:
        self._clock = clock
        self._max_failures = failures
        self._retry_s = retry_s
        self._failures = 0
        self._probes_at_s: float | None = None
        self._has_probe = False
        #: How often it opened, ever. A call that sees it change while it waits for its turn need
        #: not try any more.
        self.openings = 0

    @property
    def is_open(self) -> bool:
        """Whether the server is taken to be gone."""
        return self._probes_at_s is not None

    def admit(self) -> bool:
        """Whether a call may be made now."""
        if self._probes_at_s is None:
            return True
        if self._has_probe or self._clock() < self._probes_at_s:
            return False
        self._has_probe = True
        return True

    def succeed(self) -> None:
        """The server answered."""
        self._failures = 0
        self._probes_at_s = None
        self._has_probe = False

    def fail(self) -> None:
        """The server did not answer, or not what was asked for."""
        self._failures += 1
        if self._has_probe or (not self.is_open and self._failures >= self._max_failures):
            self._probes_at_s = self._clock() + self._retry_s
            self._has_probe = False
            self.openings += 1

    def abandon(self) -> None:
        """Nobody waited for the answer: if this was the probe, the next call is."""
        self._has_probe = False
