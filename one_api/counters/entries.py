"""Values that expire, in the memory of one process and in a bounded part of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from one_api.counters import MAX_VALUE_BYTES

#: What one entry takes besides its texts: the objects and their places in tables, measured.
_ENTRY_BYTES = 300


@dataclass(frozen=True, slots=True)
class _Entry:
    value: bytes
    owner: str
    ends_s: float
    size: int


class Entries:
    """Values by key, up to `max_bytes` altogether and `MAX_VALUE_BYTES` each.

    Those used longest ago make room; those with an owner only when no others are left, since what
    they keep apart costs more than a cached reply saves.
    """

    def __init__(self, clock: Callable[[], float], *, max_bytes: int) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        #: Least recently used first.
        self._common: OrderedDict[str, _Entry] = OrderedDict()
        self._owned: OrderedDict[str, _Entry] = OrderedDict()
        self.bytes_used = 0

    def get(self, key: str) -> bytes | None:
        """As `Counters.get`."""
        entry = self._find(key)
        return None if entry is None else entry.value

    def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        """As `Counters.put`."""
        return self._set(key, value, "", ttl_s)

    def claim(self, key: str, owner: str, ttl_s: float) -> bytes | None:
        """As `Counters.claim`."""
        entry = self._find(key)
        if entry is not None and (entry.value or entry.owner != owner):
            return entry.value
        self._set(key, b"", owner, ttl_s)
        return None

    def replace(self, key: str, owner: str, value: bytes, ttl_s: float) -> bool:
        """As `Counters.replace`."""
        return self._is_of(key, owner) and self._set(key, value, owner, ttl_s)

    def delete(self, key: str, owner: str) -> bool:
        """As `Counters.delete`."""
        if not self._is_of(key, owner):
            return False
        self._drop(self._owned, key)
        return True

    def _is_of(self, key: str, owner: str) -> bool:
        entry = self._find(key)
        return entry is not None and entry.owner == owner

    def _find(self, key: str) -> _Entry | None:
        for entries in (self._common, self._owned):
            entry = entries.get(key)
            if entry is None:
                continue
            if entry.ends_s <= self._clock():
                self._drop(entries, key)
                return None
            entries.move_to_end(key)
            return entry
        return None

    def _set(self, key: str, value: bytes, owner: str, ttl_s: float) -> bool:
        size = _ENTRY_BYTES + len(key) + len(owner) + len(value)
        if len(value) > MAX_VALUE_BYTES or size > self._max_bytes:
            return False
        for entries in (self._common, self._owned):
            if key in entries:
                self._drop(entries, key)
        entries = self._owned if owner else self._common
        entries[key] = _Entry(value, owner, self._clock() + ttl_s, size)
        self.bytes_used += size
        while self.bytes_used > self._max_bytes:
            crowded = self._common or self._owned
            self._drop(crowded, next(iter(crowded)))
        return True

    def _drop(self, entries: OrderedDict[str, _Entry], key: str) -> None:
        self.bytes_used -= entries.pop(key).size
