"""The log: every record of this process on one road, in one format, to standard error.

Whoever logs only puts a record into a bounded queue. A thread makes lines of records and writes
them, so that a slow terminal, pipe or disk holds back nobody; what does not fit into the queue is
counted and told of.
"""

from __future__ import annotations

import copy
import logging
import queue
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal

import orjson
from typing_extensions import override

from one_api.observe.redactor import Redactor, escape, escape_json

LogFormat = Literal["json", "console"]

#: Records that wait to be written at most.
MAX_WAITING: Final = 10_000
#: Records that are written at once at most.
_BATCH = 256
#: How long records are gathered before they are written, in seconds. A thread that is woken for
#: each fights for the interpreter with whoever answers requests: under load, a line takes 126 µs of
#: its time instead of 45.
_GATHER_S = 0.05
#: How long the end of the process waits for the last records, in seconds.
_CLOSE_S = 2.0

#: What never gets into the log of this process.
REDACTOR: Final = Redactor()

#: What a line tells, by name.
_Fields = dict[str, Any]
#: Where a record has its traceback, once that is a text.
_TRACEBACK = "one_api_traceback"
_INDENT = "    "


class Message(ABC):
    """A message with more to tell than its text; `fields` is called later, on another thread."""

    @abstractmethod
    def fields(self) -> Mapping[str, object]:
        """Names and values, of which "event" says what it is about."""


class QueueingHandler(logging.Handler):
    """Puts records into a queue that a thread of its own empties into `write`."""

    def __init__(self, write: Callable[[str], None], *, max_waiting: int = MAX_WAITING) -> None:
        super().__init__()
        self._write = write
        self._max_waiting = max_waiting
        self.dropped = 0
        self._told = 0
        self.start()

    def start(self) -> None:
        """Begin to write; again in a process that was forked, which has no threads."""
        self._queue: queue.SimpleQueue[logging.LogRecord | threading.Event] = queue.SimpleQueue()
        self._is_awaited = threading.Event()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="one-api-log", daemon=True)
        self._thread.start()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if self._queue.qsize() >= self._max_waiting:
            self.dropped += 1
            return
        self._queue.put(record if isinstance(record.msg, Message) else _settled(record))
        if record.levelno >= logging.WARNING:  # It may be the last that this process tells.
            self._is_awaited.set()

    @override
    def flush(self) -> None:
        """Wait until what was logged so far is written, but not for ever."""
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            written = threading.Event()
            self._queue.put(written)
            self._is_awaited.set()
            written.wait(_CLOSE_S)

    def stop(self) -> None:
        """Write what is left, and end the thread."""
        self._is_closed = True
        self.flush()

    def _run(self) -> None:
        waiting = self._queue
        while True:
            batch = [waiting.get()]
            self._is_awaited.wait(_GATHER_S)
            self._is_awaited.clear()
            while len(batch) < _BATCH and not waiting.empty():
                batch.append(waiting.get())
            lines = [self._line(one) for one in batch if isinstance(one, logging.LogRecord)]
            if self.dropped > self._told:
                lines.append(self._line(self._loss()))
            if lines:
                self._write("".join(lines))
            for one in batch:
                if isinstance(one, threading.Event):
                    one.set()
            if self._is_closed and waiting.empty():
                return

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return f"{self.format(record)}\n"
        except Exception as exc:  # noqa: BLE001 - one record that cannot be told costs no other
            return f"a log record of {record.name} cannot be told: {type(exc).__name__}\n"

    def _loss(self) -> logging.LogRecord:
        lost, self._told = self.dropped - self._told, self.dropped
        text = f"{lost} log records are lost: they came faster than they could be written"
        return logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)


def _settled(record: logging.LogRecord) -> logging.LogRecord:
    """A copy that no longer refers to what the caller may change."""
    settled = copy.copy(record)
    if not isinstance(record.msg, dict):
        settled.msg, settled.args = record.getMessage(), None
    traces = traceback.format_exception(*record.exc_info) if record.exc_info else []
    if record.stack_info:
        traces.append(record.stack_info)
    if traces:
        setattr(settled, _TRACEBACK, "".join(traces).rstrip("\n"))
        settled.exc_info = settled.exc_text = settled.stack_info = None
    return settled


# -- lines


def _described(record: logging.LogRecord) -> _Fields:
    """When, how bad, who and what."""
    told = _origin_of(record)
    if isinstance(record.msg, Mapping) and hasattr(record, "_logger"):  # structlog's
        told["event"] = record.msg.get("event", "")
        told.update((name, one) for name, one in record.msg.items() if name[:1] != "_")
    else:
        told["event"] = record.getMessage()
    text = getattr(record, _TRACEBACK, None)
    if text:
        told["exception"] = text
    return told


def _origin_of(record: logging.LogRecord) -> _Fields:
    second, ms = divmod(int(record.created * 1_000), 1_000)
    return {
        "timestamp": f"{_spelled(second)}.{ms:03}+00:00",
        "level": record.levelname.lower(),
        "logger": record.name,
    }


@lru_cache(maxsize=4)
def _spelled(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


#: What holds no text.
_PLAIN = frozenset({type(None), bool, int, float})


class _Clean:
    """Takes secrets out of every text; for a console, also what would steer it."""

    def __init__(self, redactor: Redactor, *, escapes: bool) -> None:
        self._redact = redactor.redact
        self._escapes = escapes

    def __call__(self, event: _Fields) -> _Fields:
        for name, value in event.items():
            if type(value) is str:
                event[name] = self._text(value, name == "exception")
            elif type(value) not in _PLAIN:
                event[name] = self._cleaned(value)
        return event

    def _cleaned(self, value: Any) -> Any:
        if type(value) in _PLAIN:
            return value
        if isinstance(value, Mapping):
            return {self._text(str(key)): self._cleaned(one) for key, one in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._cleaned(one) for one in value]
        return self._text(value if isinstance(value, str) else repr(value))

    def _text(self, text: str, is_laid_out: bool = False) -> str:
        clean = self._redact(text)
        if not self._escapes:
            # JSON has no halves of characters, and `escape_json` sees to all the rest.
            return clean if clean.isascii() else clean.encode("utf-8", "backslashreplace").decode()
        escaped = escape(clean, keep_lines=is_laid_out)
        # Nothing within a traceback may look like the beginning of a line of its own.
        return _INDENT + escaped.replace("\n", f"\n{_INDENT}") if is_laid_out else escaped


def _to_json(event: _Fields) -> str:
    return escape_json(orjson.dumps(event, option=orjson.OPT_NON_STR_KEYS).decode())


class _Lines(logging.Formatter):
    """Makes lines: described and cleaned, and told by `render`."""

    def __init__(self, clean: _Clean, render: Callable[[_Fields], str]) -> None:
        super().__init__()
        self._clean = clean
        self._render = render

    @override
    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, Message):
            # Most lines are such.
            told = {**_origin_of(record), **self._clean(dict(record.msg.fields()))}
        else:
            told = self._clean(_described(record))
        return self._render(told)


def new_formatter(
    log_format: LogFormat, *, redactor: Redactor = REDACTOR, colors: bool = False
) -> logging.Formatter:
    """Makes lines in `log_format` of records, without what `redactor` knows for a secret."""
    if log_format == "json":
        return _Lines(_Clean(redactor, escapes=False), _to_json)
    # It takes 0.03 s to import, and rich along where that is installed: five times as long.
    from structlog.dev import ConsoleRenderer

    console = ConsoleRenderer(colors=colors, pad_event_to=0, sort_keys=False)
    return _Lines(_Clean(redactor, escapes=True), lambda event: console(None, "", event))
