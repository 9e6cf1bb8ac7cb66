"""Which connection carries a request, and when one is closed."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from one_api.adapter.http import MAX_REPLY_BYTES, WireRequest
from one_api.deployment import Timeouts
from one_api.errors import UpstreamTimeout, UpstreamUnreachable, UpstreamUntrusted
from one_api.upstream import Upstream, pool
from tests.scripted_upstream import (
    Gate,
    Head,
    Hold,
    ScriptedUpstream,
    Send,
    WaitForClose,
    json_reply,
)
from tests.upstream.peers import peer, read_to_end

PATIENT = Timeouts(connect_s=5, idle_s=5, total_s=5)
OK = json_reply(200, {})


async def ask(client: Upstream, url: str, method: str = "POST") -> tuple[int, bytes]:
    async with client.send(WireRequest(url=url, method=method), PATIENT) as reply:
        return reply.status, await reply.read(MAX_REPLY_BYTES)


def places(provider: ScriptedUpstream) -> list[int]:
    """The connection each request arrived on."""
    return [request.connection for request in provider.requests]


class TestReuse:
    async def test_connection_carries_one_request_at_a_time(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        gate = Gate()
        provider.script((Hold(gate), *OK), repeat_last=True)
        asking = [asyncio.create_task(ask(client, provider.url)) for _ in range(3)]
        await provider.until_requests(3)
        gate.open()

        assert [(200, b"{}")] * 3 == [await task for task in asking]
        assert [(200, b"{}")] * 3 == [await ask(client, provider.url) for _ in range(3)]
        assert [0, 1, 2] == sorted(places(provider)[:3])
        assert 3 == provider.connections

    async def test_last_used_connection_is_used_first(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        """So that those which are one too many grow old, and are closed."""
        gate = Gate()
        provider.script((Hold(gate), *OK), OK, repeat_last=True)
        first = asyncio.create_task(ask(client, provider.url))
        await provider.until_requests(1)
        await ask(client, provider.url)
        gate.open()
        await first
        await ask(client, provider.url)
        await ask(client, provider.url)

        assert [0, 1, 0, 0] == places(provider)

    @pytest.mark.parametrize("told", [{"Connection": "close"}, {"Connection": "Close"}])
    async def test_connection_that_the_provider_will_close_is_closed(
        self, client: Upstream, provider: ScriptedUpstream, told: dict[str, str]
    ) -> None:
        provider.script((*json_reply(200, {}, told), WaitForClose()), OK)

        assert (200, b"{}") == await ask(client, provider.url)
        await provider.requests[0].until_closed()
        assert (200, b"{}") == await ask(client, provider.url)

    async def test_answer_to_head_is_a_reply_like_others(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        provider.script((Head(200, (("Content-Length", "9"),)),), OK)

        assert (200, b"") == await ask(client, provider.url, "HEAD")
        assert (200, b"{}") == await ask(client, provider.url)

    async def test_what_is_said_unasked_closes_an_idle_connection_at_once(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        gate = Gate()
        unasked = Head(408, (("Content-Length", "0"),))
        provider.script((*OK, Hold(gate), unasked, WaitForClose()))
        assert (200, b"{}") == await ask(client, provider.url)

        gate.open()

        await provider.requests[0].until_closed()

    async def test_second_reply_is_nobodys(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
        provider.script((Send(reply + b"{}" + reply + b"no"), WaitForClose()), OK)

        assert (200, b"{}") == await ask(client, provider.url)
        assert (200, b"{}") == await ask(client, provider.url)
        assert [0, 1] == places(provider)

    async def test_reply_that_is_here_whole_need_not_be_read(self, client: Upstream) -> None:
        connected = []

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.append(reader)
            while await reader.read(65_536):
                writer.write(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno")

        async with peer(refuse) as port:
            url = f"http://127.0.0.1:{port}"
            for _ in range(3):
                async with client.send(WireRequest(url=url), PATIENT) as reply:
                    assert 404 == reply.status
            assert (404, b"no") == await ask(client, url)
            await client.close()

        assert 1 == len(connected)

    async def test_idle_connection_is_closed_in_time(
        self, client: Upstream, provider: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pool, "KEEP_ALIVE_S", 0.01)
        provider.script(OK, repeat_last=True)
        await asyncio.gather(*(ask(client, provider.url) for _ in range(3)))

        await provider.until_no_connections()

    async def test_connection_that_was_idle_for_too_long_carries_no_request(
        self, client: Upstream, provider: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        provider.script(OK, repeat_last=True)
        await ask(client, provider.url)
        monkeypatch.setattr(pool, "KEEP_ALIVE_S", -1)

        assert (200, b"{}") == await ask(client, provider.url)
        assert [0, 1] == places(provider)

    async def test_closed_client_connects_no_more(self, provider: ScriptedUpstream) -> None:
        """Also where a request found out about a closed connection just before."""
        provider.script(OK, (WaitForClose(),))
        client = Upstream(user_agent="tests")
        await client.open()
        await ask(client, provider.url)
        asking = asyncio.create_task(ask(client, provider.url))
        await provider.until_requests(2)

        await client.close()

        with pytest.raises(UpstreamUnreachable, match="is stopping"):
            await asking
        await provider.until_no_connections()
        assert 1 == provider.connections


class TestAddresses:
    async def test_next_address_is_tried_where_one_refuses(
        self, provider: ScriptedUpstream
    ) -> None:
        port = int(provider.url.rpartition(":")[2])

        def look_up(*args: object) -> list[tuple[object, ...]]:
            hosts = ("127.0.0.2", "127.0.0.1")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

        provider.script(OK)
        client = Upstream(user_agent="tests", look_up=look_up)
        await client.open()

        assert (200, b"{}") == await ask(client, f"http://provider.test:{port}")
        assert f"provider.test:{port}" == provider.requests[0].headers["host"]
        await client.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a key")
    directory = tmp_path_factory.mktemp("tls")
    key, path = directory / "key.pem", directory / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=scripted", "-addext", "subjectAltName=IP:127.0.0.1,DNS:known.test"),
            *("-keyout", str(key), "-out", str(path)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return key, path


@pytest.fixture
def trusted(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[ssl.SSLContext]:
    """A server's context, whose certificate the system vouches for."""
    key, path = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    pool.trusting_context.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    yield context
    pool.trusting_context.cache_clear()


