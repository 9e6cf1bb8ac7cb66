"""The page that tells what was measured, and the lines told meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Self

from benchmarks.local.claims import CLAIMS, Claim, between, first, speed, worst_first
from benchmarks.local.evidence import QUIET_CORES, Evidence, Finding, Quantity, Subject
from benchmarks.local.machine import describe
from benchmarks.local.scenes import Name, Plan, Row, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Under which circumstances it was measured."""

    machine: str
    date: str
    versions: str
    model: str
    threads: int
    plan: Plan

    @classmethod
    def here(cls, plan: Plan, *, threads: int, model: Path) -> Self:
        """Those of this machine, today."""
        return cls(
            machine=describe(),
            date=datetime.now(UTC).date().isoformat(),
            versions=f"llama-cpp-python {version('llama-cpp-python')} and llama-server of the same "
            "source distribution",
            model=f"{model.name}, {model.stat().st_size / 1e6:.0f} MB, random weights",
            threads=threads,
            plan=plan,
        )


def summary(row: Row) -> str:
    """One row as a line."""
    result = row.result
    return (
        f"pass {row.pass_number + 1}  {row.scene:14}  {row.contender:29}  {row.clients:2} at once  "
        f"{result.tokens_per_s:6.1f} tokens/s  first {_ms(result.first_median_s)} "
        f"(worst {_ms(result.first_worst_s)})  p99 between {_ms(result.between_p99_s)}  "
        f"others {row.other_cores:.2f} cores"
    )


def page(rows: Sequence[Row], setting: Setting) -> str:
    """The whole page."""
    evidence = Evidence(rows)
    return "\n".join((*_head(setting, evidence), *_claims(evidence), *_tables(rows), ""))


def _head(setting: Setting, evidence: Evidence) -> Iterator[str]:
    plan = setting.plan
    yield "# How fast local models answer"
    yield ""
    yield "Written by `make bench-local`; how it measures is told in"
    yield "[benchmarks/local](../benchmarks/local/README.md)."
    yield ""
    yield f"- Measured on {setting.date}: {setting.machine}."
    yield f"- {setting.versions}; the same file for all: {setting.model}."
    yield (
        f"- {setting.threads} threads where a table does not say otherwise; prompts of "
        f"{plan.prompt} random tokens, answers of {plan.answer}, greedy."
    )
    yield (
        f"- {evidence.passes} passes, in each of which everybody does the same in turn. Told are "
        f"medians over those in which other programs kept less than {QUIET_CORES:g} cores busy; "
        "where there was none, over all, marked *."
    )
    yield ""


def _claims(evidence: Evidence) -> Iterator[str]:
    yield "## What is asked of it"
    yield ""
    yield "Ratios within one pass, and the median of those."
    yield ""
    yield "| ratio | asked | measured | passes | |"
    yield "|---|---|---|---|---|"
    for claim in CLAIMS:
        yield _claim(claim, claim.found_in(evidence))
    yield ""


def _claim(claim: Claim, found: Finding | None) -> str:
    asked = f"{'≥' if claim.is_least else '≤'} {claim.bound:g}"
    if found is None:
        return f"| {claim.title} | {asked} | not measured | | |"
    verdict = "met" if claim.is_met(found.value) else "**missed**"
    ratio = f"{found.value:.3g}{_mark(found)}"
    return f"| {claim.title} | {asked} | {ratio} | {found.passes} | {verdict} |"


def _tables(rows: Sequence[Row]) -> Iterator[str]:
    yield from _table("Several at once", Scene.STREAMS, rows)
    yield from _table("Beside a neighbour that keeps one core busy", Scene.NEIGHBOUR, rows)
    yield from _table("A prompt whose beginning is new", Scene.COLD, rows)
    yield from _table("A prompt whose beginning was asked before", Scene.WARM, rows)


def _table(title: str, scene: Scene, rows: Sequence[Row]) -> Iterator[str]:
    present = {(row.clients, row.contender) for row in rows if row.scene is scene}
    if not present:
        return
    evidence = Evidence(rows)
    order = list(Name)
    yield f"## {title}"
    yield ""
    yield "| at once | | tokens/s | first text | worst first text | p99 between texts |"
    yield "|---|---|---|---|---|---|"
    for clients, name in sorted(present, key=lambda pair: (pair[0], order.index(pair[1]))):
        subject = Subject(scene, name, clients)
        rate = evidence.middle(subject, speed)
        shown = f"{rate.value:.1f}{_mark(rate)}" if rate is not None else ""
        times = (_time(evidence, subject, quantity) for quantity in (first, worst_first, between))
        yield f"| {clients} | {name} | {shown} | {' | '.join(times)} |"
    yield ""


def _time(evidence: Evidence, subject: Subject, quantity: Quantity) -> str:
    found = evidence.middle(subject, quantity)
    return f"{_ms(found.value)}{_mark(found)}" if found is not None else ""


def _mark(found: Finding) -> str:
    return "" if found.is_quiet else " *"


def _ms(time_s: float) -> str:
    return f"{time_s * 1000:,.0f} ms"
