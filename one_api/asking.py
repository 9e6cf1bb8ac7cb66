"""Deployments being asked: their events, and those of others that go on where one broke off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from types import AsyncGeneratorType
from typing import TYPE_CHECKING

from one_api.adapter.base import Call
from one_api.adapter.tap import TappedEvents
from one_api.adapter.token_counting import SupportsTokenCounting
from one_api.continuation import continue_broken, continued_request
from one_api.delivery import adapter_failed
from one_api.errors import GatewayError, UpstreamError
from one_api.failover import Attempt, AttemptRecord, Failover, RequestContext
from one_api.stopping import read_relayed

if TYPE_CHECKING:
    from one_api.converter import ReplyForm
    from one_api.deployment import Deployment
    from one_api.events import Event
    from one_api.registry import Lease, ModelRegistry
    from one_api.routing import Trial
    from one_api.schemas.chat import ChatCompletionRequest
    from one_api.tokens import TokenCounter

logger = logging.getLogger(__name__)

#: How long a provider may take to count, in seconds: the client can be told an estimate.
_COUNT_TIMEOUT_S = 10.0
#: What is closed when it is done with; the usual kind first: only the other one asks an ABC.
_GENERATORS = (AsyncGeneratorType, TappedEvents, AsyncGenerator)


class Asking:
    """Asks adapters; with `strict_params` they may drop nothing."""

    def __init__(self, failover: Failover, *, strict_params: bool) -> None:
        self._failover = failover
        self._registry = failover.registry
        self._strict_params = strict_params

    def call(self, attempt: Attempt) -> Call:
        """What belongs to `attempt`, for the adapter."""
        return Call(
            model=attempt.deployment.upstream_model,
            request_id=attempt.context.request_id,
            timeouts=attempt.timeouts,
            strict_params=self._strict_params,
            on_head=attempt.trial.note_headers,
            caller=attempt.context.caller,
        )

    def events(
        self, ask: Callable[[], AsyncIterator[Event]], lease: Lease, deployment: Deployment
    ) -> AsyncGenerator[Event, None]:
        """The adapter's events; what it raises besides GatewayErrors becomes an UpstreamError."""
        sources: list[TappedEvents] = []
        return TappedEvents(_asked(ask, lease, deployment, sources), sources)

    # -- streams that break after the client has begun to read them

    def continued(
        self,
        events: AsyncGenerator[Event, None],
        request: ChatCompletionRequest,
        form: ReplyForm,
        attempt: Attempt,
    ) -> AsyncGenerator[Event, None]:
        """`events`, gone on with by other deployments where they break."""
        told = read_relayed(events, form, is_stream=True)
        others = list(attempt.others)
        secrets = self._registry.adapter(attempt.deployment.adapter).settings.secrets()
        first = _watched(told, attempt.trial, secrets, succeeds=False)

        async def follow(text: str, error: GatewayError) -> AsyncGenerator[Event, None] | None:
            part = self._next_part(request, form, attempt, others, text)
            logger.warning(
                "request %s: %s broke off (%s): %s",
                attempt.context.request_id,
                attempt.deployment.name,
                error.code,
                "another deployment goes on" if part else "no other deployment goes on",
            )
            return part

        return continue_broken(first, follow)

    def _next_part(
        self,
        request: ChatCompletionRequest,
        form: ReplyForm,
        attempt: Attempt,
        others: list[Deployment],
        text: str,
    ) -> AsyncGenerator[Event, None] | None:
        """The events of the first of `others` that may be asked to go on from `text`."""
        router, context = self._failover.router, attempt.context
        while others and self._failover.attempts_left(context) > 0:
            deployment = others.pop(0)
            lease = self._registry.lease(deployment)
            with lease as adapter:
                if not adapter.continues(deployment.upstream_model):
                    continue
                if not router.retry_budget.try_retry():
                    return None
                trial = router.begin(deployment)
                if trial is None:
                    router.retry_budget.end_retry()
                    continue
                context.attempts.append(AttemptRecord(deployment=deployment.name))
                exchange = context.exchange
                facts = exchange.ask(deployment) if exchange is not None else None
                timeouts = router.timeouts(deployment, has_other=False)
                part = replace(
                    attempt, deployment=deployment, timeouts=timeouts, trial=trial, facts=facts
                )
                going_on = continued_request(request, text)
                ask = partial(adapter.generate_completion, going_on, self.call(part))
                told = read_relayed(self.events(ask, lease, deployment), form, is_stream=True)
                secrets = adapter.settings.secrets()
                return _watched(told, trial, secrets, at_end=router.retry_budget.end_retry)
        return None


