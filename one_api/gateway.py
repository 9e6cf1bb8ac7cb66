"""The road of a request: from a checked request to bytes for the client, in typed steps.

Each method has one duty, so that a traceback reads as the road. No provider is named here.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import orjson

from one_api.adapter.base import BaseModelAdapter
from one_api.adapter.completions import SupportsCompletions
from one_api.asking import Asking, may_continue
from one_api.caching import CACHE_HEADER, Caching, Recall, replayed
from one_api.converter import CHAT, Dialect, ReasoningField, ReplyForm
from one_api.converter.completions import TEXT, completion_as_chat
from one_api.delivery import Answer, CompleteReply, Delivery, StreamedReply
from one_api.errors import InvalidRequest
from one_api.failover import Attempt, Failover, RequestContext, Terms
from one_api.fanout import MAX_REPLIES, fan_out
from one_api.linger import HoldBack
from one_api.policy.caps import require_within
from one_api.policy.demand import Demand
from one_api.stopping import enforce_stops, read_relayed
from one_api.tokens import AnyRequest, TokenCounter, estimated_prompt_tokens

if TYPE_CHECKING:
    from one_api.deployment import Deployment
    from one_api.registry import Lease
    from one_api.schemas.chat import ChatCompletionRequest
    from one_api.schemas.completions import CompletionRequest

__all__ = [
    "CompleteReply",
    "Gateway",
    "GatewayOptions",
    "HoldBack",
    "RequestContext",
    "StreamedReply",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What the operator decided about replies.

    `strict_params` refuses a parameter that would be dropped. `default_model` answers requests
    that name none. `emulate_n` asks a provider that gives one choice at a time several times.
    `hold_back` keeps the beginning of a stream from the client, so that it can still be mended.
    """

    emulate_n: bool = False
    strict_params: bool = False
    default_model: str | None = None
    reasoning_field: ReasoningField = "both"
    hold_back: HoldBack = field(default_factory=HoldBack)


class Gateway:
    """Answers chat requests through the deployments of their models."""

    def __init__(
        self,
        failover: Failover,
        options: GatewayOptions,
        counter: TokenCounter | None = None,
        caching: Caching | None = None,
    ) -> None:
        self._caching = caching
        self._failover = failover
        self._registry = failover.registry
        self._options = options
        self._asking = Asking(failover, strict_params=options.strict_params)
        self._delivery = Delivery(counter or TokenCounter(), options.hold_back)

    async def chat(
        self,
        request: ChatCompletionRequest,
        context: RequestContext,
        *,
        dialect: Dialect = CHAT,
    ) -> CompleteReply | StreamedReply:
        """Answer `request` in `dialect`, as a stream when it asks for one.

        A stream is given once it has content: whatever fails before is raised.
        Raises: GatewayError.
        """
        model, models = request.model, request.models or ()
        if models:
            model = model or models[0]
            request = request.without("models")
        model = self._named_or_default(model)
        deployments = await self._failover.deployments(model, context, fallbacks=models)
        has_choice = len(deployments) > 1 and context.affinity is None
        if has_choice and any(one.group.sticky for one in deployments):
            context.affinity = _conversation(request)
        request = _capped(request, context)

        recall = self._caching.recall(request, context) if self._caching else None
        ask = self._asker(request, dialect, recall)
        if recall is None:
            return await self._failover.run(deployments, ask, context, _terms(request))
        try:
            hit = await recall.find()
            if hit is None:
                reply = await self._failover.run(deployments, ask, context, _terms(request))
                reply.headers[CACHE_HEADER] = "miss"
                return reply
        except BaseException:
            recall.close()
            raise
        if context.account is not None:
            await context.account.admit(deployments, partial(_measure, request))
        form = self._form(request, deployments[0])
        return await replayed(hit, request, form, dialect, context)

    def _asker(
        self, request: ChatCompletionRequest, dialect: Dialect, recall: Recall | None
    ) -> Callable[[Attempt], Awaitable[CompleteReply | StreamedReply]]:
        """How one deployment is asked for its answer to `request`."""

        async def ask(attempt: Attempt) -> CompleteReply | StreamedReply:
            lease = self._registry.lease(attempt.deployment)
            with lease as adapter:
                answer = self._ask_chat(request, dialect, attempt, adapter, lease)
                if recall is not None:
                    answer.events = recall.recorded(replace(answer))
                return await self._delivery.deliver(answer)

        return ask

    async def complete(
        self, request: CompletionRequest, context: RequestContext
    ) -> CompleteReply | StreamedReply:
        """Continue the prompts of `request`; as a chat, where the provider knows nothing else.

        Raises: GatewayError; UnsupportedParameter for what no chat can give.
        """
        model = self._named_or_default(request.model)
        deployments = await self._failover.deployments(model, context)
        request = _capped_completion(request, context)

        async def ask(attempt: Attempt) -> CompleteReply | StreamedReply:
            lease = self._registry.lease(attempt.deployment)
            with lease as adapter:
                answer = self._ask_completion(request, attempt, adapter, lease)
                return await self._delivery.deliver(answer)

        return await self._failover.run(deployments, ask, context, _terms(request))

    async def close(self) -> None:
        """Wait for what is still to be settled of streams whose clients have gone."""
        await self._delivery.close()

    def _named_or_default(self, model: str | None) -> str:
        named = model or self._options.default_model
        if named is None:
            raise InvalidRequest(
                "Missing required parameter: 'model'.",
                param="model",
                code="missing_required_parameter",
            )
        return named

    def _ask_chat(
        self,
        request: ChatCompletionRequest,
        dialect: Dialect,
        attempt: Attempt,
        adapter: BaseModelAdapter,
        lease: Lease,
    ) -> Answer:
        """Settle what the deployment cannot do, then ask it; nothing is sent yet.

        Raises: UnsupportedParameter, InvalidRequest for what it cannot be asked.
        """
        deployment = attempt.deployment
        form = self._form(request, deployment)
        policy = adapter.parameters(deployment.upstream_model)
        replies = 1
        if self._options.emulate_n and request.n and not policy.honours("n"):
            replies = _checked_replies(request.n)
            request = request.without("n")
        stops: tuple[str, ...] = ()
        if request.stop is not None and not policy.takes_stops(len(request.stop_sequences)):
            stops, request = request.stop_sequences, request.without("stop")
        call = self._asking.call(attempt)
        call.dropped.extend(policy.settle(request, strict=call.strict_params))
        ask = partial(adapter.generate_completion, request, call)
        attempt.is_sent = True
        events = self._asking.events(ask, lease, deployment)
        if replies > 1:
            more = [self._asking.events(ask, lease, deployment) for _ in range(replies - 1)]
            events = fan_out([events, *more])
        if stops:
            choices = max(replies, request.n or 1)
            told = read_relayed(events, form, is_stream=request.wants_stream, choices=choices)
            events = enforce_stops(told, stops, choices=choices)
        elif may_continue(request, attempt):
            events = self._asking.continued(events, request, form, attempt)
        return Answer(
            attempt=attempt,
            request=request,
            form=form,
            call=call,
            events=events,
            dialect=dialect,
            secrets=adapter.settings.secrets,
        )

    def _ask_completion(
        self, request: CompletionRequest, attempt: Attempt, adapter: BaseModelAdapter, lease: Lease
    ) -> Answer:
        deployment = attempt.deployment
        if not isinstance(adapter, SupportsCompletions) or not adapter.completes(
            deployment.upstream_model
        ):
            return self._ask_chat(completion_as_chat(request), TEXT, attempt, adapter, lease)
        call = self._asking.call(attempt)
        attempt.is_sent = True
        return Answer(
            attempt=attempt,
            request=request,
            form=ReplyForm(model=deployment.model, include_usage=request.wants_usage_chunk),
            call=call,
            events=self._asking.events(partial(adapter.complete, request, call), lease, deployment),
            dialect=TEXT,
            secrets=adapter.settings.secrets,
        )

    def _form(self, request: ChatCompletionRequest, deployment: Deployment) -> ReplyForm:
        return ReplyForm(
            model=deployment.model,
            include_usage=request.wants_usage_chunk,
            functions=request.functions is not None,
            reasoning_field=self._options.reasoning_field,
        )


