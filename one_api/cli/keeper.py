"""The process that operators know by its number: it has others serve, and more if those die.

Of one process it forks before anything is imported, and so holds a bare interpreter: a few MB,
where a process that has read the settings to serve by holds 35. A child, too, starts with nothing
left over from the one before. Several are forked from one that has imported all they share.
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


class _Child:
    """A process that serves, or is about to."""

    def __init__(self, replaces_at: float | None) -> None:
        #: When it took another's place; None for the first ones.
        self.replaces_at = replaces_at
        #: Once it serves: how long it may take to end, in seconds.
        self.patience_s: int | None = None


class Keeper:
    """What is between processes that serve and the one that waits for them; each has one."""

    #: That of this process, where it is one that is to serve.
    mine: Keeper | None = None

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._children: dict[int, _Child] = {}
        self._is_told_to_end = False
        #: How the child ended whose place this one takes, as a shell tells it; None for the first.
        self.predecessor_status: int | None = None
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)

    # -- in a child

    def note_serving(self, patience_s: int) -> None:
        """This process serves: another takes its place when it dies.

        Once told to end it has `patience_s` seconds to do so.
        """
        os.write(self._writer, b"%d %d\n" % (os.getpid(), patience_s))

    # -- in the parent

    def keep(self, serve: Callable[[], object], count: int = 1) -> int:
        """Have `count` children `serve`, as often as need be; a status, as a shell tells it.

        When one ends that has not served, or at once in another's place, all are to end, and the
        status is its own; when they were told to, it is that of the last.
        """
        for _ in range(count):
            self._fork(serve, None)
        while True:
            status, child = self._wait()
            if self._is_told_to_end:
                if not self._children:
                    return status
            elif child.patience_s is None or self._has_hardly_lived(child):
                self._end()
                while self._children:
                    self._wait()
                return status
            else:
                self.predecessor_status = status
                self._fork(serve, self._clock())

    def _has_hardly_lived(self, child: _Child) -> bool:
        """Whether it took another's place just now: what killed both would kill the next one."""
        replaces_at = child.replaces_at
        return replaces_at is not None and self._clock() - replaces_at < _CRASH_LOOP_S

    def _fork(self, serve: Callable[[], object], replaces_at: float | None) -> None:
        forwarded = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
        # What comes between the fork and the handlers waits for them.
        signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)
        pid = os.fork()
        if not pid:
            Keeper.mine = self
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            # A hang-up, which would end it, stays until somebody listens for it.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
            serve()
            sys.exit()
        self._children[pid] = _Child(replaces_at)
        for number in forwarded:
            signal.signal(number, self._forward)
        signal.signal(signal.SIGALRM, self._kill)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)

    def _wait(self) -> tuple[int, _Child]:
        """The next child that ends, and how it did."""
        while True:
            # Of any child: the first process of a container is the parent of all orphans.
            pid, told = os.waitpid(-1, 0)
            if pid in self._children:
                self._listen()
                child = self._children.pop(pid)
                if not self._children:
                    signal.alarm(0)
                code = os.waitstatus_to_exitcode(told)
                return code if code >= 0 else 128 - code, child

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):  # Nobody has said anything, or nothing new.
            for line in os.read(self._reader, 4096).splitlines():
                pid, patience_s = map(int, line.split())
                if pid in self._children:
                    self._children[pid].patience_s = patience_s

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._send(number)
            return
        self._is_told_to_end = True
        self._end()

    def _end(self) -> None:
        # A terminal interrupts all of its processes; SIGTERM is what begins the drain.
        self._send(signal.SIGTERM)
        self._listen()
        patience_s = max((one.patience_s or 0 for one in self._children.values()), default=0)
        if patience_s:
            signal.alarm(patience_s)

    def _kill(self, _number: int, _frame: FrameType | None) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        for pid in list(self._children):
            with contextlib.suppress(ProcessLookupError):  # It has ended, and is about to be noted.
                os.kill(pid, number)
