"""Results as the page `docs/performance.md`, its plot, and the table of the quick run."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Final

from benchmarks.results import LIMIT, OURS, TOLERANCE, Comparison, Results

#: What the page tells of every contender: heading, figure, and how many decimals.
_COLUMNS: Final = (
    ("Chat, us", "chat_cpu_us", 0),
    ("Stream, us", "stream_cpu_us", 0),
    ("Claude, us", "claude_cpu_us", 0),
    ("Chats/s", "chat_per_s", 0),
    ("Added p50, ms", "added_p50_ms", 2),
    ("Added p99, ms", "added_p99_ms", 2),
    ("Idle, MB", "idle_mb", 0),
    ("Ready, s", "ready_s", 2),
)
#: Our figures against their goals: what, figure, unit, goal, whether more is better.
_GOALS: Final = (
    ("Whole chat, multiple of nginx", "chat_cpu_us", "x", 12.0, False),
    ("Relayed stream, multiple of nginx", "stream_cpu_us", "x", 15.0, False),
    ("Converted Claude stream", "claude_event_us", "us an event", 25.0, False),
    ("Added latency at half load, p50", "added_p50_ms", "ms", 1.0, False),
    ("Added latency at half load, p99", "added_p99_ms", "ms", 5.0, False),
    ("Streams at once that broke", "streams_broken", "", 0.0, False),
    ("Added gap between pieces, p99", "streams_added_gap_p99_ms", "ms", 10.0, False),
    ("Memory of a stream", "streams_kib", "KiB", 40.0, False),
    ("Idle streams held", "idle_streams_held", "", 5000.0, True),
    ("Memory at rest", "idle_mb", "MB", 90.0, False),
    ("From start to ready", "ready_s", "s", 1.0, False),
    ("Two processes do, of one", "two_workers_factor", "x", None, True),
    ("Served at three times the load, of the most", "overload_goodput", "", 0.9, True),
    ("Memory's slope while soaking", "soak_mb_per_h", "MB/h", None, False),
    ("Our client at half load", "half_load_client_cpus", "of a processor", 0.5, False),
    ("Our client and provider of the streams", "streams_load_cpus", "of a processor", 0.8, False),
    ("Our client at three times the load", "overload_client_cpus", "of a processor", None, False),
)
#: What the quick run tells of ours besides the ratios.
_QUICK: Final = (
    *("added_p50_ms", "added_p99_ms", "half_load_client_cpus", "streams_added_gap_p99_ms"),
    *("streams_load_cpus", "idle_mb", "ready_s"),
)
_BAR, _GAP, _LEFT, _WIDE = 22, 10, 190, 760


def page(results: Results) -> str:
    """The whole page, in Markdown."""
    return f"""# Performance

Written by `make bench`: do not edit. {results.taken_at}, {results.machine}.
Figures of one run compare with each other and with nothing else; the machine may have been busy
with other things.

Processor time is the operating system's account of a gateway's process and all that it started,
per request: steadier than throughput, though a busy machine, whose caches others fill, makes large
programs look worse beside small ones. Every gateway ran on one processor, provider and client on
another.

A hypervisor takes time away in bursts, as do other programs: latencies tell of these neighbours
as much as of gateways. So repetitions were short, contenders alternated, and told are medians of
the third of each one's repetitions (one run of three with streams) from which others took least,
whatever came of them. Broken streams are told of all runs, and their memory of the costliest;
start, rest, overload, idle streams and soaking were measured once.
{disturbance(results)}

- *Chat*: a small chat, whole reply. *Stream*: 102 events relayed from an OpenAI-shaped provider.
  *Claude*: as many events converted from Anthropic's format (nginx passes them on as they are).
- *Added*: latency over nginx's at half the load that one_api can bear.
- Chats and streams were asked for on 32 connections, and on 8 of LiteLLM and Portkey, whose
  repetitions were fewer and three times as long: what is under way in the end is work undone.
- *Our client* is told with the goals, for what it takes of the processor that it shares with the
  provider: near the whole of it, figures would be of these two.
- one_api ran as users run it: one process, with keys, limits, the SQLite ledger, the request log
  and metrics. Quart keeps no books, checks no keys and converts nothing; LiteLLM had a key and no
  database; Portkey has no keys of its own.

![Processor time of a small chat](performance.svg)

{_table(results)}

## Against our goals

{_goals(results)}
{_gaps(results)}
## Measure it yourself

