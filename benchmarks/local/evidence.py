"""What the rows of several passes say: medians, and ratios within a pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.local.scenes import Name, Row, Scene
from benchmarks.local.stints import Result
from benchmarks.statistics import median

#: Cores that others may keep busy during a stint whose numbers count.
QUIET_CORES: Final = 0.15

Quantity = Callable[[Result], float]


@dataclass(frozen=True, slots=True)
class Subject:
    """One contender in one scene, asked by so many clients."""

    scene: Scene
    contender: Name
    clients: int = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """A number, from how many passes, and whether others left the machine alone meanwhile."""

    value: float
    passes: int
    is_quiet: bool


class Evidence:
    """The rows of a benchmark."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    @property
    def passes(self) -> int:
        """How many passes there are."""
        return len({row.pass_number for row in self._rows})

    def middle(self, subject: Subject, quantity: Quantity) -> Finding | None:
        """The median over the passes; None where the subject was not measured."""
        quiet, all_ = (self._by_pass(subject, quantity, is_quiet=flag) for flag in (True, False))
        return _finding(list(quiet.values()), list(all_.values()))

    def ratio(self, upper: Subject, lower: Subject, quantity: Quantity) -> Finding | None:
        """The median of what `upper` is to `lower` in the same pass.

        A machine that is not the same for long, as virtual ones are, spoils ratios of medians.
        """
        quiet, all_ = (
            self._ratios(upper, lower, quantity, is_quiet=flag) for flag in (True, False)
        )
        return _finding(quiet, all_)

    def _ratios(
        self, upper: Subject, lower: Subject, quantity: Quantity, *, is_quiet: bool
    ) -> list[float]:
        above = self._by_pass(upper, quantity, is_quiet=is_quiet)
        below = self._by_pass(lower, quantity, is_quiet=is_quiet)
        return [above[number] / below[number] for number in above.keys() & below.keys()]

    def _by_pass(self, subject: Subject, quantity: Quantity, *, is_quiet: bool) -> dict[int, float]:
        values: dict[int, list[float]] = {}
        for row in self._rows:
            is_meant = subject == Subject(row.scene, row.contender, row.clients)
            if is_meant and (row.other_cores < QUIET_CORES or not is_quiet):
                values.setdefault(row.pass_number, []).append(quantity(row.result))
        return {number: median(of_pass) for number, of_pass in values.items()}


def _finding(quiet: Sequence[float], all_: Sequence[float]) -> Finding | None:
    if not all_:
        return None
    chosen = quiet or all_
    return Finding(median(chosen), len(chosen), is_quiet=bool(quiet))
