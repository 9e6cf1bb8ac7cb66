"""granian, set up for many long streams."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server import Server

#: Connections per process. granian stops accepting at `backpressure`, which counts connections
#: and would be 1,024 by default: fewer than the streams one process can hold.
_MAX_CONNECTIONS = 16_384
_BACKLOG = 4_096
#: Time for a request's headers, milliseconds.
_HEADER_TIMEOUT_MS = 10_000
#: Seconds after the drain deadline before a worker that still runs is killed.
_KILL_GRACE_S = 5


def tune_garbage_collector() -> None:
    """Keep the collector away from what lives as long as the process.

    A gateway makes few cycles, and a full collection in the middle of a stream is felt.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def serve(
    load: Callable[[], Any],
    *,
    host: str,
    port: int,
    workers: int,
    drain_timeout_s: float,
    reload_paths: tuple[Path, ...] = (),
) -> None:
    """Serve the ASGI application that `load` makes in each worker process, until told to stop.

    `load` must be picklable. `reload_paths` restart the workers when files below them change.
    """
    server = Server(
        "one_api",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=workers,
        backlog=_BACKLOG,
        backpressure=_MAX_CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_TIMEOUT_MS),
        websockets=False,
        log_access=False,
        respawn_failed_workers=True,
        workers_kill_timeout=int(drain_timeout_s) + _KILL_GRACE_S,
        reload=bool(reload_paths),
        reload_paths=list(reload_paths) or None,
    )
    server.serve(target_loader=load, wrap_loader=False)
