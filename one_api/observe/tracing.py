"""Traces of requests, in OpenTelemetry's terms; imported only where they are wanted.

A request is a server's span; each attempt at a deployment is a client's span below it, named and
described as the conventions for generative AI have it; each call of an HTTP provider is a span
below that, and the provider is told of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation import set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from typing_extensions import override

from one_api.adapter.http import HTTPTransport, WireReply, WireRequest
from one_api.deployment import Timeouts
from one_api.errors import GatewayError
from one_api.observe import tracing_attributes as attributes
from one_api.observe.access_log import is_quiet
from one_api.observe.exchange import AttemptFacts, Exchange
from one_api.observe.observer import Observer
from one_api.observe.redactor import Redactor
from one_api.observe.tracing_reply import ReplyScan, ScannedReply

#: How long the end of the process waits for the last spans to be sent, in seconds.
CLOSE_S = 3.0

_W3C = TraceContextTextMapPropagator()
_TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
_CANCELLED = "cancelled"


def otlp_provider(version: str) -> TracerProvider:
    """Sends spans in batches over OTLP/HTTP, as the variables OTEL_* say."""
    known = OTELResourceDetector().detect()
    own = {
        "service.name": "one_api",
        "service.version": version,
        # Each process is one: they share everything else.
        "service.instance.id": str(uuid.uuid4()),
    }
    resource = Resource.create().merge(Resource(own)).merge(known)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


@dataclass(slots=True, eq=False)
class _AttemptTrace:
    """An attempt's span; `ended_ns` is when its last call of the provider was over."""

    facts: AttemptFacts
    span: Span
    scan: ReplyScan = field(default_factory=ReplyScan)
    ended_ns: int | None = None
    is_over: bool = False


