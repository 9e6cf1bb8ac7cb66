"""Programs of a benchmark: pinned to a processor, and stopped with all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import accounting

#: How long a program may take to serve, and to end once it is told to, in seconds.
READY_S, STOP_S = 60.0, 10.0
_POLL_S = 0.01


class ProgramFailed(RuntimeError):
    """A program ended, or did not serve in time; the end of what it wrote says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a program is started, and the URL that answers 200 once it serves."""

    command: Sequence[str]
    ready_url: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A program that serves; it took `ready_s` seconds until it did."""

    pid: int
    ready_s: float

    def cpu_s(self) -> float:
        """Processor seconds so far, of it and of what it started."""
        return accounting.cpu_s(self.pid)

    def memory_bytes(self) -> int:
        """Memory now, of it and of what it started."""
        return accounting.memory_bytes(self.pid)


def pinned(command: Sequence[str], cpus: str) -> list[str]:
    """`command`, bound to the processors `cpus`, such as "0" or "0,1"."""
    return ["taskset", "--cpu-list", cpus, *command]


@contextmanager
def running(launch: Launch, *, cpus: str, directory: Path) -> Iterator[Running]:
    """Start a program in `directory`, where it writes to `output.log`, and stop it in the end.

    It gets nothing of our environment but what programs need to run at all.
    Raises: ProgramFailed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    output = directory / "output.log"
    begun = time.monotonic()
    with output.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - commands of ours
            pinned(launch.command, cpus),
            cwd=directory,
            env=_plain_environment() | dict(launch.environment),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, launch.ready_url, output)
        yield Running(pid=process.pid, ready_s=time.monotonic() - begun)
    finally:
        _stop(process)


def _plain_environment() -> dict[str, str]:
    path = os.defpath + os.pathsep + "/usr/local/bin:/usr/sbin:/sbin"
    return {"PATH": path, "HOME": "/nonexistent", "LANG": "C.UTF-8", "NO_PROXY": "*"}


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, output: Path) -> None:
    ends_at = time.monotonic() + READY_S
    while time.monotonic() < ends_at:
        if process.poll() is not None:
            raise ProgramFailed(f"ended with {process.returncode}: {_tail(output)}")
        if _answers(url):
            return
        time.sleep(_POLL_S)
    raise ProgramFailed(f"did not serve within {READY_S:g} s: {_tail(output)}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310 - a loopback URL
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _tail(output: Path) -> str:
    return output.read_text(errors="replace")[-1000:].strip()


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_S)
            break
        except subprocess.TimeoutExpired:
            continue
    # A leader that is gone may have left workers behind.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
