"""`python -m benchmarks`: everything, into docs/performance.md; `--quick`: the ratios alone."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from typing import Final

from benchmarks import scenarios
from benchmarks.contenders import ROOT, WORK, Nginx, NotInstallable, OneApi, Work
from benchmarks.processes import ProgramFailed
from benchmarks.report import page, plot, quick_table
from benchmarks.results import OURS, Results, compare
from benchmarks.rivals.installed import RIVALS
from benchmarks.scenarios import MEASURING_FAILED, Effort
from benchmarks.stage import Pace, Player, Stage, playing, set_up

_BASELINE: Final = ROOT / "benchmarks/baseline.json"
_PAGE, _PLOT = ROOT / "docs/performance.md", ROOT / "docs/performance.svg"
_QUICK: Final = Effort(
    repetitions=6, duration_s=2, warm_up_s=2, streams=200, stream_runs=3, streams_s=3
)
_FULL: Final = Effort(
    repetitions=15,
    duration_s=2,
    warm_up_s=5,
    streams=1000,
    stream_runs=3,
    streams_s=8,
    idle_streams=5000,
    soak_s=600,
)
#: 20 pieces a second, for longer than any measurement; and streams that say no more.
_SLOW, _SILENT = Pace(pieces=2400, interval_s=0.05), Pace(pieces=2, interval_s=600)


def _attempt(what: str, results: Results, measure: Callable[[], None]) -> None:
    """One scenario that fails must not take the others along: why is told in the results."""
    sys.stderr.write(f"measuring {what}\n")
    try:
        measure()
    except (*MEASURING_FAILED, NotInstallable, ProgramFailed) as exc:
        results.missing[f"one run: {what}"] = str(exc)


def _measure_common(players: list[Player], effort: Effort, results: Results) -> None:
    scenarios.measure_rest(players, results)
    for work in (Work.CHAT, Work.STREAM, Work.CLAUDE):

        def measure(work: Work = work) -> None:
            scenarios.measure_throughput(players, work, effort, results)

        _attempt(work.value, results, measure)
    light = [player for player in players if player.contender.carries_load]
    _attempt("latency", results, lambda: scenarios.measure_latency(light, effort, results))
    _attempt("streams", results, lambda: scenarios.measure_streams(light, effort, results))


def _measure_ours(stage: Stage, players: list[Player], effort: Effort, results: Results) -> None:
    ours = next(player for player in players if player.name == OURS)
    _attempt("overload", results, lambda: scenarios.measure_overload(stage, effort, results))
    _attempt("workers", results, lambda: scenarios.measure_workers(stage, effort, results))
    _attempt("soak", results, lambda: scenarios.measure_soak(ours, effort, results))


def _run_quick() -> Results:
    results = Results()
    with set_up(_SLOW) as stage, playing(stage, (Nginx(), OneApi())) as (players, missing):
        results.missing |= missing
        _measure_common(players, _QUICK, results)
    return results


def _run_full() -> Results:
    results = Results()
    contenders = (Nginx(), OneApi(), *RIVALS)
    with set_up(_SLOW) as stage, playing(stage, contenders) as (players, missing):
        results.missing |= missing
        _measure_common(players, _FULL, results)
        _measure_ours(stage, players, _FULL, results)
    with set_up(_SILENT) as stage:
        _attempt(
            "idle streams",
            results,
            lambda: scenarios.measure_idle_streams(stage, _FULL, results),
        )
    return results


def main() -> int:
    """Measure, and tell; 0 however slow it was."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ratios to nginx, in three minutes")
    parser.add_argument("--record", action="store_true", help="make the ratios the recorded ones")
    given = parser.parse_args()
    # Being told to end, the programs that were started are ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        results = _run_quick() if given.quick else _run_full()
    except (NotInstallable, ProgramFailed) as exc:
        sys.stderr.write(f"nothing was measured: {exc}\n")
        return 0 if given.quick else 1
    results.save(WORK / ("quick.json" if given.quick else "full.json"))
    recorded = Results.load(_BASELINE) if _BASELINE.exists() else None
    sys.stdout.write(quick_table(results, compare(results, recorded)) + "\n")
    if given.record:
        results.save(_BASELINE)
    if not given.quick:
        _PAGE.write_text(page(results))
        _PLOT.write_text(plot(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
