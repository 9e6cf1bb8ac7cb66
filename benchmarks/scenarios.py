"""The scenarios: each measures players on a stage and notes figures under names with units."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.contenders import OneApi, Work
from benchmarks.disturbance import Meter, Repetition, watched
from benchmarks.paced_load import RateOutcome
from benchmarks.payloads import STREAM_EVENTS
from benchmarks.results import LIMIT, OURS, Results
from benchmarks.stage import Player, Stage
from benchmarks.statistics import median, trend
from benchmarks.stream_load import StreamOutcome
from benchmarks.wrk import Throughput

#: Connections of wrk: enough to keep a contender busy, and so few that what a slow one leaves
#: undone in the end is little beside what it did.
_CONNECTIONS, _SLOW_CONNECTIONS = 32, 8
#: A slow contender has a repetition in every fourth round, which is three times as long.
_SLOW_ROUNDS, _SLOW_DURATIONS = 4, 3
#: How long a contender may go on with what its clients left, in seconds, and what is no work.
_PATIENCE_S, _AT_REST_S, _REST_CPU_S = 10.0, 0.25, 0.02
#: Fewer replies than these, in all repetitions, are nothing to tell of.
_LEAST_REPLIES: Final = 30
#: Of a rate that is a share of the most a contender does.
_HALF, _OVERLOAD = 0.5, 3.0
#: The bound on requests in flight while there are too many, how many clients there are, and for
#: how many seconds.
_IN_FLIGHT, _CLIENTS, _OVERLOAD_S = 200, 1_000, 6.0
#: Streams that begin in a second, and what of their time is accounted: not its end.
_RAMP_PER_S, _ACCOUNTED = 400, 0.8
_KIB, _MB = 1024, 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long a run takes pains; seconds unless the name says otherwise.

    Measured are `repetitions` of `duration_s` each, and `stream_runs` of `streams_s` with all
    `streams` open.
    """

    repetitions: int
    duration_s: float
    warm_up_s: float
    streams: int
    stream_runs: int
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


@dataclass(frozen=True, slots=True)
class _StreamRun:
    outcome: StreamOutcome
    cpu_s: float
    memory_bytes: int
    load_cpus: float

    @property
    def event_us(self) -> float:
        pieces = self.outcome.pieces * _ACCOUNTED
        return self.cpu_s / pieces * 1e6 if pieces else 0.0


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
    taken: dict[str, list[Repetition[_Sample]]] = {player.name: [] for player in able}
    for player in able:
        _sample(player, work, effort.warm_up_s)
        _let_finish(player)
    for number in range(effort.repetitions):
        for player in able:
            is_quick = player.contender.carries_load
            if is_quick or number % _SLOW_ROUNDS == 0:
                duration_s = effort.duration_s * (1 if is_quick else _SLOW_DURATIONS)
                taken[player.name].append(watched(partial(_sample, player, work, duration_s)))
                _let_finish(player)
    name = work.name.lower()
    for contender, repetitions in taken.items():
        good = [one for one in repetitions if not one.outcome.throughput.refused]
        if sum(one.outcome.throughput.requests for one in good) < _LEAST_REPLIES:
            results.missing[f"{contender}: {name}"] = f"fewer than {_LEAST_REPLIES} good replies"
            continue
        good = [one for one in good if one.outcome.throughput.requests]
        results.note(contender, **_throughput_figures(work, results.choose(good)))


def _throughput_figures(work: Work, samples: Sequence[_Sample]) -> dict[str, float]:
    name = work.name.lower()
    cpu_us = median([one.cpu_us for one in samples])
    figures = {
        f"{name}_cpu_us": cpu_us,
        f"{name}_per_s": median([one.throughput.per_s for one in samples]),
        f"{name}_p50_ms": median([one.throughput.p50_ms for one in samples]),
        f"{name}_p99_ms": median([one.throughput.p99_ms for one in samples]),
    }
    if work.is_stream:
        figures[f"{name}_event_us"] = cpu_us / STREAM_EVENTS
    return figures


def measure_latency(players: Sequence[Player], effort: Effort, results: Results) -> None:
    """What players add to the latency of the provider, at half the load of which ours is capable.

    nginx is asked at the same rate: what it takes is taken off.
    """
    most_per_s = results.get(OURS, "chat_per_s")
    if most_per_s is None:
        return
    taken: dict[str, list[Repetition[RateOutcome]]] = {player.name: [] for player in players}
    for _ in range(effort.repetitions):
        for player in players:
            ask = partial(
                player.at_rate,
                per_s=most_per_s * _HALF,
                duration_s=effort.duration_s,
                connections=128,
            )
            taken[player.name].append(watched(ask))
    for name, repetitions in taken.items():
        told = results.choose(repetitions)
        results.note(
            name,
            half_load_p50_ms=median([one.good_p50_ms for one in told]),
            half_load_p99_ms=median([one.good_p99_ms for one in told]),
            half_load_client_cpus=median([one.client_cpus for one in told]),
        )
    _note_added(results, "half_load_p50_ms", "added_p50_ms")
    _note_added(results, "half_load_p99_ms", "added_p99_ms")


