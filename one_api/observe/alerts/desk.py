"""Where news arrive, from any thread, and leave as messages: nobody who brings any ever waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from one_api.observe import catalogue
from one_api.observe.alerts.board import Alert, SharedBoard
from one_api.observe.alerts.channels import Channel
from one_api.observe.alerts.message import Message, compose
from one_api.observe.alerts.news import Language, News, new_tally
from one_api.observe.alerts.outbox import Outbox, Post
from one_api.observe.families import Snapshot

logger = logging.getLogger(__name__)

#: Most news that wait to be looked at; more are counted, and no more than that.
MAX_NEWS: Final = 1_000
#: Seconds between two looks for troubles that were held back.
LOOK_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskOptions:
    """How alerts are told: news of `group_s` seconds together, no more often than `max_per_minute`.

    On shutdown channels get `flush_s` seconds, all together, for what is left.
    """

    host: str
    language: Language = "en"
    group_s: float = 5.0
    max_per_minute: int = 6
    flush_s: float = 3.0


class Desk:
    """Takes news, and has each channel told what is new about them."""

    def __init__(
        self, channels: Sequence[Channel], board: SharedBoard, post: Post, options: DeskOptions
    ) -> None:
        self._board = board
        self._post = post
        self._options = options
        self._outboxes = [
            Outbox(channel, post, self._compose, max_per_minute=options.max_per_minute)
            for channel in channels
        ]
        self._news: deque[News] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._unlooked = 0
        #: News by kind: that became alerts, that are none, that were too many to be looked at.
        self._told, self._suppressed, self._dropped = new_tally(), new_tally(), new_tally()

    @property
    def dropped(self) -> int:
        """News that nobody could look at, as there were too many."""
        return self._dropped.total()

    def add_counts(self, snapshot: Snapshot) -> None:
        """Add to `snapshot` what became of news and, where there is a channel, of alerts."""
        for outbox in self._outboxes:
            for outcome, tally in (("sent", outbox.sent), ("lost", outbox.lost)):
                for kind, count in tally.items():
                    snapshot.add(catalogue.ALERTS, (outbox.channel.name, kind, outcome), count)
        if self._outboxes:
            outcomes = {"told": self._told, "suppressed": self._suppressed}
            for outcome, tally in {**outcomes, "dropped": self._dropped}.items():
                for kind, count in tally.items():
                    snapshot.add(catalogue.ALERT_NEWS, (kind, outcome), count)

    def report(self, news: News) -> None:
        """Have `news` told, if they are any; from any thread, before `start` too. Never raises."""
        if len(self._news) >= MAX_NEWS:
            self._dropped[news.kind] += 1
            return
        self._news.append(news)
        loop = self._loop
        if loop is not None and not self._has_news.is_set():
            with contextlib.suppress(RuntimeError):  # the loop has closed, and all with it
                loop.call_soon_threadsafe(self._has_news.set)

    async def start(self) -> None:
        """Begin to tell."""
        await asyncio.to_thread(self._board.open)
        self._loop = asyncio.get_running_loop()
        self._tasks = [
            asyncio.create_task(work)
            for work in (self._sort(), *(outbox.run() for outbox in self._outboxes))
        ]
        if self._news:
            self._has_news.set()

    async def stop(self) -> None:
        """Tell what is left, for `flush_s` seconds and no longer."""
        if not self._tasks:
            return
        self._stopping.set()
        self._has_news.set()
        _, late = await asyncio.wait(self._tasks, timeout=self._options.flush_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        waiting = sum([outbox.abandon() for outbox in self._outboxes])
        if waiting:
            logger.warning("%d alerts were never sent", waiting)
        self._tasks, self._loop = [], None
        self._board.close()

    async def _sort(self) -> None:
        """Give to the channels what is new."""
        try:
            while not self._stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._has_news.wait()
                if self._has_news.is_set() and not self._stopping.is_set():
                    await self._let_more_come()
                await self._hand_out()
            await self._hand_out()
        finally:
            for outbox in self._outboxes:
                outbox.stop()

    async def _let_more_come(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.group_s):
                await self._stopping.wait()

    async def _hand_out(self) -> None:
        self._has_news.clear()
        news = [self._news.popleft() for _ in range(len(self._news))]
        dropped, self._unlooked = self.dropped - self._unlooked, self.dropped
        if dropped:
            logger.error("%d news were too many to be looked at", dropped)
        alerts: list[Alert] = []
        try:
            sift = partial(self._board.sift, news, self._post.clock.now_s())
            alerts = await asyncio.to_thread(sift)
            self._count(news, alerts)
        except Exception:  # a bug here must not silence everything that comes later
            logger.exception("alerts could not be sorted")
        if alerts or dropped:
            for outbox in self._outboxes:
                outbox.add(alerts, dropped)

    def _count(self, news: list[News], alerts: list[Alert]) -> None:
        # The others were held back, and counted, when they came.
        new = {id(one) for one in news}
        told = Counter(alert.news.kind for alert in alerts if id(alert.news) in new)
        self._told.update(alert.news.kind for alert in alerts)
        self._suppressed.update(Counter(one.kind for one in news) - told)

    def _compose(self, alerts: list[Alert], dropped: int) -> Message:
        options = self._options
        return compose(alerts, options.host, options.language, dropped=dropped)
