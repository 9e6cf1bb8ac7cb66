"""Troubles that are looked for again and again: what of them is news."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from one_api.observe.alerts.news import News

#: Seconds after which all that goes on is reported again, for the board to decide upon.
REPEAT_S: Final = 60.0


class Levels:
    """Remembers what was there at the last look; times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._there: dict[str, dict[str, News]] = {}
        self._reported_s: dict[str, float] = {}

    def update(self, kind: str, there: Iterable[News], now_s: float) -> list[News]:
        """News, after a look for all trouble of `kind`: what came, what went, what goes on."""
        before = self._there.get(kind, {})
        now = {news.subject: news for news in there}
        self._there[kind] = now
        over = [
            News(kind, subject, news.facts, is_recovery=True)
            for subject, news in before.items()
            if subject not in now
        ]
        is_due = now_s - self._reported_s.get(kind, now_s - REPEAT_S) >= REPEAT_S
        if is_due:
            self._reported_s[kind] = now_s
        return [*(one for one in now.values() if is_due or one.subject not in before), *over]

    def subjects(self, kind: str) -> set[str]:
        """Who had it at the last look."""
        return set(self._there.get(kind, ()))
