"""The walk along a plan: one deployment after the other, until one commits to an answer.

What decides is in `routing`, which is pure; here is what waits: attempts, pauses, deadlines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from one_api.adapter.callers import caller_name
from one_api.deployment import Deployment, StrategyName, Timeouts
from one_api.errors import GatewayError, InvalidRequest, UpstreamTimeout
from one_api.registry import ModelRegistry, model_not_found
from one_api.routing import Router, Trial

if TYPE_CHECKING:
    from one_api.events import Usage
    from one_api.observe import AttemptFacts, Exchange
    from one_api.policy.accounts import Account
    from one_api.policy.cache import CacheUse
    from one_api.policy.demand import Measure

logger = logging.getLogger(__name__)

Reply = TypeVar("Reply")

#: Pauses before the same deployment is asked again: random up to these, in seconds.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.25, 2.0
#: An attempt with less time than this cannot come to anything, in seconds.
_LEAST_S = 0.05


class AttemptRecord(NamedTuple):
    """What came of one attempt: `error` is its code, None where it committed."""

    deployment: str
    error: str | None = None


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """What belongs to one client's request besides its body, wherever it is answered.

    `deadline` is in the event loop's time. `affinity` names the conversation. `strategy`,
    `deployment`, `fallbacks` and `max_attempts` are what the client asks of routing.
    `attempts` grows while the request is answered; `account` is what it is charged to, if anything;
    `cache_use` what the client lets the cache do, None where it said nothing.
    """

    request_id: str = ""
    deadline: float | None = None
    affinity: str | None = None
    strategy: StrategyName | None = None
    deployment: str | None = None
    fallbacks: tuple[str, ...] = ()
    max_attempts: int | None = None
    account: Account | None = None
    cache_use: CacheUse | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)

    @property
    def exchange(self) -> Exchange | None:
        """Where the facts of the request are kept, if anywhere."""
        return self.account.exchange if self.account is not None else None

    @property
    def caller(self) -> str:
        """Who asks, as adapters are told: the same name for the same API key, and only that."""
        return caller_name(self.account.caller.id) if self.account is not None else ""


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One deployment being asked.

    Whoever is asked sets `is_sent` before anything can reach the provider, and decides `trial`
    once the answer is complete; a failure before that is raised instead. `others` are deployments
    that were not asked.
    """

    number: int
    deployment: Deployment
    timeouts: Timeouts
    trial: Trial
    context: RequestContext
    others: tuple[Deployment, ...] = ()
    is_stream: bool = False
    is_sent: bool = False
    facts: AttemptFacts | None = None

    def note_first_content(self) -> None:
        """A stream's first content has come."""
        self.trial.note_first_content()
        if self.context.account is not None:
            self.context.account.exchange.note_first_content()

    def note_answered(self) -> None:
        """All of an answer that is no stream has come."""
        if self.context.account is not None:
            self.context.account.exchange.note_answered()

    def succeed(self, usage: Usage | None) -> None:
        """The reply is complete, and used this much."""
        self.trial.succeed(tokens=usage.total_tokens if usage else 0)
        if self.context.account is not None:
            self.context.account.note_usage(usage)

    def fail(self, error: GatewayError) -> None:
        """Note that the deployment failed; not where it was the client's time that ran out."""
        deadline = self.context.deadline
        if deadline is not None and asyncio.get_running_loop().time() >= deadline:
            self.trial.abandon()
        else:
            self.trial.fail(error)


class Terms(NamedTuple):
    """What a request is like, for whoever has it answered.

    One that is not `is_replayable` has a body that cannot be sent twice, and is sent once; where
    it not `may_repeat`, each deployment is asked once. `measure` tells what it will use; without
    it nothing is charged.
    """

    is_stream: bool = False
    is_replayable: bool = True
    may_repeat: bool = True
    measure: Measure | None = None


ANY_TERMS = Terms()


