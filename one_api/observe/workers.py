"""What several processes of one gateway count, added up through files in a directory of theirs.

Each process has `<owner>.json`, which it replaces as a whole, and `<owner>.lock`, which it holds
locked as long as it lives: the lock tells the dead from the living. What the dead have counted
stays in the sums; a process that starts moves it to `departed.json`, so that few files are left.
A process that is killed takes along what it has counted since it last wrote.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from one_api.observe.families import Snapshot

logger = logging.getLogger(__name__)

_DEPARTED = "departed.json"
_GATE = "departed.lock"


class WorkerDirectory:
    """The place of this process among its siblings in `directory`, which is made if missing.

    Made in the process that counts, and not shared between threads at one time.
    Raises: OSError when no file can be written there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.owner = f"worker-{os.getpid()}-{secrets.token_hex(4)}"
        with self._gate(fcntl.LOCK_EX):
            self._fold()
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._lock = os.open(self._lock_of(self.owner), flags, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def write(self, snapshot: Snapshot) -> None:
        """Let the others know what this process has counted. Raises: OSError."""
        _replace(self._directory / f"{self.owner}.json", snapshot.to_bytes())

    def others(self) -> Snapshot:
        """What all others have counted, the dead included; the living as of their last `write`.

        Raises: OSError.
        """
        total = Snapshot()
        with self._gate(fcntl.LOCK_SH):
            departed, folded = self._departed()
            total.merge(departed)
            for owner in self._owners() - folded - {self.owner}:
                # Asked first: what it writes last is read then, whether it lives or not.
                is_dead = self._is_dead(owner)
                total.merge(self._read(owner), is_dead=is_dead)
        return total

    def close(self) -> None:
        """Be counted among the dead from now on."""
        os.close(self._lock)

    @contextmanager
    def _gate(self, mode: int) -> Iterator[None]:
        """Nobody folds while others read: they would find the same counts twice, or nowhere."""
        descriptor = os.open(self._directory / _GATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, mode)
            yield
        finally:
            os.close(descriptor)

    def _fold(self) -> None:
        """Add what the dead have counted to `departed.json`, and delete their files.

        Whoever ends in between leaves files behind that are named there, and not counted again.
        """
        departed, folded = self._departed()
        dead = {owner for owner in self._owners() if owner in folded or self._is_dead(owner)}
        for owner in dead - folded:
            departed.merge(self._read(owner), is_dead=True)
        if dead:
            data = orjson.dumps([sorted(dead), departed.to_bytes().decode()])
            _replace(self._directory / _DEPARTED, data)
        for owner in dead:
            (self._directory / f"{owner}.json").unlink(missing_ok=True)
            self._lock_of(owner).unlink(missing_ok=True)

    def _departed(self) -> tuple[Snapshot, set[str]]:
        """What the dead have counted whose files may be gone, and who they are."""
        try:
            folded, data = orjson.loads((self._directory / _DEPARTED).read_bytes())
            return Snapshot.from_bytes(data.encode()), set(folded)
        except FileNotFoundError:
            return Snapshot(), set()

    def _owners(self) -> set[str]:
        return {path.stem for path in self._directory.glob("worker-*.lock")}

    def _lock_of(self, owner: str) -> Path:
        return self._directory / f"{owner}.lock"

    def _is_dead(self, owner: str) -> bool:
        try:
            descriptor = os.open(self._lock_of(owner), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            # Shared: two who look at one time must not take each other for the owner.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _read(self, owner: str) -> Snapshot:
        try:
            return Snapshot.from_bytes((self._directory / f"{owner}.json").read_bytes())
        except FileNotFoundError:
            return Snapshot()  # It has not written yet.
        except (ValueError, TypeError, KeyError):
            logger.warning("the metrics of %s cannot be read", owner)
            return Snapshot()


def _replace(path: Path, data: bytes) -> None:
    """Write `data` so that whoever reads `path` finds the old or the new, and all of it."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    hidden.write_bytes(data)
    hidden.replace(path)