def measure_streams(players: Sequence[Player], effort: Effort, results: Results) -> None:
    """Many streams at once, each slow: what breaks, what is late, and what one takes of memory.

    What nginx is late by is taken off, and with it what the client is. Memory is what the most
    costly run took beyond that before the first, and what broke in any run is told.
    """
    before = {player.name: player.running.memory_bytes() for player in players}
    taken: dict[str, list[Repetition[_StreamRun]]] = {player.name: [] for player in players}
    for _ in range(effort.stream_runs):
        for player in players:
            taken[player.name].append(_run_streams(player, effort))
    for name, repetitions in taken.items():
        runs = [one.outcome for one in repetitions]
        broken = [effort.streams - one.outcome.begun + one.outcome.broken for one in runs]
        memory = max(one.memory_bytes for one in runs) - before[name]
        told = results.choose(repetitions)
        results.note(
            name,
            streams_broken=float(sum(broken)),
            streams_delay_p99_ms=median([one.outcome.delay_p99_ms for one in told]),
            streams_gap_p99_ms=median([one.outcome.gap_p99_ms for one in told]),
            streams_load_cpus=median([one.load_cpus for one in told]),
            streams_kib=memory / effort.streams / _KIB,
            streams_event_us=median([one.event_us for one in told]),
        )
    _note_added(results, "streams_gap_p99_ms", "streams_added_gap_p99_ms")


def _run_streams(player: Player, effort: Effort) -> Repetition[_StreamRun]:
    """One run; what others take while streams begin is not counted, as delays are not then."""
    ramp_s = effort.streams / _RAMP_PER_S
    with player.streams(effort.streams, ramp_s=ramp_s, duration_s=effort.streams_s) as streams:
        meter, cpu_s = Meter(), player.running.cpu_s()
        provider_s, begun_s = player.paced_provider.cpu_s(), time.monotonic()
        time.sleep(effort.streams_s * _ACCOUNTED)
        cpu_s = player.running.cpu_s() - cpu_s
        provider_s = player.paced_provider.cpu_s() - provider_s
        provider_cpus = provider_s / (time.monotonic() - begun_s)
        memory_bytes = player.running.memory_bytes()
        outcome = streams.wait()
    load_cpus = provider_cpus + outcome.client_cpus
    return Repetition(_StreamRun(outcome, cpu_s, memory_bytes, load_cpus), meter.span())


def _note_added(results: Results, name: str, added: str) -> None:
    """Note by how much a figure of each contender is more than nginx's."""
    least = results.get(LIMIT, name) or 0.0
    for contender in results.figures:
        value = results.get(contender, name)
        if value is not None and contender != LIMIT:
            results.note(contender, **{added: value - least})


def measure_idle_streams(stage: Stage, effort: Effort, results: Results) -> None:
    """Streams that were begun and bring no more; `stage` has a provider of that kind."""
    with stage.play(OneApi()) as player:
        before = player.running.memory_bytes()
        count = effort.idle_streams
        with player.streams(count, ramp_s=count / _RAMP_PER_S, duration_s=10.0) as streams:
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
    with stage.play(OneApi(MAX_REQUESTS_IN_FLIGHT=str(_IN_FLIGHT))) as player:
        # Taken anew: on a busy machine it is not what it was some minutes ago.
        player.throughput(Work.CHAT, connections=_CONNECTIONS, duration_s=effort.warm_up_s)
        most = player.throughput(Work.CHAT, connections=_CONNECTIONS, duration_s=_OVERLOAD_S)
        most_per_s = most.per_s
        outcome = player.at_rate(
            per_s=most_per_s * _OVERLOAD, duration_s=_OVERLOAD_S, connections=_CLIENTS
        )
    results.note(
        OURS,
        overload_goodput=outcome.good / outcome.duration_s / most_per_s,
        overload_turned_away=float(outcome.turned_away),
        overload_away_p99_ms=outcome.away_p99_ms,
        overload_good_p99_ms=outcome.good_p99_ms,
        overload_unanswered=float(outcome.unanswered),
        overload_client_cpus=outcome.client_cpus,
    )


def measure_workers(stage: Stage, effort: Effort, results: Results) -> None:
    """How much more two processes do than one, when both processors are there for them.

    Provider and client run beside them: with two processors it cannot come to twice as much.
    """

    def per_s(player: Player, duration_s: float) -> float:
        return player.throughput(Work.CHAT, connections=64, duration_s=duration_s).per_s

    with (
        stage.play(OneApi(), cpus="0,1") as one,
        stage.play(OneApi(), workers=2, cpus="0,1") as two,
    ):
        for player in (one, two):
            per_s(player, effort.warm_up_s)
        rounds = [
            [watched(partial(per_s, player, effort.duration_s)) for player in (one, two)]
            for _ in range(effort.repetitions)
        ]
    least, most = (results.choose(taken) for taken in zip(*rounds, strict=True))
    results.note(OURS, two_workers_factor=median(most) / median(least))


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
    connections = _CONNECTIONS if player.contender.carries_load else _SLOW_CONNECTIONS
    before = player.running.cpu_s()
    throughput = player.throughput(work, connections=connections, duration_s=duration_s)
    return _Sample(throughput, player.running.cpu_s() - before)


def _let_finish(player: Player) -> None:
    """Wait until a slow contender rests: it goes on with what wrk left, where the next one runs."""
    if player.contender.carries_load:
        return
    until = time.monotonic() + _PATIENCE_S
    is_at_rest = False
    while not is_at_rest and time.monotonic() < until:
        before = player.running.cpu_s()
        time.sleep(_AT_REST_S)
        is_at_rest = player.running.cpu_s() - before < _REST_CPU_S


#: What a measurement may end with, besides figures.
MEASURING_FAILED = (subprocess.SubprocessError, ValueError, OSError, RuntimeError)
