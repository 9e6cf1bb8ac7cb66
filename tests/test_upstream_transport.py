"""The HTTP client against servers that misbehave on every layer below the reply's meaning."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager
from pathlib import Path

import pytest

from one_api.adapter.http import MAX_REPLY_BYTES, WireRequest
from one_api.adapter.sse import MAX_EVENT_BYTES
from one_api.deployment import Timeouts
from one_api.errors import (
    GatewayError,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamTimeout,
    UpstreamUnreachable,
    UpstreamUntrusted,
)
from one_api.relay import StreamRelay
from one_api.upstream import Upstream
from tests.relay.streams import ASKED
from tests.scripted_upstream import (
    BadChunkSize,
    Chunk,
    Close,
    Gate,
    Hang,
    Head,
    Hold,
    Reset,
    ScriptedUpstream,
    Send,
    Step,
    WaitForClose,
    bytes_reply,
    json_reply,
    refusing_url,
    sse_reply,
)

CREDENTIAL = "Bearer scripted-credential-17"
PATIENT = Timeouts(connect_s=5, idle_s=5, total_s=5)


@pytest.fixture
async def client() -> AsyncIterator[Upstream]:
    async with opened(Upstream(user_agent="tests")) as running:
        yield running


@asynccontextmanager
async def opened(client: Upstream) -> AsyncIterator[Upstream]:
    await client.open()
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
def provider() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as running:
        yield running


def request_to(url: str, body: bytes | None = b"{}") -> WireRequest:
    return WireRequest(url=url, headers={"Authorization": CREDENTIAL}, body=body)


async def ask(
    client: Upstream, url: str, *, timeouts: Timeouts = PATIENT, limit: int = MAX_REPLY_BYTES
) -> tuple[int, bytes]:
    async with client.send(request_to(url), timeouts) as reply:
        return reply.status, await reply.read(limit)


async def pieces(
    client: Upstream, url: str, timeouts: Timeouts = PATIENT
) -> AsyncGenerator[bytes, None]:
    """The body as it arrives; closing this leaves the reply."""
    async with (
        client.send(request_to(url), timeouts) as reply,
        aclosing(reply.chunks()) as chunks,
    ):
        async for data in chunks:
            yield data


async def taken(
    source: AsyncGenerator[bytes, None], take: Callable[[bytes], object]
) -> GatewayError:
    """The error that ends `source`, or that `take` raises at a piece of it."""
    with pytest.raises(GatewayError) as caught:
        await each(source, take)
    return caught.value


async def each(source: AsyncGenerator[bytes, None], take: Callable[[bytes], object]) -> None:
    async with aclosing(source):
        async for data in source:
            take(data)


async def failure(client: Upstream, url: str, *, timeouts: Timeouts = PATIENT) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await ask(client, url, timeouts=timeouts)
    return caught.value


class TestConnecting:
    async def test_refused_connection_is_unreachable(self, client: Upstream) -> None:
        with refusing_url() as url:
            assert UpstreamUnreachable is type(await failure(client, url))

    async def test_connection_that_is_never_accepted_is_a_timeout(self, client: Upstream) -> None:
        with ExitStack() as open_sockets:
            listener = open_sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(4):  # the kernel accepts these itself and drops what comes after
                filler = open_sockets.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"

            error = await failure(client, url, timeouts=Timeouts(connect_s=0.05, total_s=60))

        assert (UpstreamTimeout, "No connection to the provider within 0.05 s.") == (
            type(error),
            error.message,
        )

    @pytest.mark.parametrize(
        "url",
        ["", "provider", "ftp://provider/", "http://", "http://" + "a" * 300, "http://a:x/"],
    )
    async def test_address_that_is_none_is_unreachable(self, client: Upstream, url: str) -> None:
        assert UpstreamUnreachable is type(await failure(client, url))

    async def test_client_that_is_not_open_reaches_nothing(self) -> None:
        client = Upstream(user_agent="tests")

        assert UpstreamUnreachable is type(await failure(client, "http://127.0.0.1"))
        await client.close()

    async def test_opening_and_closing_twice_is_once(self, provider: ScriptedUpstream) -> None:
        provider.script(json_reply(200, {}))
        client = Upstream(user_agent="tests")
        await client.open()
        await client.open()

        assert 200 == (await ask(client, provider.url))[0]

        await client.close()
        await client.close()
        await provider.until_no_connections()


class TestNames:
    async def test_name_is_looked_up_once_and_remembered(self, provider: ScriptedUpstream) -> None:
        provider.script(json_reply(200, {}, {"Connection": "close"}), repeat_last=True)
        asked = []

        def look_up(host: str, port: int, *rest: object) -> list[tuple[object, ...]]:
            asked.append(host)
            return socket.getaddrinfo("127.0.0.1", port, *rest)  # type: ignore[arg-type, return-value]  # passed on

        async with opened(Upstream(user_agent="tests", look_up=look_up)) as client:
            for _ in range(3):
                url = provider.url.replace("127.0.0.1", "provider.test")
                assert 200 == (await ask(client, url))[0]

        assert 3 == provider.connections
        assert ["provider.test"] == asked

    async def test_system_resolver_is_the_default(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        provider.script(json_reply(200, {}))

        assert 200 == (await ask(client, provider.url.replace("127.0.0.1", "localhost")))[0]

    async def test_unknown_name_is_unreachable(self) -> None:
        def look_up(*args: object) -> list[tuple[object, ...]]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async with opened(Upstream(user_agent="tests", look_up=look_up)) as client:
            assert UpstreamUnreachable is type(await failure(client, "http://provider.test"))

    async def test_slow_look_up_is_part_of_connecting_and_holds_up_nobody(
        self, provider: ScriptedUpstream
    ) -> None:
        provider.script(json_reply(200, {}))
        may_end, threads, urls = threading.Event(), [], [f"http://slow-{n}.test" for n in range(40)]
        all_look_up = threading.Barrier(len(urls) + 1)  # more than a pool would have threads

        def look_up(*args: object) -> list[tuple[object, ...]]:
            threads.append(threading.current_thread())
            all_look_up.wait(5)
            may_end.wait(5)
            return []

        async with opened(Upstream(user_agent="tests", look_up=look_up)) as client:
            quick = Timeouts(connect_s=0.05, total_s=60)
            asked = [asyncio.create_task(failure(client, url, timeouts=quick)) for url in urls]
            await asyncio.to_thread(all_look_up.wait, 5)

            assert 200 == (await ask(client, provider.url))[0]
            assert {UpstreamTimeout} == {type(await error) for error in asked}
        may_end.set()
        for thread in threads:
            thread.join(5)
        await asyncio.sleep(0)


class TestTLS:
    @pytest.mark.parametrize("speaks_tls", [True, False], ids=["self-signed", "no TLS"])
    @pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a key")
    async def test_server_nobody_vouches_for_gets_no_byte_of_the_key(
        self, client: Upstream, tmp_path: Path, speaks_tls: bool
    ) -> None:
        received = bytearray()

        async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            received.extend(await reader.read())
            writer.close()

        context = self_signed(tmp_path) if speaks_tls else None
        server = await asyncio.start_server(receive, "127.0.0.1", 0, ssl=context)
        async with server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            error = await failure(client, url)

        assert (UpstreamUntrusted, "No trusted TLS connection to the provider.") == (
            type(error),
            error.message,
        )
        assert b"scripted-credential" not in received


def self_signed(directory: Path) -> ssl.SSLContext:
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


HEADS: dict[str, bytes] = {
    "no http": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "binary": bytes(range(256)) * 2,
    "too many headers": b"HTTP/1.1 200 OK\r\n"
    + b"".join(b"X-%d: 1\r\n" % at for at in range(200))
    + b"Content-Length: 0\r\n\r\n",
    "too long a header": b"HTTP/1.1 200 OK\r\nX-Long: "
    + b"x" * 20_000
    + b"\r\nContent-Length: 0\r\n\r\n",
    "too long a reason": b"HTTP/1.1 200 " + b"x" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "endless header": b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 300_000,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nab",
}


class TestHeads:
    @pytest.mark.parametrize("raw", HEADS.values(), ids=HEADS)
    async def test_head_that_is_not_http_is_an_invalid_response(
        self, client: Upstream, provider: ScriptedUpstream, raw: bytes
    ) -> None:
        provider.script((Send(raw), Hang()))

        assert UpstreamInvalidResponse is type(await failure(client, provider.url))
        assert 1 == len(provider.requests)

    async def test_head_that_never_comes_is_a_timeout(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        provider.script((WaitForClose(),))

        error = await failure(client, provider.url, timeouts=Timeouts(total_s=0.05))

        assert (UpstreamTimeout, "The provider did not answer within 0.05 s.") == (
            type(error),
            error.message,
        )
        await provider.requests[0].until_closed()

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_redirect_is_not_followed(
        self, client: Upstream, provider: ScriptedUpstream, status: int
    ) -> None:
        with ScriptedUpstream() as canary:
            provider.script(bytes_reply(status, b"", "text/plain", {"Location": canary.url}))

            assert (status, b"") == await ask(client, provider.url)

            assert 0 == canary.connections


def bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1024 * 1024)
    return b"".join([packer.compress(zeros) for _ in range(size // len(zeros))]) + packer.flush()


ENCODED = {"Content-Encoding": "gzip"}


class TestBodies:
    async def test_connection_is_used_again_when_the_body_was_read(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        provider.script(json_reply(200, {}), repeat_last=True)

        for _ in range(3):
            assert (200, b"{}") == await ask(client, provider.url)

        assert 1 == provider.connections

    async def test_connection_is_closed_when_the_body_was_left(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        provider.script(sse_reply([b"data: 1\n\n", WaitForClose()]))

        async with aclosing(pieces(client, provider.url)) as chunks:
            assert b"data: 1\n\n" == await anext(chunks)

        await provider.requests[0].until_closed()

    async def test_body_over_the_limit_is_an_invalid_response(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        provider.script(bytes_reply(200, b"x" * 1_001, "text/plain"), repeat_last=True)

        assert 1_001 == len((await ask(client, provider.url, limit=1_001))[1])
        with pytest.raises(UpstreamInvalidResponse, match="too large"):
            await ask(client, provider.url, limit=1_000)

    async def test_bomb_is_not_unpacked_beyond_the_limit(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        packed = bomb(MAX_REPLY_BYTES + 16 * 1024 * 1024)
        provider.script(bytes_reply(200, packed, "text/plain", ENCODED), repeat_last=True)

        with pytest.raises(UpstreamInvalidResponse, match="too large"):
            await ask(client, provider.url, limit=1_000_000)
        sizes: list[int] = []
        error = await taken(pieces(client, provider.url), lambda data: sizes.append(len(data)))

        assert UpstreamInvalidResponse is type(error)
        assert MAX_REPLY_BYTES >= sum(sizes)
        assert 4 * 1024 * 1024 > max(sizes)

    async def test_compressed_body_is_read_as_what_it_says(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        """Asked for or not: some proxies compress what they like."""
        packed = zlib.compress(b"hello", wbits=31)
        provider.script(bytes_reply(200, packed, "text/plain", ENCODED))

        assert (200, b"hello") == await ask(client, provider.url)

    async def test_body_that_is_not_compressed_as_told_is_an_invalid_response(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        provider.script(bytes_reply(200, b"hello, no gzip", "text/plain", ENCODED))

        assert UpstreamInvalidResponse is type(await failure(client, provider.url))

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            ((BadChunkSize(), Hang()), UpstreamInvalidResponse),
            ((Send(b"fffffffffffffffff0\r\n"), Hang()), UpstreamInvalidResponse),
            ((Chunk(b"more"), Send(b"5\r\nlong"), Close()), UpstreamDisconnected),
            ((Close(),), UpstreamDisconnected),
            ((Reset(),), UpstreamDisconnected),
        ],
        ids=["chunk size", "huge chunk size", "cut chunk", "closed", "reset"],
    )
    async def test_broken_body_is_told_at_once(
        self,
        client: Upstream,
        provider: ScriptedUpstream,
        fault: tuple[Step, ...],
        kind: type[GatewayError],
    ) -> None:
        gate = Gate()
        provider.script((*sse_reply([b"data: 1\n\n"])[:-1], Hold(gate), *fault))
        arrived = bytearray()

        def take(data: bytes) -> None:
            arrived.extend(data)
            gate.open()

        error = await taken(pieces(client, provider.url), take)

        assert kind is type(error)
        assert arrived.startswith(b"data: 1\n\n")

    async def test_length_that_does_not_come_is_a_disconnect(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        provider.script((Head(200, (("Content-Length", "10"),)), Send(b"half"), Close()))

        assert UpstreamDisconnected is type(await failure(client, provider.url))

    @pytest.mark.parametrize(
        ("timeouts", "message"),
        [
            (Timeouts(idle_s=0.05), "The provider sent nothing for 0.05 s."),
            (Timeouts(total_s=0.05), "The provider's reply took longer than 0.05 s."),
        ],
        ids=["idle", "total"],
    )
    async def test_body_that_stalls_is_a_timeout(
        self, client: Upstream, provider: ScriptedUpstream, timeouts: Timeouts, message: str
    ) -> None:
        provider.script(sse_reply([b"data: 1\n\n", WaitForClose()]))

        error = await failure(client, provider.url, timeouts=timeouts)

        assert (UpstreamTimeout, message) == (type(error), error.message)
        await provider.requests[0].until_closed()

    async def test_line_without_an_end_is_not_collected(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        provider.script(sse_reply([b"data: " + b"x" * 8 * MAX_EVENT_BYTES, WaitForClose()]))
        relay, sizes = StreamRelay(ASKED), []

        def take(data: bytes) -> None:
            sizes.append(len(data))
            relay.feed(data)

        error = await taken(pieces(client, provider.url), take)

        assert (UpstreamInvalidResponse, "The provider's stream has an oversized event.") == (
            type(error),
            error.message,
        )
        assert 2 * MAX_EVENT_BYTES > sum(sizes)
        await provider.requests[0].until_closed()
