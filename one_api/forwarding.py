"""Requests in a provider's own format: passed on, and its reply passed back, as they are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from one_api.adapter.base import Call
from one_api.adapter.http import MAX_ERROR_BYTES, send_for
from one_api.adapter.http_errors import error_from_reply
from one_api.adapter.passthrough import RawRequest, SupportsPassthrough, secrets_of
from one_api.bindings import SNIFFED_BYTES, Bindings, id_in_path
from one_api.deployment import Deployment
from one_api.endings import Charge, Ending, failure_of
from one_api.errors import (
    GatewayError,
    InvalidRequest,
    UpstreamError,
    UpstreamTimeout,
)
from one_api.failover import Terms
from one_api.policy.demand import MODEL_NOT_PRICED, Demand
from one_api.redaction import Mask
from one_api.relay.beginning import begun

if TYPE_CHECKING:
    from one_api.adapter.http import WireReply, WireRequest
    from one_api.failover import Attempt, Failover, RequestContext

logger = logging.getLogger(__name__)

#: Headers of a provider's reply that a client may see.
SHOWN_HEADERS = (
    "content-type",
    "content-disposition",
    "content-length",
    "content-range",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRequest:
    """A client's request on its way through.

    `outline` is it without its body. `for_model` makes it for one deployment, given the upstream's
    name of the model (None where it names none); called once where it is not `is_replayable`.
    `bound_to` is the id of something stored that it goes on from.
    """

    outline: RawRequest
    for_model: Callable[[str | None], RawRequest]
    model: str | None = None
    is_stream: bool = False
    is_replayable: bool = True
    bound_to: str | None = None

    async def measure(self) -> Demand:
        """A token for every four bytes of its body; what it will bring forth nobody knows."""
        body = self.for_model(None).body if self.is_replayable else None
        size = len(body) if isinstance(body, bytes) else 0
        return Demand(prompt_tokens=size // 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedReply:
    """A provider's own reply, as it comes: close `chunks` when the client leaves.

    `headers` are those that may be shown. `chunks` raises UpstreamErrors where it is cut.
    """

    status: int
    headers: dict[str, str]
    chunks: AsyncGenerator[bytes, None]


class Forwarder:
    """Passes requests on to the deployments of their models that can take them."""

    def __init__(self, failover: Failover, bindings: Bindings | None = None) -> None:
        self._failover = failover
        self._registry = failover.registry
        self._bindings = bindings or Bindings()

    async def forward(
        self,
        request: ClientRequest,
        context: RequestContext,
        *,
        adapter: str | None = None,
    ) -> ForwardedReply | None:
        """Pass `request` on to a deployment of its model, or to `adapter` when it names none.

        None when the provider has no such endpoint, or when those failed that have and others may
        still answer in another format.
        Raises: GatewayError for what fails before the head of the reply, and for a refused
        credential; any other status is the client's to see once no deployment is left.
        """
        deployments = await self._deployments(request, context, adapter)
        able = self._able(deployments, request.outline)
        if not able:
            return None

        is_translatable = len(able) < len(deployments)

        async def ask(attempt: Attempt) -> ForwardedReply:
            raw = request.for_model(attempt.deployment.upstream_model or None)
            has_other = (
                request.is_replayable
                and (bool(attempt.others) or is_translatable)
                and self._failover.attempts_left(context) > 1
            )
            return await self._ask(raw, attempt, has_other=has_other)

        try:
            return await self._failover.run(
                able,
                ask,
                context,
                Terms(
                    is_stream=request.is_stream,
                    is_replayable=request.is_replayable,
                    may_repeat=not is_translatable,
                    measure=request.measure,
                ),
            )
        except GatewayError as exc:
            if is_translatable and exc.retryable and self._failover.attempts_left(context) > 0:
                return None
            if is_translatable and exc.code == MODEL_NOT_PRICED:
                return None  # Those that have no such endpoint may have a price.
            raise

    async def _deployments(
        self, request: ClientRequest, context: RequestContext, adapter: str | None
    ) -> Sequence[Deployment]:
        bound = await self._keeper(request.bound_to or id_in_path(request.outline.path))
        if bound is not None:
            self._failover.require_allowed(request.model or bound.model, context)
            return (bound,)
        if request.model is None:
            deployment = _of_adapter(adapter)
            self._failover.require_allowed("", context)
            return (deployment,)
        return await self._failover.deployments(request.model, context)

    async def _keeper(self, stored_id: str | None) -> Deployment | None:
        """The deployment that keeps what goes by this id, if that is known and still there."""
        known = self._bindings.recall(stored_id)
        if known is not None:
            return known
        place = await self._bindings.ask_others(stored_id)
        if place is None:
            return None
        try:
            self._registry.adapter(place.adapter)
            if not place.model:
                return _of_adapter(place.adapter)
            found = await self._registry.deployments_for(place.model)
        except GatewayError:
            return None  # The file of upstreams has changed since.
        same = (place.adapter, place.upstream_model)
        return next((one for one in found if (one.adapter, one.upstream_model) == same), None)

    def _able(self, deployments: Sequence[Deployment], outline: RawRequest) -> Sequence[Deployment]:
        """Those of `deployments` that have the endpoint.

        None, where the operator's choice among them would be another one for those that have it.
        """
        able = [one for one in deployments if self._to_wire(outline, one) is not None]
        if len(able) == len(deployments):
            return able
        first = deployments[0]
        keeps_order = first in able and first.group.strategy == "ordered"
        return able if keeps_order else ()

    def _to_wire(
        self, request: RawRequest, deployment: Deployment, call: Call | None = None
    ) -> WireRequest | None:
        adapter = self._registry.adapter(deployment.adapter)
        if not isinstance(adapter, SupportsPassthrough):
            return None
        return adapter.passthrough(request, call or Call(model=deployment.upstream_model))

    async def _ask(
        self, request: RawRequest, attempt: Attempt, *, has_other: bool
    ) -> ForwardedReply:
        body = _Body(request.body) if isinstance(request.body, AsyncIterable) else None
        if body is not None:
            request = replace(request, body=body.chunks())
        deployment = attempt.deployment
        call = Call(
            model=deployment.upstream_model,
            request_id=attempt.context.request_id,
            timeouts=attempt.timeouts,
            on_head=attempt.trial.note_headers,
            caller=attempt.context.caller,
        )
        wire = self._to_wire(request, deployment, call)
        if wire is None:
            raise InvalidRequest("The provider has no such endpoint.", code="not_found")
        attempt.is_sent = True
        async with AsyncExitStack() as stack:
            adapter = stack.enter_context(self._registry.lease(deployment))
            try:
                async with asyncio.timeout(_patience_s(attempt)) as patience:
                    reply = await stack.enter_async_context(send_for(adapter, wire, call))
                    await _require_answer(reply, has_other=has_other)
                    source = await stack.enter_async_context(aclosing(reply.chunks()))
                    is_late = _over_at(patience.when())
                    if not has_other:
                        # Slow as it is, it is the last one, and it lives.
                        patience.reschedule(None)
                    first = await begun(
                        request.path, reply, source, has_other=has_other, is_late=is_late
                    )
            except TimeoutError as exc:
                raise UpstreamTimeout("The provider did not begin to answer in time.") from exc
            except UpstreamError as exc:
                if body is not None and body.error is not None:
                    raise body.error from exc
                raise
            mask = Mask(secrets_of(adapter))
            source = _concealed(_all(first, source), mask)
            chunks = self._pieces(stack.pop_all(), source, reply, attempt, _charge(request))
            # Begun here: closing a generator that never ran would keep the connection open.
            await anext(chunks)
        account = attempt.context.account
        if account is not None:
            account.hand_over(is_stream=attempt.is_stream)
        return ForwardedReply(
            status=reply.status, headers=_shown_headers(reply, attempt, mask), chunks=chunks
        )

    async def _pieces(
        self,
        stack: AsyncExitStack,
        source: AsyncGenerator[bytes, None],
        reply: WireReply,
        attempt: Attempt,
        charge: Charge,
    ) -> AsyncGenerator[bytes, None]:
        """The body of a reply, `source`, whose connection it gives back."""
        ending = Ending(reply, attempt, charge)
        head: bytes | None = b""
        stored_id: str | None = None
        try:
            async with stack:
                yield b""
                async for data in source:
                    ending.note(data)
                    if head is not None:
                        head, stored_id = self._sniffed(head + data, attempt.deployment)
                    yield data
                    if stored_id is not None:
                        # Before the end: the client may go on from it anywhere then.
                        await self._bindings.share(stored_id)
                        stored_id = None
            ending.is_complete = True
        except UpstreamError as exc:
            # Raised on: the head is out, and only the end of the connection tells of it.
            ending.error = exc
            raise
        finally:
            ending.tell()

    def _sniffed(self, head: bytes, deployment: Deployment) -> tuple[bytes | None, str | None]:
        """What to look at with the next piece, None for nothing more; and the reply's id, if found.

        `head` is its beginning.
        """
        stored_id = self._bindings.learn(head, deployment)
        is_over = stored_id is not None or len(head) >= SNIFFED_BYTES
        return None if is_over else head, stored_id


async def _all(first: bytes, source: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    if first:
        yield first
    async for data in source:
        yield data


async def _concealed(
    source: AsyncGenerator[bytes, None], mask: Mask
) -> AsyncGenerator[bytes, None]:
    """`source` without what a provider quotes of our credential, in errors above all."""
    async for data in source:
        shown = mask.feed(data)
        if shown:
            yield shown
    rest = mask.rest()
    if rest:
        yield rest


def _of_adapter(adapter: str | None) -> Deployment:
    """The deployment of a request that names no model.

    Raises: InvalidRequest when there is no adapter for those.
    """
    if adapter is None:
        raise InvalidRequest(
            "This request names no model. Name one in 'model' (in the JSON body, the form or "
            "the query), or have the operator set PASSTHROUGH_ADAPTER.",
            param="model",
            code="missing_required_parameter",
        )
    return Deployment(model="", adapter=adapter, upstream_model="")


def _patience_s(attempt: Attempt) -> float | None:
    """How long a stream may take to begin, in seconds; of the last one, its head."""
    return attempt.timeouts.first_content_s if attempt.is_stream else None


def _over_at(at_s: float | None) -> Callable[[], bool]:
    """Whether it is `at_s` by now, in the event loop's time; None never comes."""
    time = asyncio.get_running_loop().time
    return lambda: at_s is not None and time() >= at_s


