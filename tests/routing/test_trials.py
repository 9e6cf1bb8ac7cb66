"""What one attempt changes, and what is told of it."""

from __future__ import annotations

import pytest

from one_api.errors import (
    Conflict,
    CredentialRejected,
    GatewayError,
    InvalidRequest,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamServerError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from one_api.routing import RoutingEvent
from tests.routing.worlds import BROKEN, World, deployment

ONE, OTHER = deployment("a"), deployment("b")
REFUSED = CredentialRejected("refused")


def breaker(world: World) -> str:
    [state] = world.router.states([ONE])
    return state.breaker


@pytest.mark.parametrize(
    "error",
    [
        UpstreamServerError("x"),
        UpstreamOverloaded("x"),
        UpstreamTimeout("x"),
        UpstreamUnreachable("x"),
        UpstreamDisconnected("x"),
        UpstreamInvalidResponse("x"),
        CredentialRejected("x"),
        UpstreamQuotaExhausted("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_outages_open_the_breaker(error: GatewayError) -> None:
    world = World(credential_failures=99)
    world.fail(ONE, 4, error=error)
    assert "closed" == breaker(world)

    world.fail(ONE, error=error)

    assert "open" == breaker(world)
    assert world.router.begin(ONE) is None


@pytest.mark.parametrize(
    "error",
    [InvalidRequest("x"), Conflict("x"), UpstreamRateLimited("x")],
    ids=lambda error: type(error).__name__,
)
def test_answers_that_refuse_show_that_the_provider_lives(error: GatewayError) -> None:
    world = World()
    world.fail(ONE, 4)
    world.fail(ONE, error=error)
    world.fail(ONE, 4)

    assert "closed" == breaker(world)


def test_caller_s_mistakes_are_not_the_deployment_s_failures() -> None:
    world = World()
    world.fail(ONE, 3, error=InvalidRequest("wrong"))

    [state] = world.router.states([ONE])
    assert (3, 0, None) == (state.requests, state.failures, state.last_error_code)


def test_each_change_is_told_once() -> None:
    world = World()
    late = [world.begin(ONE) for _ in range(3)]
    world.open(ONE)
    for trial in late:
        trial.fail(BROKEN)
    world.clock.advance(30)
    world.begin(ONE).fail(BROKEN)
    world.clock.advance(60)
    abandoned = world.begin(ONE)
    abandoned.abandon()
    world.begin(ONE).succeed()
    world.begin(ONE).succeed()

    assert [
        RoutingEvent("opened", "a/m", "5 failures in a row: upstream_server_error", 30.0),
        RoutingEvent("half_opened", "a/m", "the cooldown is over: one request tries"),
        RoutingEvent(
            "opened", "a/m", "the request that tried it failed: upstream_server_error", 60.0
        ),
        RoutingEvent("half_opened", "a/m", "the cooldown is over: one request tries"),
        RoutingEvent("closed", "a/m", "the provider answers again"),
    ] == world.events


def test_first_content_ends_a_probe() -> None:
    """A stream may go on for minutes; others need not wait for its end."""
    world = World()
    world.open(ONE)
    world.clock.advance(30)
    probe = world.begin(ONE)
    assert world.router.begin(ONE) is None

    probe.note_first_content()

    assert "closed" == breaker(world)
    world.fail(ONE, 4)
    probe.fail(UpstreamDisconnected("cut"))
    assert "open" == breaker(world)


def test_flapping_deployment_returns_to_its_place() -> None:
    world = World()
    for cooldown_s in (30, 60, 120):
        assert "ab" == world.listed([ONE, OTHER])
        world.open(ONE)
        assert "b" == world.listed([ONE, OTHER])
        world.clock.advance(cooldown_s - 0.001)
        assert "b" == world.listed([ONE, OTHER])
        world.clock.advance(0.001)
        assert "ab" == world.listed([ONE, OTHER])
        world.begin(ONE).succeed()


def test_last_resort_that_answers_is_back_at_once() -> None:
    world = World()
    world.open(ONE)
    world.begin(ONE, is_last_resort=True).fail(BROKEN)
    assert 30.0 == world.router.states([ONE])[0].reopens_in_s

    world.begin(ONE, is_last_resort=True).succeed()

    assert ["opened", "closed"] == world.kinds
    assert not world.router.plan([ONE]).is_last_resort


@pytest.mark.parametrize(
    ("asked_s", "waits_s"), [(7.5, 7.5), (600.0, 600.0), (1e9, 600.0), (float("inf"), 600.0)]
)
def test_provider_that_asked_to_wait_is_not_asked_before(asked_s: float, waits_s: float) -> None:
    world = World()
    world.fail(ONE, error=UpstreamOverloaded("busy", retry_after_s=asked_s))

    world.clock.advance(waits_s - 0.001)
    assert "" == world.listed([ONE])
    assert world.router.begin(ONE, is_last_resort=True) is None
    world.clock.advance(0.001)
    assert "a" == world.listed([ONE])
    assert world.router.begin(ONE) is not None


def test_waits_that_overlap_end_with_the_last_and_are_told_once() -> None:
    world = World()
    trials = [world.begin(ONE) for _ in range(3)]
    for trial, wait_s in zip(trials, (20.0, 30.0, 5.0), strict=True):
        trial.fail(UpstreamRateLimited("slow down", retry_after_s=wait_s))

    assert [("cooled", 20.0)] == [(event.kind, event.duration_s) for event in world.events]
    assert 30.0 == world.router.states([ONE])[0].cooling_s


def test_rate_limit_without_a_wait_is_avoided_for_twice_as_long_each_time() -> None:
    world = World()
    waits = []
    for _ in range(7):
        together = [world.begin(ONE), world.begin(ONE)]
        for trial in together:
            trial.fail(UpstreamRateLimited("slow down"))
        waits.append(world.router.states([ONE])[0].avoided_s)
        world.clock.advance(waits[-1])

    assert [1, 2, 4, 8, 16, 30, 30] == waits
    assert ["cooled"] * 7 == world.kinds
    world.begin(ONE).succeed()
    world.fail(ONE, error=UpstreamRateLimited("slow down"))
    assert 1 == world.router.states([ONE])[0].avoided_s


@pytest.mark.parametrize("wait_s", [0.0, -3.0, float("nan")])
def test_wait_of_nothing_is_none(wait_s: float) -> None:
    world = World()
    world.fail(ONE, error=UpstreamRateLimited("slow down", retry_after_s=wait_s))

    [state] = world.router.states([ONE])
    assert (0.0, 1.0) == (state.cooling_s, state.avoided_s)


def test_bad_credential_keeps_requests_from_all_that_share_it() -> None:
    world = World()
    sibling = deployment("a", upstream_model="n")
    unseen = deployment("a", upstream_model="o")
    world.fail(ONE, 2, error=REFUSED)
    world.fail(sibling, error=REFUSED)

    assert "b" == world.listed([ONE, sibling, unseen, OTHER])
    assert [None] * 3 == [world.router.begin(one) for one in (ONE, sibling, unseen)]
    assert [
        RoutingEvent(
            "credential_rejected",
            "a/n",
            "the credential of 'a' is refused: upstream_authentication_error",
            30.0,
        )
    ] == world.events
    assert ["open", "open", "closed"] == [
        state.credential for state in world.router.states([ONE, unseen, OTHER])
    ]


def test_credential_is_tried_by_one_request_and_restored() -> None:
    world = World()
    sibling = deployment("a", upstream_model="n")
    world.fail(ONE, 3, error=REFUSED)
    world.clock.advance(30)

    probe = world.begin(sibling)
    assert world.router.begin(ONE) is None
    probe.fail(REFUSED)
    assert 60.0 == world.router.states([ONE])[0].credential_retry_in_s
    world.clock.advance(60)
    world.begin(sibling).fail(BROKEN)  # Tells nothing of the credential.
    world.begin(ONE).succeed()

    assert ["credential_rejected", "credential_rejected", "credential_restored"] == world.kinds
    assert world.router.begin(ONE) is not None


def test_refusals_in_between_answers_do_not_make_a_credential_bad() -> None:
    world = World()
    for _ in range(5):
        world.fail(ONE, 2, error=REFUSED)
        world.fail(ONE, error=InvalidRequest("wrong"))

    assert [] == world.events


def test_only_the_first_end_counts() -> None:
    world = World()
    trial = world.begin(ONE)
    trial.succeed()
    trial.fail(BROKEN)
    trial.abandon()
    trial.note_first_content()

    [state] = world.router.states([ONE])
    assert (0, 0, 0, 1) == (
        state.in_flight,
        state.failures,
        state.first_content_samples,
        state.total_samples,
    )


def test_waits_follow_what_was_shown_while_another_is_left() -> None:
    world = World()
    waits = world.router.timeouts(ONE, has_other=True)
    assert (5.0, 60.0) == (waits.first_content_s, waits.total_s)

    stream = world.begin(ONE)
    world.clock.advance(4)
    stream.note_first_content()
    world.clock.advance(400)
    stream.note_first_content()
    stream.succeed()
    whole = world.begin(ONE)
    world.clock.advance(50)
    whole.succeed()

    waits = world.router.timeouts(ONE, has_other=True)
    assert (12.0, 150.0) == (waits.first_content_s, waits.total_s)
    assert ONE.timeouts is world.router.timeouts(ONE, has_other=False)


def test_slow_model_is_waited_for_after_timeouts() -> None:
    world = World()
    for _ in range(2):
        wait_s = world.router.timeouts(ONE, has_other=True).first_content_s
        trial = world.begin(ONE)
        world.clock.advance(wait_s)
        trial.fail(UpstreamTimeout("slow"))

    assert 120.0 == world.router.timeouts(ONE, has_other=True).first_content_s


def test_timeout_after_the_first_content_says_nothing_about_it() -> None:
    world = World()
    trial = world.begin(ONE)
    world.clock.advance(1)
    trial.note_first_content()
    world.clock.advance(60)
    trial.fail(UpstreamTimeout("stalled"))

    [state] = world.router.states([ONE])
    assert (1, 0) == (state.first_content_samples, state.total_samples)


class TestProbe:
    def test_a_sign_of_life_closes_the_breaker_and_teaches_no_times(self) -> None:
        world = World(consecutive_failures=1)
        world.begin(ONE).fail(BROKEN)
        world.clock.advance(31)
        world.begin(ONE).end_probe()
        [state] = world.router.states([ONE])
        assert ("closed", None, 0) == (
            state.breaker,
            state.whole_reply_latency_s,
            state.total_samples,
        )

    def test_its_failure_counts_as_that_of_a_request(self) -> None:
        world = World(consecutive_failures=2)
        world.begin(ONE).end_probe(BROKEN)
        world.begin(ONE).end_probe(UpstreamTimeout("late"))
        assert "open" == breaker(world)
        [state] = world.router.states([ONE])
        assert (2, "timeout", 0) == (
            state.failures,
            state.last_error_code,
            state.first_content_samples,
        )

    def test_it_finds_out_about_the_credential(self) -> None:
        world = World(credential_failures=1)
        world.begin(ONE).end_probe(REFUSED)
        world.clock.advance(31)
        world.begin(ONE).end_probe()
        assert ["credential_rejected", "credential_restored"] == world.kinds

    def test_only_the_first_end_counts(self) -> None:
        world = World(consecutive_failures=1)
        trial = world.begin(ONE)
        trial.end_probe()
        trial.end_probe(BROKEN)
        assert "closed" == breaker(world)