class Failover:
    """Has requests answered by the first deployment of their model that can."""

    def __init__(
        self,
        registry: ModelRegistry,
        router: Router,
        *,
        max_attempts: int = 3,
        random: Random | None = None,
    ) -> None:
        self.registry = registry
        self.router = router
        self.max_attempts = max_attempts
        # Spreads load: nothing secret depends on it.
        self._random = random or Random()  # noqa: S311

    async def deployments(
        self, model: str, context: RequestContext, *, fallbacks: Sequence[str] = ()
    ) -> Sequence[Deployment]:
        """Whatever may answer a request for `model`, else for one of `fallbacks`, each once.

        Raises: ModelNotFound, NoDeploymentAvailable; InvalidRequest for a deployment that the
        client asks for and that does not serve the model.
        """
        account = context.account
        if account is not None:
            account.exchange.model = model
            if not account.allows(model):
                raise model_not_found(model)
        found: Sequence[Deployment]
        if fallbacks or context.fallbacks:
            found = await self._of_all((model, *fallbacks, *context.fallbacks), context)
        else:
            found = await self.registry.deployments_for(model)
        if context.deployment is None:
            return found
        pinned = [one for one in found if context.deployment in (one.name, one.adapter)]
        if not pinned:
            raise InvalidRequest(
                f"The deployment '{context.deployment}' does not serve the model '{model}'.",
                param="x-one-api-deployment",
                code="invalid_value",
            )
        return pinned

    async def _of_all(self, models: Sequence[str], context: RequestContext) -> list[Deployment]:
        """The deployments of all `models`, each once."""
        for name in models:
            self.require_allowed(name, context)
        by_name: dict[str, Deployment] = {}
        for name in models:
            for one in await self.registry.deployments_for(name):
                by_name.setdefault(one.name, one)
        return list(by_name.values())

    def require_allowed(self, model: str, context: RequestContext) -> None:
        """Raises: ModelNotFound, where the key may not ask for `model`, as if there were none."""
        if context.account is not None and not context.account.allows(model):
            raise model_not_found(model)

    async def run(
        self,
        deployments: Sequence[Deployment],
        ask: Callable[[Attempt], Awaitable[Reply]],
        context: RequestContext,
        terms: Terms = ANY_TERMS,
    ) -> Reply:
        """What `ask` gives for the first deployment that commits.

        At most `max_attempts` are asked, the same one again only when no other is left and the
        error says that it may be. The request's account is asked for what it needs before all.
        Raises: the last error; a deployment's refusal before anything was sent, where all refuse.
        """
        if context.account is not None and terms.measure is not None:
            deployments = await context.account.admit(deployments, terms.measure)
        walk = _Walk(self, deployments, context, terms, self._random)
        budget = self.router.retry_budget
        budget.enter()
        try:
            if context.deadline is None:
                return await walk.run(ask)
            return await _in_time(walk.run(ask), context.deadline)
        finally:
            budget.leave()

    def attempts_left(self, context: RequestContext) -> int:
        """How many more deployments may be asked for this request."""
        limit = self.max_attempts
        if context.max_attempts:
            limit = min(context.max_attempts, limit)
        return limit - len(context.attempts)


async def _in_time(walk: Awaitable[Reply], deadline: float) -> Reply:
    timeout = asyncio.timeout_at(deadline)
    try:
        async with timeout:
            return await walk
    except TimeoutError as exc:
        if not timeout.expired():
            raise
        raise UpstreamTimeout(
            "No deployment answered within the time that 'x-request-timeout' allows."
        ) from exc


