"""Traces: what is read of replies in passing, and what they cost who wants none."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api.adapter.http import WireRequest
from one_api.observe.redactor import Redactor
from one_api.observe.tracing import CLOSE_S, Tracing, otlp_provider
from one_api.observe.tracing_attributes import of_call, operation
from one_api.observe.tracing_reply import ReplyScan
from tests.e2e.gateways import clean_environment
from tests.scripted_upstream import (
    HELLO,
    ScriptedUpstream,
    anthropic_events,
    anthropic_frames,
    json_reply,
    openai_frames,
)

OPENAI = b"".join(openai_frames())
ANTHROPIC = b"".join(anthropic_frames(anthropic_events(HELLO)))
QUOTED = rb'{"model":"m-1","content":"say \"finish_reason\":\"length\" and \"model\":\"x\""}'


@pytest.mark.parametrize(
    ("reply", "reasons"),
    [(OPENAI, ["stop"]), (ANTHROPIC, ["end_turn"]), (QUOTED, []), (b'{"model": "m-1"}', [])],
    ids=["openai", "anthropic", "quoted", "spaced"],
)
@given(data=st.data())
def test_a_reply_is_read_however_it_is_cut(
    reply: bytes, reasons: list[str], data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(reply)), max_size=20).map(sorted))
    scan = ReplyScan()
    for start, end in zip([0, *cuts], [*cuts, len(reply)], strict=True):
        scan.feed(reply[start:end])

    assert reasons == scan.reasons
    assert scan.model
    assert scan.model != "x"


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/messages", "chat"),
        ("/v1/responses", "chat"),
        ("/v1/completions", "text_completion"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/<path:path>", "passthrough"),
    ],
)
def test_operations_have_the_names_of_the_conventions(endpoint: str, name: str) -> None:
    assert name == operation(endpoint)


def test_an_address_is_told_without_what_may_be_secret() -> None:
    told = of_call(WireRequest(url="https://user:secret@host.example/v1/x?key=secret#secret"))

    assert {
        "http.request.method": "POST",
        "server.address": "host.example",
        "server.port": 443,
        "url.full": "https://host.example/v1/x",
    } == told


def child(program: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"DATABASE_URL": "none", "ONE_API_ADAPTERS": "echo", **variables}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=directory,
        env=clean_environment(directory, environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("tracing", "found"), [("false", "False"), ("true", "True")])
def test_nothing_is_imported_for_traces_that_nobody_wants(
    tracing: str, found: str, tmp_path: Path
) -> None:
    program = (
        "import sys; from one_api.app import create_asgi_app; create_asgi_app();"
        "print(any(name.partition('.')[0] == 'opentelemetry' for name in sys.modules))"
    )

    done = child(program, tmp_path, TRACING=tracing)

    assert found == done.stdout.strip(), done.stderr


@pytest.mark.slow
def test_a_missing_extra_is_told_with_its_name(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from one_api.app import create_app\n"
        "try: create_app()\n"
        "except Exception as exc: print(type(exc).__name__, exc, exc.expected)"
    )

    done = child(program, tmp_path, TRACING="true")

    assert done.stdout.startswith("ConfigurationError TRACING: OpenTelemetry is not installed")
    assert "one-api-gateway[otel]" in done.stdout


@pytest.mark.slow
async def test_a_collector_that_is_gone_holds_up_the_end_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracing = Tracing(lambda: otlp_provider("1"), redactor=Redactor())
    tracing.tracer.start_span("unsent").end()

    begun_s = time.monotonic()
    await tracing.close()
    assert time.monotonic() - begun_s < CLOSE_S + 2


async def test_the_last_spans_reach_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedUpstream() as collector:
        collector.script(json_reply(200, {}), path="/v1/traces", repeat_last=True)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=given")
        tracing = Tracing(lambda: otlp_provider("1"), redactor=Redactor())
        tracing.tracer.start_span("the last one").end()
        await tracing.close()

        (sent,) = collector.requests
    assert "given" == sent.headers["x-collector-key"]
    assert b"the last one" in sent.body


def test_each_process_is_an_instance_and_the_operator_names_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    default = [otlp_provider("1.2").resource.attributes for _ in range(2)]
    monkeypatch.setenv("OTEL_SERVICE_NAME", "my-gateway")
    named = otlp_provider("1.2").resource.attributes

    assert ["one_api", "one_api"] == [one["service.name"] for one in default]
    assert 2 == len({one["service.instance.id"] for one in default})
    assert ("my-gateway", "1.2") == (named["service.name"], named["service.version"])
