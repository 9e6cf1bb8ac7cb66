"""A client that asks at a fixed rate, whatever the server does: `python -m benchmarks.paced_load`.

What wrk cannot do: below the most a server answers, latency is that of the server and not of a
queue; above it, it shows whom the server turns away. Told what to do by a JSON object on stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any, Final, cast

import uvloop
from typing_extensions import override

from benchmarks.statistics import quantile

#: How long replies are waited for once all is asked, in seconds.
_PATIENCE_S: Final = 15.0
_LENGTH: Final = b"content-length:"


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePlan:
    """What to do; `request` is all of an HTTP request, `per_s` how often it is sent.

    At most `connections` wait for replies at a time, or until they may come again: what is due
    beyond that is not sent, and counts as unsent.
    """

    host: str
    port: int
    request: str
    per_s: float
    duration_s: float
    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RateOutcome:
    """What came of it: replies by status, and how long those took, in milliseconds.

    `unanswered` were sent and got no reply. Latencies of `good` (200) and `turned_away` (others)
    are told apart; 0 where there were none. `client_cpus` is how many processors asking took:
    near 1, latencies are the client's.
    """

    good: int
    turned_away: int
    with_retry_after: int
    unanswered: int
    unsent: int
    duration_s: float
    good_p50_ms: float
    good_p99_ms: float
    away_p99_ms: float
    client_cpus: float


@dataclass(slots=True)
class _Record:
    idle: deque[_Connection] = field(default_factory=deque)
    latencies_ms: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    counts: Counter[str] = field(default_factory=Counter)


class _Connection(asyncio.Protocol):
    """One connection, that has one request at a time."""

    def __init__(self, record: _Record) -> None:
        self._record = record
        self._reply = b""
        self._asked_at: float | None = None
        self.transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # One of uvloop says it is no more than the base.
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> None:
        """Send `request`; the connection is idle again once it is answered."""
        assert self.transport is not None, "it is connected"  # noqa: S101
        self._asked_at = time.perf_counter()
        self._reply = b""
        self.transport.write(request)

    @override
    def data_received(self, data: bytes) -> None:
        self._reply += data
        head, end, body = self._reply.partition(b"\r\n\r\n")
        if self._asked_at is None or not end:
            return
        head = head.lower()
        at = head.find(_LENGTH)
        if at < 0:
            complete = body.endswith(b"0\r\n\r\n")
        else:
            complete = len(body) >= int(head[at + len(_LENGTH) :].partition(b"\r\n")[0])
        if not complete:
            return
        record = self._record
        is_good = head[9:12] == b"200"
        record.latencies_ms[is_good].append((time.perf_counter() - self._asked_at) * 1e3)
        record.counts["with_retry_after"] += not is_good and b"\nretry-after:" in head
        self._asked_at = None
        if b"\nconnection: close" in head:
            return
        if is_good:
            record.idle.append(self)
        else:
            asyncio.get_running_loop().call_later(_wait_s(head), record.idle.append, self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        record = self._record
        record.counts["unanswered"] += self._asked_at is not None
        self._asked_at = None
        if self in record.idle:
            record.idle.remove(self)


def _wait_s(head: bytes) -> float:
    """How long a client waits before it asks again: as long as it was told."""
    _, is_told, rest = head.partition(b"\nretry-after:")
    return float(rest.partition(b"\r\n")[0]) if is_told else 0.0


async def load(plan: RatePlan) -> RateOutcome:
    """Ask at the rate; replies still on their way are waited for."""
    loop = asyncio.get_running_loop()
    record = _Record()
    request = plan.request.encode()
    connections = [
        (await loop.create_connection(lambda: _Connection(record), plan.host, plan.port))[1]
        for _ in range(plan.connections)
    ]
    record.idle.extend(connections)
    begun_at, cpu_s = loop.time(), time.process_time()
    sent = 0
    while (passed_s := loop.time() - begun_at) < plan.duration_s:
        for _ in range(int(passed_s * plan.per_s) - sent):
            sent += 1
            if record.idle:
                # The one that was used last: few are used where few are needed.
                record.idle.pop().ask(request)
            else:
                record.counts["unsent"] += 1
        await asyncio.sleep(0.001)
    duration_s = loop.time() - begun_at
    client_cpus = (time.process_time() - cpu_s) / duration_s
    good_in_time = len(record.latencies_ms[True])
    await _wait_for_replies(connections, record)
    return _outcome(record, good_in_time, duration_s, client_cpus)


async def _wait_for_replies(connections: list[_Connection], record: _Record) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + _PATIENCE_S
    while len(record.idle) < len(connections) and loop.time() < until:
        open_ones = [one for one in connections if one.transport and not one.transport.is_closing()]
        if len(record.idle) >= len(open_ones):
            break
        await asyncio.sleep(0.02)
    for connection in connections:
        if connection.transport is not None:
            connection.transport.abort()
    await asyncio.sleep(0.05)


def _outcome(
    record: _Record, good_in_time: int, duration_s: float, client_cpus: float
) -> RateOutcome:
    good, away = record.latencies_ms[True] or [0.0], record.latencies_ms[False] or [0.0]
    return RateOutcome(
        good=good_in_time,
        turned_away=len(record.latencies_ms[False]),
        with_retry_after=record.counts["with_retry_after"],
        unanswered=record.counts["unanswered"],
        unsent=record.counts["unsent"],
        duration_s=duration_s,
        good_p50_ms=quantile(good, 0.5),
        good_p99_ms=quantile(good, 0.99),
        away_p99_ms=quantile(away, 0.99),
        client_cpus=client_cpus,
    )


def main() -> None:
    """Do what the JSON object on stdin says; the outcome goes to stdout, in JSON."""
    told: dict[str, Any] = json.load(sys.stdin)
    print(json.dumps(asdict(uvloop.run(load(RatePlan(**told))))))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
