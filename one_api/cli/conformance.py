"""The record of conformance that an adapter's package ships, if any: its own claim, as it is."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from one_api.discovery import AdapterEntry
from one_api.schemas import JsonObject

#: Where the package keeps it, as `pytest --one-api-report` writes it: `<adapter>.json`.
DIRECTORY: Final = "conformance_report"


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
    directory = _package_directory(entry)
    if directory is None:
        return None
    try:
        text = (directory / DIRECTORY / f"{entry.name}.json").read_bytes()
        return ConformanceRecord.model_validate_json(text)
    except (OSError, ValidationError):
        return None


def _suite_version() -> str:
    """The version of the suite that is installed here; a server has no use for all its modules."""
    version: str = import_module("one_api.adapter.testing").SUITE_VERSION
    return version


def _package_directory(entry: AdapterEntry) -> Path | None:
    if entry.entry_point is None:
        return None
    try:
        # Of a top-level name nothing is imported to find it.
        spec = find_spec(entry.entry_point.module.partition(".")[0])
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) if places else None
