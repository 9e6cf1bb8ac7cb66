"""granian, set up for many long streams."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server import MPServer
from typing_extensions import override

from one_api.cli.garbage import collector_paused, tune_garbage_collector
from one_api.cli.keeper import Keeper

if TYPE_CHECKING:
    from one_api.runtime.asgi import ASGIBridge

logger = logging.getLogger(__name__)

#: Connections per process. granian stops accepting at `backpressure`, which counts connections
#: and would be 1,024 by default: fewer than the streams one process can hold.
_MAX_CONNECTIONS = 16_384
_BACKLOG = 4_096
#: Only HTTP/1: clients speak HTTP/2 over TLS alone, which ends before us, and to be ready for both
#: takes 12 KiB of each connection.
_HTTP = HTTPModes.http1
#: Time for a request's headers, milliseconds.
_HEADER_TIMEOUT_MS = 10_000
#: Seconds after the drain deadline before a worker that still runs is killed.
_KILL_GRACE_S = 5
#: granian would lead its log past ours, and close what others log to; so it only sets levels.
_LOGGING: dict[str, Any] = {"incremental": True, "formatters": {}, "handlers": {}, "loggers": {}}


class _Alone(MPServer):
    """granian whose one worker is this process; whoever keeps it starts another when it dies."""

    @override
    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        worker = self._spawn_worker(idx=0, target=spawn_target, callback_loader=target_loader)
        worker.inner.run()
        # It has served: nothing is left to wait for.
        self.interrupt_signal = True
        self.main_loop_interrupt.set()


class _Supervisor(MPServer):
    """granian's main process, whose workers reload on SIGHUP.

    granian itself replaces them then, which ends streams and takes seconds for each.
    """

    @override
    def signal_handler_reload(self, *args: Any, **kwargs: Any) -> None:
        if os.getpid() != self.pid:
            return  # A worker not yet set up: it has inherited this, and has everything to read.
        for worker in self.wrks:
            if worker.inner.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.inner.pid, signal.SIGHUP)


def _load_in_worker(
    load: Callable[[], ASGIBridge],
    supervisor_pid: int | None,
    on_started: Callable[[], None] | None,
) -> ASGIBridge:
    """What `load` makes, in a worker that misses no SIGHUP while it does."""
    if sys.platform != "win32":
        # Kept until the application listens, which looks for a signal that nobody handles.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with collector_paused():
        bridge = load()
        tune_garbage_collector()
    bridge.app.supervisor_pid = supervisor_pid
    bridge.on_started = on_started
    return bridge


def _tell(keeper: Keeper, patience_s: int) -> Callable[[], None]:
    """What tells `keeper` that this process serves; whose place it takes is in the log."""
    if keeper.predecessor_status is not None:
        logger.error(
            "the process that served ended with status %d: this one takes its place",
            keeper.predecessor_status,
        )
    return functools.partial(keeper.note_serving, patience_s)


def _hear_hang_ups() -> None:
    if sys.platform != "win32":
        # Kept back by whoever keeps this process, until there is a handler.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def serve(
    load: Callable[[], ASGIBridge],
    *,
    host: str,
    port: int,
    workers: int,
    drain_timeout_s: float,
    reload_paths: tuple[Path, ...] = (),
) -> None:
    """Serve the ASGI application that `load` makes in each worker process, until told to stop.

    A process that is kept is its own worker, where there is to be one. On SIGHUP every worker
    reloads, in place. `load` must be picklable. `reload_paths` restart the workers when files below
    them change.
    """
    patience_s = int(drain_timeout_s) + _KILL_GRACE_S
    keeper = Keeper.mine if workers == 1 and not reload_paths else None
    tune_garbage_collector()
    server = (_Supervisor if keeper is None else _Alone)(
        "one_api",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=workers,
        backlog=_BACKLOG,
        backpressure=_MAX_CONNECTIONS,
        http=_HTTP,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_TIMEOUT_MS),
        websockets=False,
        log_access=False,
        log_dictconfig=_LOGGING,
        respawn_failed_workers=True,
        workers_kill_timeout=patience_s,
        reload=bool(reload_paths),
        reload_paths=list(reload_paths) or None,
    )
    has_siblings = workers > 1 and sys.platform != "win32"
    loader = functools.partial(
        _load_in_worker,
        load,
        os.getpid() if has_siblings else None,
        _tell(keeper, patience_s) if keeper is not None else None,
    )
    if keeper is None:
        server.on_startup(_hear_hang_ups)
    server.serve(target_loader=loader, wrap_loader=False)
