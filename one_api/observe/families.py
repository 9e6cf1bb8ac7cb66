"""Metrics as values: families of samples, and snapshots of them that add up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

import orjson

Kind = Literal["counter", "gauge", "histogram"]
#: How the processes of one gateway make one number of a gauge.
Merge = Literal["sum", "max", "min"]
Labels: TypeAlias = tuple[str, ...]
#: A number; of a histogram the counts of its buckets, the one past all bounds, and the sum.
Value: TypeAlias = float | list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric: `labels` are the names of its labels, `bounds` those of a histogram's buckets.

    The name of a counter ends in `_total`. Counters and histograms of several processes are added
    up, gauges are merged as `merge` says.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    merge: Merge = "sum"


class Snapshot:
    """What metrics stood at in one moment, of one process or of several."""

    def __init__(self, families: Iterable[Family] = ()) -> None:
        self._families: dict[str, Family] = {}
        self._samples: dict[str, dict[Labels, Value]] = {}
        for family in families:
            self.declare(family)

    def __iter__(self) -> Iterator[tuple[Family, dict[Labels, Value]]]:
        for name, family in self._families.items():
            yield family, self._samples[name]

    def declare(self, family: Family) -> bool:
        """Let there be `family`; False where its name means something else here."""
        known = self._families.setdefault(family.name, family)
        self._samples.setdefault(family.name, {})
        same_shape = known.labels == family.labels and known.bounds == family.bounds
        return same_shape and known.kind == family.kind

    def add(self, family: Family, labels: Labels, value: Value) -> None:
        """Add `value` to what is there, or merge it as the family says."""
        if not self.declare(family):
            return
        samples = self._samples[family.name]
        before = samples.get(labels)
        samples[labels] = value if before is None else _merged(family, before, value)

    def merge(self, other: Snapshot, *, is_dead: bool = False) -> None:
        """Add what another process counted; of one that `is_dead`, its gauges hold no more."""
        for family, samples in other:
            if is_dead and family.kind == "gauge":
                continue
            for labels, value in samples.items():
                self.add(family, labels, value)

    def to_bytes(self) -> bytes:
        """As JSON, for another process."""
        return orjson.dumps(
            [[asdict(family), [*samples.items()]] for family, samples in self if samples]
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Snapshot:
        """What `to_bytes` gave. Raises: ValueError, TypeError, KeyError for anything else."""
        snapshot = cls()
        for given, samples in orjson.loads(data):
            given |= {name: tuple(given[name]) for name in ("labels", "bounds")}
            family = Family(**given)
            for labels, value in samples:
                snapshot.add(family, tuple(labels), value)
        return snapshot


def _merged(family: Family, one: Value, other: Value) -> Value:
    if isinstance(one, list) or isinstance(other, list):
        assert isinstance(one, list), "samples of one family are alike"  # noqa: S101
        assert isinstance(other, list), "samples of one family are alike"  # noqa: S101
        return [a + b for a, b in zip(one, other, strict=True)]
    if family.kind == "gauge" and family.merge != "sum":
        return max(one, other) if family.merge == "max" else min(one, other)
    return one + other
