"""What the ends of requests tell: that too many fail, that nobody answered, that money is short."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from one_api.errors import BudgetExceeded, GatewayError, UpstreamError
from one_api.observe.alerts.levels import REPEAT_S
from one_api.observe.alerts.news import News
from one_api.observe.exchange import Exchange
from one_api.observe.observer import Observer

#: Most models and keys of which a failure is remembered: names may come from clients.
MAX_REMEMBERED: Final = 1_000
_SLICES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRule:
    """Too many requests fail where at least `percent` of `window_s` seconds do, of `least` or more.

    It is over when less than half as many fail.
    """

    percent: float = 20.0
    window_s: float = 60.0
    least: int = 20


class ErrorRate:
    """How many requests of the last seconds failed; times are of one clock, in seconds."""

    def __init__(self, rule: ErrorRule) -> None:
        self._rule = rule
        self._slice_s = rule.window_s / _SLICES
        # Slice number, requests and failures of it.
        self._slices: deque[list[int]] = deque(maxlen=_SLICES)
        self._is_high = False

    def note(self, now_s: float, *, has_failed: bool) -> None:
        """A request has ended."""
        number = int(now_s / self._slice_s)
        if not self._slices or self._slices[-1][0] < number:
            self._slices.append([number, 0, 0])
        self._slices[-1][1] += 1
        self._slices[-1][2] += has_failed

    def news(self, now_s: float) -> News | None:
        """That it is too high, as long as it is; that it is over, once."""
        oldest = int(now_s / self._slice_s) - _SLICES
        recent = [one for one in self._slices if one[0] > oldest]
        total, failed = sum(one[1] for one in recent), sum(one[2] for one in recent)
        percent = 100 * failed / total if total else 0.0
        was_high, rule = self._is_high, self._rule
        if percent >= rule.percent and total >= rule.least:
            self._is_high = True
        elif percent < rule.percent / 2:
            self._is_high = False
        if not (self._is_high or was_high):
            return None
        facts: dict[str, str | int] = {
            "failed": failed,
            "total": total,
            "percent": round(percent),
            "window_s": round(rule.window_s),
        }
        return News("error_rate", "requests", facts, is_recovery=not self._is_high)


class RequestWatch(Observer):
    """Reports what requests come to; `clock` gives monotonic seconds.

    Told of requests on any thread; `look` is for one that looks again and again.
    """

    def __init__(
        self,
        report: Callable[[News], None],
        rule: ErrorRule,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._rate = ErrorRate(rule)
        self._clock = clock
        self._lock = threading.Lock()
        #: Models by when a failure of theirs was reported last, and keys.
        self._failing: OrderedDict[str, float] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()

    @override
    def ended(self, exchange: Exchange) -> None:
        model, error = exchange.model, exchange.error
        if not model:
            return
        if isinstance(error, BudgetExceeded) and exchange.key_id is not None:
            _remember(self._refused, exchange.key_id, 0.0)
        # A provider's 429 is nobody's mistake here, but the client got no answer all the same.
        has_failed = exchange.status >= 500 or (error is not None and _is_failure(error))
        now_s = self._clock()
        with self._lock:
            self._rate.note(now_s, has_failed=has_failed)
        if not has_failed:
            if model in self._failing and error is None and exchange.status < 400:
                self._failing.pop(model, None)
                self._report(News("request_failed", model, is_recovery=True))
        elif exchange.attempts and exchange.attempts[-1].error is not None:
            self._tell_failure(exchange, now_s)

    def look(self) -> list[News]:
        """How the rate of errors stands."""
        with self._lock:
            news = self._rate.news(self._clock())
        return [] if news is None else [news]

    def take_refused(self) -> set[str]:
        """The keys whose requests were refused for their budgets since this was asked last."""
        refused, self._refused = self._refused, OrderedDict()
        return set(refused)

    def _tell_failure(self, exchange: Exchange, now_s: float) -> None:
        reported_s = self._failing.get(exchange.model)
        if reported_s is not None and now_s - reported_s < REPEAT_S:
            return  # Everybody knows, and there may be many of them.
        _remember(self._failing, exchange.model, now_s)
        facts: dict[str, str | int] = {
            "attempts": len(exchange.attempts),
            "code": exchange.attempts[-1].error or "",
            "request_id": exchange.request_id,
        }
        self._report(News("request_failed", exchange.model, facts))


def _is_failure(error: GatewayError) -> bool:
    return isinstance(error, UpstreamError) or error.status >= 500


def _remember(names: OrderedDict[str, float], name: str, now_s: float) -> None:
    names[name] = now_s
    if len(names) > MAX_REMEMBERED:
        names.popitem(last=False)