class _Walk:
    """One request on its way along one plan."""

    _pauses = 0
    _failure: GatewayError | None = None
    _refusal: GatewayError | None = None
    _repeats: tuple[Deployment, ...] = ()

    def __init__(
        self,
        failover: Failover,
        deployments: Sequence[Deployment],
        context: RequestContext,
        terms: Terms,
        random: Random,
    ) -> None:
        if context.attempts:
            tried = {record.deployment for record in context.attempts}
            deployments = [one for one in deployments if one.name not in tried] or deployments
        self._router = router = failover.router
        self._plan = plan = router.plan(
            deployments, affinity=context.affinity, strategy=context.strategy
        )
        self._context = context
        self._exchange = context.exchange
        self._terms = terms
        self._random = random
        self._is_last_resort = plan.is_last_resort
        # A last resort is probably down: it is asked once.
        is_asked_once = plan.is_last_resort or not terms.is_replayable
        self._left = 1 if is_asked_once else max(failover.attempts_left(context), 1)
        self._queue = plan.deployments

    async def run(self, ask: Callable[[Attempt], Awaitable[Reply]]) -> Reply:
        """Raises: GatewayError, when no deployment answered."""
        budget = self._router.retry_budget
        while self._left and (self._queue or self._repeats or self._find_last_resort()):
            is_retry = self._failure is not None
            if is_retry and not budget.try_retry():
                break
            try:
                trial = self._begin() if self._queue else await self._begin_again()
                if trial is None:
                    continue
                attempt = self._attempt(trial)
                try:
                    reply = await ask(attempt)
                except GatewayError as exc:
                    self._note_failure(exc, attempt)
                    self._go_on_or_raise(exc, attempt.deployment)
                except BaseException:
                    trial.abandon()
                    raise
                else:
                    if attempt.facts is not None and self._exchange is not None:
                        self._exchange.end_attempt(attempt.facts)
                    self._context.attempts.append(AttemptRecord(attempt.deployment.name))
                    return reply
            finally:
                if is_retry:
                    budget.end_retry()
        raise self._failure or self._refusal or self._plan.refusal()

    def _find_last_resort(self) -> bool:
        """Whether one of those that were left aside may be asked, once all others have failed."""
        aside = [skipped.deployment for skipped in self._plan.skipped]
        if self._is_last_resort or not aside:
            return False
        self._is_last_resort = True
        self._queue = self._router.plan(aside).deployments[:1]
        return bool(self._queue)

    def _begin(self) -> Trial | None:
        """Permission to ask the next deployment; None when it may not be asked any more."""
        deployment, self._queue = self._queue[0], self._queue[1:]
        return self._router.begin(deployment, is_last_resort=self._is_last_resort)

    async def _begin_again(self) -> Trial | None:
        """After a pause, permission to ask a deployment again; None when it may not be asked."""
        longest_s = min(_FIRST_PAUSE_S * 2**self._pauses, _LAST_PAUSE_S)
        self._pauses += 1
        await asyncio.sleep(self._random.uniform(0, longest_s))
        deployment, self._repeats = self._repeats[0], self._repeats[1:]
        return self._router.begin(deployment)

    def _attempt(self, trial: Trial) -> Attempt:
        """What the deployment is asked by, which `trial` permits."""
        deployment, context, others = trial.deployment, self._context, self._queue
        return Attempt(
            number=len(context.attempts) + 1,
            deployment=deployment,
            timeouts=self._timeouts(deployment, has_other=bool(others) and self._left > 1),
            trial=trial,
            context=context,
            others=others,
            is_stream=self._terms.is_stream,
            facts=self._exchange.ask(deployment) if self._exchange is not None else None,
        )

    def _note_failure(self, error: GatewayError, attempt: Attempt) -> None:
        """What `error` says of the deployment, or of the request where nothing was sent."""
        exchange, facts = self._exchange, attempt.facts
        if facts is not None and exchange is not None:
            exchange.end_attempt(facts, error.code or error.type)
            if not attempt.is_sent:
                exchange.withdraw_attempt(facts)
        if attempt.is_sent:
            attempt.fail(error)
            self._left -= 1
            self._failure = error
            record = AttemptRecord(deployment=attempt.deployment.name, error=error.code)
            self._context.attempts.append(record)
        else:
            attempt.trial.abandon()
            self._refusal = self._refusal or error

    def _timeouts(self, deployment: Deployment, *, has_other: bool) -> Timeouts:
        deadline = self._context.deadline
        if not has_other and deadline is None:
            return deployment.timeouts
        timeouts = self._router.timeouts(deployment, has_other=has_other)
        if self._terms.is_stream and timeouts.total_s < deployment.timeouts.total_s:
            # How long a stream may take depends on no other deployment: it is not asked again.
            timeouts = replace(timeouts, total_s=deployment.timeouts.total_s)
        if deadline is None:
            return timeouts
        # Until the commit `_in_time` is there first; after it this ends the stream.
        left_s = max(deadline - asyncio.get_running_loop().time(), 0.0) + _LEAST_S
        return replace(timeouts, total_s=min(timeouts.total_s, left_s))

    def _go_on_or_raise(self, exc: GatewayError, deployment: Deployment) -> None:
        """Raises: `exc` itself when no other deployment can be expected to do better."""
        if exc is not self._failure:
            return  # Nothing was sent: another one may know what this one refuses.
        if exc.needs_larger_context:
            self._queue = tuple(one for one in self._queue if _is_larger(one, deployment))
            if not self._queue:
                raise exc
        elif not exc.retryable and not (exc.names_unknown_model and deployment.is_guess):
            raise exc
        if exc.repeatable and self._terms.may_repeat:
            self._repeats = (*self._repeats, deployment)
        if self._is_too_late():
            raise exc

    def _is_too_late(self) -> bool:
        deadline = self._context.deadline
        return deadline is not None and deadline - asyncio.get_running_loop().time() < _LEAST_S


def _is_larger(candidate: Deployment, refused: Deployment) -> bool:
    """Whether `candidate` is known to have the larger context window."""
    if candidate.context_window is None or refused.context_window is None:
        return False
    return candidate.context_window > refused.context_window
