"""Who is next: jobs wait in line by caller, and the callers take turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Job = TypeVar("Job")


class FairQueue(Generic[Job]):
    """Jobs of several callers. One caller's come in order; between callers, each has one turn."""

    def __init__(self) -> None:
        #: In the order of turns: a caller that was served goes to the end.
        self._lines: dict[str, deque[Job]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def put(self, caller: str, job: Job) -> None:
        """Have `job` wait behind the caller's others."""
        self._lines.setdefault(caller, deque()).append(job)

    def put_back(self, caller: str, job: Job) -> None:
        """Have `job`, which had its turn, wait before all others."""
        line = self._lines.pop(caller, deque())
        line.appendleft(job)
        self._lines = {caller: line, **self._lines}

    def heads(self) -> Iterator[tuple[str, Job]]:
        """The first job of each caller, the one whose turn it is first."""
        for caller, line in list(self._lines.items()):
            yield caller, line[0]

    def take(self, caller: str) -> Job:
        """The first job of `caller`, who has had a turn by that."""
        line = self._lines.pop(caller)
        job = line.popleft()
        if line:
            self._lines[caller] = line
        return job

    def remove(self, caller: str, job: Job) -> bool:
        """Take `job` out of the line without a turn; whether it was there."""
        line = self._lines.get(caller)
        if line is None or job not in line:
            return False
        line.remove(job)
        if not line:
            del self._lines[caller]
        return True
