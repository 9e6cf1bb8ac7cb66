"""A client of many streams at once: `python -m benchmarks.stream_load`, told what to do on stdin.

Streams begin one after the other over `ramp_s` seconds, and are read until `duration_s` seconds
have passed since the last began, or until they end. Bare transports, as in `paced_provider`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
from array import array
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TextIO, cast

import uvloop
from typing_extensions import override

from benchmarks.statistics import quantile

#: When a piece left its provider, in nanoseconds of the monotonic clock.
_STAMP: Final = re.compile(rb"@(\d{19})")
#: How long streams that were opened may take to bring their first piece, in seconds.
_PATIENCE_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """What to do; `request` is all of an HTTP request, `hold` prints a line before the wait."""

    host: str
    port: int
    request: str
    streams: int
    ramp_s: float
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOutcome:
    """What came of it; delays are from the provider to here, gaps between pieces of a stream.

    Streams that were `broken` had begun. `client_cpus` is how many processors reading took: near
    1, delays and gaps are the client's.
    """

    begun: int
    broken: int
    pieces: int
    delay_p50_ms: float
    delay_p99_ms: float
    gap_p99_ms: float
    gap_max_ms: float
    client_cpus: float


@dataclass(slots=True)
class _Record:
    delays_ns: array[int] = field(default_factory=lambda: array("q"))
    gaps_ns: array[int] = field(default_factory=lambda: array("q"))
    begun: int = 0
    #: Ended early: before their first piece, and after it.
    failed: int = 0
    broken: int = 0
    is_over: bool = False
    #: Counted from when all streams have begun: beginning is work of its own.
    is_counting: bool = False
    #: Set once as many as are expected have begun or failed.
    all_told: asyncio.Event = field(default_factory=asyncio.Event)
    _expected: int | None = None

    def expect(self, count: int) -> None:
        """So many are to begin or to fail."""
        self._expected = count
        self.count()

    def count(self, *, begun: int = 0, failed: int = 0) -> None:
        """Some more have."""
        self.begun += begun
        self.failed += failed
        if self._expected is not None and self.begun + self.failed >= self._expected:
            self.all_told.set()


class _Stream(asyncio.Protocol):
    """One connection with one request; it is closed by whoever ends the measurement."""

    def __init__(self, request: bytes, record: _Record) -> None:
        self._request = request
        self._record = record
        self._last_ns = 0
        self._rest = b""
        self._is_begun = False
        self._is_done = False
        self.transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # One of uvloop says it is no more than the base.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    @override
    def data_received(self, data: bytes) -> None:
        now_ns, record = time.monotonic_ns(), self._record
        if self._rest:
            data = self._rest + data
        # A stamp may be cut; what may hold the beginning of one waits for the rest.
        self._rest = data[-20:] if b"@" in data[-20:] else b""
        whole = data[: len(data) - len(self._rest)] if self._rest else data
        for stamp in _STAMP.finditer(whole):
            self._begin()
            if record.is_counting:
                record.delays_ns.append(now_ns - int(stamp[1]))
                if self._last_ns:
                    record.gaps_ns.append(now_ns - self._last_ns)
                self._last_ns = now_ns
        if b"[DONE]" in data:
            self._is_done = True

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_done or self._record.is_over:
            return
        if self._is_begun:
            self._record.broken += 1
        else:
            self._record.count(failed=1)

    def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            self._record.count(begun=1)


async def load(plan: StreamPlan, output: TextIO) -> StreamOutcome:
    """Open the streams, say "open" in a line of `output`, and read them for their time."""
    loop = asyncio.get_running_loop()
    record = _Record()
    request = plan.request.encode()
    begun_at = loop.time()
    streams: list[_Stream] = []
    for number in range(plan.streams):
        await asyncio.sleep(begun_at + number * plan.ramp_s / plan.streams - loop.time())
        try:
            _, stream = await loop.create_connection(
                lambda: _Stream(request, record), plan.host, plan.port
            )
        except OSError:
            record.count(failed=1)
            continue
        streams.append(stream)
    record.expect(plan.streams)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            await record.all_told.wait()
    record.is_counting = True
    print("open", file=output, flush=True)
    begun_at, cpu_s = loop.time(), time.process_time()
    await asyncio.sleep(plan.duration_s)
    client_cpus = (time.process_time() - cpu_s) / (loop.time() - begun_at)
    record.is_over = True
    for stream in streams:
        if stream.transport is not None:
            stream.transport.abort()
    return _outcome(record, client_cpus)


def _outcome(record: _Record, client_cpus: float) -> StreamOutcome:
    delays = [delay / 1e6 for delay in record.delays_ns] or [0.0]
    gaps = [gap / 1e6 for gap in record.gaps_ns] or [0.0]
    return StreamOutcome(
        begun=record.begun,
        broken=record.broken,
        pieces=len(record.delays_ns),
        delay_p50_ms=quantile(delays, 0.5),
        delay_p99_ms=quantile(delays, 0.99),
        gap_p99_ms=quantile(gaps, 0.99),
        gap_max_ms=max(gaps),
        client_cpus=client_cpus,
    )


def main() -> None:
    """Do what the JSON object on stdin says; the outcome is the last line of stdout, in JSON."""
    told: dict[str, Any] = json.load(sys.stdin)
    outcome = uvloop.run(load(StreamPlan(**told), sys.stdout))
    print(json.dumps(asdict(outcome)))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
