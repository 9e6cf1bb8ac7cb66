"""Pooled connections that a provider closes: the caller never notices, nothing is done twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

import pytest
from typing_extensions import override

from one_api.adapter.http import MAX_REPLY_BYTES, WireRequest
from one_api.deployment import Timeouts
from one_api.errors import GatewayError, UpstreamDisconnected
from one_api.upstream import READ_BUFFER_BYTES, Upstream
from tests.scripted_upstream import (
    Close,
    Gate,
    Head,
    Hold,
    Reset,
    ScriptedUpstream,
    Send,
    Step,
    json_reply,
)

PATIENT = Timeouts(total_s=5)
OK = json_reply(200, {})


@pytest.fixture
async def client() -> AsyncIterator[Upstream]:
    running = Upstream(user_agent="tests")
    await running.open()
    yield running
    await running.close()


@pytest.fixture
def provider() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as running:
        yield running


async def ask(client: Upstream, request: WireRequest, timeouts: Timeouts = PATIENT) -> int:
    async with client.send(request, timeouts) as reply:
        await reply.read(MAX_REPLY_BYTES)
        return reply.status


async def failure(
    client: Upstream, request: WireRequest, timeouts: Timeouts = PATIENT
) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await ask(client, request, timeouts)
    return caught.value


def places(provider: ScriptedUpstream) -> list[int]:
    """The connection each request arrived on."""
    return [request.connection for request in provider.requests]


ENDS: dict[str, Step] = {"closed": Close(), "reset": Reset()}
each_end = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)


class TestReplay:
    @each_end
    @pytest.mark.parametrize(
        ("method", "body"),
        [("GET", None), ("POST", b"{}"), ("POST", b"x" * 3 * READ_BUFFER_BYTES)],
        ids=["nothing", "small", "large"],
    )
    async def test_request_on_a_dead_connection_is_sent_again_on_a_new_one(
        self,
        client: Upstream,
        provider: ScriptedUpstream,
        end: Step,
        method: str,
        body: bytes | None,
    ) -> None:
        provider.script(OK, (end,), OK)
        request = WireRequest(url=provider.url, method=method, body=body)

        assert [200, 200] == [await ask(client, request) for _ in range(2)]

        assert [0, 0, 1] == places(provider)
        assert {body or b""} == {request.body for request in provider.requests}

    async def test_new_connection_is_kept_for_what_follows(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        provider.script(OK, (Close(),), OK, OK)
        request = WireRequest(url=provider.url, body=b"{}")

        assert [200] * 3 == [await ask(client, request) for _ in range(3)]

        assert [0, 0, 1, 1] == places(provider)

    @each_end
    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_request_on_a_new_connection_is_sent_once(
        self, client: Upstream, provider: ScriptedUpstream, end: Step, method: str
    ) -> None:
        provider.script((end,))

        error = await failure(client, WireRequest(url=provider.url, method=method))

        assert isinstance(error, UpstreamDisconnected)
        assert 1 == len(provider.requests)

    @each_end
    async def test_request_is_sent_at_most_twice(
        self, client: Upstream, provider: ScriptedUpstream, end: Step
    ) -> None:
        provider.script(OK, (end,), repeat_last=True)
        request = WireRequest(url=provider.url, body=b"{}")
        await ask(client, request)

        assert isinstance(await failure(client, request), UpstreamDisconnected)

        assert [0, 0, 1] == places(provider)

    @each_end
    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize("head", [b"H", b"HTTP/1.1 200 OK\r\nContent-Le"], ids=len)
    async def test_nothing_is_sent_again_once_a_byte_came_back(
        self, client: Upstream, provider: ScriptedUpstream, end: Step, method: str, head: bytes
    ) -> None:
        provider.script(OK, (Send(head), end))
        request = WireRequest(url=provider.url, method=method)
        await ask(client, request)

        assert UpstreamDisconnected is type(await failure(client, request))

        assert [0, 0] == places(provider)

    @each_end
    async def test_body_that_can_be_read_once_is_sent_once(
        self, client: Upstream, provider: ScriptedUpstream, end: Step
    ) -> None:
        provider.script(OK, (end,))
        taken = []

        async def body() -> AsyncIterator[bytes]:
            taken.append(b"once")
            yield b"once"

        await ask(client, WireRequest(url=provider.url, body=b"{}"))
        for method in ("POST", "PUT"):
            request = WireRequest(url=provider.url, method=method, body=body())
            if method == "PUT":
                provider.script(OK, (end,))
                await ask(client, WireRequest(url=provider.url, body=b"{}"))
            assert isinstance(await failure(client, request), UpstreamDisconnected)

        assert [b"once", b"once"] == taken
        assert [b"{}", b"once"] * 2 == [request.body for request in provider.requests]

    async def test_connection_that_dies_late_may_have_died_of_the_request(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        provider.script(OK, (Close(),))
        request = WireRequest(url=provider.url, body=b"{}")
        await ask(client, request)

        # With no time given to connect, any round trip is too long.
        error = await failure(client, request, Timeouts(connect_s=0))

        assert isinstance(error, UpstreamDisconnected)
        assert [0, 0] == places(provider)

    async def test_what_a_provider_says_unasked_is_no_reply(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        """Some say 408 on an idle connection before they close it."""
        gate = Gate()
        unasked = Head(408, (("Content-Length", "0"),))
        provider.script((*OK, Hold(gate), unasked), OK)
        request = WireRequest(url=provider.url, body=b"{}")
        assert 200 == await ask(client, request)

        gate.open()
        await provider.requests[0].until_finished()
        await asyncio.sleep(0)  # the loop reads what arrived

        assert 200 == await ask(client, request)
        assert [0, 1] == places(provider)


class IdleCloser:
    """A provider that answers with what it was sent, and closes connections while they are idle.

    A draw of `idle_s` decides after each answer how long the connection is kept, in seconds; None
    is for ever. A connection is only closed while all that was read from it is answered, so that
    what arrives on a closed one was never read.
    """

    def __init__(self, idle_s: Sequence[float | None] = (None,), *, seed: int = 0) -> None:
        self.answered: Counter[bytes] = Counter()
        self.connections = 0
        self.lines: set[_Line] = set()
        self._draws = random.Random(seed)  # noqa: S311 - a repeatable chance
        self._idle_s = idle_s

    def draw(self) -> float | None:
        return self._draws.choice(self._idle_s)

    def forget_connections(self) -> None:
        """From now on be a host that was started anew: what it does not know is reset."""
        for line in self.lines:
            line.is_known = False

    async def __aenter__(self) -> str:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Line(self), "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for line in list(self.lines):
            line.transport.abort()


class _Line(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, provider: IdleCloser) -> None:
        self._provider = provider
        self._received = b""
        self._closing: asyncio.TimerHandle | None = None
        self.is_known = True

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._provider.connections += 1
        self._provider.lines.add(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._provider.lines.discard(self)
        self._stay()

    @override
    def data_received(self, data: bytes) -> None:
        if not self.is_known:
            self.transport.abort()
            return
        self._stay()
        self._received += data
        _, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) == 8:
            self._received = b""
            self._answer(body)

    def _stay(self) -> None:
        if self._closing is not None:
            self._closing.cancel()

    def _answer(self, body: bytes) -> None:
        self._provider.answered[body] += 1
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n" + body)
        idle_s = self._provider.draw()
        if idle_s is not None:
            loop = asyncio.get_running_loop()
            self._closing = loop.call_later(idle_s, self.transport.close)


def bodies(numbers: Iterable[int]) -> list[bytes]:
    return [b"%08d" % number for number in numbers]


async def echoed(client: Upstream, url: str, body: bytes) -> bytes:
    async with client.send(WireRequest(url=url, body=body), PATIENT) as reply:
        return await reply.read(MAX_REPLY_BYTES)


class TestManyConnections:
    async def test_no_caller_notices_that_all_idle_connections_died(self, client: Upstream) -> None:
        provider, asked = IdleCloser(), bodies(range(100))
        async with provider as url:
            for half in (asked[:50], asked[50:]):
                assert half == await asyncio.gather(*(echoed(client, url, body) for body in half))
                assert 50 == len(provider.lines)
                provider.forget_connections()

        assert dict.fromkeys(asked, 1) == provider.answered

    async def test_first_caller_after_a_restart_clears_the_pool_for_the_others(
        self, client: Upstream
    ) -> None:
        provider, before, after = IdleCloser(), bodies(range(50)), bodies(range(50, 60))
        async with provider as url:
            await asyncio.gather(*(echoed(client, url, body) for body in before))
            provider.forget_connections()

            assert after == [await echoed(client, url, body) for body in after]

            assert 51 == provider.connections

    async def test_pools_of_other_hosts_are_left_alone(self, client: Upstream) -> None:
        dying, healthy = IdleCloser(), IdleCloser()
        async with dying as dying_url, healthy as url:
            await echoed(client, dying_url, b"00000000")
            await echoed(client, url, b"00000000")
            dying.forget_connections()
            await echoed(client, dying_url, b"00000001")
            await echoed(client, url, b"00000001")

        assert (2, 1) == (dying.connections, healthy.connections)

    @pytest.mark.slow
    async def test_no_caller_of_10_000_notices_idle_connections_being_closed_at_random(
        self, client: Upstream, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG", "one_api.upstream")
        # Now, soon, about when the next request leaves, or never.
        provider = IdleCloser((0, 0, 0.0005, 0.001, 0.002, 0.004, None, None, None), seed=17)
        asked = bodies(range(10_000))
        waiting = iter(asked)
        echoes: list[bytes] = []

        async def call_one_after_another(url: str) -> None:
            for body in waiting:
                echoes.append(await echoed(client, url, body))

        async with provider as url:
            await asyncio.gather(*(call_one_after_another(url) for _ in range(20)))

        assert sorted(asked) == sorted(echoes)
        assert dict.fromkeys(asked, 1) == provider.answered
        # The law was put to the test: requests did meet closed connections.
        assert 100 < len(caplog.records)
