"""Requests for vectors: answered by an adapter that makes them, or passed on in OpenAI's format."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from one_api.adapter.base import Call
from one_api.adapter.embeddings import SupportsEmbeddings
from one_api.adapter.http import MAX_ERROR_BYTES, MAX_REPLY_BYTES, send_for
from one_api.adapter.http_errors import error_from_reply
from one_api.adapter.passthrough import RawRequest, SupportsPassthrough
from one_api.converter.embeddings import embeddings_to_wire, mended_embeddings
from one_api.errors import (
    GatewayError,
    InvalidRequest,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamTimeout,
)
from one_api.events import Usage
from one_api.failover import Terms
from one_api.policy.demand import Demand

if TYPE_CHECKING:
    from one_api.adapter.base import BaseModelAdapter
    from one_api.failover import Attempt, Failover, RequestContext
    from one_api.schemas import JsonObject
    from one_api.schemas.embeddings import EmbeddingRequest
    from one_api.tokens import TokenCounter

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsReply:
    """A JSON body with vectors, and what the headers say of how it came about."""

    body: bytes
    headers: dict[str, str]


class Embedder:
    """Answers embedding requests through the adapters of a registry."""

    def __init__(self, failover: Failover, counter: TokenCounter) -> None:
        self._failover = failover
        self._registry = failover.registry
        self._counter = counter

    async def embed(self, request: EmbeddingRequest, context: RequestContext) -> EmbeddingsReply:
        """The vectors for `request`, each in the encoding it asks for.

        Raises: GatewayError; InvalidRequest where the model's provider gives no vectors.
        """
        deployments = await self._failover.deployments(request.model, context)

        async def ask(attempt: Attempt) -> EmbeddingsReply:
            return await self._attempt(request, attempt)

        async def measure() -> Demand:
            tokens = await self._count(request, "")
            return Demand(prompt_tokens=tokens, completion_tokens=0)

        return await self._failover.run(deployments, ask, context, Terms(measure=measure))

    async def _attempt(self, request: EmbeddingRequest, attempt: Attempt) -> EmbeddingsReply:
        deployment, timeouts = attempt.deployment, attempt.timeouts
        call = Call(
            model=deployment.upstream_model,
            request_id=attempt.context.request_id,
            timeouts=timeouts,
            on_head=attempt.trial.note_headers,
            caller=attempt.context.caller,
        )
        try:
            with self._registry.lease(deployment) as adapter:
                self._require_embeddings(adapter, request)
                attempt.is_sent = True
                async with asyncio.timeout(timeouts.total_s):
                    wire = await self._ask(adapter, request, call)
        except TimeoutError as exc:
            raise UpstreamTimeout(f"The model took longer than {timeouts.total_s:g} s.") from exc
        except GatewayError as exc:
            exc.conceal(self._registry.adapter(deployment.adapter).settings.secrets())
            logger.info("request %s: %s: %s", call.request_id, deployment.name, exc.message)
            raise
        except Exception as exc:
            logger.exception("adapter %s raised while embedding", deployment.adapter)
            raise UpstreamError(
                f"The adapter '{deployment.adapter}' failed; the log of the gateway says why."
            ) from exc
        attempt.note_answered()
        tokens = wire["usage"].get("prompt_tokens")
        counted = tokens if isinstance(tokens, int) else 0
        attempt.succeed(Usage(prompt_tokens=counted, completion_tokens=0))
        headers = {
            "x-one-api-model": deployment.upstream_model,
            "x-one-api-deployment": deployment.name,
            "x-one-api-attempts": str(attempt.number),
        }
        return EmbeddingsReply(body=orjson.dumps(wire), headers=headers)

    def _require_embeddings(self, adapter: BaseModelAdapter, request: EmbeddingRequest) -> None:
        """Raises: InvalidRequest where the adapter has no way to make them."""
        if not isinstance(adapter, SupportsEmbeddings | SupportsPassthrough):
            raise InvalidRequest(
                f"The model '{request.model}' makes no embeddings.",
                param="model",
                code="unsupported_value",
            )

    async def _ask(
        self, adapter: BaseModelAdapter, request: EmbeddingRequest, call: Call
    ) -> JsonObject:
        if isinstance(adapter, SupportsEmbeddings):
            return await self._made(adapter, request, call)
        return await self._passed_on(adapter, request, call)

    async def _made(
        self, adapter: SupportsEmbeddings, request: EmbeddingRequest, call: Call
    ) -> JsonObject:
        embeddings = await adapter.embed(request, call)
        if len(embeddings.vectors) != len(request.inputs):
            raise UpstreamInvalidResponse("The adapter did not give one vector per input.")
        tokens = embeddings.prompt_tokens
        return embeddings_to_wire(
            embeddings.vectors,
            model=request.model,
            prompt_tokens=await self._count(request, call.model) if tokens is None else tokens,
            encoding=request.encoding_format or "float",
        )

    async def _passed_on(
        self, adapter: BaseModelAdapter, request: EmbeddingRequest, call: Call
    ) -> JsonObject:
        body = orjson.dumps({**request.to_wire(), "model": call.model})
        raw = RawRequest(
            path="/embeddings", headers={"Content-Type": "application/json"}, body=body
        )
        assert isinstance(adapter, SupportsPassthrough), "checked by the caller"  # noqa: S101
        wire = adapter.passthrough(raw, call)
        if wire is None:
            raise InvalidRequest(
                f"The provider of the model '{request.model}' makes no embeddings.",
                param="model",
                code="unsupported_value",
            )
        async with send_for(adapter, wire, call) as reply:
            if reply.status != 200:
                told = await reply.read(MAX_ERROR_BYTES)
                raise error_from_reply(reply.status, reply.headers, told)
            given = await reply.read(MAX_REPLY_BYTES)
        try:
            decoded = orjson.loads(given)
        except orjson.JSONDecodeError as exc:
            raise UpstreamInvalidResponse("The provider's reply is not JSON.") from exc
        mended = mended_embeddings(
            decoded, inputs=len(request.inputs), encoding=request.encoding_format or "float"
        )
        if not isinstance(mended.get("usage"), dict):
            tokens = await self._count(request, call.model)
            mended["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        mended.setdefault("model", request.model)
        return mended

    async def _count(self, request: EmbeddingRequest, model: str) -> int:
        """Our own count of the inputs, for a provider that told none."""
        texts = [given for given in request.inputs if isinstance(given, str)]
        tokens = sum(len(given) for given in request.inputs if not isinstance(given, str))
        return tokens + await self._counter.count(model, texts)
