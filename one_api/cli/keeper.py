"""The process that operators know by its number: it has a child serve, and another if that dies.

It forks before anything is imported, and so holds a bare interpreter: a few MB, where a process
that has read the settings to serve by holds 35. A child, too, starts with nothing left over from
the one before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

#: A child that took another's place, and that dies within so many seconds, is the last.
_CRASH_LOOP_S = 5.0


class Keeper:
    """What is between the process that serves and the one that waits for it; both have one."""

    #: That of this process, where it is the one that is to serve.
    mine: Keeper | None = None

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pid = 0
        self._patience_s: int | None = None
        self._is_told_to_end = False
        #: How the child ended whose place this one takes, as a shell tells it; None for the first.
        self.predecessor_status: int | None = None
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)

    # -- in the child

    def note_serving(self, patience_s: int) -> None:
        """This process serves: another takes its place when it dies.

        Once told to end it has `patience_s` seconds to do so.
        """
        os.write(self._writer, b"%d\n" % patience_s)

    # -- in the parent

    def keep(self, serve: Callable[[], object]) -> int:
        """Have a child `serve`, as often as need be; the status of the last, as a shell tells it.

        What ends without having served, or as it was told to, is the last.
        """
        while True:
            begun_at = self._clock()
            self._fork(serve)
            status = self._wait()
            is_loop = (
                self.predecessor_status is not None and self._clock() - begun_at < _CRASH_LOOP_S
            )
            if self._is_told_to_end or self._patience_s is None or is_loop:
                return status
            self.predecessor_status = status

    def _fork(self, serve: Callable[[], object]) -> None:
        forwarded = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
        # What comes between the fork and the handlers waits for them.
        signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)
        self._patience_s = None
        self._pid = os.fork()
        if not self._pid:
            Keeper.mine = self
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            # A hang-up, which would end it, stays until somebody listens for it.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
            serve()
            sys.exit()
        for number in forwarded:
            signal.signal(number, self._forward)
        signal.signal(signal.SIGALRM, self._kill)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)

    def _wait(self) -> int:
        while True:
            # Of any child: the first process of a container is the parent of all orphans.
            pid, told = os.waitpid(-1, 0)
            if pid == self._pid:
                self._pid = 0
                signal.alarm(0)
                self._listen()
                code = os.waitstatus_to_exitcode(told)
                return code if code >= 0 else 128 - code

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):  # It has said nothing, or nothing new.
            self._patience_s = int(os.read(self._reader, 64))

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._send(number)
            return
        self._is_told_to_end = True
        # A terminal interrupts all of its processes; SIGTERM is what begins the drain.
        self._send(signal.SIGTERM)
        self._listen()
        if self._patience_s is not None:
            signal.alarm(self._patience_s)

    def _kill(self, _number: int, _frame: FrameType | None) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self._pid:
            os.kill(self._pid, number)
