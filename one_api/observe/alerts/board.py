"""What was told and is not over yet, so that nothing is told twice: by any process of a gateway."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import orjson

from one_api.observe.alerts.news import KINDS, News

logger = logging.getLogger(__name__)

#: Most troubles that are remembered; whatever changed longest ago is forgotten first.
MAX_ENTRIES = 2_000

State = Literal["open", "still_open", "over"]


@dataclass(frozen=True, slots=True)
class BoardRules:
    """When the same trouble is told again, in seconds.

    One that comes back within `quiet_s` after its end was told is held back until then, and told if
    it is still there. One that goes on is told again every `repeat_s`, as often as it is reported.
    """

    quiet_s: float = 300.0
    repeat_s: float = 14_400.0


@dataclass(frozen=True, slots=True)
class Alert:
    """News that are to be told, and why: it began, it goes on, or it is over."""

    news: News
    state: State = "open"


@dataclass(slots=True)
class _Entry:
    """One kind of trouble of one subject; times are in seconds since the epoch.

    `told_s` is when people last heard that it is there, None while they do not know; `over_s` when
    they heard that it is over.
    """

    news: News
    changed_s: float
    is_open: bool = True
    told_s: float | None = None
    over_s: float | None = None


class Board:
    """Decides what of the news is told: troubles once, and ends only of what was told."""

    def __init__(self, rules: BoardRules) -> None:
        self._rules = rules
        self._entries: dict[str, _Entry] = {}

    def sift(self, news: Iterable[News], now_s: float) -> list[Alert]:
        """What is to be told of `news`, in their order, and then of what was held back until now.

        `now_s` is in seconds since the epoch.
        """
        alerts = []
        for one in news:
            alert = self._end(one, now_s) if one.is_recovery else self._begin(one, now_s)
            if alert is not None:
                alerts.append(alert)
        alerts += self._held(now_s)
        while len(self._entries) > MAX_ENTRIES:
            del self._entries[min(self._entries, key=lambda key: self._entries[key].changed_s)]
        return alerts

    @property
    def open(self) -> list[News]:
        """The troubles that are not over, told or not."""
        return [entry.news for entry in self._entries.values() if entry.is_open]

    def _begin(self, news: News, now_s: float) -> Alert | None:
        entry = self._entries.get(news.key)
        if entry is None:
            entry = self._entries[news.key] = _Entry(news, now_s)
        elif not entry.is_open:
            entry.is_open, entry.told_s = True, None
        entry.news, entry.changed_s = news, now_s
        if entry.told_s is None:
            if self._is_quiet(entry, now_s):
                return None
            return self._tell(entry, now_s, "open")
        if now_s - entry.told_s < self._rules.repeat_s:
            return None
        return self._tell(entry, now_s, "still_open")

    def _tell(self, entry: _Entry, now_s: float, state: State) -> Alert:
        entry.told_s = now_s
        if not KINDS[entry.news.kind].en.over:
            del self._entries[entry.news.key]
        return Alert(entry.news, state)

    def _end(self, news: News, now_s: float) -> Alert | None:
        entry = self._entries.get(news.key)
        if entry is None or not entry.is_open:
            return None
        entry.is_open, entry.news, entry.changed_s = False, news, now_s
        if entry.told_s is None:
            return None
        entry.told_s, entry.over_s = None, now_s
        return Alert(news, "over")

    def _held(self, now_s: float) -> list[Alert]:
        held = [one for one in self._entries.values() if one.is_open and one.told_s is None]
        return [
            self._tell(entry, now_s, "open") for entry in held if not self._is_quiet(entry, now_s)
        ]

    def _is_quiet(self, entry: _Entry, now_s: float) -> bool:
        return entry.over_s is not None and 0 <= now_s - entry.over_s < self._rules.quiet_s

    # -- as bytes, for other processes

    def load(self, data: bytes) -> None:
        """Stand as a board stood whose `dump` is `data`.

        Raises: ValueError, TypeError, KeyError for anything else.
        """
        rows = orjson.loads(data)
        self._entries = {
            key: _Entry(**{**row, "news": News(**row["news"])}) for key, row in rows.items()
        }

    def dump(self) -> bytes:
        """All that it knows."""
        return orjson.dumps({key: asdict(entry) for key, entry in self._entries.items()})


class SharedBoard:
    """The board of all processes that were given the same `directory`, which is made if missing.

    The first process of a gateway begins with nothing: what one of yesterday had told says nothing
    of today. Where the directory cannot be used, this process decides for itself. Its methods
    block for as long as another process takes to write a small file.
    """

    def __init__(self, directory: Path, rules: BoardRules) -> None:
        self._directory = directory
        self._board = Board(rules)
        self._presence: int | None = None

    def open(self) -> None:
        """Join the others, or begin anew where there are none."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._presence = os.open(self._directory / "present.lock", _FLAGS, 0o600)
            try:
                fcntl.flock(self._presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # Others are here: what they told holds.
            else:
                (self._directory / _FILE).unlink(missing_ok=True)
            fcntl.flock(self._presence, fcntl.LOCK_SH)
        except OSError as exc:
            self._be_alone(exc)

    def sift(self, news: Iterable[News], now_s: float) -> list[Alert]:
        """As `Board.sift`, for all processes at once."""
        if self._presence is None:
            return self._board.sift(news, now_s)
        try:
            gate = os.open(self._directory / "board.lock", _FLAGS, 0o600)
        except OSError as exc:
            self._be_alone(exc)
            return self._board.sift(news, now_s)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            self._read()
            alerts = self._board.sift(news, now_s)
            self._write()
        finally:
            os.close(gate)
        return alerts

    def close(self) -> None:
        """Leave the others."""
        if self._presence is not None:
            os.close(self._presence)
            self._presence = None

    def _read(self) -> None:
        try:
            self._board.load((self._directory / _FILE).read_bytes())
        except FileNotFoundError:
            self._board.load(b"{}")
        except (OSError, ValueError, TypeError, KeyError) as exc:
            logger.warning("what alerts were told cannot be read: %s", type(exc).__name__)

    def _write(self) -> None:
        hidden = self._directory / f".{_FILE}.{os.getpid()}"
        try:
            hidden.write_bytes(self._board.dump())
            hidden.replace(self._directory / _FILE)
        except OSError as exc:
            self._be_alone(exc)

    def _be_alone(self, error: OSError) -> None:
        logger.warning("alerts are not shared between processes: %s", error)
        self.close()


_FILE = "board.json"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
