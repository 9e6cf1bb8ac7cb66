"""What spans say of requests, attempts and calls, in the words of OpenTelemetry's conventions.

The names are those of opentelemetry.io/docs/specs/semconv (gen-ai and http), seen in November 2026;
what has no name there is below `one_api.`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from one_api.adapter.http import WireRequest
    from one_api.observe.exchange import AttemptFacts, Exchange

Attributes = dict[str, str | int | float | bool]

#: The status of a request whose client did not wait.
CLIENT_GONE = 499
#: Operations by how their endpoints end.
_OPERATIONS = {
    "/chat/completions": "chat",
    "/messages": "chat",
    "/responses": "chat",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
}
_PORTS = {"http": 80, "https": 443}


def operation(endpoint: str) -> str:
    """What is done at `endpoint`; `passthrough` where that is between client and provider."""
    ends = (name for end, name in _OPERATIONS.items() if endpoint.endswith(end))
    return next(ends, "passthrough")


def of_request(exchange: Exchange) -> Attributes:
    """What is known as a request comes."""
    told: Attributes = {
        "http.request.method": exchange.method,
        "one_api.request_id": exchange.request_id,
    }
    if exchange.endpoint:
        told["http.route"] = exchange.endpoint
    return told


def of_attempt(exchange: Exchange, attempt: AttemptFacts, number: int) -> Attributes:
    """What is known as a deployment is asked."""
    deployment = attempt.deployment
    told: Attributes = {
        "gen_ai.operation.name": operation(exchange.endpoint),
        "gen_ai.provider.name": deployment.adapter,
        "one_api.deployment": deployment.name,
        "one_api.attempt": number,
    }
    if deployment.upstream_model:
        told["gen_ai.request.model"] = deployment.upstream_model
    return told


def of_failover(failed: AttemptFacts, asked: AttemptFacts) -> Attributes:
    """Why another deployment is asked, or the same one again."""
    return {
        "one_api.deployment.failed": failed.deployment.name,
        "one_api.deployment.next": asked.deployment.name,
        "error.type": failed.error or "",
    }


def of_call(request: WireRequest) -> Attributes:
    """What is known as a provider is called: its address, and no query, which may hold a key."""
    parts = urlsplit(request.url)
    host = parts.hostname or ""
    port = parts.port or _PORTS.get(parts.scheme, 0)
    netloc = parts.netloc.rpartition("@")[2]
    return {
        "http.request.method": request.method,
        "server.address": host,
        "server.port": port,
        "url.full": urlunsplit((parts.scheme, netloc, parts.path, "", "")),
    }


def of_answer(exchange: Exchange, attempt: AttemptFacts) -> Attributes:
    """What an attempt came to, once its request is over."""
    told = _usage(exchange)
    told["gen_ai.request.stream"] = exchange.is_stream
    if exchange.is_stream and exchange.first_content_s is not None:
        # Seconds since this attempt began.
        waited_s = exchange.first_content_s - attempt.began_s
        told["gen_ai.response.time_to_first_chunk"] = max(waited_s, 0.0)
    return told


def of_response(exchange: Exchange) -> Attributes:
    """What a request came to."""
    told = _usage(exchange)
    told["http.response.status_code"] = exchange.status
    told["one_api.attempts"] = len(exchange.attempts)
    optional = {
        "client.address": exchange.client_address,
        "gen_ai.request.model": exchange.model or None,
        "one_api.key_id": exchange.key_id,
        "one_api.cache": exchange.cache,
        "one_api.overhead_s": exchange.overhead_s,
    }
    told.update((name, value) for name, value in optional.items() if value is not None)
    if exchange.usage is not None:
        told["one_api.cost_usd"] = exchange.cost_microusd / 1_000_000
    return told


def bodies(exchange: Exchange) -> Iterator[tuple[str, str]]:
    """What was asked and answered, where that is kept."""
    if exchange.request_body:
        yield "one_api.request.body", exchange.request_body
    if exchange.reply_body:
        yield "one_api.response.body", exchange.reply_body


def _usage(exchange: Exchange) -> Attributes:
    usage = exchange.usage
    if usage is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "one_api.usage.estimated": usage.estimated,
    }
