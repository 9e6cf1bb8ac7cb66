"""Records that must survive the process, appended to local files until the database has them.

A record is one line of JSON, written by one write(2): a killed process loses none of those that
`Journal.append` returned for. Power loss may cost the last second (`Journal.tidy` syncs).

A journal is a series of segment files `journal-<owner>-<number>.jsonl`, all locked by the process
that writes them as long as it lives; the lock tells the dead from the living. A segment is deleted
once everything in it is in the database.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import re
import secrets
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from one_api.schemas import JsonObject
from one_api.storage.entries import from_line, to_line

logger = logging.getLogger(__name__)

_SEGMENT_NAME = re.compile(r"journal-(?P<owner>[\w.-]+)-(?P<number>\d{8})\.jsonl")
_IDENTITY_FILE = "journal-directory"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLimits:
    """Bounds of a journal, in the file system and in memory.

    Up to `memory_records` and `memory_bytes` of pending records are kept in memory; of others only
    the place in the file is. `ring_records` is how many are kept that could not be written.
    """

    segment_bytes: int = 8 << 20
    segment_age_s: float = 60.0
    memory_records: int = 2_000
    memory_bytes: int = 8 << 20
    ring_records: int = 10_000


class Segment:
    """One file of a journal, locked as long as it is open."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.size = 0
        #: Records in it that the database does not have yet.
        self.pending = 0
        self.is_synced = True
        self._is_torn = False

    @classmethod
    def create(cls, path: Path) -> Segment:
        """A new file, which nobody ever sees unlocked. Raises: OSError."""
        hidden = path.with_name(f".{path.name}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(hidden, flags, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(path)
        return cls(path, descriptor)

    @classmethod
    def seize(cls, path: Path) -> Segment | None:
        """A file that its writer left, or None when someone has it or it is gone."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it before may have dealt with it and deleted it meanwhile.
            is_linked = os.fstat(descriptor).st_nlink > 0
        except OSError:
            is_linked = False
        if not is_linked:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    def append(self, line: bytes) -> None:
        """Write `line`; what there is of it after a failure does not count. Raises: OSError."""
        if self._is_torn:
            os.ftruncate(self._descriptor, self.size)
            self._is_torn = False
        size = len(line)
        try:
            written = os.write(self._descriptor, line)
            while written < size:
                written += os.write(self._descriptor, line[written:])
        except BaseException:
            self._is_torn = True
            raise
        self.size += size
        self.is_synced = False

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`, fewer where the file is shorter."""
        return os.pread(self._descriptor, end - start, start)

    def lines(self) -> Iterator[bytes]:
        """Its complete lines; a torn last one was never acknowledged, and is left out."""
        start, rest = 0, b""
        while chunk := self.read(start, start + _CHUNK_BYTES):
            start += len(chunk)
            *complete, rest = (rest + chunk).split(b"\n")
            yield from complete

    def sync(self) -> None:
        """Bring what was written to the disk itself. Raises: OSError."""
        self.is_synced = True
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Unlock and close the file."""
        os.close(self._descriptor)

    def delete(self) -> None:
        """Delete the file before anyone can lock it, and close it."""
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


@dataclass(slots=True)
class Pending:
    """A record that the database does not have yet, and the file it is in, if it is in one."""

    record: JsonObject
    segment: Segment | None
    size: int = 0


@dataclass(slots=True)
class _Range:
    """Pending records of which only the place is kept."""

    segment: Segment
    start: int
    end: int
    count: int


class Orphan:
    """The journal of a process that died, locked until `discard` or `release`."""

    def __init__(self, owner: str, segments: Sequence[Segment]) -> None:
        self.owner = owner
        self._segments = segments

    def records(self) -> Iterator[JsonObject]:
        """All that it had written, oldest first; lines that are no records are left out."""
        for segment in self._segments:
            for line in segment.lines():
                record = from_line(line)
                if record is None:
                    logger.warning("a line of %s cannot be read", segment.path.name)
                else:
                    yield record

    def discard(self) -> None:
        """Delete it: everything is in the database."""
        for segment in self._segments:
            segment.delete()

    def release(self) -> None:
        """Leave it to another attempt."""
        for segment in self._segments:
            segment.close()


class Journal:
    """The records of this process that the database does not have yet.

    Made where it is used: a forked child must not write to its parent's. `append` is for the event
    loop's thread only. Exactly one reader calls `take` and `done`. `directory` is made if missing.
    Raises: OSError when no file can be written there.
    """

    def __init__(
        self,
        directory: Path,
        *,
        limits: JournalLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._limits = limits or JournalLimits()
        self._clock = clock
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        #: Begins the names of all journals of this directory, and of no other.
        self.directory_id = _identity_of(directory)
        host = re.sub(r"[^\w.]", "_", socket.gethostname())[:64]
        self.name = f"{self.directory_id}-{host}-{os.getpid()}-{secrets.token_hex(4)}"
        self._number = 0
        self._active = self._create()
        self._opened_s = clock()
        self._rotate_at_bytes = self._limits.segment_bytes
        self._sealed: list[Segment] = []
        self._head: deque[Pending] = deque()
        self._head_bytes = 0
        self._spilled: deque[_Range] = deque()
        self._ring: deque[Pending] = deque()
        #: Whether records are at risk: the last could not be written to the file.
        self.is_degraded = False
        #: How many records the database does not have, and how many were given up for want of room.
        self.pending = 0
        self.lost = 0

    def append(self, record: JsonObject, *, is_expendable: bool = False) -> None:
        """Keep `record` until the database has it; it must not be changed any more.

        Never raises: what cannot be written to the file waits in memory, unless it `is_expendable`.
        """
        line = to_line(record)
        if self._active.size >= self._rotate_at_bytes:
            self._rotate()
        segment, size = self._active, len(line)
        try:
            segment.append(line)
        except OSError as error:
            self._keep_unwritten(record, error, is_expendable=is_expendable)
            return
        if self.is_degraded:
            logger.warning("the journal can be written again")
            self.is_degraded = False
        segment.pending += 1
        self.pending += 1
        most, head = self._limits, self._head
        is_full = self._head_bytes >= most.memory_bytes or len(head) >= most.memory_records
        if is_full or self._spilled:
            self._spill(segment.size - size, segment.size)
        else:
            head.append(Pending(record, segment, size))
            self._head_bytes += size

    async def take(self, limit: int) -> list[Pending]:
        """Up to `limit` pending records, oldest first, but before all those that are in no file.

        Raises: OSError when a file cannot be read.
        """
        if self._spilled and not self._head and len(self._ring) < limit:
            await self._load()
        taken = [self._ring.popleft() for _ in range(min(limit, len(self._ring)))]
        head = [self._head.popleft() for _ in range(min(limit - len(taken), len(self._head)))]
        self._head_bytes -= sum([pending.size for pending in head])
        return taken + head

    def done(self, taken: Sequence[Pending]) -> None:
        """The database has what was `taken`."""
        for segment, count in Counter([pending.segment for pending in taken]).items():
            self._forget(segment, count)

    async def tidy(self) -> None:
        """Sync what was written, begin a new segment in time, delete what is no longer needed.

        To be called each second, by one caller at a time.
        """
        active = self._active
        if not active.is_synced:
            try:
                await asyncio.to_thread(active.sync)
            except OSError as error:
                logger.warning("the journal cannot be synced: %s", error.strerror)
                active.is_synced = False
        is_due = self._clock() >= self._opened_s + self._limits.segment_age_s
        if active is self._active and active.size and is_due:
            self._rotate()
        for segment in [sealed for sealed in self._sealed if sealed.pending == 0]:
            self._sealed.remove(segment)
            await asyncio.to_thread(segment.delete)

    def seize_orphan(self) -> Orphan | None:
        """The journal of a dead process in this directory, locked; None when there is none."""
        for owner, paths in self._paths().items():
            if owner != self.name and (orphan := _seize(owner, paths)):
                return orphan
        return None

    def owners(self) -> set[str]:
        """The names of all journals in this directory: of those who run, and of orphans."""
        return {self.name, *self._paths()}

    def close(self) -> None:
        """Delete the segments that are not needed, and leave the others to who comes next."""
        self.lost += len(self._ring)
        for segment in (*self._sealed, self._active):
            (segment.close if segment.pending else segment.delete)()

    def _keep_unwritten(self, record: JsonObject, error: OSError, *, is_expendable: bool) -> None:
        if not self.is_degraded:
            logger.error("the journal cannot be written: %s", error.strerror or error)
            self.is_degraded = True
        if is_expendable:
            self.lost += 1
            return
        if len(self._ring) >= self._limits.ring_records:
            self._ring.popleft()
            self.lost += 1
            self._forget(None)
        self._ring.append(Pending(record, None))
        self.pending += 1

    def _spill(self, start: int, end: int) -> None:
        last = self._spilled[-1] if self._spilled else _Range(self._active, end, end, 0)
        if last.segment is self._active and last.end == start:
            last.end = end
            last.count += 1
        else:
            self._spilled.append(_Range(self._active, start, end, 1))

    async def _load(self) -> None:
        place = self._spilled[0]
        whole, size = b"", _CHUNK_BYTES
        while not whole and place.start < place.end:
            end = min(place.end, place.start + size)
            data = await asyncio.to_thread(place.segment.read, place.start, end)
            whole = data[: data.rfind(b"\n") + 1]
            if not whole and end == place.end:
                logger.error("%s is shorter than it was", place.segment.path.name)
                place.start = end
            size *= 2  # a single record may be longer than what is read at a time
        for line in whole.splitlines():
            place.count -= 1
            record = from_line(line)
            if record is None:
                self.lost += 1
                self._forget(place.segment)
                continue
            self._head.append(Pending(record, place.segment, len(line)))
            self._head_bytes += len(line)
        place.start += len(whole)
        if place.start >= place.end:
            self._spilled.popleft()
            self.lost += place.count
            self._forget(place.segment, place.count)

    def _forget(self, segment: Segment | None, count: int = 1) -> None:
        self.pending -= count
        if segment is not None:
            segment.pending -= count

    def _rotate(self) -> None:
        self._opened_s = self._clock()
        try:
            segment = self._create()
        except OSError as error:
            # Rather a segment that is too long than none; asked again after as much once more.
            logger.warning("no new journal segment: %s", error.strerror)
            self._rotate_at_bytes += self._limits.segment_bytes
            return
        self._sealed.append(self._active)
        self._active = segment
        self._rotate_at_bytes = self._limits.segment_bytes

    def _create(self) -> Segment:
        self._number += 1
        return Segment.create(self._directory / f"journal-{self.name}-{self._number:08}.jsonl")

    def _paths(self) -> dict[str, list[Path]]:
        paths: dict[str, list[Path]] = {}
        for path in sorted(self._directory.iterdir()):
            if match := _SEGMENT_NAME.fullmatch(path.name):
                paths.setdefault(match["owner"], []).append(path)
        return paths


def _seize(owner: str, paths: Sequence[Path]) -> Orphan | None:
    """All of a dead owner's segments: a request may begin in one and end in another."""
    segments: list[Segment] = []
    for path in paths:
        segment = Segment.seize(path)
        if segment is None:
            Orphan(owner, segments).release()
            return None
        segments.append(segment)
    return Orphan(owner, segments)


def _identity_of(directory: Path) -> str:
    """A name for the directory that no other has, also on another host."""
    path = directory / _IDENTITY_FILE
    with NamedTemporaryFile("w", dir=directory, prefix=".") as draft:
        draft.write(secrets.token_hex(6))
        draft.flush()
        # Of all processes that ever start here, one gives the name.
        with suppress(FileExistsError):
            path.hardlink_to(draft.name)
    return path.read_text()
