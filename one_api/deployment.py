"""A deployment: one way to have one public model answered."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for an upstream, in seconds.

    `first_content_s` runs from sending the request to the first content of the reply (role-only
    deltas and pings do not count); `idle_s` between two reads after that; `total_s` over all.
    """

    connect_s: float = 5.0
    first_content_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Which adapter is asked for a public model, under which name, and how patiently."""

    model: str
    adapter: str
    upstream_model: str
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def name(self) -> str:
        """How logs and headers call this deployment."""
        return f"{self.adapter}/{self.upstream_model}"
