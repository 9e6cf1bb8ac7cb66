"""The machine: what it is, how busy it is, and a neighbour to make it so."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks import accounting

_STAT: Final = Path("/proc/stat")
_CPUINFO: Final = Path("/proc/cpuinfo")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
#: The times of the line, up to the one that the host took from a virtual machine; those after it
#: are counted among them already.
_USER_TO_STEAL: Final = slice(1, 9)
_IDLE, _WAITING = 3, 4
#: A neighbour whose benchmark was killed ends by itself.
_LONGEST_S: Final = 600
_SPIN: Final = f"""
import time
end_s = time.monotonic() + {_LONGEST_S}
while time.monotonic() < end_s:
    pass
"""


def busy_s_in(line: str) -> float:
    """The processor seconds, of everybody, that the first line of /proc/stat tells."""
    times = [int(part) for part in line.split()[_USER_TO_STEAL]]
    return (sum(times) - times[_IDLE] - times[_WAITING]) / _TICKS_PER_S


class Meter:
    """Measures from where it is made on: time, and processor time of ours and of others."""

    def __init__(self) -> None:
        self._began_s = time.perf_counter()
        self._own_s, self._busy_s = _own_s(), _busy_s()

    @property
    def took_s(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._began_s

    def cores(self) -> tuple[float, float]:
        """How many cores this process and what it started kept busy on average, and all others."""
        own_s, took_s = _own_s() - self._own_s, self.took_s
        return own_s / took_s, max(0.0, _busy_s() - self._busy_s - own_s) / took_s


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """Keep one core busy, whichever the system chooses, with something that never waits."""
    process = subprocess.Popen([sys.executable, "-c", _SPIN], start_new_session=True)  # noqa: S603 - ours
    try:
        yield
    finally:
        process.kill()
        process.wait()


def describe() -> str:
    """The processor, how many of them, and the system."""
    models = [
        line.partition(":")[2].strip()
        for line in _CPUINFO.read_text().splitlines()
        if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0))
    return f"{models[0] if models else platform.machine()}, {cores} cores, {platform.system()}"


def _own_s() -> float:
    return accounting.cpu_s(os.getpid())


def _busy_s() -> float:
    return busy_s_in(_STAT.read_text().partition("\n")[0])