async def _require_answer(reply: WireReply, *, has_other: bool) -> None:
    """Raises: the provider's error where the client is not to see it, or another may do better."""
    status = reply.status
    is_secret = status in (401, 402, 403) or 300 <= status < 400
    if is_secret or (has_other and failure_of(reply).retryable and status >= 400):
        told = await reply.read(MAX_ERROR_BYTES)
        raise error_from_reply(status, reply.headers, told)


def _charge(request: RawRequest) -> Charge:
    """What a request is charged for, besides what its reply tells."""
    size = len(request.body) if isinstance(request.body, bytes) else 0
    return Charge(is_due=request.method == "POST", prompt_tokens=size // 4)


class _Body:
    """A client's body on its way to a provider.

    The HTTP client tells of a body that ends in an error as of a lost connection; `error` is what
    really happened.
    """

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._source = source
        self.error: GatewayError | None = None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            async for data in self._source:
                yield data
        except GatewayError as exc:
            self.error = exc
            raise


def _shown_headers(reply: WireReply, attempt: Attempt, mask: Mask) -> dict[str, str]:
    shown = {key: mask.line(reply.headers[key]) for key in SHOWN_HEADERS if key in reply.headers}
    if "content-encoding" in reply.headers:
        # The body comes decoded, and is longer than it was.
        shown.pop("content-length", None)
    deployment = attempt.deployment
    name = deployment.name if deployment.upstream_model else deployment.adapter
    return {
        **shown,
        "x-one-api-deployment": name,
        "x-one-api-attempts": str(attempt.number),
    }
