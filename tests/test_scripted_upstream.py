"""The scripted upstream tells the truth: what it sends, what it got, and when the client left."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.scripted_upstream import (
    BadChunkSize,
    Chunk,
    Close,
    EndChunks,
    Gate,
    Hang,
    Head,
    Hold,
    Pause,
    Reply,
    Reset,
    ScriptedUpstream,
    Send,
    WaitForClose,
    json_reply,
    openai_stream,
    refusing_url,
    split,
    sse_reply,
)

CHUNKED = Head(200, (("Transfer-Encoding", "chunked"),))
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TEN_BYTES_PROMISED = Head(200, (("Content-Length", "10"),))


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def dial(upstream: ScriptedUpstream) -> socket.socket:
    host, port = upstream.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def read_to_end(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65_536):
        data += piece
    return data


def exchange(upstream: ScriptedUpstream, request: bytes) -> bytes:
    """Everything the upstream sends until it closes."""
    with dial(upstream) as sock:
        sock.sendall(request)
        return read_to_end(sock)


GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
GET_ONCE = b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


class TestRecords:
    async def test_request_is_kept_as_it_came(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession
    ) -> None:
        upstream.script(json_reply(200, {"ok": True}))
        body = {"model": "m", "text": "é"}

        async with client.post(f"{upstream.url}/v1/a?b=c", json=body) as reply:
            assert {"ok": True} == await reply.json()

        (request,) = upstream.requests
        assert ("POST", "/v1/a?b=c", "/v1/a", "b=c") == (
            request.method,
            request.target,
            request.path,
            request.query,
        )
        assert body == request.json
        assert "m" == request.model
        assert await request.until_finished() >= request.arrived_at
        assert request.closed_at is None

    def test_repeated_headers_are_kept_and_joined(self, upstream: ScriptedUpstream) -> None:
        upstream.script(closing_reply())
        exchange(upstream, b"GET / HTTP/1.1\r\nX-Twice:1\r\nHost: h\r\nx-twice: \t2 \r\n\r\n")
        (request,) = upstream.requests
        assert (("X-Twice", "1"), ("Host", "h"), ("x-twice", "2")) == request.raw_headers
        assert {"x-twice": "1, 2", "host": "h"} == request.headers

    @pytest.mark.parametrize("body", [b"", b"x", b"0123456789" * 30_000], ids=len)
    @pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
    async def test_bodies_arrive_whole(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession, body: bytes, chunked: bool
    ) -> None:
        upstream.script(json_reply(200, {}))

        async def pieces() -> AsyncIterator[bytes]:
            for piece in split(body, 70_000):
                yield piece

        async with client.post(upstream.url, data=pieces() if chunked else body) as reply:
            await reply.read()

        (request,) = upstream.requests
        assert body == request.body
        assert chunked == ("transfer-encoding" in request.headers)

    def test_chunk_extensions_and_trailers_are_not_part_of_the_body(
        self, upstream: ScriptedUpstream
    ) -> None:
        upstream.script(closing_reply())
        exchange(
            upstream,
            b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;name=value\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n",
        )
        assert [b"abc"] == [request.body for request in upstream.requests]

    def test_expect_100_is_answered_before_the_body(self, upstream: ScriptedUpstream) -> None:
        upstream.script(closing_reply())
        with dial(upstream) as sock:
            sock.sendall(
                b"POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
            )
            assert b"HTTP/1.1 100 Continue\r\n\r\n" == sock.recv(1_000)
            sock.sendall(b"ok")
            read_to_end(sock)
        assert [b"ok"] == [request.body for request in upstream.requests]

    @pytest.mark.parametrize(
        "raw",
        [
            b"GET /x\r\n\r\n",
            b"GET /x HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /x HTTP/1.1\r\n folded: 1\r\n\r\n",
            b"POST /x HTTP/1.1\r\nContent-Length: two\r\n\r\n",
            b"POST /x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        ],
    )
    def test_malformed_request_is_answered_with_400_and_kept_apart(
        self, upstream: ScriptedUpstream, raw: bytes
    ) -> None:
        assert exchange(upstream, raw).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert 1 == len(upstream.malformed)
        assert [] == upstream.requests

    def test_request_cut_in_the_middle_is_malformed(self, upstream: ScriptedUpstream) -> None:
        with dial(upstream) as sock:
            sock.sendall(b"POST /x HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
        upstream.wait_for_no_connections()
        # Closing may overtake accepting: only a connection that was seen has a story.
        assert ["3 of 10 bytes arrived"] * upstream.connections == upstream.malformed

    def test_connection_without_a_request_is_no_fault(self, upstream: ScriptedUpstream) -> None:
        with dial(upstream):
            pass
        upstream.wait_for_no_connections()
        assert ([], []) == (upstream.malformed, upstream.requests)

    async def test_requests_on_one_connection_share_its_number(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession
    ) -> None:
        upstream.script(openai_stream(), json_reply(200, {}), closing_reply(), json_reply(200, {}))
        for _ in range(4):
            async with client.post(upstream.url, data=b"{}") as reply:
                await reply.read()
        assert [0, 0, 0, 1] == [request.connection for request in upstream.requests]
        assert 2 == upstream.connections


def closing_reply(body: bytes = b"{}") -> Reply:
    head = Head(200, (("Content-Length", str(len(body))), ("Connection", "close")))
    return head, Send(body)


class TestScript:
    async def test_replies_are_played_in_order_per_rule(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession
    ) -> None:
        upstream.script(json_reply(201, {}), json_reply(202, {}), path="/a")
        upstream.script(json_reply(203, {}), method="GET", path="/b")
        upstream.script(json_reply(204, {})[:1], model="m")
        upstream.script(json_reply(206, {}), repeat_last=True)

        async def status(method: str, path: str, model: str = "other") -> int:
            async with client.request(method, upstream.url + path, json={"model": model}) as reply:
                return reply.status

        asked = [
            ("GET", "/b", "other"),
            ("POST", "/a?x=1", "other"),
            ("POST", "/c", "m"),
            ("GET", "/b", "m"),
            ("POST", "/a", "m"),
            ("POST", "/a", "m"),
        ]
        assert [203, 201, 204, 206, 202, 206] == [await status(*request) for request in asked]
        assert [] == upstream.unexpected

    async def test_unexpected_request_is_told_to_client_and_test(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession
    ) -> None:
        upstream.script(json_reply(200, {}), path="/wanted")
        async with client.post(f"{upstream.url}/unwanted", json={"model": "m"}) as reply:
            assert 500 == reply.status
            message = (await reply.json())["error"]["message"]
        assert "No reply is scripted for POST /unwanted with model 'm'." == message
        assert upstream.requests == upstream.unexpected

    async def test_unexpected_head_request_gets_no_body(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession
    ) -> None:
        for _ in range(2):
            async with client.head(f"{upstream.url}/api/hello") as reply:
                assert 500 == reply.status
        assert 1 == upstream.connections

    def test_script_without_replies_is_refused(self, upstream: ScriptedUpstream) -> None:
        with pytest.raises(ValueError, match="at least one reply"):
            upstream.script(path="/x")

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model":1}', b"\xff"])
    def test_rule_for_a_model_ignores_bodies_without_one(
        self, upstream: ScriptedUpstream, body: bytes
    ) -> None:
        upstream.script(json_reply(200, {}), model="m")
        request = b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
        exchange(upstream, request % (len(body), body))
        assert 1 == len(upstream.unexpected)


class TestSteps:
    def test_nothing_is_added_to_what_the_steps_say(self, upstream: ScriptedUpstream) -> None:
        upstream.script(
            (
                Head(299, (("x-a", "1"), ("X-A", "2"), ("Transfer-Encoding", "chunked"))),
                Chunk(b"ab"),
                Chunk(b""),
                Send(b"raw"),
                BadChunkSize(),
                Close(),
            )
        )
        assert (
            b"HTTP/1.1 299 Unknown\r\nx-a: 1\r\nX-A: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nab\r\nrawnot-a-size\r\n"
        ) == exchange(upstream, GET)

    @pytest.mark.parametrize(
        ("reply", "reusable"),
        [
            (json_reply(200, {}), True),
            (openai_stream(), True),
            ((Head(204),), True),
            ((TEN_BYTES_PROMISED, Send(b"12345"), Send(b"67890")), True),
            ((TEN_BYTES_PROMISED, Send(b"12345")), False),
            ((TEN_BYTES_PROMISED, Send(b"12345678901")), False),
            ((Head(200), Send(b"until the end")), False),
            ((CHUNKED, Chunk(b"no last chunk")), False),
            (sse_reply([b"data: x\n\n"], framing="until_close"), False),
            ((Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),), False),
            (closing_reply(), False),
        ],
    )
    def test_connection_stays_only_after_a_complete_reply(
        self, upstream: ScriptedUpstream, reply: Reply, reusable: bool
    ) -> None:
        upstream.script(reply, closing_reply(b"second"))
        with dial(upstream) as sock:
            sock.sendall(GET + GET)
            received = b""
            # The second request may meet a closed socket, which answers it with RST.
            with contextlib.suppress(ConnectionResetError):
                while piece := sock.recv(65_536):
                    received += piece
        assert reusable == received.endswith(b"second")

    def test_client_may_ask_for_the_end_of_the_connection(self, upstream: ScriptedUpstream) -> None:
        upstream.script(json_reply(200, {}))
        assert exchange(upstream, GET_ONCE).endswith(b"{}")

    def test_close_ends_with_fin(self, upstream: ScriptedUpstream) -> None:
        upstream.script((TEN_BYTES_PROMISED, Send(b"half"), Close()))
        assert exchange(upstream, GET).endswith(b"\r\n\r\nhalf")

    def test_reset_ends_with_rst_after_what_was_sent(self, upstream: ScriptedUpstream) -> None:
        upstream.script((TEN_BYTES_PROMISED, Send(b"half"), Reset()))
        with dial(upstream) as sock:
            sock.sendall(GET)
            received = sock.recv(1_000)
            while not received.endswith(b"half"):
                received += sock.recv(1_000)
            with pytest.raises(ConnectionResetError):
                sock.recv(1_000)
        upstream.requests[0].wait_finished()

    async def test_aiohttp_sees_the_faults_as_what_they_are(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession
    ) -> None:
        faults: list[tuple[Reply, type[Exception]]] = [
            ((Reset(),), aiohttp.ClientOSError),
            ((Close(),), aiohttp.ServerDisconnectedError),
            ((Send(b"no http\r\n\r\n"), Close()), aiohttp.ClientResponseError),
            ((TEN_BYTES_PROMISED, Send(b"half"), Close()), aiohttp.ClientPayloadError),
            ((CHUNKED, Chunk(b"half"), Close()), aiohttp.ClientPayloadError),
            ((CHUNKED, Chunk(b"half"), Reset()), aiohttp.ClientPayloadError),
            # In one write with the head: aiohttp 3.14.5 waits for ever when it comes after it.
            (
                (Send(CHUNKED_HEAD + b"4\r\nhalf\r\nnot-a-size\r\n"), Hang()),
                aiohttp.ClientResponseError,
            ),
        ]
        for reply, error in faults:
            upstream.script(reply)
            with pytest.raises(error):
                async with client.post(upstream.url) as response:
                    await response.read()

    async def test_gate_holds_every_reply_until_opened(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession
    ) -> None:
        gate = Gate()
        upstream.script((Hold(gate), *json_reply(200, {})), repeat_last=True)

        async def ask() -> int:
            async with client.get(upstream.url) as reply:
                return reply.status

        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask()) for _ in range(3)]
            await upstream.until_requests(3)
            assert [False] * 3 == [task.done() for task in asked]
            gate.open()
        assert [200, 200, 200, 200] == [*(task.result() for task in asked), await ask()]

    async def test_pause_parts_what_the_client_reads(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession
    ) -> None:
        gate = Gate()
        upstream.script((CHUNKED, Chunk(b"a"), Hold(gate), Pause(0.001), Chunk(b"b"), EndChunks()))
        async with client.get(upstream.url) as reply:
            assert b"a" == await reply.content.readany()
            gate.open()
            assert b"b" == await reply.content.readany()

    def test_bytes_sent_stops_where_a_client_stops_reading(
        self, upstream: ScriptedUpstream
    ) -> None:
        """The kernel's buffers fill up, and the count stays below what the script would send."""
        size = 64 * 1024 * 1024
        upstream.script((Head(200, (("Content-Length", str(size)),)), Send(bytes(size))))
        with dial(upstream) as sock:
            sock.sendall(GET)
            sock.recv(1)
            (request,) = upstream.requests
        request.wait_closed()
        assert "reset" == request.closed_by
        assert 0 < request.bytes_sent < size

    def test_bytes_sent_is_every_byte_of_a_finished_reply(self, upstream: ScriptedUpstream) -> None:
        upstream.script(closing_reply(bytes(5_000_000)))
        received = exchange(upstream, GET)
        upstream.requests[0].wait_finished()
        assert len(received) == upstream.requests[0].bytes_sent


