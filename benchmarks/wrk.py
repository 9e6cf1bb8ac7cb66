"""wrk, for as many requests as a server answers: started, scripted and read."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.processes import pinned

#: The line of wrk's output that is ours.
_MARK: Final = "measured "
#: wrk is given longer than it was told to run, in seconds.
_GRACE_S: Final = 20.0
_DONE: Final = """
done = function(summary, latency, requests)
  local failed = summary.errors
  io.write(string.format(
    '%s{"requests":%%d,"duration_us":%%d,"failed":%%d,"refused":%%d,"p50_us":%%d,"p99_us":%%d}\\n',
    summary.requests, summary.duration, failed.connect + failed.read + failed.write
    + failed.timeout, failed.status, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked of a server."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What came of one run; `failed` had no reply, `refused` one with another status than 200."""

    requests: int
    duration_s: float
    failed: int
    refused: int
    p50_ms: float
    p99_ms: float

    @property
    def per_s(self) -> float:
        """Replies per second."""
        return self.requests / self.duration_s


def is_installed() -> bool:
    """Whether wrk can be run."""
    return shutil.which("wrk") is not None


def script(target: Target) -> str:
    """`target` as wrk's Lua has it, and the report that `throughput_in` reads."""
    headers = {"Content-Type": "application/json", **target.headers}
    lines = ['wrk.method = "POST"', f"wrk.body = {_lua(target.body.decode())}"]
    lines += [f"wrk.headers[{_lua(name)}] = {_lua(text)}" for name, text in headers.items()]
    return "\n".join(lines) + _DONE % _MARK


def throughput_in(output: str) -> Throughput:
    """What wrk wrote in the end.

    Raises: ValueError when that is not there.
    """
    for line in output.splitlines():
        if line.startswith(_MARK):
            told = json.loads(line.removeprefix(_MARK))
            return Throughput(
                requests=told["requests"],
                duration_s=told["duration_us"] / 1e6,
                failed=told["failed"],
                refused=told["refused"],
                p50_ms=told["p50_us"] / 1e3,
                p99_ms=told["p99_us"] / 1e3,
            )
    raise ValueError(f"wrk did not tell its results: {output[-500:]}")


def run(
    target: Target, *, connections: int, duration_s: float, cpus: str, directory: Path
) -> Throughput:
    """Ask as often as `connections` get replies, for whole seconds.

    Raises: ValueError, subprocess.SubprocessError.
    """
    path = directory / "target.lua"
    path.write_text(script(target))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{duration_s:.0f}s", "--timeout", "10s"]
    result = subprocess.run(  # noqa: S603 - a command of ours
        pinned([*command, "-s", str(path), target.url], cpus),
        capture_output=True,
        text=True,
        check=True,
        timeout=duration_s + _GRACE_S,
    )
    return throughput_in(result.stdout)


def _lua(text: str) -> str:
    """A Lua string; JSON's escapes are Lua's for what is printable."""
    return json.dumps(text)
