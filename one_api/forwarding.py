"""Requests in a provider's own format: passed on, and its reply passed back, as they are."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from one_api.adapter.base import Call
from one_api.adapter.http import MAX_ERROR_BYTES
from one_api.adapter.http_errors import error_from_reply
from one_api.adapter.passthrough import RawRequest, SupportsPassthrough
from one_api.errors import GatewayError, InvalidRequest, UpstreamError

if TYPE_CHECKING:
    from one_api.adapter.http import WireReply
    from one_api.registry import ModelRegistry

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
class ForwardedReply:
    """A provider's own reply, as it comes: close `chunks` when the client leaves.

    `headers` are those that may be shown. `chunks` raises UpstreamErrors where it is cut.
    """

    status: int
    headers: dict[str, str]
    chunks: AsyncGenerator[bytes, None]


class Forwarder:
    """Passes requests on to the adapters of a registry that can take them."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    async def forward(
        self, request: RawRequest, *, model: str | None, adapter: str | None, request_id: str
    ) -> ForwardedReply | None:
        """Pass `request` on to the deployment of `model`, or to `adapter` when it names none.

        None when that provider has no such endpoint. In a JSON body the caller has put the
        upstream's name of the model, by `upstream_model`.
        Raises: GatewayError for what fails before the head of the reply, and for a refused
        credential; any other status is the client's to see.
        """
        name, call = await self._call_for(model, adapter, request_id)
        body = _Body(request.body) if isinstance(request.body, AsyncIterable) else None
        if body is not None:
            request = replace(request, body=body.chunks())
        target = self._registry.adapter(name)
        wire = (
            target.passthrough(request, call) if isinstance(target, SupportsPassthrough) else None
        )
        if wire is None:
            return None
        async with AsyncExitStack() as stack:
            try:
                reply = await stack.enter_async_context(
                    target.context.http.send(wire, call.timeouts)
                )
            except UpstreamError as exc:
                if body is not None and body.error is not None:
                    raise body.error from exc
                raise
            if reply.status in (401, 402, 403) or 300 <= reply.status < 400:
                told = await reply.read(MAX_ERROR_BYTES)
                raise error_from_reply(reply.status, reply.headers, told)
            chunks = _pieces(stack.pop_all(), reply, request_id)
            # Begun here: closing a generator that never ran would keep the connection open.
            await anext(chunks)
        return ForwardedReply(
            status=reply.status, headers=_shown_headers(reply, name, call.model), chunks=chunks
        )

    async def upstream_model(self, model: str) -> str:
        """The provider's own name for `model`.

        Raises: ModelNotFound, NoDeploymentAvailable.
        """
        return (await self._registry.deployments_for(model))[0].upstream_model

    async def _call_for(
        self, model: str | None, adapter: str | None, request_id: str
    ) -> tuple[str, Call]:
        """Which adapter to pass a request on to, and the call that goes with it."""
        if model is not None:
            deployment = (await self._registry.deployments_for(model))[0]
            return deployment.adapter, Call(
                model=deployment.upstream_model,
                request_id=request_id,
                timeouts=deployment.timeouts,
            )
        if adapter is None:
            raise InvalidRequest(
                "This request names no model. Name one in 'model' (in the JSON body, the form or "
                "the query), or have the operator set PASSTHROUGH_ADAPTER.",
                param="model",
                code="missing_required_parameter",
            )
        return adapter, Call(model="", request_id=request_id)


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


def _shown_headers(reply: WireReply, adapter: str, model: str) -> dict[str, str]:
    shown = {key: reply.headers[key] for key in SHOWN_HEADERS if key in reply.headers}
    if "content-encoding" in reply.headers:
        # The body comes decoded, and is longer than it was.
        shown.pop("content-length", None)
    name = f"{adapter}/{model}" if model else adapter
    return {**shown, "x-one-api-deployment": name, "x-one-api-attempts": "1"}


async def _pieces(
    stack: AsyncExitStack, reply: WireReply, request_id: str
) -> AsyncGenerator[bytes, None]:
    """The body of a reply, whose connection it gives back."""
    async with stack, aclosing(reply.chunks()) as chunks:
        yield b""
        try:
            async for data in chunks:
                yield data
        except UpstreamError as exc:
            # Raised on: the head is out, and only the end of the connection tells of it.
            logger.warning("request %s: the passed-on reply was cut: %s", request_id, exc.message)
            raise