def _terms(request: AnyRequest) -> Terms:
    return Terms(is_stream=request.wants_stream, measure=partial(_measure, request))


def _measure(request: AnyRequest) -> Demand:
    """What `request` may use at most, by our own estimate."""
    completion = request.completion_limit
    return Demand(
        prompt_tokens=estimated_prompt_tokens(request),
        completion_tokens=None if completion is None else completion * (request.n or 1),
    )


def _checked_replies(count: int) -> int:
    if count > MAX_REPLIES:
        raise InvalidRequest(
            f"Invalid value for 'n': at most {MAX_REPLIES} choices are given for this model.",
            param="n",
            code="integer_above_max_value",
        )
    return count


def _capped(request: ChatCompletionRequest, context: RequestContext) -> ChatCompletionRequest:
    """`request` within the completion limit of its API key.

    Raises: InvalidRequest when it asks for more.
    """
    cap = context.account.caller.limits.max_tokens if context.account is not None else None
    if cap is None:
        return request
    given = request.completion_limit
    if given is None:
        return request.model_copy(update={"max_completion_tokens": cap})
    require_within(
        given, cap, "max_completion_tokens" if request.max_completion_tokens else "max_tokens"
    )
    return request


def _capped_completion(request: CompletionRequest, context: RequestContext) -> CompletionRequest:
    """As `_capped`, for a legacy completion, which always has a limit."""
    cap = context.account.caller.limits.max_tokens if context.account is not None else None
    if cap is None or request.completion_limit <= cap:
        return request
    if request.max_tokens is None:
        return request.model_copy(update={"max_tokens": cap})
    require_within(request.completion_limit, cap, "max_tokens")
    return request


def _conversation(request: ChatCompletionRequest) -> str:
    """What all turns of one conversation have in common: its beginning, or the name it is given."""
    if request.prompt_cache_key:
        return request.prompt_cache_key
    opening = []
    for message in request.messages:
        opening.append(message)
        if message["role"] == "user":
            break
    return hashlib.sha256(orjson.dumps(opening)).hexdigest()
