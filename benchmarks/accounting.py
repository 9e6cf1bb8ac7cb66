"""What the operating system accounts to a program and to all that it started.

Source: proc(5), sections /proc/pid/stat, /proc/pid/smaps_rollup and /proc/pid/task/tid/children.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
#: Where the process's own times and those of its ended children stand, after its name.
_TIMES = slice(11, 15)


def process_tree(pid: int) -> list[int]:
    """`pid` and what descends from it, as far as it runs."""
    found = [pid]
    for task in _tasks(pid):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += process_tree(int(child))
    return found


def cpu_s(pid: int) -> float:
    """Processor seconds of `pid` and all that descends from it, in user and kernel mode.

    In steps of a clock tick, mostly 10 ms.
    """
    return sum(_cpu_s_of_one(one) for one in process_tree(pid))


def memory_bytes(pid: int) -> int:
    """Memory of `pid` and all that descends from it; what they share counts once."""
    return sum(_memory_of_one(one) for one in process_tree(pid))


def cpu_s_in(stat: str) -> float:
    """The processor seconds that a line of /proc/pid/stat tells.

    The name, in parentheses, may hold anything, parentheses too.
    """
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[_TIMES])) / _TICKS_PER_S


def memory_bytes_in(rollup: str) -> int:
    """The proportional set size that /proc/pid/smaps_rollup tells."""
    for line in rollup.splitlines():
        name, _, rest = line.partition(":")
        if name == "Pss":
            return int(rest.split()[0]) * 1024
    raise ValueError("no proportional set size is told")


def _tasks(pid: int) -> list[Path]:
    try:
        return list((_PROC / str(pid) / "task").iterdir())
    except OSError:
        return []


def _cpu_s_of_one(pid: int) -> float:
    try:
        return cpu_s_in((_PROC / str(pid) / "stat").read_text())
    except OSError:
        return 0.0


def _memory_of_one(pid: int) -> int:
    try:
        return memory_bytes_in((_PROC / str(pid) / "smaps_rollup").read_text())
    except (OSError, ValueError):
        return 0
