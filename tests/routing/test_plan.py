"""Plans: who is listed in which order, who is skipped, and what the caller is told."""

from __future__ import annotations

from collections import Counter

import pytest

from one_api.deployment import DeploymentLimits, Group
from one_api.errors import (
    NoDeploymentAvailable,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamServerError,
)
from one_api.routing import Plan
from tests.routing.worlds import World, deployment, grouped


def test_groups_come_as_they_appear_and_tiers_by_order() -> None:
    near, far = Group(name="near"), Group(name="far")
    deployments = [
        deployment("c", group=near, order=1),
        deployment("x", group=far, order=-5),
        deployment("a", group=near),
        deployment("b", group=near),
        deployment("d", group=near, order=2),
    ]

    assert "abcdx" == World().listed(deployments)


def test_strategy_holds_within_a_tier_only() -> None:
    group = Group(strategy="round_robin")
    deployments = [
        *(deployment(name, group=group) for name in "ab"),
        *(deployment(name, group=group, order=1) for name in "cd"),
    ]
    world = World()

    assert ["abcd", "badc", "abcd"] == [world.listed(deployments) for _ in range(3)]


def test_models_take_turns_of_their_own() -> None:
    world = World()
    some = grouped("ab", strategy="round_robin")
    others = [deployment(n, model="n", group=some[0].group) for n in "xy"]

    assert ["ab", "xy", "ba"] == [world.listed(one) for one in (some, others, some)]


def test_turns_go_round_the_available_ones_evenly() -> None:
    world = World()
    deployments = grouped("abc", strategy="round_robin")
    world.open(deployments[1])

    counts = Counter(world.listed(deployments)[0] for _ in range(10))

    assert {"a": 5, "c": 5} == counts


def test_asked_strategy_overrides_the_groups() -> None:
    world = World()
    deployments = grouped("ab")

    orders = [world.listed(deployments, strategy="round_robin") for _ in range(2)]

    assert ["ab", "ba"] == orders


def test_quickest_is_asked_first_once_both_have_shown() -> None:
    world = World()
    deployments = grouped("ab", strategy="lowest_latency")
    for one, latency_s in zip(deployments, (2.0, 0.5), strict=True):
        trial = world.begin(one)
        world.clock.advance(latency_s)
        trial.note_first_content()
        trial.succeed()

    assert {"ba"} == {world.listed(deployments) for _ in range(20)}


def test_whole_replies_are_compared_where_none_is_streamed() -> None:
    world = World()
    deployments = grouped("ab", strategy="lowest_latency")
    for one, duration_s in zip(deployments, (9.0, 3.0), strict=True):
        trial = world.begin(one)
        world.clock.advance(duration_s)
        trial.succeed()

    assert {"ba"} == {world.listed(deployments) for _ in range(20)}


def test_slow_one_is_tried_again_in_time() -> None:
    world = World()
    deployments = grouped("ab", strategy="lowest_latency")
    for one, latency_s in zip(deployments, (5.0, 0.5), strict=True):
        trial = world.begin(one)
        world.clock.advance(latency_s)
        trial.note_first_content()
        trial.succeed()
    for _ in range(30):
        world.clock.advance(10)
        trial = world.begin(deployments[1])
        trial.note_first_content()
        trial.succeed()

    world.clock.advance(1)
    quick = world.begin(deployments[1])
    world.clock.advance(0.5)
    quick.note_first_content()

    assert "ab" == world.listed(deployments)


def test_conversation_stays_with_one_and_comes_back_to_it() -> None:
    world = World()
    deployments = grouped("abc", strategy="round_robin", sticky=True)
    homes = {world.listed(deployments, affinity="talk")[0] for _ in range(10)}
    assert 1 == len(homes)
    home = next(one for one in deployments if one.adapter in homes)

    world.open(home)
    away = {world.listed(deployments, affinity="talk")[0] for _ in range(10)}
    world.clock.advance(30)

    assert 1 == len(away)
    assert homes != away
    assert homes == {world.listed(deployments, affinity="talk")[0] for _ in range(10)}


def test_conversations_are_spread() -> None:
    deployments = grouped("abc", sticky=True)
    world = World()

    firsts = Counter(world.listed(deployments, affinity=str(i))[0] for i in range(300))

    assert all(60 <= firsts[name] <= 140 for name in "abc")


