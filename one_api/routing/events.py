"""What routing tells its observer: each change of a deployment's standing, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

EventKind = Literal[
    "opened", "half_opened", "closed", "cooled", "credential_rejected", "credential_restored"
]


@dataclass(frozen=True, slots=True)
class RoutingEvent:
    """A deployment's standing changed.

    `deployment` is the name of the one whose trial showed it; the two `credential_` kinds hold for
    all deployments of its adapter instance. `duration_s` is for how long the change keeps requests
    away, None where it lets them come.
    """

    kind: EventKind
    deployment: str
    reason: str
    duration_s: float | None = None


Observer = Callable[[RoutingEvent], None]


def ignore(event: RoutingEvent) -> None:
    """An observer that does nothing."""
