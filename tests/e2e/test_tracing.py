"""Span trees of requests over sockets, and what providers are told of them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from one_api.observe import tracing
from tests.e2e.failover_scenes import ALONE, PAIR, World, begun, chat, streamed, whole, world
from tests.scripted_upstream import Gate, Hold, Reset, openai_error, openai_stream, sse_reply

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{PARENT}-01"


class Spans:
    """The spans that ended, by name."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> list[ReadableSpan]:
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


Traced = Callable[..., AbstractAsyncContextManager[tuple[World, Spans]]]


@pytest.fixture
def traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Traced:
    """Starts a gateway whose spans stay in memory."""
    exporter = InMemorySpanExporter()

    def provider(version: str) -> TracerProvider:
        made = TracerProvider(shutdown_on_exit=False)
        made.add_span_processor(SimpleSpanProcessor(exporter))
        return made

    monkeypatch.setattr(tracing, "otlp_provider", provider)

    @asynccontextmanager
    async def start(text: str, **settings: Any) -> AsyncIterator[tuple[World, Spans]]:
        async with world(tmp_path, text, tracing=True, **settings) as gateway:
            yield gateway, Spans(exporter)

    return start


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return format_span_id(span.context.span_id)


def parent_of(span: ReadableSpan) -> str:
    assert span.parent is not None
    return format_span_id(span.parent.span_id)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def assert_one_trace(spans: Spans, trace: str = TRACE) -> None:
    assert {trace} == {format_trace_id(span.context.trace_id) for span in spans.all if span.context}


async def test_a_complete_reply(traced: Traced) -> None:
    async with traced(ALONE) as (gateway, spans):
        gateway.script(a=whole())
        answer = await gateway.ask(chat(), traceparent=GIVEN, tracestate="vendor=1")

        assert 200 == answer.status
        request = spans.one("POST /v1/chat/completions")
        attempt, call = spans.one("chat m"), spans.one("POST")
        assert_one_trace(spans)
        assert [PARENT, id_of(request), id_of(attempt)] == [
            parent_of(span) for span in (request, attempt, call)
        ]
        assert [SpanKind.SERVER, SpanKind.CLIENT, SpanKind.CLIENT] == [
            span.kind for span in (request, attempt, call)
        ]
        assert {
            "http.request.method": "POST",
            "http.route": "/v1/chat/completions",
            "http.response.status_code": 200,
            "gen_ai.request.model": "m",
            "gen_ai.usage.input_tokens": 11,
            "one_api.attempts": 1,
            "one_api.request_id": answer.headers["x-request-id"],
        }.items() <= attributes(request).items()
        assert {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "a",
            "gen_ai.request.model": "m",
            "gen_ai.response.model": answer.json["model"],
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.usage.input_tokens": 11,
            "gen_ai.usage.output_tokens": 7,
            "gen_ai.request.stream": False,
            "one_api.deployment": "a/m",
            "one_api.attempt": 1,
        }.items() <= attributes(attempt).items()
        assert {
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "server.address": "127.0.0.1",
            "server.port": int(gateway["a"].url.rpartition(":")[2]),
            "url.full": f"{gateway['a'].url}/v1/chat/completions",
        } == attributes(call)
        (seen,) = gateway.requests("a")
        told = seen.headers
        assert f"00-{TRACE}-{id_of(call)}-01" == told["traceparent"]
        assert "vendor=1" == told["tracestate"]


async def test_a_stream_is_traced_to_its_end(traced: Traced) -> None:
    async with traced(ALONE) as (gateway, spans):
        gateway.script(a=openai_stream())
        await gateway.ask(streamed(), traceparent=GIVEN)

        attempt, call = spans.one("chat m"), spans.one("POST")
        told = attributes(attempt)
        assert told["gen_ai.request.stream"] is True
        assert told["gen_ai.response.time_to_first_chunk"] > 0
        assert ("stop",) == told["gen_ai.response.finish_reasons"]
        assert 7 == told["gen_ai.usage.output_tokens"]
        assert attempt.end_time == call.end_time


async def test_a_failover_is_an_event_and_a_link(traced: Traced) -> None:
    async with traced(PAIR) as (gateway, spans):
        gateway.script(a=openai_error(503), b=whole())
        assert 200 == (await gateway.ask(chat(), traceparent=GIVEN)).status

        request = spans.one("POST /v1/chat/completions")
        first, second = spans.named("chat m")
        calls = {parent_of(call): call for call in spans.named("POST")}
        assert [id_of(request)] * 2 == [parent_of(first), parent_of(second)]
        assert {id_of(first), id_of(second)} == calls.keys()
        assert ["a/m", "b/m"] == [attributes(one)["one_api.deployment"] for one in (first, second)]
        assert StatusCode.ERROR == first.status.status_code
        assert StatusCode.UNSET == second.status.status_code == request.status.status_code
        (event,) = request.events
        assert "failover" == event.name
        assert {
            "one_api.deployment.failed": "a/m",
            "one_api.deployment.next": "b/m",
            "error.type": attributes(first)["error.type"],
        } == dict(event.attributes or {})
        assert [first.context] == [link.context for link in second.links]
        for name, attempt in (("a", first), ("b", second)):
            (seen,) = gateway.requests(name)
            call = calls[id_of(attempt)]
            assert f"00-{TRACE}-{id_of(call)}-01" == seen.headers["traceparent"]


