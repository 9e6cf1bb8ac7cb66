"""The scripted upstream tells the truth: what it sends, what it got, and when the client left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.scripted_upstream import (
    CHAT_PATH,
    DONE,
    HELLO,
    MESSAGES_PATH,
    MODELS_PATH,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    REASONED,
    TOOL_CALL_WITHOUT_ARGUMENTS,
    Answer,
    AnthropicDialect,
    BadChunkSize,
    Chunk,
    Close,
    EndChunks,
    Gate,
    Hang,
    Head,
    Hold,
    OpenAIDialect,
    Pause,
    Reply,
    Reset,
    ScriptedUpstream,
    Send,
    TokenCount,
    ToolCall,
    WaitForClose,
    anthropic_error,
    anthropic_events,
    anthropic_frames,
    anthropic_message_body,
    anthropic_models_reply,
    anthropic_stream,
    json_reply,
    models_reply,
    openai_chunks,
    openai_completion,
    openai_completion_body,
    openai_error,
    openai_frames,
    openai_stream,
    refusing_url,
    split,
    sse_reply,
    with_line_end,
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


def fold_openai(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client makes of the chunks of one choice, as plainly as can be."""
    folded: dict[str, Any] = {"content": "", "reasoning_content": "", "tool_calls": []}
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            folded["finish_reason"] = choice.get("finish_reason")
            delta = choice["delta"]
            folded["content"] += delta.get("content", "")
            folded["reasoning_content"] += delta.get("reasoning_content", "")
            for call in delta.get("tool_calls", ()):
                if "id" in call:
                    folded["tool_calls"].append([call["id"], call["function"]["name"], ""])
                folded["tool_calls"][call["index"]][2] += call["function"]["arguments"]
    return folded


