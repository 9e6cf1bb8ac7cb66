"""The short way of chat completions: nobody can tell it from the long one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from typing_extensions import override

from one_api.errors import UpstreamUnreachable
from one_api.events import Start, TextDelta
from one_api.observe import Exchange
from one_api.registry import ModelRegistry
from one_api.runtime import GatewayFlask
from one_api.runtime.asgi import ASGIBridge
from one_api.runtime.body import BodyLimits
from one_api.runtime.environ import Scope
from one_api.runtime.express import Express, Inbound, Opener, Outgoing
from tests.adapters_in_test import HELLO, ScriptedAdapter, forever, registry_of
from tests.runtime.line import Line
from tests.web.conftest import KEY, MakeApp

PATH = "/v1/chat/completions"
HELLO_BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
BEARER = {"authorization": f"Bearer {KEY}"}
#: What differs from one response to the next.
OWN = (
    "openai-processing-ms",
    "retry-after",
    "server-timing",
    "x-one-api-overhead-ms",
    "x-ratelimit-reset-requests",
    "x-request-id",
)


class Counted(Express):
    """The short way of an application, that counts what takes it."""

    def __init__(self, express: Express) -> None:
        self._express = express
        self.taken = 0

    @override
    def take(self, scope: Scope) -> Inbound | None:
        inbound = self._express.take(scope)
        self.taken += inbound is not None
        return inbound

    @override
    async def respond(self, inbound: Inbound, opener: Opener) -> Outgoing:
        return await self._express.respond(inbound, opener)


@dataclass
class Told:
    """What came of a request: what the client was told, and what is known of it afterwards."""

    status: int | None
    headers: dict[str, str | bool]
    body: bytes
    facts: dict[str, Any]


def observed(monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    """The exchanges that will have ended."""
    ended: list[Exchange] = []
    end = Exchange.end

    def note(exchange: Exchange, status: int) -> None:
        is_first = exchange.ended_s is None
        end(exchange, status)
        if is_first:
            ended.append(exchange)

    monkeypatch.setattr(Exchange, "end", note)
    return ended


def facts_of(exchange: Exchange) -> dict[str, Any]:
    error = exchange.error
    return {
        "method": exchange.method,
        "endpoint": exchange.endpoint,
        "client_address": exchange.client_address,
        "key_id": exchange.key_id,
        "model": exchange.model,
        "status": exchange.status,
        "error": error and (error.code, plain(error.message.encode())),
        "is_stream": exchange.is_stream,
        "usage": exchange.usage,
        "attempts": [attempt.error for attempt in exchange.attempts],
        "traceparent": exchange.traceparent,
        "request_body": exchange.request_body,
    }


def plain(body: bytes) -> bytes:
    """`body` without what is random in it, or depends on the moment."""
    text = re.sub(rb'"id":"chatcmpl-\w+"', b'"id":""', body)
    text = re.sub(rb'"created":\d+', b'"created":0', text)
    text = re.sub(rb"req_\w{32}", b"req_", text)
    return re.sub(rb"Try again in \d+ s", b"Try again in 1 s", text)


async def told(
    app: GatewayFlask, ended: list[Exchange], request: Mapping[str, Any], *, is_express: bool
) -> Told:
    express = app.express
    assert express is not None
    counted = Counted(express)
    app.express = counted if is_express else None
    ended.clear()
    try:
        line = Line(ASGIBridge(app, BodyLimits(max_bytes=4096)), PATH, method="POST", **request)
        await line.until_served()
    finally:
        app.express = express
    assert int(is_express) == counted.taken
    assert 1 == len(ended)
    own: dict[str, str | bool] = {name: line.headers.get(name) is not None for name in OWN}
    headers = {name: value for name, value in line.headers.items() if name not in OWN}
    length = headers.pop("content-length", None)
    assert length is None or int(length) == len(line.body)
    return Told(line.status, {**headers, **own}, plain(line.body), facts_of(ended[0]))


def post(body: object = HELLO_BODY, **headers: str) -> dict[str, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"host": "gateway.example", "content-length": str(len(data)), **BEARER}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "headers": [(name.encode(), value.encode()) for name, value in named.items() if value],
        "body": data,
    }


def chat(**fields: object) -> dict[str, object]:
    return {**HELLO_BODY, **fields}


REQUESTS = {
    "chat": post(),
    "stream": post(chat(stream=True)),
    "stream with usage": post(chat(stream=True, stream_options={"include_usage": True})),
    "x-api-key": post(authorization="", x_api_key=KEY),
    "wrong x-api-key and right bearer": post(x_api_key="sk-wrong"),
    "wrong key": post(authorization="Bearer sk-wrong"),
    "no key": post(authorization=""),
    "ids of the client": post(
        x_request_id="mine:1", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    ),
    "unsound id": post(x_request_id="no good \x7f"),
    "behind a proxy": post(x_forwarded_for="198.51.100.1, 203.0.113.9"),
    "address in other headers": post(x_real_ip="6.6.6.6", forwarded="for=6.6.6.6"),
    "no JSON": post(b"{"),
    "empty": post(b""),
    "deep": post(b"[" * 2000),
    "not an object": post([1]),
    "wrong type": post(chat(messages="Hi")),
    "unknown model": post(chat(model="none")),
    "failing provider": post(chat(model="broken")),
    "bug in an adapter": post(chat(model="bug")),
    "stream that breaks": post(chat(model="breaking", stream=True)),
    "compressed": post(content_encoding="gzip"),
    "wrong timeout": post(x_request_timeout="soon"),
    "timeout": post(chat(model="slow"), x_request_timeout="50ms"),
    "steering": post(x_one_api_deployment="a/m"),
    "too large": post(b" " * 5000),
    "content type of a form": post(content_type="application/x-www-form-urlencoded"),
}


def providers() -> ModelRegistry:
    return registry_of(
        a=ScriptedAdapter(),
        b=ScriptedAdapter([UpstreamUnreachable("It is down.")], models=("broken",)),
        c=ScriptedAdapter([ValueError("a bug")], models=("bug",)),
        d=ScriptedAdapter(
            [Start(), TextDelta("Hel"), UpstreamUnreachable("Gone.")], models=("breaking",)
        ),
        e=ScriptedAdapter([forever, *HELLO], models=("slow",)),
    )


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"api_keys": "", "server_timing": True, "trusted_proxies": "192.0.2.0/24"},
        {"rate_limit_enabled": True, "rate_limit_requests": 1, "request_log": "full"},
    ],
    ids=["keys", "open", "limited"],
)
async def test_both_ways_answer_alike(
    make_app: MakeApp,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    request_: dict[str, Any],
) -> None:
    long_way, short_way = make_app(providers(), **settings), make_app(providers(), **settings)
    ended = observed(monkeypatch)
    try:
        for _ in range(2):  # The second finds its limit spent.
            long = await told(long_way, ended, request_, is_express=False)
            short = await told(short_way, ended, request_, is_express=True)
            assert long == short
    finally:
        await long_way.stop()
        await short_way.stop()


@pytest.mark.parametrize(
    ("scope", "headers"),
    [
        pytest.param({}, {"origin": "https://app.example"}, id="from a page"),
        pytest.param({}, {"idempotency-key": "1"}, id="to be told once"),
        pytest.param({"method": "GET"}, {}, id="another method"),
        pytest.param({"path": f"{PATH}/"}, {}, id="another path"),
        pytest.param({}, {"host": "no host"}, id="ill-formed Host"),
        pytest.param({}, {"host": ""}, id="no Host"),
    ],
)
async def test_what_is_unusual_goes_the_long_way(
    make_app: MakeApp, scope: dict[str, str], headers: dict[str, str]
) -> None:
    app = make_app()
    named = {"host": "gateway.example", **headers}
    asked: Scope = {
        "method": "POST",
        "path": PATH,
        "headers": [(name.encode(), value.encode()) for name, value in named.items() if value],
        **scope,
    }
    assert app.express is not None
    assert app.express.take(asked) is None


async def test_repeated_header_goes_the_long_way(make_app: MakeApp) -> None:
    express = make_app().express
    assert express is not None
    repeated = [(b"host", b"a"), (b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2")]
    scope: Scope = {"method": "POST", "path": PATH, "headers": repeated}
    assert express.take(scope) is None
    assert express.take({**scope, "headers": repeated[:2]}) is not None


async def test_draining_gateway_refuses_as_ever(make_app: MakeApp) -> None:
    app = make_app()
    app.drain.is_draining = True
    line = Line(ASGIBridge(app), PATH, method="POST", **post())
    await line.until_served()
    await app.stop()
    assert (503, "server_is_shutting_down") == (line.status, json.loads(line.body)["error"]["code"])
    assert "close" == line.headers["connection"]


@pytest.mark.parametrize(
    ("path", "is_let_in"),
    [
        (PATH, False),
        ("/v1/models", False),
        ("/health/ready", True),
        ("/metrics", True),
        ("/v1/metrics", True),
        ("/admin/requests", True),
    ],
)
def test_the_setting_bounds_what_is_in_flight(
    make_app: MakeApp, path: str, is_let_in: bool
) -> None:
    admission = make_app(max_requests_in_flight=2).admission
    admission.in_flight = 1
    assert admission.refusal(path) is None
    admission.in_flight = 2
    assert is_let_in == (admission.refusal(path) is None)
