"""How long to wait for a deployment, learnt from how long it took."""

from __future__ import annotations

from dataclasses import replace

from one_api.deployment import Timeouts
from one_api.routing.latency import Pace

_PERCENT = 95
#: How many times the percentile is waited.
_PATIENCE = 3.0
#: What a wait that ran out counts as: at least so many times its length would have been needed.
_CENSORED = 2.0
#: A wait counts as run out up to this much past its limit: timers fire late on a busy machine.
_LATENESS, _LATENESS_S = 1.1, 0.5


class AdaptiveTimeouts:
    """The waits for first content and for the whole reply that suit one deployment.

    Each is `_PATIENCE` times the 95th percentile of the last durations, between its `failover_`
    value and its plain one; the `failover_` value while there are none.
    """

    __slots__ = ("_effective", "_given", "first_content", "whole_reply")

    def __init__(self) -> None:
        self.first_content = Pace()
        self.whole_reply = Pace()
        self._given: Timeouts | None = None
        self._effective: Timeouts | None = None

    def note_first_content(self, latency_s: float, now_s: float) -> None:
        """A stream's first content came after `latency_s`."""
        self.first_content.observe(latency_s, now_s)
        self._effective = None

    def note_whole_reply(self, duration_s: float, now_s: float) -> None:
        """A reply that was not streamed was complete after `duration_s`."""
        self.whole_reply.observe(duration_s, now_s)
        self._effective = None

    def note_timeout(self, waited_s: float, given: Timeouts, now_s: float) -> None:
        """A wait ran out after `waited_s`: it counts as a duration of twice that.

        Which wait it was shows in its length. Nothing is learnt where it is none of those in
        force: from a connect timeout, say, or a timeout that the provider itself told of.
        """
        effective = self.effective(given)
        for limit_s, note in (
            (given.total_s, self.note_whole_reply),
            (effective.total_s, self.note_whole_reply),
            (given.first_content_s, self.note_first_content),
            (effective.first_content_s, self.note_first_content),
        ):
            if limit_s <= waited_s <= limit_s * _LATENESS + _LATENESS_S:
                note(_CENSORED * waited_s, now_s)
                return

    def effective(self, given: Timeouts) -> Timeouts:
        """`given` with the waits that suit a deployment while another is left to try."""
        if self._effective is None or self._given is not given:
            self._given = given
            self._effective = replace(
                given,
                first_content_s=_wait_s(
                    self.first_content, given.failover_first_content_s, given.first_content_s
                ),
                total_s=_wait_s(self.whole_reply, given.failover_total_s, given.total_s),
            )
        return self._effective


def _wait_s(pace: Pace, least_s: float, most_s: float) -> float:
    if not pace.recent:
        return min(least_s, most_s)
    return min(max(_PATIENCE * pace.recent.percentile_s(_PERCENT), least_s), most_s)
