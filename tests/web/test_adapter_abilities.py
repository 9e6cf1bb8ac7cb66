"""What adapters can do besides answering reaches the gateway's users."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import pytest
from typing_extensions import override

from one_api.adapter import (
    Call,
    Embeddings,
    InvalidRequest,
    Notice,
    RawRequest,
    Reading,
    SupportsReadings,
    SupportsTokenCounting,
    UpstreamOverloaded,
    WireRequest,
)
from one_api.app import new_upstream
from one_api.asking import count_prompt
from one_api.failover import RequestContext
from one_api.policy.auth import key_id
from one_api.provision import load_registry, log_notice
from one_api.registry import ModelRegistry
from one_api.schemas.chat import ChatCompletionRequest
from one_api.schemas.embeddings import EmbeddingRequest
from one_api.settings import Settings
from one_api.tokens import TokenCounter
from tests.adapters_in_test import ScriptedAdapter, asked, registry_of, running
from tests.web.conftest import MakeApp

KEYS = ("sk-first-of-two-keys", "sk-second-of-two-keys")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


class CountingAdapter(ScriptedAdapter, SupportsTokenCounting):
    """Counts as it is told."""

    def __init__(self, told: int | BaseException | None) -> None:
        super().__init__()
        self.told = told

    @override
    async def count_tokens(self, request: ChatCompletionRequest, call: Call) -> int | None:
        self.requests.append(request)
        self.calls.append(call)
        if isinstance(self.told, BaseException):
            raise self.told
        return self.told


async def counted(adapter: ScriptedAdapter, text: str = "four") -> int:
    request = asked(messages=[{"role": "user", "content": text}])
    async with running(registry_of(a=adapter)) as registry:
        return await count_prompt(request, RequestContext(request_id="r"), registry, TokenCounter())


class TestCounting:
    async def test_the_provider_knows_best(self) -> None:
        adapter = CountingAdapter(4_711)
        assert 4_711 == await counted(adapter)
        (call,) = adapter.calls
        assert ("m", "r") == (call.model, call.request_id)

    @pytest.mark.parametrize(
        "told",
        [None, UpstreamOverloaded("busy"), TimeoutError(), ZeroDivisionError("a bug")],
        ids=["cannot tell", "down", "slow", "broken"],
    )
    async def test_else_the_gateway_counts(
        self, told: BaseException | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        expected = await counted(ScriptedAdapter())
        assert expected == await counted(CountingAdapter(told))
        assert expected < await counted(CountingAdapter(told), "four" * 100)
        is_bug = isinstance(told, ZeroDivisionError)
        assert is_bug == any(record.levelno >= logging.ERROR for record in caplog.records)

    async def test_what_is_wrong_with_the_request_is_the_clients_to_know(self) -> None:
        with pytest.raises(InvalidRequest, match="no such image"):
            await counted(CountingAdapter(InvalidRequest("no such image")))

    def test_anthropics_clients_get_the_providers_count(self, make_app: MakeApp) -> None:
        adapter = CountingAdapter(4_711)
        app = make_app(registry_of(a=adapter), api_keys=KEYS[0])
        with app.test_client() as client:
            reply = client.post(
                "/v1/messages/count_tokens", json=CHAT, headers={"x-api-key": KEYS[0]}
            )
        assert {"input_tokens": 4_711} == reply.json
        assert ["Hi"] == [message.get("content") for message in adapter.requests[0].messages]


class MeteredAdapter(ScriptedAdapter, SupportsReadings):
    def __init__(self, *told: Reading | BaseException) -> None:
        super().__init__()
        self.told = told

    @override
    def readings(self) -> Iterable[Reading]:
        for one in self.told:
            if isinstance(one, BaseException):
                raise one
            yield one


class TestReadings:
    def test_each_comes_with_its_adapters_name(self) -> None:
        busy = Reading(name="busy_slots", value=3, help="Slots in use.")
        tokens = Reading(
            name="tokens", value=9, help="Tokens.", kind="counter", labels={"model": "m"}
        )
        registry = registry_of(
            a=MeteredAdapter(busy), b=ScriptedAdapter(), c=MeteredAdapter(tokens, busy)
        )
        assert [("a", busy), ("c", tokens), ("c", busy)] == registry.readings()

    def test_an_adapter_that_fails_spoils_no_one_elses(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        busy = Reading(name="busy_slots", value=3, help="Slots in use.")
        broken = MeteredAdapter(busy, ValueError("a bug"))
        registry = registry_of(a=broken, b=MeteredAdapter(busy))
        assert [("b", busy)] == registry.readings()
        assert ["adapter a: its readings() raised ValueError: a bug"] == caplog.messages


class EveryWayAdapter(ScriptedAdapter):
    """Has every way of being asked; what is passed on comes to nothing once it has been seen."""

    async def embed(self, request: EmbeddingRequest, call: Call) -> Embeddings:
        self.calls.append(call)
        return Embeddings(vectors=[[1.0]], prompt_tokens=1)

    def passthrough(self, request: RawRequest, call: Call) -> WireRequest | None:
        if request.path != "/own":
            return None
        if request.body is not None:
            self.calls.append(call)
            raise InvalidRequest("seen")
        return WireRequest(url="http://127.0.0.1:9/own")


WAYS = {
    "chat": ("/v1/chat/completions", CHAT),
    "embeddings": ("/v1/embeddings", {"model": "m", "input": "Hi"}),
    "passed on": ("/v1/own", {"model": "m"}),
}


class TestCallers:
    @pytest.mark.parametrize(("path", "body"), WAYS.values(), ids=WAYS)
    def test_a_key_has_one_name_that_is_not_the_key(
        self, make_app: MakeApp, path: str, body: Any
    ) -> None:
        adapter = EveryWayAdapter()
        app = make_app(registry_of(a=adapter), api_keys=",".join(KEYS), passthrough_enabled=True)
        with app.test_client() as client:
            for key in (*KEYS, KEYS[0]):
                client.post(path, json=body, headers={"Authorization": f"Bearer {key}"})
        first, second, third = (call.caller for call in adapter.calls)
        assert first == third != second
        told = {key_id(key) for key in KEYS} | set(KEYS) | {""}
        assert not told & {first, second}

    async def test_without_an_account_nobody_is_named(self) -> None:
        assert "" == RequestContext().caller


class TestNotices:
    def test_they_are_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        log_notice("local", Notice(kind="worker_crashed", subject="m", message="Signal 9."))
        log_notice(
            "local",
            Notice(kind="worker_crashed", subject="m", message="Up again.", is_recovery=True),
        )
        assert [
            (logging.WARNING, "adapter local: worker_crashed: m: Signal 9."),
            (logging.INFO, "adapter local: worker_crashed is over: m: Up again."),
        ] == [(record.levelno, record.message) for record in caplog.records]

    def test_whoever_builds_the_registry_hears_them(self) -> None:
        heard: list[tuple[str, Notice]] = []
        settings = Settings.load(database_url="none", one_api_adapters="echo")
        registry: ModelRegistry = load_registry(
            settings, new_upstream(), notify=lambda name, notice: heard.append((name, notice))
        )
        notice = Notice(kind="odd", subject="m", message="Odd.")
        registry.adapter("echo").context.notify(notice)
        assert [("echo", notice)] == heard