`make bench` needs nginx and wrk (Debian: `apt-get install nginx-light wrk`), takes about half an
hour, and writes this page. `make bench-quick` takes less than three minutes and compares ratios to
nginx with those that are recorded in `benchmarks/baseline.json`; CI prints it, and never fails by
it.
"""


def plot(results: Results, figure: str = "chat_cpu_us") -> str:
    """Bars of one figure as multiples of nginx's, on a logarithmic scale, as SVG."""
    rows = [
        (name, ratio, results.figures[name][figure])
        for name in results.figures
        if (ratio := results.ratio(figure, name)) is not None
    ]
    rows.sort(key=lambda row: row[1])
    most = max((ratio for _, ratio, _ in rows), default=1.0)
    height = len(rows) * (_BAR + _GAP) + _GAP
    bars = []
    for number, (name, ratio, value) in enumerate(rows):
        top = _GAP + number * (_BAR + _GAP)
        width = 6 + (_WIDE - _LEFT - 170) * _log_share(ratio, most)
        colour = "#1f6feb" if name == OURS else "#9aa4b2"
        middle = top + _BAR - 6
        bars.append(
            f'<text x="{_LEFT - 8}" y="{middle}" text-anchor="end">{name}</text>'
            f'<rect x="{_LEFT}" y="{top}" width="{width:.0f}" height="{_BAR}" fill="{colour}"/>'
            f'<text x="{_LEFT + width + 6:.0f}" y="{middle}">{ratio:.1f} x ({value:.0f} us)</text>'
        )
    drawn = "\n".join(bars)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {height}" role="img" '
        f'font-family="sans-serif" font-size="14">\n'
        f"<title>Processor time of a small chat, as multiples of nginx's (logarithmic)</title>\n"
        f'<rect width="{_WIDE}" height="{height}" fill="#ffffff"/>\n{drawn}\n</svg>\n'
    )


def disturbance(results: Results) -> str:
    """What others took of the machine, in a sentence."""
    measured, told = results.measured, results.told
    return (
        f"The hypervisor took {measured.stolen:.1%} of the machine meanwhile and other programs"
        f" {measured.others:.1%}; in the repetitions that are told, {told.stolen:.1%} and"
        f" {told.others:.1%}."
    )


def quick_table(results: Results, comparisons: Sequence[Comparison]) -> str:
    """Ratios to nginx now and as recorded, with a warning at each that got worse."""
    lines = [f"{'processor time per request':<28}{'nginx':>9}{'one_api':>10}{'ratio':>8}{'was':>8}"]
    for one in comparisons:
        was = f"{one.recorded:.1f}" if one.recorded is not None else "-"
        limit, ours = results.get(LIMIT, one.name) or 0.0, results.get(OURS, one.name) or 0.0
        line = f"{one.name:<28}{limit:>9.0f}{ours:>10.0f}{one.now:>8.1f}{was:>8}"
        lines.append(f"{line}  WARNING: over {TOLERANCE:g} x as much" if one.is_worse else line)
    for name in _QUICK:
        value = results.get(OURS, name)
        if value is not None:
            lines.append(f"{name:<28}{'':>9}{value:>10.2f}")
    lines.append(disturbance(results))
    return "\n".join(lines + [f"not measured: {what}: {why}" for what, why in _missing(results)])


def _table(results: Results) -> str:
    heads = ["Gateway", *(head for head, _, _ in _COLUMNS)]
    rows = [_row(heads), "|---|" + "---:|" * len(_COLUMNS)]
    for name in results.figures:
        rows.append(_row([name, *(_cell(results, name, *one[1:]) for one in _COLUMNS)]))
    rows += [_row([name, *["not measured"] * len(_COLUMNS)]) for name in _absent(results)]
    return "\n".join(rows)


def _cell(results: Results, name: str, figure: str, decimals: int) -> str:
    value = results.get(name, figure)
    if value is None:
        return ""
    ratio = results.ratio(figure, name)
    is_told = figure.endswith("_cpu_us") and ratio is not None and name != LIMIT
    return f"{value:,.{decimals}f}" + (f" ({ratio:.1f} x)" if is_told else "")


def _goals(results: Results) -> str:
    rows = [_row(["What", "Measured", "Goal"]), "|---|---:|---:|"]
    for what, figure, unit, goal, is_more_better in _GOALS:
        value = results.ratio(figure) if figure.endswith("_cpu_us") else results.get(OURS, figure)
        if value is None:
            continue
        bound = "at least" if is_more_better else "at most"
        told = f"{bound} {goal:g} {unit}".strip() if goal is not None else ""
        rows.append(_row([what, f"{value:.3g} {unit}".strip(), told]))
    return "\n".join(rows)


def _gaps(results: Results) -> str:
    lines = [f"- {what}: {why}" for what, why in _missing(results)]
    return "\nNot measured:\n\n" + "\n".join(lines) + "\n" if lines else ""


def _missing(results: Results) -> list[tuple[str, str]]:
    return [(what, " ".join(why.split())[:200]) for what, why in results.missing.items()]


def _absent(results: Results) -> list[str]:
    return [name for name in results.missing if ": " not in name and name not in results.figures]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _log_share(value: float, most: float) -> float:
    """Where `value` is between 1 (0) and `most` (1), on a logarithmic scale."""
    return log(max(value, 1.0)) / log(most) if most > 1 else 0.0
