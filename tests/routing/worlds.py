"""What the tests of routing are made of: a clock that is set by hand, and short constructors."""

from __future__ import annotations

from random import Random
from typing import Any

from one_api.deployment import Deployment, Group
from one_api.errors import GatewayError, UpstreamServerError
from one_api.routing import Router, RouterOptions, RoutingEvent, Trial

WALL_S = 1_790_000_000.0
BROKEN = UpstreamServerError("broken")


class SetClock:
    """A clock that stands still unless told otherwise."""

    def __init__(self, now_s: float = 1_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - a test that can be repeated keeps no secret


def deployment(name: str, **values: Any) -> Deployment:
    """The deployment of the model `m` by the adapter `name`."""
    return Deployment(**{"model": "m", "adapter": name, "upstream_model": "m", **values})


def grouped(names: str, **values: Any) -> list[Deployment]:
    """One deployment per letter, all in one group."""
    group = Group(**values)
    return [deployment(name, group=group) for name in names]


class World:
    """A router, its clock and what it told."""

    def __init__(self, *, seed: int = 0, **options: Any) -> None:
        self.clock = SetClock()
        self.events: list[RoutingEvent] = []
        self.router = Router(
            RouterOptions(**options),
            clock=self.clock,
            wall_clock=lambda: WALL_S + self.clock.now_s - 1_000.0,
            random=seeded(seed),
            observe=self.events.append,
        )

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def begin(self, one: Deployment, *, is_last_resort: bool = False) -> Trial:
        trial = self.router.begin(one, is_last_resort=is_last_resort)
        assert trial is not None, f"{one.name} may not be asked"
        return trial

    def listed(self, deployments: list[Deployment], **asked: Any) -> str:
        """The adapters of the plan, a letter each."""
        return "".join(one.adapter for one in self.router.plan(deployments, **asked).deployments)

    def fail(
        self,
        one: Deployment,
        times: int = 1,
        *,
        error: GatewayError = BROKEN,
    ) -> None:
        for _ in range(times):
            self.begin(one).fail(error)

    def open(self, one: Deployment) -> None:
        """Fail until its breaker opens."""
        self.fail(one, 5)
