"""The one road that all records of a process take, and what is led onto it."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from multiprocessing import parent_process
from multiprocessing.util import Finalize, register_after_fork
from types import ModuleType, TracebackType
from typing import Any, TextIO

from typing_extensions import override

from one_api.observe.logs import MAX_WAITING, LogFormat, QueueingHandler, new_formatter

logger = logging.getLogger(__name__)

#: Our own part of the tree of loggers: the only one that is heard in detail.
_OURS = "one_api"

_SYSTEM_HOOK = sys.excepthook
_THREAD_HOOK = threading.excepthook


class LogRoad:
    """Leads what is logged, warned of and raised by nobody's leave to `stream`, in one format.

    Libraries are heard from INFO on, whatever `is_debug` says: some of them tell bodies below that.
    """

    def __init__(
        self,
        log_format: LogFormat | None = None,
        *,
        is_debug: bool = False,
        stream: TextIO | None = None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        stream = stream if stream is not None else sys.stderr
        is_terminal = stream.isatty()
        told: LogFormat = log_format or ("console" if is_terminal else "json")
        self.handler = QueueingHandler(_writer(stream), max_waiting=max_waiting)
        self.handler.setFormatter(new_formatter(told, colors=is_terminal))
        root = logging.getLogger()
        for handler in root.handlers[:]:
            root.removeHandler(handler)
        root.addHandler(self.handler)
        _flush_at_end(self.handler)
        register_after_fork(self.handler, _flush_at_end)
        root.setLevel(logging.INFO)
        logging.getLogger(_OURS).setLevel(logging.DEBUG if is_debug else logging.NOTSET)
        logging.getLogger("alembic").setLevel(logging.WARNING)  # It tells of each of its plugins.
        logging.captureWarnings(True)
        sys.excepthook = _tell_uncaught
        threading.excepthook = _tell_thread
        _LEADER.begin()

    def close(self) -> None:
        """Write what is left, and leave everything as Python has it."""
        logging.getLogger().removeHandler(self.handler)
        logging.getLogger(_OURS).setLevel(logging.NOTSET)
        logging.captureWarnings(False)
        sys.excepthook, threading.excepthook = _SYSTEM_HOOK, _THREAD_HOOK
        _LEADER.end()
        self.handler.stop()


class _StructlogLeader(MetaPathFinder):
    """Has code that logs with structlog itself take the same road, once it imports structlog.

    The gateway needs none of it for JSON, and importing it takes 0.03 s and 1 MB of every process;
    where rich is installed, five times as much.
    """

    def begin(self) -> None:
        """Lead from now on."""
        if "structlog" in sys.modules:
            _lead_structlog()
        elif self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def end(self) -> None:
        """Leave structlog as it comes."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if "structlog" in sys.modules:
            import structlog

            structlog.reset_defaults()

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "structlog":
            return None
        sys.meta_path.remove(self)  # or it would find itself
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Leading(spec.loader)
        return spec


class _Leading(Loader):
    """Loads structlog as `loader` does, and leads it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    @override
    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    @override
    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _lead_structlog()


_LEADER = _StructlogLeader()


def _lead_structlog() -> None:
    import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _tell_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        _SYSTEM_HOOK(kind, error, trace)
        return
    logger.critical("the process ends", exc_info=(kind, error, trace))
    for handler in logging.getLogger().handlers:
        handler.flush()


def _tell_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread is not None else "?"
        exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
        logger.error("the thread %s ends", name, exc_info=exc_info)


def _writer(stream: TextIO) -> Callable[[str], None]:
    """Writes to `stream`, past its buffer: whoever ends the process waits for nobody's lock."""
    try:
        number = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return lambda text: _write_text(stream, text)
    return lambda text: _write_bytes(number, text.encode("utf-8", "backslashreplace"))


def _write_text(stream: TextIO, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # Nobody is left to read it.
        stream.write(text)
        stream.flush()


def _write_bytes(number: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(number, left) :]
        except BlockingIOError:
            select.select([], [number], [])
        except OSError:  # Nobody is left to read it.
            return


class _Road:
    """The road of this process, if there is one."""

    now: LogRoad | None = None


def open_road(log_format: LogFormat | None = None, *, is_debug: bool = False) -> LogRoad:
    """Lead all of this process's log to standard error from now on; on a road before, no more."""
    close_road()
    _Road.now = LogRoad(log_format, is_debug=is_debug)
    return _Road.now


def close_road() -> None:
    """Write what is left to write, and leave logging as it was; nothing where there is no road."""
    road, _Road.now = _Road.now, None
    if road is not None:
        road.close()


def _revive() -> None:
    if _Road.now is not None:
        _Road.now.handler.start()


def _flush_at_end(handler: QueueingHandler) -> None:
    """Write the last lines of a child, too, which multiprocessing ends without `atexit`."""
    if parent_process() is not None:
        Finalize(None, handler.flush, exitpriority=-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_revive)
