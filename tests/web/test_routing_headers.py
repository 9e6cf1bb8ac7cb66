"""Headers that steer one request: who may send which, and what each may hold."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import flask
import pytest

from one_api.deployment import StrategyName
from one_api.errors import GatewayError, InvalidRequest, PermissionDenied
from one_api.failover import RequestContext
from one_api.policy.auth import ApiKey
from one_api.web.routing_headers import ASKING, MAX_ATTEMPTS, request_context, routed

ANYBODY = ApiKey("key_1")
ROUTER = ApiKey("key_2", may_route=True)

STEERING = {
    "x-one-api-deployment": "eu/model",
    "x-one-api-strategy": "lowest_cost",
    "x-one-api-fallbacks": "a,b",
    "x-one-api-max-attempts": "2",
}


@contextmanager
def asked_with(headers: dict[str, str]) -> Iterator[None]:
    app = flask.Flask(__name__)
    app.config[MAX_ATTEMPTS] = 4
    with app.test_request_context("/", headers=headers):
        flask.g.request_id = "req_1"
        yield


def context_of(caller: ApiKey, **headers: str) -> RequestContext:
    with asked_with({name.replace("_", "-"): value for name, value in headers.items()}):
        return request_context(caller)


def refusal(caller: ApiKey, header: str, value: str) -> GatewayError:
    with pytest.raises(GatewayError) as caught, asked_with({header: value}):
        request_context(caller)
    return caught.value


class Looks:
    """Request headers of which there are none; remembers what was looked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def get(self, name: str) -> str | None:
        self.names.add(name)
        return None


def test_a_request_without_the_headers_that_ask_asks_for_nothing() -> None:
    headers = Looks()
    routed(RequestContext(), headers, ROUTER, max_attempts=4)

    assert ASKING == headers.names


@pytest.mark.parametrize("caller", [ANYBODY, ROUTER], ids=["anybody", "may route"])
def test_request_without_headers_has_only_its_id(caller: ApiKey) -> None:
    assert RequestContext(request_id="req_1") == context_of(caller)


class TestTimeout:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("30", 30),
            ("30s", 30),
            ("0.5", 0.5),
            ("1.25s", 1.25),
            ("500ms", 0.5),
            ("0.5ms", 0.0005),
            ("86400", 86_400),
            ("86400000ms", 86_400),
        ],
    )
    async def test_deadline_is_in_the_loops_time(self, text: str, seconds: float) -> None:
        before = asyncio.get_running_loop().time()

        deadline = context_of(ANYBODY, x_request_timeout=text).deadline

        assert deadline is not None
        assert before <= deadline - seconds <= asyncio.get_running_loop().time()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "0",
            "0ms",
            "-1",
            "86400.1",
            "86401s",
            "1m",
            "1 s",
            "soon",
            "nan",
            "inf",
            "1e3",
            "٣",
            "1,2",
        ],
    )
    async def test_anything_else_is_refused(self, text: str) -> None:
        error = refusal(ANYBODY, "x-request-timeout", text)

        assert (400, "x-request-timeout") == (error.status, error.param)


class TestSession:
    @pytest.mark.parametrize("session", ["s", "thread 7", "é", "x" * 256])
    def test_anybody_names_a_conversation(self, session: str) -> None:
        assert session == context_of(ANYBODY, x_one_api_session=session).affinity

    @pytest.mark.parametrize("session", ["", "x" * 257, "a\tb", "a\x7fb"])
    def test_a_name_is_short_and_printable(self, session: str) -> None:
        error = refusal(ANYBODY, "x-one-api-session", session)

        assert (400, "x-one-api-session") == (error.status, error.param)


class TestSteering:
    def test_whoever_may_route_does(self) -> None:
        with asked_with(STEERING):
            context = request_context(ROUTER)

        assert context == RequestContext(
            request_id="req_1",
            deployment="eu/model",
            strategy="lowest_cost",
            fallbacks=("a", "b"),
            max_attempts=2,
        )

    @pytest.mark.parametrize("header", STEERING)
    @pytest.mark.parametrize("value", ["sound", ""])
    def test_nobody_else_may_even_try(self, header: str, value: str) -> None:
        error = refusal(ANYBODY, header, STEERING[header] if value else "")

        assert isinstance(error, PermissionDenied)
        assert (403, header) == (error.status, error.param)
        assert header in error.message

    @pytest.mark.parametrize("strategy", get_args(StrategyName))
    def test_every_strategy_can_be_asked_for(self, strategy: str) -> None:
        assert strategy == context_of(ROUTER, x_one_api_strategy=strategy).strategy

    @pytest.mark.parametrize(
        ("text", "models"),
        [
            ("a", ("a",)),
            (" a , org/b:c ", ("a", "org/b:c")),
            ("1,2,3,4,5,6,7,8", tuple("12345678")),
        ],
    )
    def test_fallbacks_keep_their_order(self, text: str, models: tuple[str, ...]) -> None:
        assert models == context_of(ROUTER, x_one_api_fallbacks=text).fallbacks

    @pytest.mark.parametrize(("text", "attempts"), [("1", 1), ("4", 4)])
    def test_attempts_reach_up_to_the_setting(self, text: str, attempts: int) -> None:
        assert attempts == context_of(ROUTER, x_one_api_max_attempts=text).max_attempts

    @pytest.mark.parametrize(
        ("header", "value"),
        [
            ("x-one-api-deployment", ""),
            ("x-one-api-deployment", "x" * 257),
            ("x-one-api-strategy", ""),
            ("x-one-api-strategy", "fastest"),
            ("x-one-api-strategy", "ORDERED"),
            ("x-one-api-fallbacks", ""),
            ("x-one-api-fallbacks", "a,,b"),
            ("x-one-api-fallbacks", "1,2,3,4,5,6,7,8,9"),
            ("x-one-api-fallbacks", "x" * 257),
            ("x-one-api-max-attempts", ""),
            ("x-one-api-max-attempts", "0"),
            ("x-one-api-max-attempts", "5"),
            ("x-one-api-max-attempts", "1.0"),
            ("x-one-api-max-attempts", "-1"),
            ("x-one-api-max-attempts", "two"),
        ],
    )
    def test_wrong_value_is_told_by_its_header(self, header: str, value: Any) -> None:
        error = refusal(ROUTER, header, value)

        assert isinstance(error, InvalidRequest)
        assert (400, header) == (error.status, error.param)
