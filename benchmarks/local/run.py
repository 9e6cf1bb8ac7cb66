"""Measures local models and writes docs/local-performance.md.

    python -m benchmarks.local.run [--quick] [--server PROGRAM] [--passes 5] [--minutes 11]

Passes are interleaved: in each of them every contender does the same, in turn. None is begun that
would not end in time, and one that takes longer than those before is cut. Everything runs on this
machine, over pipes and the loopback interface.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

from benchmarks.local import scenes
from benchmarks.local.contenders import ROOT, Site
from benchmarks.local.make_model import SHAPES, cached_model
from benchmarks.local.report import Setting, page, summary
from benchmarks.local.scenes import QUICK, Pass, Plan, Row
from benchmarks.local.stints import PromptSource

#: Kept between runs; git ignores it.
CACHE: Final = ROOT / ".bench"
PAGE: Final = ROOT / "docs" / "local-performance.md"
SERVER: Final = CACHE / "llama-server" / "build" / "bin" / "llama-server"


async def measure(site: Site, plan: Plan, options: argparse.Namespace) -> list[Row]:
    """The rows of as many passes as are asked for and there is time for; the last may be cut."""
    rows: list[Row] = []

    def take(row: Row) -> None:
        rows.append(row)
        sys.stderr.write(f"{summary(row)}\n")

    lineup = scenes.lineup(
        site, threads=options.threads, program=options.server, with_gateway=options.gateway
    )
    async with lineup as contenders:
        source = PromptSource()
        passes = [Pass(number, contenders, plan, source, take) for number in range(options.passes)]
        ends_at = asyncio.get_running_loop().time() + 60 * options.minutes
        limit = asyncio.timeout_at(ends_at)
        try:
            async with limit:
                await passes[0].warm_up()
                await _run(passes, ends_at)
        except TimeoutError:
            if not limit.expired():
                raise
            sys.stderr.write("The time is up in the middle of a pass: is the machine busy?\n")
    return rows


async def _run(passes: Sequence[Pass], ends_at: float) -> None:
    """Run one after the other, but none that would not be done by `ends_at` on the loop's clock."""
    now = asyncio.get_running_loop().time
    longest_s = 0.0
    for one in passes:
        began_at = now()
        if began_at + longest_s > ends_at:
            return
        await one.run()
        longest_s = max(longest_s, now() - began_at)


def main() -> None:
    """Do what the command line says."""
    options = _options()
    logging.basicConfig(level=logging.WARNING)
    # Whoever ends us ends what we started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    model = cached_model(CACHE / "local", options.size)
    plan = QUICK if options.quick else Plan()
    with tempfile.TemporaryDirectory(prefix="one-api-bench-") as directory:
        site = Site(model, Path(directory))
        rows = asyncio.run(measure(site, plan, options))
    records = b"".join(orjson.dumps(row.to_wire()) + b"\n" for row in rows)
    (CACHE / "local" / "rows.jsonl").write_bytes(records)
    text = page(rows, Setting.here(plan, threads=options.threads, model=model))
    if options.write:
        PAGE.write_text(text)
    sys.stdout.write(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short pass, within 3 minutes")
    parser.add_argument("--passes", type=int, help="at most so many")
    parser.add_argument("--minutes", type=float, help="measure no longer than that")
    parser.add_argument("--size", choices=SHAPES, default="110m", help="of the model")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--server", type=Path, default=SERVER, help="llama-server's program")
    parser.add_argument("--no-server", action="store_true", help="leave llama-server out")
    parser.add_argument("--gateway", action="store_true", help="measure the whole gateway too")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    options.passes = options.passes or (1 if options.quick else 5)
    options.minutes = options.minutes or (3 if options.quick else 11)
    if options.no_server:
        options.server = None
    elif not options.server.exists():
        parser.error(f"there is no {options.server}: make it with benchmarks/local/build_server.sh")
    return options


if __name__ == "__main__":
    main()
