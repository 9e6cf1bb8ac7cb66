"""One process with one model, as its parent sees it: frames in and out, log lines, an end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Mapping
from typing import Final, Self

from one_api.adapter import JsonObject
from one_api_llamacpp import frames
from one_api_llamacpp.thread_count import can_tell_waiting

#: How long a worker may take to end by itself, in seconds; after it, it is killed.
CLOSE_S: Final = 3.0
#: Lines of the error output kept for the message about a crash.
_LAST_WORDS: Final = 12
_MAX_LINE_BYTES: Final = 64 * 1024
#: What a worker may know of our environment: where programs and libraries are, how to compute.
#: Credentials are nobody's business who parses files from strangers.
_ENVIRONMENT: Final = re.compile(
    r"PATH|PYTHON(PATH|HOME)|LD_LIBRARY_PATH|DYLD_\w+|LANG|LC_\w+|TZ|HOME|TMPDIR|TEMP|TMP|SYSTEMROOT"
    r"|(OMP|GOMP|KMP|GGML|LLAMA_ARG|CUDA|NVIDIA|HIP|HSA|ROCR|GPU|VK|MESA|SYCL|ONEAPI|ZE)_\w+"
)
_SECRET: Final = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.I)


class WorkerProcess:
    """A running worker. Made by `start`; whoever has one must `close` it."""

    def __init__(self, process: Process, logger: logging.Logger) -> None:
        self._process = process
        self._logger = logger
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, logger: logging.Logger) -> Self:
        """A process that waits for its settings.

        Raises: OSError when it cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            # Without -P the working directory could stand in for any module.
            *(sys.executable, "-P", "-m", "one_api_llamacpp.worker", str(os.getpid())),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=worker_environment(os.environ),  # noqa: TID251 - handed on, not read
            # A Ctrl-C in the terminal is for the gateway, which ends its workers in its own time.
            start_new_session=True,
        )
        return cls(process, logger)

    @property
    def pid(self) -> int:
        """The number by which the system knows the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def receive(self) -> JsonObject | None:
        """The next message, log lines aside; None when the worker sends no more.

        Raises: MalformedFrame.
        """
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - it is a pipe, which the type cannot say
        while True:
            try:
                head = await stream.readexactly(frames.HEAD_BYTES)
                message = frames.decode(await stream.readexactly(frames.length_of(head)))
            except (asyncio.IncompleteReadError, OSError):
                return None
            if message["kind"] != "log":
                return message
            self._log(message)

    def post(self, message: JsonObject) -> None:
        """Send `message` without waiting; to a worker that has ended, nothing happens.

        Raises: MalformedFrame when it is too long.
        """
        frame = frames.encode(message)
        stream = self._process.stdin
        if stream is not None and not stream.is_closing():
            stream.write(frame)

    async def drain(self) -> None:
        """Wait until what was posted is on its way, as far as there is still somebody to read."""
        stream = self._process.stdin
        if stream is not None:
            with contextlib.suppress(ConnectionError):
                await stream.drain()

    async def close(self) -> None:
        """End the process and wait for that, killing it if it takes longer than `CLOSE_S`."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._process.wait()
        except TimeoutError:
            self._logger.warning("A worker of a local model did not end by itself: killed")
        finally:
            # Also when this is cancelled: nothing may outlive its owner.
            self.kill()
        await self._process.wait()
        await self._listening

    def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def post_mortem(self) -> str:
        """How the process ended and what it said last; only after `close`."""
        code = self._process.returncode or 0
        ending = f"signal {-code}" if code < 0 else f"exit status {code}"
        return "; ".join((ending, *self._last_words))

    async def _listen(self) -> None:
        """Take what llama.cpp writes past its log, a failed assertion for one."""
        stream = self._process.stderr
        assert stream is not None  # noqa: S101 - as above
        while data := await stream.read(_MAX_LINE_BYTES):
            for line in data.decode("utf-8", "replace").splitlines():
                if line.strip():
                    self._last_words.append(line.strip()[:500])
                    self._logger.debug("llama.cpp: %s", line)

    def _log(self, message: JsonObject) -> None:
        level, text = message.get("level"), message.get("text")
        if level not in (logging.DEBUG, logging.INFO, logging.WARNING) or not isinstance(text, str):
            raise frames.MalformedFrame("a log line without level or text")
        self._logger.log(level, "%s", text)


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of `environment` a worker gets, and what else it needs."""
    known = {
        name: value
        for name, value in environment.items()
        if _ENVIRONMENT.fullmatch(name) and not _SECRET.search(name)
    }
    # libgomp's threads spin at barriers, hundreds per token: with a busy neighbour on the core each
    # costs a time slice unless they soon give up, and alone those that do must be woken. Where one
    # can see neighbours, fewer threads compute while there are some, and they may spin for long.
    # Read when the library is loaded.
    known.setdefault("GOMP_SPINCOUNT", "100000" if can_tell_waiting() else "3000")
    # Else a failed assertion would have a debugger attached, if there is one, to print the stack.
    known["GGML_NO_BACKTRACE"] = "1"
    return known