class TestLeaving:
    @pytest.mark.parametrize(
        "step", [Pause(30), Hold(), WaitForClose(30), Hang()], ids=lambda step: type(step).__name__
    )
    @pytest.mark.parametrize("how", ["eof", "reset"])
    def test_client_leaving_is_noticed_at_once(
        self, upstream: ScriptedUpstream, step: Hang, how: str
    ) -> None:
        upstream.script((CHUNKED, Chunk(b"a"), step, Chunk(b"never"), EndChunks()))
        with dial(upstream) as sock:
            sock.sendall(GET)
            sent = sock.recv(1_000)
            if how == "eof":
                sent += sock.recv(1_000) if not sent.endswith(b"a\r\n") else b""
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        (request,) = upstream.requests
        assert request.wait_closed() >= request.arrived_at
        assert how == request.closed_by
        assert request.finished_at is None
        with pytest.raises(AssertionError, match=r"not finished; it left \((eof|reset)\) after"):
            request.wait_finished()

    async def test_client_that_leaves_after_the_reply_did_not_close_it(
        self, upstream: ScriptedUpstream
    ) -> None:
        upstream.script(json_reply(200, {}))
        async with aiohttp.ClientSession() as client, client.get(upstream.url) as reply:
            await reply.read()
        await upstream.until_no_connections()
        (request,) = upstream.requests
        assert await request.until_finished() == request.finished_at
        assert request.closed_at is None
        with pytest.raises(AssertionError, match="did not leave; the whole reply of"):
            await request.until_closed()

    async def test_aiohttp_request_cancelled_before_the_head_is_noticed(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession
    ) -> None:
        upstream.script((Hang(),))
        asking = asyncio.ensure_future(client.get(upstream.url))
        (request,) = await upstream.until_requests(1)
        asking.cancel()
        assert await request.until_closed() > request.arrived_at
        with pytest.raises(asyncio.CancelledError):
            await asking

    def test_waiting_in_vain_says_what_is(self, upstream: ScriptedUpstream) -> None:
        upstream.script((Hang(),))
        with dial(upstream) as sock:
            sock.sendall(GET)
            (request,) = upstream.wait_for_requests(1)
            with pytest.raises(AssertionError, match="still being played, 0 bytes so far"):
                request.wait_closed(timeout_s=0.001)
            with pytest.raises(AssertionError, match=r"2 requests wanted, got \[<GET /x, 0 bytes"):
                upstream.wait_for_requests(2, timeout_s=0.001)
            with pytest.raises(AssertionError, match="1 connections are still open"):
                upstream.wait_for_no_connections(timeout_s=0.001)
            assert 1 == upstream.open_connections


