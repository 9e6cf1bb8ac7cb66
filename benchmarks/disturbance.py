"""What others take of the machine while something is measured, and which repetitions they spared.

On a virtual machine the hypervisor takes time away ("steal"), in bursts: how long a reply takes
tells of the neighbours as much as of the server. So repetitions are many and short, and those are
told from which least was taken: chosen by that alone, never by what came of them.

Programs beside the benchmark count as the hypervisor does. By steal alone, the busiest repetitions
would be the quietest: a processor that never rests is seldom taken away.

Source: proc(5), section /proc/stat.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from benchmarks import accounting
from benchmarks.statistics import quantile

_STAT: Final = Path("/proc/stat")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
#: Fields of the first line, after its name: those of programs (user, nice and system), and what
#: the hypervisor took. Interrupts are left out: they are mostly the benchmark's own network.
_PROGRAMS, _STEAL = slice(0, 3), 7
#: Of the repetitions, so many are told.
_SHARE: Final = 1 / 3

_Outcome = TypeVar("_Outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Processor seconds of all processors: of programs, and what the hypervisor took."""

    programs_s: float
    stolen_s: float


def times_in(stat: str) -> Times:
    """What the first line of /proc/stat tells; nothing is stolen where it tells nothing of that."""
    ticks = [int(field) for field in stat.partition("\n")[0].split()[1:]]
    stolen = ticks[_STEAL] if len(ticks) > _STEAL else 0
    return Times(programs_s=sum(ticks[_PROGRAMS]) / _TICKS_PER_S, stolen_s=stolen / _TICKS_PER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Processor seconds that a machine has in a while, and what others took of them.

    Those of other programs may come to a little less than nothing: all programs and ours are
    accounts of their own, one of them in clock ticks.
    """

    machine_s: float = 0.0
    stolen_s: float = 0.0
    others_s: float = 0.0

    def __add__(self, other: Span) -> Span:
        """Both one after the other."""
        return Span(
            machine_s=self.machine_s + other.machine_s,
            stolen_s=self.stolen_s + other.stolen_s,
            others_s=self.others_s + other.others_s,
        )

    @property
    def stolen(self) -> float:
        """The share that the hypervisor took, 0 to 1."""
        return self.stolen_s / self.machine_s if self.machine_s else 0.0

    @property
    def others(self) -> float:
        """The share that programs beside the benchmark took, 0 to 1."""
        return max(self.others_s, 0.0) / self.machine_s if self.machine_s else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The accounts at one moment of the monotonic clock; `own_s` is that of the benchmark."""

    at_s: float
    own_s: float
    times: Times


def taken_between(begun: Reading, ended: Reading, processors: int) -> Span:
    """What others took meanwhile of a machine that has so many processors."""
    programs_s = ended.times.programs_s - begun.times.programs_s
    return Span(
        machine_s=(ended.at_s - begun.at_s) * processors,
        stolen_s=ended.times.stolen_s - begun.times.stolen_s,
        others_s=programs_s - (ended.own_s - begun.own_s),
    )


class Meter:
    """Measures, from where it is made on, what is taken from this process and all it started."""

    def __init__(self) -> None:
        self._begun = _read()

    def span(self) -> Span:
        """The while since it was made."""
        return taken_between(self._begun, _read(), os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Repetition(Generic[_Outcome]):
    """What came of one repetition, and what others took meanwhile."""

    outcome: _Outcome
    span: Span


def watched(measure: Callable[[], _Outcome]) -> Repetition[_Outcome]:
    """One repetition of `measure`."""
    meter = Meter()
    outcome = measure()
    return Repetition(outcome, meter.span())


def quietest(repetitions: Sequence[Repetition[_Outcome]]) -> list[Repetition[_Outcome]]:
    """The third from which least was taken, and all that are no worse: all, where all are equal.

    Raises: ValueError without repetitions.
    """
    taken = [one.span.stolen + one.span.others for one in repetitions]
    most = quantile(taken, _SHARE)
    return [one for one, share in zip(repetitions, taken, strict=True) if share <= most]


def _read() -> Reading:
    return Reading(
        at_s=time.monotonic(),
        own_s=accounting.cpu_s(os.getpid()),
        times=times_in(_STAT.read_text()),
    )