def knows(*args: object) -> list[tuple[object, ...]]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", args[1]))]


class TestTLS:
    @pytest.mark.parametrize("host", ["127.0.0.1", "known.test", "KNOWN.test."])
    async def test_provider_that_the_system_vouches_for_is_trusted(
        self, trusted: ssl.SSLContext, host: str
    ) -> None:
        client = Upstream(user_agent="tests", look_up=knows)
        await client.open()
        connected = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.append(host)
            while await reader.read(65_536):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        async with peer(answer, trusted) as port:
            for _ in range(3):
                assert (200, b"{}") == await ask(client, f"https://{host}:{port}")
            await client.close()

        assert [host] == connected

    async def test_next_address_is_tried_where_one_speaks_no_tls(
        self, trusted: ssl.SSLContext
    ) -> None:
        def look_up(*args: object) -> list[tuple[object, ...]]:
            hosts = ("127.0.0.2", "127.0.0.1")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, args[1])) for host in hosts]

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n{}")

        async def mumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"no TLS here")
            await read_to_end(reader)

        client = Upstream(user_agent="tests", look_up=look_up)
        await client.open()
        async with (
            peer(answer, trusted) as port,
            peer(mumble, host="127.0.0.2", port=port),
        ):
            assert (200, b"{}") == await ask(client, f"https://known.test:{port}")
            await client.close()

    async def test_authorities_are_there_for_others_when_somebody_would_not_wait_for_them(
        self, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read_on = threading.Event()
        read = pool.trusting_context
        client = Upstream(user_agent="tests")
        with monkeypatch.context() as patch:
            patch.setattr(pool, "trusting_context", lambda: read_on.wait(5) and read())
            await client.open()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n{}")

        async with peer(answer, trusted) as port:
            url = f"https://127.0.0.1:{port}"
            with pytest.raises(UpstreamTimeout):
                async with client.send(WireRequest(url=url), Timeouts(connect_s=0.05)):
                    pass
            read_on.set()
            assert (200, b"{}") == await ask(client, url)
            await client.close()

    async def test_provider_of_another_name_is_not(self, trusted: ssl.SSLContext) -> None:
        client = Upstream(user_agent="tests", look_up=knows)
        await client.open()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            raise AssertionError("a request came")

        async with peer(answer, trusted) as port:
            with pytest.raises(UpstreamUntrusted):
                await ask(client, f"https://other.test:{port}")
        await client.close()

    async def test_reply_that_is_left_closes_the_connection_at_once(
        self, trusted: ssl.SSLContext
    ) -> None:
        """Not after a farewell, which a provider that goes on sending does not hear."""
        client = Upstream(user_agent="tests")
        await client.open()

        async def go_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n{}")
            await read_to_end(reader)

        async with peer(go_on, trusted) as port:
            request = WireRequest(url=f"https://127.0.0.1:{port}")
            async with client.send(request, PATIENT) as reply:
                assert b"{}" == await anext(reply.chunks())
        await client.close()