async def _asked(
    ask: Callable[[], AsyncIterator[Event]],
    lease: Lease,
    deployment: Deployment,
    sources: list[TappedEvents],
) -> AsyncGenerator[Event, None]:
    """The events that `ask` gives, which are put into `sources` where they may have a tap."""
    try:
        with lease:
            events = ask()
            if type(events) is TappedEvents:
                sources.append(events)
            try:
                async for event in events:
                    yield event
            finally:
                if isinstance(events, _GENERATORS):
                    await events.aclose()
    except GatewayError:
        raise
    except Exception as exc:
        logger.exception("adapter %s raised while answering", deployment.adapter)
        raise adapter_failed(deployment) from exc


def may_continue(request: ChatCompletionRequest, attempt: Attempt) -> bool:
    """Whether the operator wants a broken stream gone on with, and there is who could."""
    if not attempt.others or attempt.deployment.group.after_commit != "continue":
        return False
    return request.wants_stream and (request.n or 1) == 1


async def count_prompt(
    request: ChatCompletionRequest,
    context: RequestContext,
    registry: ModelRegistry,
    counter: TokenCounter,
) -> int:
    """The prompt tokens of `request`, as its provider counts them, else as we do.

    Raises: ModelNotFound, NoDeploymentAvailable; what the provider holds against the request.
    """
    deployment = (await registry.deployments_for(request.model or ""))[0]
    told = await _told_count(request, context, registry, deployment)
    if told is not None:
        return told
    usage = await counter.usage(request, deployment.upstream_model, ())
    return usage.prompt_tokens


async def _told_count(
    request: ChatCompletionRequest,
    context: RequestContext,
    registry: ModelRegistry,
    deployment: Deployment,
) -> int | None:
    """The adapter's own count; None where it has none to tell."""
    call = Call(
        model=deployment.upstream_model,
        request_id=context.request_id,
        timeouts=replace(deployment.timeouts, total_s=_COUNT_TIMEOUT_S),
        caller=context.caller,
    )
    with registry.lease(deployment) as adapter:
        if not isinstance(adapter, SupportsTokenCounting):
            return None
        try:
            async with asyncio.timeout(_COUNT_TIMEOUT_S):
                return await adapter.count_tokens(request, call)
        except (TimeoutError, UpstreamError) as exc:
            reason = exc.code if isinstance(exc, UpstreamError) else "timeout"
            logger.info("adapter %s counted no tokens: %s", deployment.adapter, reason)
        except GatewayError as exc:
            exc.conceal(adapter.settings.secrets())
            raise
        except Exception:
            logger.exception("adapter %s raised while counting tokens", deployment.adapter)
    return None


async def _watched(
    events: AsyncGenerator[Event, None],
    trial: Trial,
    secrets: Sequence[str],
    *,
    succeeds: bool = True,
    at_end: Callable[[], None] | None = None,
) -> AsyncGenerator[Event, None]:
    """`events`, whose end decides `trial`; its success only where nobody else tells of it.

    Whoever is told of an error is told none of the deployment's `secrets`.
    """
    try:
        async with aclosing(events):
            async for event in events:
                yield event
        if succeeds:
            trial.succeed()
    except GatewayError as exc:
        exc.conceal(secrets)
        trial.fail(exc)
        raise
    finally:
        if succeeds:
            trial.abandon()  # Only where nothing was decided: the client left.
        if at_end is not None:
            at_end()