class TestLife:
    def test_stopping_leaves_no_thread_and_closes_every_connection(self) -> None:
        before = threading.active_count()
        with ScriptedUpstream() as upstream:
            upstream.script((CHUNKED, Chunk(b"a"), Hang()), repeat_last=True)
            socks = [dial(upstream) for _ in range(5)]
            for sock in socks:
                sock.sendall(GET)
            upstream.wait_for_requests(5)
            idle = dial(upstream)
        assert before == threading.active_count()
        for sock in socks:
            with sock:
                assert read_to_end(sock).endswith(b"1\r\na\r\n")
        with idle, pytest.raises(ConnectionRefusedError):
            socket.create_connection(idle.getpeername(), timeout=5)

    def test_stopping_twice_is_harmless(self) -> None:
        with ScriptedUpstream() as upstream:
            upstream.stop()

    async def test_upstream_may_be_started_asynchronously(self) -> None:
        async with (
            ScriptedUpstream() as upstream,
            aiohttp.ClientSession() as client,
            client.get(upstream.url) as reply,
        ):
            assert 500 == reply.status
        assert 1 == len(upstream.unexpected)

    def test_client_that_stays_too_long_fails_the_test(self) -> None:
        def run() -> None:
            with ScriptedUpstream() as upstream:
                upstream.script((WaitForClose(timeout_s=0.001),))
                exchange(upstream, GET)

        with pytest.raises(AssertionError, match=r"did not close the connection in 0\.001 s"):
            run()

    def test_failure_of_the_test_hides_that_of_the_script(self) -> None:
        def run() -> None:
            with ScriptedUpstream() as upstream:
                upstream.script((WaitForClose(timeout_s=0.001),))
                exchange(upstream, GET)
                raise KeyError("the test's own")

        with pytest.raises(KeyError):
            run()

    def test_refusing_url_refuses(self) -> None:
        with refusing_url() as url, pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=5)
