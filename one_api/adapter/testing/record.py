"""Where an adapter's package keeps the record of what the suite found."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Final

DIRECTORY: Final = "conformance_report"


def record_path(entry: EntryPoint) -> Path | None:
    """Where the record is, or is to be; None for a module that is in no package, or not there.

    Nothing of the package is imported.
    """
    try:
        spec = find_spec(entry.module.partition(".")[0])
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) / DIRECTORY / f"{entry.name}.json" if places else None