async def test_an_error_is_told_at_every_level(traced: Traced) -> None:
    async with traced(ALONE) as (gateway, spans):
        gateway.script(a=openai_error(500))
        answer = await gateway.ask(chat(), x_one_api_max_attempts="1")

        request = spans.one("POST /v1/chat/completions")
        assert request.parent is None
        assert answer.status == attributes(request)["http.response.status_code"]
        assert "500" == attributes(spans.one("POST"))["error.type"]
        assert answer.error["code"] == attributes(request)["error.type"]
        assert {StatusCode.ERROR} == {span.status.status_code for span in spans.all}


async def test_a_stream_that_breaks(traced: Traced) -> None:
    async with traced(ALONE) as (gateway, spans):
        gateway.script(a=sse_reply([*begun("Hello"), Reset()]))
        assert 200 == (await gateway.ask(streamed())).status

        errors = {span.name: attributes(span)["error.type"] for span in spans.all}
        assert {"POST /v1/chat/completions", "chat m", "POST"} == errors.keys()
        assert 1 == len(set(errors.values()))
        assert {StatusCode.ERROR} == {span.status.status_code for span in spans.all}


async def test_a_client_that_hangs_up(traced: Traced) -> None:
    gate = Gate()
    async with traced(ALONE) as (gateway, spans):
        gateway.script(a=sse_reply([*begun("Hello"), Hold(gate)]))
        line = gateway.begin(streamed())
        await line.until(lambda: b"Hello" in line.body)
        line.leave()
        await line.until_served()
        gate.open()
    # The gateway has settled what was left, and stopped.
    request = spans.one("POST /v1/chat/completions")
    assert 499 == attributes(request)["http.response.status_code"]
    assert "cancelled" == attributes(request)["error.type"]
    assert "cancelled" == attributes(spans.one("POST"))["error.type"]
    assert StatusCode.UNSET == request.status.status_code


async def test_what_the_caller_does_not_sample_is_passed_on_and_not_recorded(
    traced: Traced,
) -> None:
    async with traced(ALONE) as (gateway, spans):
        gateway.script(a=whole())
        await gateway.ask(chat(), traceparent=f"00-{TRACE}-{PARENT}-00")

        assert [] == spans.all
        (seen,) = gateway.requests("a")
        assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-00", seen.headers["traceparent"])


@pytest.mark.parametrize("given", ["", "00-0-0-01", f"ff-{TRACE}-{PARENT}-01", "\x85"])
async def test_a_traceparent_that_is_none_begins_a_trace(traced: Traced, given: str) -> None:
    async with traced(ALONE) as (gateway, spans):
        gateway.script(a=whole())
        assert 200 == (await gateway.ask(chat(), traceparent=given)).status

        assert spans.one("POST /v1/chat/completions").parent is None


async def test_bodies_are_told_only_where_they_are_asked_for(traced: Traced) -> None:
    async with traced(ALONE) as (gateway, spans):
        gateway.script(a=whole("an answer"))
        await gateway.ask(chat("a question"))

        assert not [span for span in spans.all if "question" in str(attributes(span))]


async def test_bodies_come_without_keys(traced: Traced) -> None:
    capture = {"otel_instrumentation_genai_capture_message_content": True}
    async with traced(ALONE, **capture) as (gateway, spans):
        gateway.script(a=whole("an answer"))
        await gateway.ask(chat("a question with sk-planted-key-1234"))

        told = attributes(spans.one("POST /v1/chat/completions"))
        assert "a question with [redacted]" in told["one_api.request.body"]
        assert "an answer" in told["one_api.response.body"]


async def test_names_that_are_keys_are_not_told(traced: Traced) -> None:
    key = "sk-planted-key-1234"
    async with traced(ALONE.replace("[m]", '["*"]')) as (gateway, spans):
        gateway.script(a=whole())
        answer = await gateway.ask({**chat(), "model": key}, x_request_id=key)

        assert 200 == answer.status
        assert 3 == len(spans.all)
        told = [(span.name, attributes(span)) for span in spans.all]
        assert key not in str(told)


async def test_a_passed_on_request_is_traced(traced: Traced) -> None:
    async with traced(ALONE) as (gateway, spans):
        gateway.script(a=whole())
        answer = await gateway.ask(chat(), "/v1/moderations", traceparent=GIVEN)

        assert 200 == answer.status
        attempt, call = spans.one("passthrough m"), spans.one("POST")
        assert id_of(attempt) == parent_of(call)
        assert f"{gateway['a'].url}/v1/moderations" == attributes(call)["url.full"]
        (seen,) = gateway.requests("a")
        assert f"00-{TRACE}-{id_of(call)}-01" == seen.headers["traceparent"]


async def test_probes_are_not_traced(traced: Traced) -> None:
    async with traced(ALONE) as (gateway, spans):
        assert 200 == (await gateway.ask(b"", "/health", method="GET")).status
        assert [] == spans.all
