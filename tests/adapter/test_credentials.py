"""Credentials that are fetched: when, how often, and what becomes of requests meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    AdapterSettings,
    Call,
    ChatCompletionRequest,
    Clock,
    Credential,
    CredentialRejected,
    Event,
    Finish,
    GatewayError,
    HTTPModelAdapter,
    HTTPTransport,
    InvalidRequest,
    ModelInfo,
    RawRequest,
    ReplyParser,
    SupportsCredentialFlow,
    SupportsPassthrough,
    Timeouts,
    UpstreamOverloaded,
    UpstreamTimeout,
    WireReply,
    WireRequest,
)
from one_api.adapter.http import send_for
from one_api.adapter.passthrough import secrets_of

REQUEST = ChatCompletionRequest.from_wire(
    {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
)
CALL = Call(model="m")
CHAT = "http://provider/chat"


class ManualClock(Clock):
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.at_s = 1_000.0

    @override
    def now_s(self) -> float:
        return self.at_s

    @override
    def monotonic_s(self) -> float:
        return self.at_s

    @override
    async def sleep(self, delay_s: float) -> None:
        self.at_s += delay_s


@dataclass
class Reply(WireReply):
    code: int
    body: bytes = b"[]"

    @property
    @override
    def status(self) -> int:
        return self.code

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return {}

    @override
    async def read(self, limit: int) -> bytes:
        return self.body

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield self.body


@dataclass
class Provider(HTTPTransport):
    """Lets in whoever has a token that it `accepts`; None lets everybody in."""

    accepts: set[str] | None = None
    body: bytes = b"[]"
    sent: list[WireRequest] = field(default_factory=list)
    open: int = 0
    most_open: int = 0

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        self.sent.append(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        is_in = self.accepts is None or token in self.accepts
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        await asyncio.sleep(0)  # others' turn, as in any provider's
        try:
            yield Reply(200 if is_in else 401, self.body)
        finally:
            self.open -= 1

    @property
    def tokens(self) -> list[str]:
        """The token of each request."""
        return [one.headers.get("Authorization", "").removeprefix("Bearer ") for one in self.sent]


class EndParser(ReplyParser):
    @override
    def feed(self, data: bytes) -> Iterable[Event]:
        if data == b"quoting":
            raise InvalidRequest("token-1 may not do that")
        return ()

    @override
    def close(self) -> Iterable[Event]:
        yield Finish("stop")


class TokenAdapter(HTTPModelAdapter, SupportsCredentialFlow, SupportsPassthrough):
    """Gets `token-1`, `token-2`, ...; each lives `life_s`. `faults` are raised first."""

    def __init__(
        self,
        provider: Provider,
        *,
        life_s: float | None = None,
        faults: Sequence[GatewayError] = (),
        list_timeout_s: float = 10.0,
    ) -> None:
        self.clock = ManualClock()
        context = AdapterContext(
            http=provider,
            logger=logging.getLogger("tests"),
            clock=self.clock,
            list_timeout_s=list_timeout_s,
        )
        super().__init__(AdapterSettings(), context)
        self.life_s = life_s
        self.faults = deque(faults)
        self.fetched = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    @override
    async def fetch_credential(self) -> Credential:
        await self.may_answer.wait()
        if self.faults:
            raise self.faults.popleft()
        self.fetched += 1
        expires_at_s = None if self.life_s is None else self.clock.now_s() + self.life_s
        return Credential(
            headers={"Authorization": f"Bearer token-{self.fetched}"}, expires_at_s=expires_at_s
        )

    @override
    def to_wire(self, request: ChatCompletionRequest, call: Call) -> WireRequest:
        return WireRequest(url=CHAT, headers={"authorization": "none", "x-other": "1"}, body=b"{}")

    @override
    def from_wire(
        self, request: ChatCompletionRequest, call: Call, headers: Mapping[str, str]
    ) -> ReplyParser:
        return EndParser()

    @override
    def passthrough(self, request: RawRequest, call: Call) -> WireRequest | None:
        return WireRequest(url=f"http://provider{request.path}", body=request.body)

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        await self.fetch_json(WireRequest(url="http://provider/models", method="GET"))
        return []

    async def ask(self) -> list[Event]:
        return [event async for event in self.generate_completion(REQUEST, CALL)]


async def test_it_is_fetched_once_and_replaces_what_the_request_has() -> None:
    provider = Provider()
    adapter = TokenAdapter(provider)
    assert [Finish("stop")] == await adapter.ask()
    await adapter.ask()
    await adapter.list_models()
    assert ["token-1"] * 3 == provider.tokens
    assert {"Authorization": "Bearer token-1", "x-other": "1"} == provider.sent[0].headers
    assert 1 == adapter.fetched


async def test_requests_at_the_same_time_wait_for_one_fetch() -> None:
    provider = Provider()
    adapter = TokenAdapter(provider)
    adapter.may_answer.clear()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(adapter.ask())
        await asyncio.sleep(0)
        assert [] == provider.sent
        adapter.may_answer.set()
    assert (1, ["token-1"] * 5) == (adapter.fetched, provider.tokens)


async def test_one_that_stops_waiting_leaves_the_fetch_to_the_next() -> None:
    provider = Provider()
    adapter = TokenAdapter(provider)
    adapter.may_answer.clear()
    first, second = (asyncio.create_task(adapter.ask()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    adapter.may_answer.set()
    assert [Finish("stop")] == await second
    assert (1, ["token-1"]) == (adapter.fetched, provider.tokens)


@pytest.mark.parametrize(
    ("life_s", "age_s", "expected"),
    [
        (3_600, 3_539, "token-1"),
        (3_600, 3_540, "token-2"),
        (100, 89, "token-1"),
        (100, 90, "token-2"),
        (None, 10**9, "token-1"),
    ],
    ids=["a minute left", "the last minute", "short life", "its last tenth", "for good"],
)
async def test_it_is_renewed_before_it_expires(
    life_s: float | None, age_s: float, expected: str
) -> None:
    provider = Provider()
    adapter = TokenAdapter(provider, life_s=life_s)
    await adapter.ask()
    adapter.clock.at_s += age_s
    await adapter.ask()
    assert ["token-1", expected] == provider.tokens


async def test_nobody_waits_for_a_renewal_while_the_old_one_serves() -> None:
    provider = Provider()
    adapter = TokenAdapter(provider, life_s=100)
    await adapter.ask()
    adapter.clock.at_s += 95
    adapter.may_answer.clear()
    renewing = asyncio.create_task(adapter.ask())
    await asyncio.sleep(0)
    assert [Finish("stop")] == await adapter.ask()
    adapter.may_answer.set()
    await renewing
    assert ["token-1", "token-1", "token-2"] == provider.tokens


async def test_a_renewal_that_fails_matters_only_once_the_old_one_has_expired() -> None:
    provider = Provider()
    down = UpstreamOverloaded("no tokens now")
    adapter = TokenAdapter(provider, life_s=100)
    await adapter.ask()
    adapter.faults.extend([down, down])
    adapter.clock.at_s += 95
    await adapter.ask()
    await adapter.ask()  # not tried again at once
    assert (["token-1"] * 3, 1) == (provider.tokens, len(adapter.faults))
    adapter.clock.at_s += 5
    with pytest.raises(UpstreamOverloaded, match="no tokens now"):
        await adapter.ask()
    await adapter.ask()
    assert "token-2" == provider.tokens[-1]


async def test_one_that_is_refused_is_fetched_anew_and_the_request_sent_again() -> None:
    provider = Provider(accepts={"token-2"})
    adapter = TokenAdapter(provider)
    assert [Finish("stop")] == await adapter.ask()
    assert (["token-1", "token-2"], 0, 1) == (provider.tokens, provider.open, provider.most_open)


async def test_requests_refused_together_fetch_one_new_credential() -> None:
    provider = Provider(accepts={"token-2"})
    adapter = TokenAdapter(provider)
    answers = await asyncio.gather(*(adapter.ask() for _ in range(4)))
    assert [[Finish("stop")]] * 4 == answers
    assert (["token-1"] * 4 + ["token-2"] * 4, 2) == (provider.tokens, adapter.fetched)


async def test_a_provider_that_refuses_all_is_not_asked_for_more_and_more() -> None:
    provider = Provider(accepts=set())
    adapter = TokenAdapter(provider)
    for _ in range(3):
        with pytest.raises(CredentialRejected):
            await adapter.ask()
    assert (2, 4) == (adapter.fetched, len(provider.sent))
    adapter.clock.at_s += 30
    with pytest.raises(CredentialRejected):
        await adapter.ask()
    assert 3 == adapter.fetched


async def test_a_body_in_pieces_is_sent_once_and_the_next_request_profits() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}"

    provider = Provider(accepts={"token-2"})
    adapter = TokenAdapter(provider)
    wire = WireRequest(url=CHAT, body=pieces())
    async with adapter.send(wire, CALL) as reply:
        assert 401 == reply.status
    assert [Finish("stop")] == await adapter.ask()
    assert ["token-1", "token-2"] == provider.tokens


async def test_what_is_passed_on_has_it_too() -> None:
    provider = Provider()
    adapter = TokenAdapter(provider)
    wire = adapter.passthrough(RawRequest(path="/files", body=b"x"), CALL)
    assert wire is not None
    async with send_for(adapter, wire, CALL) as reply:
        assert 200 == reply.status
    assert ["token-1"] == provider.tokens


async def test_errors_do_not_tell_it() -> None:
    adapter = TokenAdapter(Provider(body=b"quoting"))
    with pytest.raises(InvalidRequest) as caught:
        await adapter.ask()
    assert "[redacted] may not do that" == caught.value.message
    assert "token" not in repr(Credential(headers={"Authorization": "token"}))


async def test_the_last_two_are_known_for_secrets() -> None:
    adapter = TokenAdapter(Provider(), life_s=100)
    assert () == secrets_of(adapter)
    for expected in (("token-1",), ("token-1", "token-2"), ("token-2", "token-3")):
        await adapter.ask()
        adapter.clock.at_s += 100
        told = secrets_of(adapter)
        assert {*expected, *(f"Bearer {token}" for token in expected)} == set(told)


async def test_one_that_was_refused_is_known_for_a_secret() -> None:
    adapter = TokenAdapter(Provider(accepts={"token-2"}))
    await adapter.ask()
    assert {"token-1", "token-2"} <= set(secrets_of(adapter))


async def test_a_fetch_that_takes_too_long_is_an_outage() -> None:
    adapter = TokenAdapter(Provider(), list_timeout_s=0.01)
    adapter.may_answer.clear()
    with pytest.raises(UpstreamTimeout, match="no credential in time"):
        await adapter.ask()


class TestItsOwnRequests:
    """`fetch_credential` asks the provider, too."""

    class Own(TokenAdapter):
        with_credential = False

        @override
        async def fetch_credential(self) -> Credential:
            request = WireRequest(url="http://provider/token")
            await self.fetch_json(request, with_credential=self.with_credential)
            return await super().fetch_credential()

    async def test_they_go_out_without_one(self) -> None:
        provider = Provider()
        await self.Own(provider).ask()
        assert [("http://provider/token", ""), (CHAT, "token-1")] == [
            (wire.url, token) for wire, token in zip(provider.sent, provider.tokens, strict=True)
        ]

    async def test_asking_with_what_is_to_be_fetched_fails_instead_of_waiting_for_itself(
        self,
    ) -> None:
        adapter = self.Own(Provider())
        adapter.with_credential = True
        with pytest.raises(RuntimeError, match="with_credential=False"):
            await adapter.ask()
