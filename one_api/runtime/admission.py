"""How many requests one process serves at once, and what becomes of more: an early 503."""

from __future__ import annotations

import logging
import time
from typing import Final

from one_api.errors import Overloaded

logger = logging.getLogger(__name__)

#: How often the log tells of requests that were turned away, in seconds.
_TELL_EVERY_S: Final = 10.0


class Admission:
    """The bound on requests in flight; paths that begin with one of `exempt` are let in above it.
    Those are for whoever watches a gateway that has too much to do.

    Whoever has more than it can do answers none of it in time: what is over the bound is refused
    before any of it is read. `turned_away` counts them.
    """

    def __init__(self, max_in_flight: int = 0, exempt: tuple[str, ...] = ()) -> None:
        self._max = max_in_flight
        self._exempt = exempt
        #: Requests that were let in and have not ended; counted by whoever lets them in.
        self.in_flight = 0
        self.turned_away = 0
        self._told = 0
        self._told_at_s = -_TELL_EVERY_S

    def refusal(self, path: str) -> Overloaded | None:
        """Why one more request, for `path`, is not let in; None where it is."""
        if self.in_flight < self._max or not self._max or path.startswith(self._exempt):
            return None
        self.turned_away += 1
        self._tell(time.monotonic())
        return Overloaded(
            f"The gateway has {self._max} requests under way, as many as it takes; "
            "send this again in a moment."
        )

    def _tell(self, now_s: float) -> None:
        if now_s - self._told_at_s < _TELL_EVERY_S:
            return
        count, self._told = self.turned_away - self._told, self.turned_away
        self._told_at_s = now_s
        logger.warning(
            "%d requests were turned away: %d are in flight (MAX_REQUESTS_IN_FLIGHT)",
            count,
            self._max,
        )
