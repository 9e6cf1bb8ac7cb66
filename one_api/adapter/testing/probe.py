"""What importing and constructing an adapter does, watched in an interpreter of its own."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import orjson
from typing_extensions import override

from one_api.adapter.base import AdapterContext
from one_api.adapter.http import HTTPTransport, WireRequest
from one_api.deployment import Timeouts

_NETWORK: Final = frozenset(
    {
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.sendto",
    }
)
_PROGRAM: Final = "from one_api.adapter.testing import probe; probe.main()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was seen; the lists name what reached for the network."""

    import_cpu_ms: float
    on_import: tuple[str, ...]
    on_construction: tuple[str, ...]


class _NoTransport(HTTPTransport):
    @override
    def send(self, request: WireRequest, timeouts: Timeouts) -> NoReturn:
        raise ConnectionRefusedError("an adapter may send nothing before it is asked something")


async def probe(adapter: type, name: str, environment: Mapping[str, str]) -> Findings:
    """Import the module of `adapter` in a fresh interpreter and build an instance of it.

    Raises: RuntimeError with the interpreter's last words when it fails.
    """
    order = {
        "path": sys.path,
        "module": adapter.__module__,
        "class": adapter.__qualname__,
        "name": name,
        "environment": dict(environment),
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PROGRAM,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await child.communicate(orjson.dumps(order))
    if child.returncode:
        raise RuntimeError(f"importing or building it failed:\n{err.decode(errors='replace')}")
    told = orjson.loads(out.splitlines()[-1])
    return Findings(
        import_cpu_ms=told["import_cpu_ms"],
        on_import=tuple(told["on_import"]),
        on_construction=tuple(told["on_construction"]),
    )


def main() -> None:
    """Do what the order on the standard input says, and tell on the standard output."""
    order = orjson.loads(sys.stdin.buffer.read())
    sys.path[:] = order["path"]
    reached: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NETWORK:
            reached.append(f"{event}{arguments[1:]!r}")

    sys.addaudithook(watch)
    begin_s = time.process_time()
    module = importlib.import_module(order["module"])
    import_cpu_ms = (time.process_time() - begin_s) * 1000
    on_import, reached[:] = list(reached), []
    adapter: Any = module
    for part in order["class"].split("."):
        adapter = getattr(adapter, part)
    context = AdapterContext(http=_NoTransport(), logger=logging.getLogger("conformance"))
    adapter.build(order["name"], order["environment"], context)
    told = {"import_cpu_ms": import_cpu_ms, "on_import": on_import, "on_construction": reached}
    sys.stdout.buffer.write(b"\n" + orjson.dumps(told) + b"\n")
