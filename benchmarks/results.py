"""What a run has measured, and how it compares with an earlier one."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.disturbance import Repetition, Span, quietest

#: The contender that all others are compared with, and ours.
LIMIT, OURS = "nginx", "one_api"
#: Figures that are compared as multiples of nginx's in the same run.
RATIOS: Final = ("chat_cpu_us", "stream_cpu_us", "claude_cpu_us")
#: How much more than the recorded multiple is told: noise on a shared machine comes to as much.
TOLERANCE: Final = 1.25

_Outcome = TypeVar("_Outcome")


@dataclass(slots=True)
class Results:
    """Figures by contender and name; `missing` says why a contender, or a figure, is not there.

    `measured` is what others took of the machine in all repetitions, `told` in those chosen.
    """

    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    taken_at: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    machine: str = field(default_factory=lambda: machine())
    measured: Span = field(default_factory=Span)
    told: Span = field(default_factory=Span)

    def note(self, contender: str, **figures: float) -> None:
        """Add figures of `contender`."""
        self.figures.setdefault(contender, {}).update(figures)

    def choose(self, repetitions: Sequence[Repetition[_Outcome]]) -> list[_Outcome]:
        """What came of the quietest; what others took, of them and of all, is added up."""
        chosen = quietest(repetitions)
        self.measured = sum((one.span for one in repetitions), self.measured)
        self.told = sum((one.span for one in chosen), self.told)
        return [one.outcome for one in chosen]

    def get(self, contender: str, name: str) -> float | None:
        """One figure, None where it was not measured."""
        return self.figures.get(contender, {}).get(name)

    def ratio(self, name: str, contender: str = OURS) -> float | None:
        """A figure of `contender` as a multiple of nginx's, None where either is missing."""
        ours, limit = self.get(contender, name), self.get(LIMIT, name)
        return ours / limit if ours is not None and limit else None

    def save(self, path: Path) -> None:
        """Write all of it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """What `save` wrote."""
        fields = json.loads(path.read_text())
        spans = {name: Span(**fields.get(name, {})) for name in ("measured", "told")}
        return cls(**fields | spans)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One ratio now and as it was recorded."""

    name: str
    now: float
    recorded: float | None

    @property
    def is_worse(self) -> bool:
        """Whether it is worse by more than noise."""
        return self.recorded is not None and self.now > self.recorded * TOLERANCE


def compare(now: Results, recorded: Results | None) -> list[Comparison]:
    """The ratios of our gateway in both, as far as they were measured now."""
    return [
        Comparison(name=name, now=ratio, recorded=recorded.ratio(name) if recorded else None)
        for name in RATIOS
        if (ratio := now.ratio(name)) is not None
    ]


def machine() -> str:
    """The machine in a line: processors, kernel, Python."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    python = f"Python {platform.python_version()} ({Path(sys.executable).resolve()})"
    system = f"Linux {platform.release()}, {python}"
    return f"{os.cpu_count()} x {model}, {system}"
