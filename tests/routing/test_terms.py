"""The numbers of breakers and of the retry budget: each of them changes what is done."""

from __future__ import annotations

from typing import Any

import pytest

from one_api.deployment import BreakerTerms, Deployment, Group
from tests.routing.worlds import BROKEN, World, deployment


def failures_until_open(world: World, one: Deployment) -> int:
    """How many failures in a row open the breaker of `one`."""
    for count in range(1, 100):
        world.fail(one)
        if "opened" in world.kinds:
            return count
    raise AssertionError("it never opened")


@pytest.mark.parametrize(
    ("options", "group", "own", "expected"),
    [
        ({}, {}, {}, 5),
        ({"consecutive_failures": 3}, {}, {}, 3),
        ({"consecutive_failures": 3}, {"failures": 2}, {}, 2),
        ({"consecutive_failures": 3}, {"failures": 2}, {"failures": 8}, 8),
        ({"consecutive_failures": 3}, {"ratio": 1}, {"window_s": 9}, 3),
        ({"consecutive_failures": 99, "min_requests": 4}, {}, {}, 4),
        ({"consecutive_failures": 99}, {}, {"min_requests": 6}, 6),
    ],
    ids=["default", "setting", "group", "own", "others", "ratio", "ratio of its own"],
)
def test_a_breaker_opens_by_the_nearest_number(
    options: dict[str, Any], group: dict[str, Any], own: dict[str, Any], expected: int
) -> None:
    world = World(**options)
    one = deployment("a", group=Group(breaker=BreakerTerms(**group)), breaker=BreakerTerms(**own))

    assert expected == failures_until_open(world, one)


@pytest.mark.parametrize(("ratio", "is_open"), [(0.25, True), (0.5, False)])
def test_the_share_of_failures_is_that_of_the_terms(ratio: float, is_open: bool) -> None:
    world = World()
    one = deployment("a", breaker=BreakerTerms(ratio=ratio, min_requests=8))
    for _ in range(2):
        for _ in range(3):
            world.begin(one).succeed()
        world.begin(one).fail(BROKEN)

    assert is_open == ("opened" in world.kinds)


@pytest.mark.parametrize(("window_s", "is_open"), [(10, False), (30, True)])
def test_only_what_the_window_holds_counts(window_s: float, is_open: bool) -> None:
    world = World()
    terms = BreakerTerms(failures=99, min_requests=4, window_s=window_s)
    one = deployment("a", breaker=terms)
    world.fail(one, 2)
    world.clock.advance(20)
    world.fail(one, 2)

    assert is_open == ("opened" in world.kinds)


def test_one_deployment_is_left_alone_for_its_own_time() -> None:
    world = World()
    quick = deployment("a", breaker=BreakerTerms(failures=1, cooldown_s=2, growth=1))
    usual = deployment("b")
    world.fail(quick)
    world.open(usual)
    third = deployment("c")

    assert "c" == world.listed([quick, usual, third])
    world.clock.advance(2)
    assert "ac" == world.listed([quick, usual, third])
    world.fail(quick)
    world.clock.advance(2)
    assert "ac" == world.listed([quick, usual, third])
    world.clock.advance(26)
    assert "abc" == world.listed([quick, usual, third])


def test_the_operator_sees_the_rule_in_force() -> None:
    world = World(cooldown_s=7)
    asked = deployment("a", breaker=BreakerTerms(failures=2))
    world.begin(asked).succeed()
    unknown = deployment("b", breaker=BreakerTerms(ratio=0.125))

    told = [state.to_wire()["breaker_rule"] for state in world.router.states([asked, unknown])]

    usual = {
        "failures": 5,
        "ratio": 0.5,
        "min_requests": 20,
        "window_s": 30.0,
        "cooldown_s": 7,
        "growth": 2.0,
        "max_cooldown_s": 300.0,
    }
    assert [{**usual, "failures": 2}, {**usual, "ratio": 0.125}] == told


@pytest.mark.parametrize(("ratio", "least", "expected"), [(0.1, 3, 3), (0.5, 0, 10), (0, 0, 0)])
def test_the_retry_budget_is_that_of_the_options(ratio: float, least: int, expected: int) -> None:
    budget = World(retry_ratio=ratio, min_retries=least).router.retry_budget
    for _ in range(20):
        budget.enter()

    assert expected == sum(budget.try_retry() for _ in range(30))
