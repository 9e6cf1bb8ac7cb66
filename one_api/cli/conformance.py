"""The record of conformance that an adapter's package ships, if any: its own claim, as it is."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from one_api.discovery import AdapterEntry
from one_api.schemas import JsonObject


class _Law(BaseModel):
    id: str
    outcome: str


class ConformanceRecord(BaseModel):
    """What a run of the suite found; `distribution` is the package it was tried on."""

    model_config = ConfigDict(frozen=True)

    suite: str
    distribution: str
    kept: int
    total: int
    laws: tuple[_Law, ...] = ()

    @property
    def broken(self) -> list[str]:
        """The ids of the laws that were not kept."""
        return [law.id for law in self.laws if law.outcome in ("broken", "unknown")]

    def doubts(self, entry: AdapterEntry) -> list[str]:
        """Why the record may not say much of what is installed; empty where it does."""
        found = []
        if self.distribution != f"{entry.distribution} {entry.version}":
            name, _, version = self.distribution.rpartition(" ")
            found.append(f"of {version if name == entry.distribution else 'another package'}")
        suite_version = _suite_version()
        if self.suite != suite_version:
            found.append(f"now {suite_version}")
        return found

    def told(self, entry: AdapterEntry) -> str:
        """The record in a few words, its doubts among them."""
        badge = f"{self.suite}: {self.kept}/{self.total}"
        doubts = self.doubts(entry)
        return f"{badge} ({', '.join(doubts)})" if doubts else badge

    def to_json(self, entry: AdapterEntry) -> JsonObject:
        """The record for machines."""
        return {
            **self.model_dump(exclude={"laws"}),
            "broken": self.broken,
            "doubts": self.doubts(entry),
        }


def record_of(entry: AdapterEntry) -> ConformanceRecord | None:
    """The record in the package of `entry`, which is not imported; None without a sound one."""
    path = _record_path(entry)
    if path is None:
        return None
    try:
        return ConformanceRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


# The suite is imported when there is a record to look for: a server has no use for its modules.


def _suite_version() -> str:
    version: str = import_module("one_api.adapter.testing").SUITE_VERSION
    return version


def _record_path(entry: AdapterEntry) -> Path | None:
    if entry.entry_point is None:
        return None
    path: Path | None = import_module("one_api.adapter.testing.record").record_path(
        entry.entry_point
    )
    return path
