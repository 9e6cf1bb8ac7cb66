"""Whole outages, played through with a small failover loop: how many attempts, how many answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from one_api.deployment import Deployment
from one_api.errors import GatewayError, UpstreamOverloaded, UpstreamServerError
from tests.routing.worlds import World, deployment, grouped, seeded

FIRST, SECOND = deployment("a"), deployment("b")


class Outage:
    """Requests that come at an even rate, each asking at most three deployments."""

    def __init__(self, world: World, answer: Callable[[Deployment], GatewayError | None]) -> None:
        self.world = world
        self.answer = answer
        self.attempts: Counter[str] = Counter()
        self.requests = self.answered = 0

    def run(self, deployments: list[Deployment], *, seconds: float, per_second: int) -> None:
        for _ in range(int(seconds * per_second)):
            self.requests += 1
            self.answered += self._request(deployments)
            self.world.clock.advance(1 / per_second)

    @property
    def amplification(self) -> float:
        return self.attempts.total() / self.requests

    def _request(self, deployments: list[Deployment]) -> bool:
        router = self.world.router
        router.retry_budget.enter()
        plan = router.plan(deployments)
        is_retry = has_succeeded = False
        for one in plan.deployments[:3]:
            trial = router.begin(one, is_last_resort=plan.is_last_resort)
            if trial is None:
                continue
            if is_retry and not router.retry_budget.try_retry():
                trial.abandon()
                break
            self.attempts[one.adapter] += 1
            error = self.answer(one)
            if is_retry:
                router.retry_budget.end_retry()
            if error is None:
                trial.succeed()
                has_succeeded = True
                break
            trial.fail(error)
            is_retry = True
        router.retry_budget.leave()
        return has_succeeded


@pytest.mark.parametrize("per_second", [40, 200])
@pytest.mark.parametrize("retry_after_s", [None, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_burst_of_failures_is_neither_seen_nor_amplified(
    per_second: int, retry_after_s: float | None, seed: int
) -> None:
    random = seeded(seed)

    def answer(one: Deployment) -> GatewayError | None:
        if one is FIRST and random.random() < 0.5:
            return UpstreamOverloaded("busy", retry_after_s=retry_after_s)
        return None

    outage = Outage(World(), answer)
    outage.run([FIRST, SECOND], seconds=30, per_second=per_second)

    assert outage.amplification <= 1.10
    assert outage.answered >= 0.99 * outage.requests


def test_dead_deployment_is_asked_now_and_then_and_never_seen() -> None:
    outage = Outage(World(), lambda one: UpstreamServerError("x") if one is FIRST else None)
    outage.run([FIRST, SECOND], seconds=600, per_second=10)

    assert outage.requests == outage.answered
    # Five that opened it, then one each after 30, 90, 210 and 450 seconds.
    assert 9 == outage.attempts["a"]


def test_last_one_is_asked_however_it_fails() -> None:
    outage = Outage(World(), lambda one: UpstreamServerError("x"))
    outage.run([FIRST], seconds=60, per_second=10)

    assert {"a": 600} == outage.attempts


def test_all_are_back_soon_after_the_outage() -> None:
    world = World()
    is_down = [True]
    outage = Outage(world, lambda one: UpstreamServerError("x") if is_down[0] else None)
    outage.run([FIRST, SECOND], seconds=100, per_second=10)
    is_down[0] = False
    before = outage.answered

    outage.run([FIRST, SECOND], seconds=301, per_second=10)

    assert 3_010 == outage.answered - before
    assert "closed" == world.router.states([FIRST])[0].breaker
    assert "ab" == world.listed([FIRST, SECOND])


def test_recovery_is_found_out_at_the_end_of_the_cooldown() -> None:
    """F31: by the first request after it, which is its answer too."""
    world = World()
    is_down = [True]
    outage = Outage(world, lambda one: UpstreamServerError("x") if is_down[0] else None)
    outage.run([FIRST, SECOND], seconds=1, per_second=10)
    is_down[0] = False
    second = outage.attempts["b"]
    world.clock.advance(30)

    outage.run([FIRST, SECOND], seconds=1, per_second=10)

    assert "closed" == world.router.states([FIRST])[0].breaker
    assert second == outage.attempts["b"]


def test_one_that_got_twenty_times_slower_is_hardly_asked() -> None:
    """F32: it answers, so that no breaker opens; its weight goes down all the same."""
    world = World()
    slow, quick = grouped("ab", strategy="lowest_latency")
    asked: Counter[str] = Counter()
    for number in range(240):
        (first, *_) = world.router.plan([slow, quick]).deployments
        trial = world.begin(first)
        is_slow = first is slow and number >= 40
        world.clock.advance(10.0 if is_slow else 0.5)
        trial.note_first_content()
        trial.succeed()
        if number >= 40:
            asked[first.adapter] += 1

    assert 0 < asked["a"] <= 0.05 * asked.total()
    assert ["closed", "closed"] == [one.breaker for one in world.router.states([slow, quick])]
