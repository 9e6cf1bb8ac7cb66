"""Processes that serve one address, and how each of them is set up."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from one_api.cli.garbage import collector_paused, tune_garbage_collector
from one_api.cli.keeper import Keeper
from one_api.server import StartFailedError, listen
from one_api.server import serve as serve_http

if TYPE_CHECKING:
    from one_api.runtime.asgi import ASGIBridge

logger = logging.getLogger(__name__)

#: Seconds after the drain deadline before a process that still runs is killed.
_KILL_GRACE_S = 5

#: Makes the application that a process serves.
Load = Callable[[], "ASGIBridge"]


def serve(
    load: Load,
    *,
    host: str,
    port: int,
    workers: int,
    drain_timeout_s: float,
    reload_paths: tuple[Path, ...] = (),
) -> None:
    """Serve what `load` makes in each of `workers` processes, until told to stop.

    On SIGHUP each of them reloads, in place. When files below `reload_paths` change, the process
    starts anew, which has `load` picklable.
    Raises: ClickException where nothing can listen on that address.
    """
    patience_s = int(drain_timeout_s) + _KILL_GRACE_S
    if reload_paths:
        _restart_on_changes(functools.partial(_serve_at, load, host, port), reload_paths)
        return
    if workers == 1:
        keeper = Keeper.mine
        tell = functools.partial(_tell, keeper, patience_s) if keeper is not None else None
        _serve_at(load, host, port, tell)
        return
    if not hasattr(os, "fork"):
        raise click.ClickException("this system has no fork: only one worker can serve")
    with _listener(host, port) as listener:
        tune_garbage_collector()
        worker = functools.partial(_serve_as_worker, load, listener, patience_s, os.getpid())
        status = Keeper().keep(worker, workers)
    sys.exit(status)


def _restart_on_changes(target: Callable[[], None], paths: tuple[Path, ...]) -> None:
    # An extra that only those have who develop.
    from watchfiles import PythonFilter, run_process

    _hear_hang_ups()
    run_process(*paths, target=target, watch_filter=PythonFilter(), grace_period=1.0)


def _serve_at(
    load: Load, host: str, port: int, on_started: Callable[[], None] | None = None
) -> None:
    with _listener(host, port) as listener:
        _serve_on(listener, load, on_started, None)


def _serve_as_worker(
    load: Load, listener: socket.socket, patience_s: int, supervisor_pid: int
) -> None:
    """One of several: it shares the socket, and what was imported, with its siblings."""
    keeper = Keeper.mine
    assert keeper is not None, "it is forked by one"  # noqa: S101 - see `Keeper.keep`
    _serve_on(listener, load, functools.partial(_tell, keeper, patience_s), supervisor_pid)


def _listener(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as exc:
        # What the standard library adds to the system's words is the address once more.
        problem = str(exc.strerror or exc).partition(" (")[0]
        raise click.ClickException(
            f"cannot listen on {host} port {port}: {problem}; --host and --port choose another"
        ) from exc


def _serve_on(
    listener: socket.socket,
    load: Load,
    on_started: Callable[[], None] | None,
    supervisor_pid: int | None,
) -> None:
    if sys.platform != "win32":
        # Kept until the application listens, which looks for a signal that nobody handles.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with collector_paused():
        bridge = load()
        tune_garbage_collector()
    bridge.app.supervisor_pid = supervisor_pid
    bridge.on_started = on_started
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve_http(bridge, listener))
    except StartFailedError:
        sys.exit(1)  # The application has logged why.


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("uvloop") is None:
        return None
    # Not for Windows.
    import uvloop

    return uvloop.new_event_loop


def _tell(keeper: Keeper, patience_s: int) -> None:
    """Let `keeper` know that this process serves, and the log whose place it takes."""
    if keeper.predecessor_status is not None:
        logger.error(
            "the process that served ended with status %d: this one takes its place",
            keeper.predecessor_status,
        )
    keeper.note_serving(patience_s)


def _hear_hang_ups() -> None:
    if sys.platform != "win32":
        # Kept back by whoever keeps this process, until there is a handler.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
