"""The scenarios: each measures players on a stage and notes figures under names with units."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.contenders import OneApi, Work
from benchmarks.payloads import STREAM_EVENTS
from benchmarks.results import LIMIT, OURS, Results
from benchmarks.stage import Player, Stage
from benchmarks.statistics import median, trend
from benchmarks.wrk import Throughput

#: Connections of wrk: enough to keep a contender busy.
_CONNECTIONS: Final = 32
#: Fewer replies than these, in all repetitions, are nothing to tell of.
_LEAST_REPLIES: Final = 30
#: Of a rate that is a share of the most a contender does.
_HALF, _OVERLOAD = 0.5, 3.0
#: The bound on requests in flight while there are too many, and how many clients there are.
_IN_FLIGHT, _CLIENTS = 200, 1_000
_KIB, _MB = 1024, 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long a run takes pains; seconds unless the name says otherwise."""

    repetitions: int
    duration_s: float
    warm_up_s: float
    streams: int
    streams_s: float
    idle_streams: int = 0
    soak_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Sample:
    throughput: Throughput
    cpu_s: float

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.throughput.requests * 1e6


def measure_rest(players: Sequence[Player], results: Results) -> None:
    """Memory of players that have done nothing yet, and how long they took until they served."""
    for player in players:
        memory_mb = player.running.memory_bytes() / _MB
        results.note(player.name, ready_s=player.running.ready_s, idle_mb=memory_mb)


def measure_throughput(
    players: Sequence[Player], work: Work, effort: Effort, results: Results
) -> None:
    """As much of `work` as players do, one after the other and all of that again."""
    able = [player for player in players if work not in player.contender.lacks]
    samples: dict[str, list[_Sample]] = {player.name: [] for player in able}
    for player in able:
        player.throughput(work, connections=_CONNECTIONS, duration_s=effort.warm_up_s)
    for _ in range(effort.repetitions):
        for player in able:
            samples[player.name].append(_sample(player, work, effort.duration_s))
    name = work.name.lower()
    for contender, taken in samples.items():
        good = [one for one in taken if not one.throughput.refused]
        if sum(one.throughput.requests for one in good) < _LEAST_REPLIES:
            results.missing[f"{contender}: {name}"] = f"fewer than {_LEAST_REPLIES} good replies"
            continue
        good = [one for one in good if one.throughput.requests]
        cpu_us = median([one.cpu_us for one in good])
        told = {
            f"{name}_cpu_us": cpu_us,
            f"{name}_per_s": median([one.throughput.per_s for one in good]),
            f"{name}_p50_ms": median([one.throughput.p50_ms for one in good]),
            f"{name}_p99_ms": median([one.throughput.p99_ms for one in good]),
        }
        if work.is_stream:
            told[f"{name}_event_us"] = cpu_us / STREAM_EVENTS
        results.note(contender, **told)


def measure_latency(players: Sequence[Player], effort: Effort, results: Results) -> None:
    """What players add to the latency of the provider, at half the load of which ours is capable.

    nginx is asked at the same rate: what it takes is taken off.
    """
    most_per_s = results.get(OURS, "chat_per_s")
    if most_per_s is None:
        return
    told: dict[str, list[tuple[float, float]]] = {}
    for _ in range(effort.repetitions):
        for player in players:
            outcome = player.at_rate(
                per_s=most_per_s * _HALF, duration_s=effort.duration_s, connections=128
            )
            pair = (outcome.good_p50_ms, outcome.good_p99_ms)
            told.setdefault(player.name, []).append(pair)
    medians = {
        name: (median([p50 for p50, _ in pairs]), median([p99 for _, p99 in pairs]))
        for name, pairs in told.items()
    }
    least = medians.get(LIMIT, (0.0, 0.0))
    for name, (p50_ms, p99_ms) in medians.items():
        if name != LIMIT:
            added = {"added_p50_ms": p50_ms - least[0], "added_p99_ms": p99_ms - least[1]}
            results.note(name, **added)


def measure_streams(players: Sequence[Player], effort: Effort, results: Results) -> None:
    """Many streams at once, each slow: what breaks, what is late, and what one takes of memory.

    What nginx is late by is taken off, and with it what the client is.
    """
    for player in players:
        before = player.running.memory_bytes()
        ramp_s = effort.streams / 400
        with player.streams(effort.streams, ramp_s=ramp_s, duration_s=effort.streams_s) as streams:
            cpu_s = player.running.cpu_s()
            time.sleep(effort.streams_s * 0.8)
            cpu_s = player.running.cpu_s() - cpu_s
            memory = player.running.memory_bytes() - before
            outcome = streams.wait()
        # All of its time but the last fifth.
        pieces = outcome.pieces * 0.8
        results.note(
            player.name,
            streams_broken=float(outcome.broken + effort.streams - outcome.begun),
            streams_delay_p99_ms=outcome.delay_p99_ms,
            streams_gap_p99_ms=outcome.gap_p99_ms,
            streams_kib=memory / effort.streams / _KIB,
            streams_event_us=cpu_s / pieces * 1e6 if pieces else 0.0,
        )
    least = results.get(LIMIT, "streams_gap_p99_ms") or 0.0
    for player in players:
        gap_ms = results.get(player.name, "streams_gap_p99_ms")
        if gap_ms is not None and player.name != LIMIT:
            results.note(player.name, streams_added_gap_p99_ms=max(gap_ms - least, 0.0))