@pytest.mark.parametrize("affinity", [None, "talk"])
def test_group_that_is_not_sticky_knows_no_conversations(affinity: str | None) -> None:
    world = World()
    deployments = grouped("ab", strategy="round_robin")

    assert {"a", "b"} == {world.listed(deployments, affinity=affinity)[0] for _ in range(2)}


def test_nearest_to_recovery_is_the_last_resort() -> None:
    world = World()
    deployments = grouped("ab")
    world.open(deployments[0])
    world.clock.advance(10)
    world.open(deployments[1])

    plan = world.router.plan(deployments)

    assert (deployments[0],) == plan.deployments
    assert plan.is_last_resort
    assert [("b", 30.0)] == [(one.deployment.adapter, one.until_s) for one in plan.skipped]


def test_last_resort_is_one_on_trial_before_one_that_is_out() -> None:
    world = World()
    deployments = grouped("ab")
    world.open(deployments[1])
    world.clock.advance(30)
    world.open(deployments[0])
    probe = world.begin(deployments[1])

    assert "b" == world.listed(deployments)
    probe.abandon()
    assert not world.router.plan(deployments).is_last_resort


def test_empty_plan_says_when_to_come_back() -> None:
    world = World()
    deployments = grouped("ab")
    for one, wait_s in zip(deployments, (40.0, 20.0), strict=True):
        world.begin(one).fail(UpstreamRateLimited("slow down", retry_after_s=wait_s))
    world.clock.advance(5)

    plan = world.router.plan(deployments)
    refusal = plan.refusal()

    assert () == plan.deployments
    assert not plan.is_last_resort
    assert (UpstreamRateLimited, 15.0) == (type(refusal), refusal.retry_after_s)


def test_empty_plan_is_a_rate_limit_only_if_all_are() -> None:
    world = World()
    deployments = grouped("ab")
    world.begin(deployments[0]).fail(UpstreamRateLimited("slow down", retry_after_s=40))
    world.begin(deployments[1]).fail(UpstreamOverloaded("too much", retry_after_s=50))

    refusal = world.router.plan(deployments).refusal()

    assert (NoDeploymentAvailable, 40.0) == (type(refusal), refusal.retry_after_s)


def test_plan_of_nothing_is_refused_as_well() -> None:
    assert Plan(()) == World().router.plan([])
    assert NoDeploymentAvailable is type(Plan(()).refusal())


def test_what_the_caller_is_told_names_no_deployment() -> None:
    world = World()
    one = deployment("secret-region")
    world.begin(one).fail(UpstreamServerError("broken", retry_after_s=9))

    assert "secret" not in world.router.plan([one]).refusal().message


@pytest.mark.parametrize("places", [1, 3])
def test_so_many_at_once_and_no_more(places: int) -> None:
    world = World()
    one = deployment("a", limits=DeploymentLimits(concurrent_requests=places))
    trials = [world.begin(one) for _ in range(places)]

    assert world.router.begin(one) is None
    assert world.router.begin(one, is_last_resort=True) is None
    [skipped] = world.router.plan([one]).skipped
    assert ("limit of concurrent requests reached", None) == (skipped.reason, skipped.until_s)

    trials[0].abandon()
    assert "a" == world.listed([one])


def test_so_many_a_minute_and_no_more() -> None:
    world = World()
    one = deployment("a", limits=DeploymentLimits(requests_per_minute=2))
    for _ in range(2):
        world.begin(one).succeed()
        world.clock.advance(10)

    assert world.router.begin(one, is_last_resort=True) is None
    [skipped] = world.router.plan([one]).skipped
    assert ("limit of requests per minute reached", 41.0) == (skipped.reason, skipped.until_s)
    world.clock.advance(40.9)
    assert world.router.begin(one) is None
    world.clock.advance(0.1)
    assert world.router.begin(one) is not None


def test_tokens_are_limited_by_what_was_used() -> None:
    world = World()
    one = deployment("a", limits=DeploymentLimits(tokens_per_minute=100))
    world.begin(one).succeed(tokens=99)
    world.begin(one).succeed(tokens=50)

    assert world.router.begin(one) is None
    [skipped] = world.router.plan([one]).skipped
    assert ("limit of tokens per minute reached", 61.0) == (skipped.reason, skipped.until_s)
    world.clock.advance(61)
    assert "a" == world.listed([one])
