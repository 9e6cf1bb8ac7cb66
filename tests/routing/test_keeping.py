"""What is kept of deployments, for how long, and what an operator sees of it."""

from __future__ import annotations

import json

import pytest

from one_api.deployment import DeploymentLimits
from one_api.errors import UpstreamRateLimited, UpstreamServerError
from one_api.routing import router as router_module
from tests.routing.worlds import BROKEN, World, deployment

ONE = deployment("a")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(router_module, "MAX_DEPLOYMENTS", 8)
    return World()


def requests(world: World, name: str) -> int:
    return world.router.states([deployment(name)])[0].requests


def test_names_are_forgotten_that_were_not_asked_for_long(world: World) -> None:
    for i in range(20):
        world.begin(deployment(f"d{i}")).succeed()
        world.begin(deployment("busy")).succeed()

    assert 20 == requests(world, "busy")
    kept = [i for i in range(20) if requests(world, f"d{i}")]
    assert list(range(13, 20)) == kept


def test_who_is_being_asked_is_not_forgotten(world: World) -> None:
    trials = [world.begin(deployment(f"d{i}")) for i in range(12)]
    for i in range(100):
        world.begin(deployment(f"e{i}")).succeed()

    assert [1] * 12 == [requests(world, f"d{i}") for i in range(12)]
    for trial in trials:
        trial.succeed()
    for i in range(100):
        world.begin(deployment(f"f{i}")).succeed()
    assert 8 == sum(requests(world, f"{kind}{i}") for kind in "def" for i in range(100))


def test_wait_that_plans_heed_is_not_forgotten(world: World) -> None:
    world.fail(ONE, error=UpstreamRateLimited("slow down", retry_after_s=60))
    for i in range(50):
        world.begin(deployment(f"d{i}")).succeed()
        assert "" == world.listed([ONE])


def test_forgotten_adapters_begin_anew(world: World) -> None:
    running = [world.begin(ONE) for _ in range(5)]
    world.fail(ONE, error=UpstreamRateLimited("slow down", retry_after_s=60))
    told = list(world.events)

    world.router.forget(["a"])

    assert "a" == world.listed([ONE])
    assert 0 == requests(world, "a")
    for trial in running:
        trial.fail(BROKEN)
    assert told == world.events
    assert world.router.begin(ONE) is not None


def test_forgetting_spares_the_others(world: World) -> None:
    for name in "ab":
        world.open(deployment(name))

    world.router.forget(["b", "unheard-of"])

    assert "b" == world.listed([ONE, deployment("b")])


def test_operator_sees_everything() -> None:
    world = World()
    one = deployment("a", order=2, weight=3.0, limits=DeploymentLimits(concurrent_requests=9))
    stream = world.begin(one)
    world.clock.advance(2.5)
    stream.note_first_content()
    stream.note_headers(
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-reset-requests": "50s",
        }
    )
    stream.succeed(tokens=10)
    world.begin(one)
    failing = [world.begin(one) for _ in range(5)]
    for trial in failing:
        trial.fail(UpstreamServerError("broken with sk-secret-12345"))
    world.clock.advance(10)

    [state] = world.router.states([one])

    assert {
        "name": "a/m",
        "model": "m",
        "adapter": "a",
        "group": "default",
        "order": 2,
        "weight": 3.0,
        "is_available": False,
        "reason": "the provider is about to say 429",
        "available_in_s": 40.0,
        "breaker": "open",
        "breaker_rule": {
            "failures": 5,
            "ratio": 0.5,
            "min_requests": 20,
            "window_s": 30.0,
            "cooldown_s": 30.0,
            "growth": 2.0,
            "max_cooldown_s": 300.0,
        },
        "reopens_in_s": 20.0,
        "consecutive_failures": 5,
        "window_requests": 6,
        "window_failures": 5,
        "ejections": 1,
        "in_flight": 1,
        "requests": 7,
        "failures": 5,
        "last_error_code": "upstream_server_error",
        "last_error_message": "broken with [redacted]",
        "last_error_age_s": 10.0,
        "first_content_latency_s": 2.5,
        "whole_reply_latency_s": None,
        "first_content_timeout_s": 7.5,
        "first_content_samples": 1,
        "total_timeout_s": 60.0,
        "total_samples": 0,
        "cooling_s": 0.0,
        "avoided_s": 40.0,
        "rate_headroom": [
            {"kind": "requests", "remaining": 0.0, "limit": 60.0, "resets_in_s": 40.0}
        ],
        "credential": "closed",
        "credential_retry_in_s": 0.0,
    } == json.loads(json.dumps(state.to_wire()))


def test_looking_at_a_deployment_keeps_nothing_of_it(world: World) -> None:
    world.begin(ONE).succeed()
    world.router.states([deployment(f"d{i}") for i in range(50)])
    world.router.plan([deployment(f"d{i}") for i in range(50)])
    world.router.timeouts(deployment("d0"), has_other=True)

    assert 1 == requests(world, "a")