def measure_idle_streams(stage: Stage, effort: Effort, results: Results) -> None:
    """Streams that were begun and bring no more; `stage` has a provider of that kind."""
    with stage.play(OneApi()) as player:
        before = player.running.memory_bytes()
        count = effort.idle_streams
        with player.streams(count, ramp_s=count / 400, duration_s=10.0) as streams:
            time.sleep(5.0)
            memory = player.running.memory_bytes() - before
            outcome = streams.wait()
    results.note(
        player.name,
        idle_streams_held=float(outcome.begun - outcome.broken),
        idle_streams_kib=memory / count / _KIB,
    )


def measure_overload(stage: Stage, effort: Effort, results: Results) -> None:
    """Three times as many requests as it can answer: whom it still serves, and how others fare.

    Clients that are told to come again do so when they are told to, as providers' SDKs do.
    """
    duration_s = max(effort.duration_s, 5.0)
    with stage.play(OneApi(MAX_REQUESTS_IN_FLIGHT=str(_IN_FLIGHT))) as player:
        # Taken anew: on a busy machine it is not what it was some minutes ago.
        player.throughput(Work.CHAT, connections=_CONNECTIONS, duration_s=effort.warm_up_s)
        most = player.throughput(Work.CHAT, connections=_CONNECTIONS, duration_s=duration_s)
        most_per_s = most.per_s
        outcome = player.at_rate(
            per_s=most_per_s * _OVERLOAD, duration_s=duration_s, connections=_CLIENTS
        )
    results.note(
        OURS,
        overload_goodput=outcome.good / outcome.duration_s / most_per_s,
        overload_turned_away=float(outcome.turned_away),
        overload_away_p99_ms=outcome.away_p99_ms,
        overload_good_p99_ms=outcome.good_p99_ms,
        overload_unanswered=float(outcome.unanswered),
    )


def measure_workers(stage: Stage, effort: Effort, results: Results) -> None:
    """How much more two processes do than one, when both processors are there for them.

    Provider and client run beside them: with two processors it cannot come to twice as much.
    """
    per_s = []
    for workers in (1, 2):
        with stage.play(OneApi(), workers=workers, cpus="0,1") as player:
            player.throughput(Work.CHAT, connections=64, duration_s=effort.warm_up_s)
            taken = _repeated(player, effort)
        per_s.append(median([one.per_s for one in taken]))
    results.note(OURS, two_workers_factor=per_s[1] / per_s[0])


def measure_soak(player: Player, effort: Effort, results: Results) -> None:
    """Memory over a long time at half load; the first fifth is not counted, it warms up."""
    most_per_s = results.get(player.name, "chat_per_s")
    if most_per_s is None:
        return
    begun_at = time.monotonic()
    points: list[tuple[float, float]] = []
    while (passed_s := time.monotonic() - begun_at) < effort.soak_s:
        player.at_rate(per_s=most_per_s * _HALF, duration_s=10.0, connections=128)
        if passed_s >= effort.soak_s / 5:
            passed_h = (time.monotonic() - begun_at) / 3600
            points.append((passed_h, player.running.memory_bytes() / _MB))
    line = trend(points)
    results.note(
        player.name,
        soak_mb_per_h=line.slope,
        soak_error_mb_per_h=line.standard_error,
        soak_is_flat=float(line.is_flat or line.slope < 0),
    )


def _sample(player: Player, work: Work, duration_s: float) -> _Sample:
    before = player.running.cpu_s()
    throughput = player.throughput(work, connections=_CONNECTIONS, duration_s=duration_s)
    return _Sample(throughput, player.running.cpu_s() - before)


def _repeated(player: Player, effort: Effort) -> list[Throughput]:
    return [
        player.throughput(Work.CHAT, connections=64, duration_s=effort.duration_s)
        for _ in range(effort.repetitions)
    ]


#: What a measurement may end with, besides figures.
MEASURING_FAILED = (subprocess.SubprocessError, ValueError, OSError, RuntimeError)