class _RequestTrace:
    """What is known of a request's spans while they are open."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.context = set_span_in_context(span, Context())
        self.trace_id = f"{span.get_span_context().trace_id:032x}"
        self.attempts: list[_AttemptTrace] = []

    def of(self, facts: AttemptFacts) -> _AttemptTrace | None:
        return next((one for one in self.attempts if one.facts is facts), None)


#: The attempt on whose behalf this task calls a provider.
_ATTEMPT: ContextVar[_AttemptTrace | None] = ContextVar("attempt_trace", default=None)


class Tracing(Observer):
    """Makes spans of exchanges; `redactor` sees to it that no secret is in them.

    `make_provider` is called now, and when requests are served again after `close`. What was asked
    and answered is told only where it `tells_bodies`, and the exchange has it.
    """

    def __init__(
        self,
        make_provider: Callable[[], TracerProvider],
        *,
        redactor: Redactor,
        tells_bodies: bool = False,
    ) -> None:
        self._make_provider = make_provider
        self._tells_bodies = tells_bodies
        self._redact = redactor.redact
        self._provider: TracerProvider | None = None
        self.open()

    def open(self) -> None:
        """Begin to send; nothing when that has begun."""
        if self._provider is None:
            self._provider = self._make_provider()
            self.tracer: Tracer = self._provider.get_tracer("one_api")

    async def close(self) -> None:
        """Send what is left, for `CLOSE_S` at most: a collector may be gone."""
        provider, self._provider = self._provider, None
        if provider is None:
            return
        loop = asyncio.get_running_loop()
        sent: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not sent.done():
                sent.set_result(None)

        def shut_down() -> None:
            provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
                loop.call_soon_threadsafe(tell)

        # A thread of its own, which the end of the process does not wait for.
        threading.Thread(target=shut_down, name="one-api-traces", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await sent

    def transport(self, http: HTTPTransport) -> HTTPTransport:
        """`http`, whose calls on behalf of attempts are traced and tell the provider so."""
        return _TracedTransport(self, http)

    # -- what is told of exchanges

    @override
    def began(self, exchange: Exchange) -> None:
        if is_quiet(exchange):
            return
        given = {"traceparent": exchange.traceparent, "tracestate": exchange.tracestate}
        carrier = {name: value for name, value in given.items() if value}
        span = self.tracer.start_span(
            f"{exchange.method} {exchange.endpoint}".rstrip(),
            context=_W3C.extract(carrier, Context()) if carrier else Context(),
            kind=SpanKind.SERVER,
            attributes=self._clean(attributes.of_request(exchange)),
        )
        exchange.span = _RequestTrace(span)

    @override
    def asked(self, exchange: Exchange, attempt: AttemptFacts) -> None:
        trace = exchange.span
        if not isinstance(trace, _RequestTrace):
            return
        before = trace.attempts[-1] if trace.attempts else None
        links = []
        if before is not None and before.facts.error is not None:
            told = self._clean(attributes.of_failover(before.facts, attempt))
            trace.span.add_event("failover", told)
            links.append(Link(before.span.get_span_context(), {"one_api.link": "failover"}))
        name = f"{attributes.operation(exchange.endpoint)} {attempt.deployment.upstream_model}"
        span = self.tracer.start_span(
            self._redact(name.rstrip()),
            context=trace.context,
            kind=SpanKind.CLIENT,
            attributes=self._clean(
                attributes.of_attempt(exchange, attempt, len(trace.attempts) + 1)
            ),
            links=links,
        )
        traced = _AttemptTrace(attempt, span)
        trace.attempts.append(traced)
        _ATTEMPT.set(traced)

    @override
    def answered(self, exchange: Exchange, attempt: AttemptFacts) -> None:
        trace = exchange.span
        traced = trace.of(attempt) if isinstance(trace, _RequestTrace) else None
        if traced is not None and attempt.error is not None:
            _fail(traced.span, attempt.error)
            _end(traced)

    @override
    def ended(self, exchange: Exchange) -> None:
        trace = exchange.span
        if not isinstance(trace, _RequestTrace):
            return
        open_ones = [one for one in trace.attempts if not one.is_over]
        for traced in open_ones:
            traced.span.set_attributes(self._clean(traced.scan.attributes()))
        if open_ones:
            last = open_ones[-1]
            last.span.set_attributes(attributes.of_answer(exchange, last.facts))
            if exchange.error is not None and exchange.is_stream:
                _fail(last.span, exchange.error.code or exchange.error.type)
        for traced in open_ones:
            _end(traced)
        self._end_request(exchange, trace.span)

    def _clean(self, told: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
        return {
            name: self._redact(value) if isinstance(value, str) else value
            for name, value in told.items()
        }

    def _end_request(self, exchange: Exchange, span: Span) -> None:
        if span.is_recording():
            told = attributes.of_response(exchange)
            if self._tells_bodies:
                told.update(attributes.bodies(exchange))
            error = exchange.error
            if error is not None:
                told["error.type"] = error.code or error.type
            elif exchange.status == attributes.CLIENT_GONE:
                told["error.type"] = _CANCELLED
            span.set_attributes(self._clean(told))
            is_broken = error is not None and exchange.is_stream and error.status >= 500
            if exchange.status >= 500 or is_broken:
                span.set_status(Status(StatusCode.ERROR))
        span.end()


class _TracedTransport(HTTPTransport):
    """Tells providers which span calls them; calls for no attempt pass as they are."""

    def __init__(self, tracing: Tracing, http: HTTPTransport) -> None:
        self._tracing = tracing
        self._http = http

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        attempt = _ATTEMPT.get()
        # What a request leaves behind may go on calling: no span is open for that.
        if attempt is None or attempt.is_over:
            async with self._http.send(request, timeouts) as reply:
                yield reply
            return
        span = self._tracing.tracer.start_span(
            request.method,
            context=set_span_in_context(attempt.span, Context()),
            kind=SpanKind.CLIENT,
            attributes=attributes.of_call(request),
        )
        status = 0
        try:
            async with self._http.send(_marked(request, span), timeouts) as reply:
                status = reply.status
                span.set_attribute("http.response.status_code", status)
                is_read = span.is_recording() and status < 400
                yield ScannedReply(reply, attempt.scan) if is_read else reply
        except GatewayError as exc:
            if status < 400:  # Else it is what the adapter makes of the status.
                _fail(span, exc.code or exc.type)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            span.set_attribute("error.type", _CANCELLED)
            raise
        finally:
            if status >= 400:
                _fail(span, str(status))
            attempt.ended_ns = time.time_ns()
            span.end(attempt.ended_ns)


def _marked(request: WireRequest, span: Span) -> WireRequest:
    """`request` with the headers that name `span`, and with no others of their kind."""
    headers = {
        name: value for name, value in request.headers.items() if name.lower() not in _TRACE_HEADERS
    }
    _W3C.inject(headers, set_span_in_context(span, Context()))
    return replace(request, headers=headers)


def _fail(span: Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR))


def _end(traced: _AttemptTrace) -> None:
    traced.is_over = True
    traced.span.end(traced.ended_ns)
