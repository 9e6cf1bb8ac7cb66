"""Numbers for the operator's metrics: an optional ability of adapters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One number as it stands.

    `name` is in snake case with the unit in it (`batch_sequences`, `kv_cache_bytes`); the gateway
    puts its own prefix before it and the adapter's name among the `labels`. A `counter` only ever
    grows, and begins at 0 with the instance. `help` is one line, the same for every reading of a
    name; so are the names of the labels, whose values must be few: models, never requests.
    """

    name: str
    value: float
    help: str
    kind: Literal["gauge", "counter"] = "gauge"
    labels: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class SupportsReadings(Protocol):
    """An adapter with numbers of its own to watch."""

    def readings(self) -> Iterable[Reading]:
        """The numbers as they are now; at once, without I/O. Called on the event loop."""
