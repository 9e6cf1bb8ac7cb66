"""One channel's alerts on their way out: together, not too many messages, again where need be."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

from one_api.adapter.clock import Clock
from one_api.adapter.http import HTTPTransport
from one_api.adapter.http_errors import parse_retry_after_s
from one_api.deployment import Timeouts
from one_api.errors import GatewayError
from one_api.observe.alerts.board import Alert
from one_api.observe.alerts.channels import Answer, Channel, NotSentError
from one_api.observe.alerts.message import Message
from one_api.observe.alerts.news import new_tally
from one_api.redaction import redact

logger = logging.getLogger(__name__)

#: How long one attempt may take, in seconds.
TIMEOUTS: Final = Timeouts(connect_s=5.0, first_content_s=10.0, idle_s=10.0, total_s=10.0)
#: Most alerts that wait for a channel; of more only the number is told.
MAX_PENDING: Final = 200
#: A message is given up after so many attempts.
MAX_ATTEMPTS: Final = 10
#: Pauses between attempts: they double from the first to the last, in seconds.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 60.0
#: Longest wait that a channel may ask for, in seconds.
_MAX_RETRY_AFTER_S = 300.0
_MAX_REPLY_BYTES = 64 * 1024

#: Makes a message of alerts and of the number of those that nobody kept.
Compose = Callable[[list[Alert], int], Message]


class Pacer:
    """At most `most` of something in any minute; times are of a monotonic clock, in seconds."""

    def __init__(self, most: int) -> None:
        self._sent_s: deque[float] = deque(maxlen=most)

    def wait_s(self, now_s: float) -> float:
        """For how long the next one has to wait."""
        if len(self._sent_s) < (self._sent_s.maxlen or 0):
            return 0.0
        return max(self._sent_s[0] + 60.0 - now_s, 0.0)

    def note(self, now_s: float) -> None:
        """One was sent."""
        self._sent_s.append(now_s)


@dataclass(frozen=True, slots=True)
class Post:
    """What an outbox sends with."""

    http: HTTPTransport
    clock: Clock
    random: Random


async def deliver(channel: Channel, message: Message, post: Post) -> None:
    """Send `message` once. Raises: NotSentError, whose text holds no secret."""
    try:
        request = channel.request(message, post.clock.now_s())
        async with post.http.send(request, TIMEOUTS) as reply:
            body = await reply.read(_MAX_REPLY_BYTES)
            wait_s = parse_retry_after_s(reply.headers, now_s=post.clock.now_s())
            answer = Answer(reply.status, body, wait_s)
    except GatewayError as exc:
        # The transport speaks of providers; to an operator this is the other side of a channel.
        reason = exc.message.replace("The provider", "The channel").replace(
            "the provider", "the channel"
        )
        raise NotSentError(reason) from exc
    try:
        channel.check(answer)
    except NotSentError as exc:
        raise NotSentError(
            redact(str(exc)), is_final=exc.is_final, retry_after_s=exc.retry_after_s
        ) from None


class Outbox:
    """What waits for one channel; nobody waits for it. Belongs to one event loop."""

    def __init__(
        self, channel: Channel, post: Post, compose: Compose, *, max_per_minute: int
    ) -> None:
        self.channel = channel
        self._post = post
        self._compose = compose
        self._pacer = Pacer(max_per_minute)
        self._pending: deque[Alert] = deque()
        self._overflow = 0
        self._has_news = asyncio.Event()
        self._stopping = asyncio.Event()
        #: By kind, alerts that were told, and those that were not and never will be.
        self.sent, self.lost = new_tally(), new_tally()

    def add(self, alerts: Iterable[Alert], dropped: int = 0) -> None:
        """Have `alerts` sent; `dropped` is how many there were before that nobody kept."""
        for alert in alerts:
            if len(self._pending) >= MAX_PENDING:
                self._overflow += 1
                self.lost[alert.news.kind] += 1
            else:
                self._pending.append(alert)
        self._overflow += dropped
        self._has_news.set()

    def abandon(self) -> int:
        """Keep nothing; how many alerts were still to be sent."""
        waiting = len(self._pending)
        self._count(self.lost, self._pending)
        self._pending.clear()
        return waiting

    def stop(self) -> None:
        """Send what is left at once, with one attempt, and end."""
        self._stopping.set()
        self._has_news.set()

    async def run(self) -> None:
        """Send what comes, until told to stop."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            while self._pending or self._overflow:
                await self._pause(self._pacer.wait_s(self._post.clock.monotonic_s()))
                await self._send_all()
            if self._stopping.is_set():
                return

    async def _send_all(self) -> None:
        alerts, dropped = list(self._pending), self._overflow
        self._pending.clear()
        self._overflow = 0
        self._pacer.note(self._post.clock.monotonic_s())
        try:
            await self._send(self._compose(alerts, dropped))
        except NotSentError as exc:
            self._count(self.lost, alerts)
            logger.error("%d alerts are not sent to %s: %s", len(alerts), self.channel.name, exc)
        except asyncio.CancelledError:
            self._count(self.lost, alerts)
            logger.warning("%d alerts for %s are not sent any more", len(alerts), self.channel.name)
            raise
        except Exception:  # a bug in one channel must not silence it for ever
            self._count(self.lost, alerts)
            logger.exception("alerts for %s could not be sent", self.channel.name)
        else:
            self._count(self.sent, alerts)

    def _count(self, tally: Counter[str], alerts: Iterable[Alert]) -> None:
        tally.update(alert.news.kind for alert in alerts)

    async def _send(self, message: Message) -> None:
        """Raises: NotSentError, of the last attempt."""
        pause_s = _FIRST_PAUSE_S
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                await deliver(self.channel, message, self._post)
                return
            except NotSentError as exc:
                if exc.is_final or attempt == MAX_ATTEMPTS or self._stopping.is_set():
                    raise
                if attempt == 1:
                    logger.warning("alerts for %s wait: %s", self.channel.name, exc)
                wait_s = exc.retry_after_s
            if wait_s is None:
                wait_s = pause_s * self._post.random.uniform(0.5, 1.0)
            await self._pause(min(max(wait_s, 0.0), _MAX_RETRY_AFTER_S))
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    async def _pause(self, delay_s: float) -> None:
        """Let `delay_s` pass, or less where everything stops."""
        if delay_s <= 0 or self._stopping.is_set():
            return
        waits = {
            asyncio.ensure_future(self._post.clock.sleep(delay_s)),
            asyncio.ensure_future(self._stopping.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
