"""llama.cpp's log, which a process has one of, as calls of one Python function."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

import llama_cpp.llama_cpp as llama

Tell = Callable[[int, str], None]

#: ggml's levels: what only its authors want to know, what went wrong, more of the line before.
_LOG_DEBUG: Final = 1
_LOG_ERROR: Final = 4
_LOG_CONTINUED: Final = 5


class NativeLog:
    """Takes the log at debug level and remembers the errors, for the message about a failure.

    llama.cpp keeps the bare pointer of the callback: this must live as long as the process.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._errors: deque[str] = deque(maxlen=8)
        self._callback: Callable[..., None] = llama.llama_log_callback(self._take)
        llama.llama_log_set(self._callback, ctypes.c_void_p(0))

    def take_errors(self) -> str:
        """The last errors, each told once."""
        with self._lock:
            told = "; ".join(self._errors)
            self._errors.clear()
        return told

    def _take(self, level: int, text: bytes, _: object) -> None:
        if level in (_LOG_DEBUG, _LOG_CONTINUED):
            return  # hundreds of lines for each context; the dots of a progress bar
        line = text.decode("utf-8", "replace").strip()
        if not line.strip("."):
            return
        if level == _LOG_ERROR:
            with self._lock:
                self._errors.append(line)
        self._tell(logging.DEBUG, f"llama.cpp: {line}")