def fold_anthropic(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client makes of the events of one message, as plainly as can be."""
    message: dict[str, Any] = {}
    partial: dict[int, str] = {}
    for event in events:
        match event:
            case {"type": "message_start", "message": start}:
                message = {**start, "content": []}
            case {"type": "content_block_start", "content_block": block, "index": index}:
                assert len(message["content"]) == index
                message["content"].append(dict(block))
            case {"type": "content_block_delta", "delta": delta, "index": index}:
                block = message["content"][index]
                if delta["type"] == "input_json_delta":
                    partial[index] = partial.get(index, "") + delta["partial_json"]
                    block["input"] = partial[index]
                else:
                    (key,) = delta.keys() - {"type"}
                    block[key] += delta[key]
            case {"type": "message_delta", "delta": delta, "usage": usage}:
                message.update(delta)
                message["usage"] = {**message["usage"], **usage}
    for index, text in partial.items():
        message["content"][index]["input"] = json.loads(text)
    return message


ANSWERS = {
    "text": HELLO,
    "one call": ONE_TOOL_CALL,
    "parallel calls": PARALLEL_TOOL_CALLS,
    "call without arguments": TOOL_CALL_WITHOUT_ARGUMENTS,
    "reasoning": REASONED,
    "cut": Answer(words=("much",), finish_reason="length"),
    "cached": Answer(usage=TokenCount(prompt=100, cached=80, cache_write=5)),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
class TestAnswers:
    def test_openai_stream_folds_to_the_completion(self, answer: Answer) -> None:
        chunks = openai_chunks(answer)
        whole = openai_completion_body(answer)
        message = whole["choices"][0]["message"]
        assert {
            "content": message["content"] or "",
            "reasoning_content": message.get("reasoning_content", ""),
            "tool_calls": [
                [
                    call["id"],
                    call["function"]["name"],
                    "".join(said.arguments),
                ]
                for call, said in zip(message.get("tool_calls", ()), answer.tool_calls, strict=True)
            ],
            "finish_reason": whole["choices"][0]["finish_reason"],
        } == fold_openai(chunks)
        assert whole["usage"] == chunks[-1]["usage"]

    def test_anthropic_stream_folds_to_the_message(self, answer: Answer) -> None:
        assert anthropic_message_body(answer) == fold_anthropic(anthropic_events(answer))


class TestDialects:
    def test_standard_stream_is_what_openai_sends(self) -> None:
        chunks = openai_chunks(Answer(words=("a", "b")))
        assert [
            [{"role": "assistant", "content": "", "refusal": None}],
            [{"content": "a"}],
            [{"content": "b"}],
            [{}],
            [],
        ] == [[choice["delta"] for choice in chunk["choices"]] for chunk in chunks]
        assert [None, None, None, "stop"] == [
            chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]
        ]
        assert [None, None, None, None] == [chunk["usage"] for chunk in chunks[:-1]]
        assert DONE == openai_frames(chunks)[-1]

    @pytest.mark.parametrize(
        ("role", "expected"),
        [("first", [True, False]), ("never", [False] * 2), ("every", [True] * 2)],
    )
    def test_role(self, role: Any, expected: list[bool]) -> None:
        chunks = openai_chunks(dialect=OpenAIDialect(role=role))
        assert expected == ["role" in chunk["choices"][0]["delta"] for chunk in chunks[:2]]

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            ("last", [None, None, None, None, None, 7]),
            ("finish", [None, None, None, None, 7]),
            ("every", [7, 7, 7, 7, 7]),
            ("never", [None, None, None, None, None]),
        ],
    )
    def test_usage(self, where: Any, expected: list[int | None]) -> None:
        chunks = openai_chunks(dialect=OpenAIDialect(usage_on=where))
        assert expected == [(chunk.get("usage") or {}).get("completion_tokens") for chunk in chunks]

    @pytest.mark.parametrize(
        ("choices", "expected"),
        [("empty", {"choices": []}), ("null", {"choices": None}), ("absent", {})],
    )
    def test_usage_chunk_choices(self, choices: Any, expected: dict[str, Any]) -> None:
        last = openai_chunks(dialect=OpenAIDialect(usage_chunk_choices=choices))[-1]
        assert expected == {key: value for key, value in last.items() if key == "choices"}

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [("null", {"finish_reason": None}), ("empty", {"finish_reason": ""}), ("absent", {})],
    )
    def test_no_finish_reason(self, kind: Any, expected: dict[str, Any]) -> None:
        choice = openai_chunks(dialect=OpenAIDialect(no_finish_reason=kind))[0]["choices"][0]
        assert expected == {key: value for key, value in choice.items() if key == "finish_reason"}

    def test_finish_reason_may_never_come(self) -> None:
        chunks = openai_chunks(dialect=OpenAIDialect(finish_reason=False))
        assert [] == [
            choice
            for chunk in chunks
            for choice in chunk["choices"]
            if choice["finish_reason"] is not None
        ]

    @pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
    def test_reasoning_goes_under_the_dialects_name(self, key: Any) -> None:
        dialect = OpenAIDialect(reasoning_key=key)
        streamed = [
            chunk["choices"][0]["delta"].get(key) for chunk in openai_chunks(REASONED, dialect)[1:3]
        ]
        assert list(REASONED.reasoning) == streamed
        message = openai_completion_body(REASONED, dialect)["choices"][0]["message"]
        assert REASONED.reasoning_text == message[key]

    def test_omitted_thinking_leaves_the_signature(self) -> None:
        dialect = AnthropicDialect(thinking_omitted=True)
        folded = fold_anthropic(anthropic_events(REASONED, dialect))
        assert anthropic_message_body(REASONED, dialect) == folded
        assert ("", True) == (
            folded["content"][0]["thinking"],
            bool(folded["content"][0]["signature"]),
        )

    def test_anthropic_options_leave_their_mark(self) -> None:
        dialect = AnthropicDialect(
            pings=False,
            input_tokens_in_delta=False,
            message_stop=False,
            stop_reason="stop_sequence",
            stop_sequence="END",
        )
        events = anthropic_events(dialect=dialect)
        assert "message_delta" == events[-1]["type"]
        assert {"stop_reason": "stop_sequence", "stop_sequence": "END"} == events[-1]["delta"]
        assert {"output_tokens", "output_tokens_details"} == set(events[-1]["usage"])
        assert "ping" not in {event["type"] for event in events}

    def test_tool_call_without_arguments_sends_no_argument_bytes(self) -> None:
        answer = Answer(words=(), tool_calls=(ToolCall("f"),))
        (call,) = fold_openai(openai_chunks(answer))["tool_calls"]
        assert ["call_0", "f", ""] == call
        assert [] == [
            event for event in anthropic_events(answer) if event["type"] == "content_block_delta"
        ]


class TestReplies:
    @pytest.mark.parametrize("size", [1, 7, 10_000])
    async def test_split_changes_no_byte(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession, size: int
    ) -> None:
        frames = openai_frames()
        upstream.script(sse_reply(split(frames, size), {"x-a": "b"}), path=CHAT_PATH)
        async with client.post(upstream.url + CHAT_PATH) as reply:
            assert "text/event-stream" == reply.headers["Content-Type"]
            assert "b" == reply.headers["x-a"]
            assert b"".join(frames) == await reply.read()

    @pytest.mark.parametrize("end", [b"\r\n", b"\r"])
    def test_line_ends_are_replaced(self, end: Any) -> None:
        assert [b"event: ping", b'data: {"type":"ping"}', b"", b""] == with_line_end(
            anthropic_frames([{"type": "ping"}]), end
        )[0].split(end)

    @pytest.mark.parametrize(
        ("reply", "status", "path"),
        [
            (openai_completion(), 200, ("choices", 0, "message", "content")),
            (openai_error(400, "no", "bad"), 400, ("error", "message")),
            (models_reply(["a"]), 200, ("data", 0, "id")),
            (anthropic_models_reply(["a"]), 200, ("data", 0, "id")),
            (anthropic_models_reply([]), 200, ("has_more",)),
            (anthropic_error(529, "overloaded_error"), 529, ("error", "type")),
        ],
    )
    async def test_json_replies_are_json(
        self,
        upstream: ScriptedUpstream,
        client: aiohttp.ClientSession,
        reply: Reply,
        status: int,
        path: tuple[str | int, ...],
    ) -> None:
        upstream.script(reply, path=MODELS_PATH)
        async with client.get(upstream.url + MODELS_PATH) as response:
            assert status == response.status
            found = await response.json()
        for step in path:
            found = found[step]
        assert found in ("Hello, world", "no", "a", False, "overloaded_error")

    async def test_anthropic_stream_names_its_events(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession
    ) -> None:
        upstream.script(anthropic_stream(), path=MESSAGES_PATH)
        async with client.post(f"{upstream.url}{MESSAGES_PATH}?beta=true") as reply:
            assert "req_scripted" == reply.headers["request-id"]
            frames = (await reply.text()).split("\n\n")[:-1]
        for frame in frames:
            event, data = frame.split("\n")
            assert f"event: {json.loads(data.removeprefix('data: '))['type']}" == event
