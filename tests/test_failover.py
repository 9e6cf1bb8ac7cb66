"""The walk along a plan: who is asked, how often, and what the client is told in the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from one_api.deployment import Deployment, DeploymentLimits, Group
from one_api.errors import (
    Conflict,
    ContextWindowExceeded,
    CredentialRejected,
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    NoDeploymentAvailable,
    RequestTooLarge,
    UnsupportedParameter,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamServerError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from one_api.failover import Attempt, AttemptRecord, Failover, RequestContext, Terms
from one_api.registry import ModelRegistry
from one_api.routing import Router


def deployment(name: str, **fields: object) -> Deployment:
    return Deployment(model="m", adapter=name, upstream_model="x", **fields)  # type: ignore[arg-type]  # any of its fields


POOL = (deployment("a"), deployment("b"), deployment("c"), deployment("d"))


class Providers:
    """Answers by a script of errors for each adapter, None for success; success when it ends."""

    def __init__(self, **script: Sequence[GatewayError | None]) -> None:
        self._script = {name: list(steps) for name, steps in script.items()}
        self.asked: list[str] = []
        self.attempts: list[Attempt] = []

    async def ask(self, attempt: Attempt) -> str:
        name = attempt.deployment.adapter
        self.asked.append(name)
        self.attempts.append(attempt)
        attempt.is_sent = True
        steps = self._script.get(name)
        step = steps.pop(0) if steps else None
        if step is not None:
            raise step
        attempt.trial.succeed()
        return name


def failover(**options: int) -> Failover:
    return Failover(ModelRegistry(), Router(), random=random.Random(1), **options)  # noqa: S311 - the same pauses in every run


async def outcome(
    providers: Providers,
    pool: Sequence[Deployment] = POOL,
    *,
    walk: Failover | None = None,
    context: RequestContext | None = None,
) -> str | GatewayError:
    try:
        return await (walk or failover()).run(pool, providers.ask, context or RequestContext())
    except GatewayError as exc:
        return exc


@pytest.mark.parametrize(
    "error",
    [
        UpstreamUnreachable("refused"),
        UpstreamTimeout("slow"),
        UpstreamDisconnected("cut"),
        UpstreamInvalidResponse("html"),
        UpstreamServerError("500"),
        UpstreamOverloaded("529"),
        UpstreamRateLimited("429"),
        UpstreamQuotaExhausted("402"),
        CredentialRejected("401"),
        Conflict("409"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_another_deployment_may_mend_goes_to_the_next(error: GatewayError) -> None:
    providers = Providers(a=[error])
    context = RequestContext()

    assert "b" == await outcome(providers, context=context)
    assert ["a", "b"] == providers.asked
    assert [
        AttemptRecord(deployment="a/x", error=error.code),
        AttemptRecord(deployment="b/x"),
    ] == context.attempts


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("400"),
        ModelNotFound("404"),
        RequestTooLarge("413"),
        UnsupportedParameter("no logprobs"),
        ContextWindowExceeded("too long"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_callers_own_mistake_is_told_at_once(error: GatewayError) -> None:
    providers = Providers(a=[error])

    assert error is await outcome(providers)
    assert ["a"] == providers.asked


async def test_attempts_are_bounded_and_spread_over_deployments() -> None:
    errors = {name: [UpstreamServerError(name)] for name in "abcd"}
    providers = Providers(**errors)

    told = await outcome(providers)

    assert ["a", "b", "c"] == providers.asked
    assert isinstance(told, UpstreamServerError)
    assert "c" == told.message


async def test_a_client_may_ask_for_fewer_attempts_but_not_for_more() -> None:
    for asked, made in ((1, 1), (2, 2), (9, 3)):
        providers = Providers(**{name: [UpstreamServerError(name)] for name in "abcd"})
        await outcome(providers, context=RequestContext(max_attempts=asked))
        assert made == len(providers.asked)


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (UpstreamServerError("500"), 3),
        (UpstreamUnreachable("refused"), 3),
        (UpstreamOverloaded("529"), 3),
        # These may have been worked on, and paid for.
        (UpstreamTimeout("slow"), 1),
        (UpstreamDisconnected("cut"), 1),
        (UpstreamInvalidResponse("html"), 1),
        # And this one would be refused again.
        (CredentialRejected("401"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_the_same_deployment_is_asked_again_only_where_no_work_was_done(
    error: GatewayError, times: int
) -> None:
    providers = Providers(a=[error] * 9)

    assert error is await outcome(providers, POOL[:1])
    assert ["a"] * times == providers.asked


async def test_others_come_before_the_same_one_again() -> None:
    providers = Providers(a=[UpstreamServerError("1")], b=[UpstreamServerError("2")])

    assert "a" == await outcome(providers, POOL[:2])
    assert ["a", "b", "a"] == providers.asked


async def test_what_a_provider_asks_to_wait_for_is_waited_for_by_nobody() -> None:
    """F22: no call before its time, and no request that sleeps."""
    walk = failover()
    providers = Providers(a=[UpstreamRateLimited("slow down", retry_after_s=30)])

    assert "b" == await outcome(providers, POOL[:2], walk=walk)
    assert "b" == await outcome(providers, POOL[:2], walk=walk)
    assert ["a", "b", "b"] == providers.asked

    told = await outcome(providers, POOL[:1], walk=walk)
    assert isinstance(told, UpstreamRateLimited)
    assert told.retry_after_s is not None
    assert 25 < told.retry_after_s <= 30
    assert ["a", "b", "b"] == providers.asked


async def test_a_prompt_that_does_not_fit_goes_only_where_there_is_more_room() -> None:
    pool = [deployment(name, context_window=size) for name, size in (("a", 8), ("b", 8), ("c", 32))]
    providers = Providers(a=[ContextWindowExceeded("too long")])

    assert "c" == await outcome(providers, pool)
    assert ["a", "c"] == providers.asked


async def test_a_guess_that_was_wrong_is_not_the_callers_mistake() -> None:
    error = ModelNotFound("no such model")
    pool = [deployment("a", is_guess=True), deployment("b")]

    assert "b" == await outcome(Providers(a=[error]), pool)
    assert error is await outcome(Providers(b=[error]), pool[::-1])


async def test_what_a_deployment_cannot_be_asked_costs_no_attempt() -> None:
    providers = Providers()

    async def ask(attempt: Attempt) -> str:
        if attempt.deployment.adapter in "abc":
            raise UnsupportedParameter(
                f"no logprobs in {attempt.deployment.adapter}", param="logprobs"
            )
        return await providers.ask(attempt)

    context = RequestContext()
    assert "d" == await failover().run(POOL, ask, context)
    assert [AttemptRecord(deployment="d/x")] == context.attempts

    with pytest.raises(UnsupportedParameter, match="no logprobs in a"):
        await failover().run(POOL[:2], ask, RequestContext())


async def test_a_request_goes_on_where_it_stopped() -> None:
    """A door that passes a request on and then translates it asks nobody twice."""
    context = RequestContext(attempts=[AttemptRecord(deployment="a/x", error="timeout")])
    providers = Providers(b=[UpstreamServerError("b")], c=[UpstreamServerError("c")])

    assert isinstance(await outcome(providers, context=context), UpstreamServerError)
    assert ["b", "c"] == providers.asked


async def test_an_outage_is_not_amplified() -> None:
    """Retries in flight are a tenth of the requests in flight, and three at least."""
    walk = failover()
    all_asked = asyncio.Barrier(100)
    asked: list[str] = []

    async def ask(attempt: Attempt) -> str:
        asked.append(attempt.deployment.adapter)
        attempt.is_sent = True
        if attempt.deployment.adapter == "a":
            await all_asked.wait()
            raise UpstreamTimeout("slow")
        await asyncio.sleep(0.01)
        return "b"

    pool = (deployment("a"), deployment("b"))
    requests = [asyncio.create_task(walk.run(pool, ask, RequestContext())) for _ in range(100)]
    replies = await asyncio.gather(*requests, return_exceptions=True)

    answered = [reply for reply in replies if reply == "b"]
    assert 10 == len(answered) == asked.count("b")
    assert 90 == sum(isinstance(reply, UpstreamTimeout) for reply in replies)


class TestDeadlines:
    async def test_a_request_ends_at_its_deadline(self) -> None:
        now = asyncio.get_running_loop().time()

        async def ask(attempt: Attempt) -> str:
            attempt.is_sent = True
            await asyncio.Event().wait()
            return "never"

        with pytest.raises(UpstreamTimeout, match="x-request-timeout"):
            await failover().run(POOL, ask, RequestContext(deadline=now + 0.02))

    async def test_no_attempt_begins_too_late(self) -> None:
        now = asyncio.get_running_loop().time()
        providers = Providers(a=[UpstreamServerError("a")])
        context = RequestContext(deadline=now + 0.04)

        assert isinstance(await outcome(providers, context=context), UpstreamServerError)
        assert ["a"] == providers.asked

    async def test_attempts_know_what_time_is_left(self) -> None:
        now = asyncio.get_running_loop().time()
        providers = Providers()

        await outcome(providers, context=RequestContext(deadline=now + 7))

        assert 6 < providers.attempts[0].timeouts.total_s < 7.1


class TestPatience:
    async def test_patience_is_short_while_another_is_left(self) -> None:
        providers = Providers(a=[UpstreamTimeout("slow")])
        await outcome(providers, POOL[:2])
        first, last = (attempt.timeouts for attempt in providers.attempts)
        assert (5, 60) == (first.first_content_s, first.total_s)
        assert (120, 600) == (last.first_content_s, last.total_s)

    async def test_the_whole_of_a_stream_may_take_long_in_any_case(self) -> None:
        providers = Providers()
        await failover().run(POOL, providers.ask, RequestContext(), Terms(is_stream=True))
        assert (5, 600) == (
            providers.attempts[0].timeouts.first_content_s,
            providers.attempts[0].timeouts.total_s,
        )


class TestEnds:
    async def test_a_client_that_leaves_is_nobodys_fault(self) -> None:
        walk = failover()
        pool = (deployment("a", limits=DeploymentLimits(concurrent_requests=1)),)

        async def ask(attempt: Attempt) -> str:
            attempt.is_sent = True
            await asyncio.Event().wait()
            return "never"

        for _ in range(10):
            task = asyncio.create_task(walk.run(pool, ask, RequestContext()))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        assert "a" == await outcome(Providers(), pool, walk=walk)

    async def test_a_full_deployment_is_passed_by_and_alone_it_is_told(self) -> None:
        walk = failover()
        full = deployment("a", limits=DeploymentLimits(concurrent_requests=1))
        gate = asyncio.Event()

        async def hold(attempt: Attempt) -> str:
            await gate.wait()
            attempt.trial.succeed()
            return "held"

        holder = asyncio.create_task(walk.run((full,), hold, RequestContext()))
        await asyncio.sleep(0)
        assert "b" == await outcome(Providers(), (full, POOL[1]), walk=walk)
        told = await outcome(Providers(), (full,), walk=walk)
        assert isinstance(told, NoDeploymentAvailable)
        gate.set()
        assert "held" == await holder

    async def test_a_bug_is_not_hidden(self) -> None:
        async def ask(attempt: Attempt) -> str:
            raise KeyError("a bug")

        with pytest.raises(KeyError):
            await failover().run(POOL, ask, RequestContext())


async def test_a_body_that_cannot_be_sent_twice_is_sent_once() -> None:
    providers = Providers(a=[UpstreamServerError("a")])
    with pytest.raises(UpstreamServerError):
        await failover().run(POOL, providers.ask, RequestContext(), Terms(is_replayable=False))
    assert ["a"] == providers.asked


async def test_a_down_deployment_is_left_alone_and_alone_it_is_asked_once() -> None:
    walk = failover()
    providers = Providers(a=[UpstreamTimeout("slow")] * 9)
    for _ in range(7):
        await outcome(providers, POOL[:2], walk=walk)
    assert 5 == providers.asked.count("a")

    await outcome(providers, POOL[:1], walk=walk)
    assert 6 == providers.asked.count("a")


async def test_a_request_may_choose_its_strategy() -> None:
    walk = failover()
    pool = tuple(deployment(name, group=Group(name="g", strategy="ordered")) for name in ("a", "b"))
    context = RequestContext(strategy="round_robin")
    providers = Providers()
    for _ in range(4):
        await walk.run(pool, providers.ask, RequestContext(strategy=context.strategy))
    assert ["a", "b", "a", "b"] == providers.asked


async def test_one_that_was_left_aside_is_asked_when_all_others_fail() -> None:
    walk = failover()
    providers = Providers(a=[UpstreamTimeout("slow")] * 5, b=[UpstreamInvalidResponse("html")])
    for _ in range(5):
        await outcome(providers, POOL[:1], walk=walk)

    assert "a" == await outcome(providers, POOL[:2], walk=walk)
    assert ["b", "a"] == providers.asked[5:]


async def test_models_stay_in_the_order_in_which_the_client_named_them() -> None:
    pool = (
        Deployment(model="m", adapter="a", upstream_model="x", order=5),
        Deployment(model="n", adapter="b", upstream_model="x", order=0),
    )
    providers = Providers(a=[UpstreamInvalidResponse("html")])

    assert "b" == await outcome(providers, pool)
    assert ["a", "b"] == providers.asked


async def test_a_deadline_of_the_client_is_not_the_deployments_failure() -> None:
    walk = failover()

    async def ask(attempt: Attempt) -> str:
        attempt.is_sent = True
        await asyncio.sleep(attempt.timeouts.total_s)
        raise UpstreamTimeout("slow")

    for _ in range(6):
        now = asyncio.get_running_loop().time()
        with pytest.raises(UpstreamTimeout):
            await walk.run(POOL[:1], ask, RequestContext(deadline=now + 0.01))

    assert not walk.router.plan(POOL[:1]).is_last_resort
