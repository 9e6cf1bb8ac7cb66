"""The numbers of models that come and go: counters never go back, whoever counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from one_api.adapter import Reading

_Key = tuple[str, tuple[tuple[str, str], ...]]


class PastCounts:
    """What the counters of unloaded models had reached."""

    def __init__(self) -> None:
        self._last: dict[_Key, Reading] = {}

    def keep(self, readings: Iterable[Reading]) -> None:
        """Note the last readings of a model that is being unloaded."""
        for reading in readings:
            if reading.kind == "counter":
                past = self._last.get(_key(reading))
                value = reading.value + (past.value if past is not None else 0)
                self._last[_key(reading)] = replace(reading, value=value)

    def added_to(self, readings: Iterable[Reading]) -> Iterator[Reading]:
        """`readings` with what was counted before, and the counters of models that are gone."""
        silent = dict(self._last)
        for reading in readings:
            past = silent.pop(_key(reading), None)
            yield reading if past is None else replace(reading, value=reading.value + past.value)
        yield from silent.values()


def _key(reading: Reading) -> _Key:
    return reading.name, tuple(sorted(reading.labels.items()))
