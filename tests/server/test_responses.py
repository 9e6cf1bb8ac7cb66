"""What goes to clients: responses as each of them reads, and what applications break."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from one_api.server.channel import PASS_ON
from tests.server.test_requests import GET, POST
from tests.server.wire import Client, Receive, Send, Server, failing, mirror, reply, steady, until


async def stream(_scope: Any, _receive: Receive, send: Send) -> None:
    """A response in pieces, whose length is not told."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for piece in (b"one", b"", b"two"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"three", "more_body": False})


async def test_pieces_leave_in_chunks() -> None:
    async with Server.running(stream) as server:
        client = await server.connect()
        for _ in range(2):
            answer = await client.ask(GET)
            assert "chunked" == answer.fields["transfer-encoding"]
            assert "connection" not in answer.fields
            assert b"onetwothree" == answer.body


async def test_http_1_0_has_neither_chunks_nor_another_request() -> None:
    async with Server.running(stream) as server:
        client = await server.connect()
        await client.send(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
        received = b""
        while piece := await client.read():
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head
    assert b"onetwothree" == body


async def test_a_client_that_wants_no_more_is_closed_upon() -> None:
    async with Server.running(mirror) as server:
        client = await server.connect()
        answer = await client.ask(GET.replace(b"Host", b"Connection: close\r\nHost"))
        assert "close" == answer.fields["connection"]
        assert await client.is_closed()


async def test_an_application_may_want_no_more_either() -> None:
    async def leave(_scope: Any, _receive: Receive, send: Send) -> None:
        await reply(send, b"", connection="close")

    async with Server.running(leave) as server:
        client = await server.connect()
        assert "close" == (await client.ask(GET)).fields["connection"]
        assert await client.is_closed()


@pytest.mark.parametrize(("request_", "status"), [(b"HEAD", 200), (b"GET ", 204), (b"GET ", 304)])
async def test_some_responses_have_no_body(request_: bytes, status: int) -> None:
    async def answer(scope: Any, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"not to be sent"})

    async with Server.running(answer) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(GET.replace(b"GET ", request_.ljust(5)))
            response = await client.response(has_body=False)
            assert status == response.status
            assert "transfer-encoding" not in response.fields


async def test_a_response_tells_the_time() -> None:
    async with Server.running(mirror) as server:
        answer = await (await server.connect()).ask(GET)
    assert "UTC" == str(parsedate_to_datetime(answer.fields["date"]).tzinfo)


@pytest.mark.parametrize("status", [218, 599])
async def test_any_status_can_be_sent(status: int) -> None:
    async def answer(_scope: Any, _receive: Receive, send: Send) -> None:
        await reply(send, b"", status)

    async with Server.running(answer) as server:
        assert status == (await (await server.connect()).ask(GET)).status


HEAD: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
LONG: dict[str, Any] = {**HEAD, "headers": [(b"content-length", b"4")]}
BODY: dict[str, Any] = {"type": "http.response.body", "body": b"whole"}
PART: dict[str, Any] = {**BODY, "body": b"par", "more_body": True}


@pytest.mark.parametrize(
    ("messages", "raises"),
    [
        pytest.param([], False, id="nothing"),
        pytest.param([], True, id="an exception"),
        pytest.param([HEAD], True, id="a head, then an exception"),
        pytest.param([BODY], False, id="a body first"),
        pytest.param([HEAD, HEAD], False, id="two heads"),
        pytest.param([LONG, BODY], False, id="more than its length"),
        *(
            pytest.param([{**HEAD, "headers": [field]}, BODY], False, id=f"field {field!r}")
            for field in ((b"x", b"a\r\nb: c"), (b"x", b"a\nb"), (b"x\r\n", b"a"), (b"x", b"a\r"))
        ),
    ],
)
async def test_what_an_application_cannot_begin_is_a_500_in_openais_format(
    messages: list[Any], raises: bool
) -> None:
    async with Server.running(failing(messages, raises=raises)) as server:
        client = await server.connect()
        answer = await client.ask(GET)
        assert (500, "internal_error") == (answer.status, answer.json["error"]["code"])
        assert b"secret" not in answer.body
        assert await client.is_closed()


@pytest.mark.parametrize(
    ("messages", "raises"),
    [
        pytest.param([HEAD, PART], False, id="no end"),
        pytest.param([HEAD, PART], True, id="an exception"),
        pytest.param([LONG, PART, BODY], False, id="more than its length"),
        pytest.param([LONG, {**PART, "more_body": False}], False, id="less than its length"),
        pytest.param([HEAD, PART, HEAD], False, id="another head"),
    ],
)
async def test_a_response_that_broke_does_not_look_complete(
    messages: list[Any], raises: bool
) -> None:
    async with Server.running(failing(messages, raises=raises)) as server:
        client = await server.connect()
        answer = await client.ask(GET)
        assert not answer.is_complete
        assert await client.is_closed()


async def test_nothing_can_follow_a_response() -> None:
    raised: list[Exception] = []

    async def chatter(_scope: Any, _receive: Receive, send: Send) -> None:
        await reply(send, b"whole")
        try:
            await send(BODY)
        except RuntimeError as exc:
            raised.append(exc)

    async with Server.running(chatter) as server:
        client = await server.connect()
        assert b"whole" == (await client.ask(GET)).body
        assert b"whole" == (await client.ask(GET)).body
    assert 2 == len(raised)


async def test_sending_waits_for_the_client() -> None:
    sent: list[int] = []
    piece = bytes(256 * 1024)
    total = 256

    async def pour(_scope: Any, _receive: Receive, send: Send) -> None:
        await send(HEAD)
        for number in range(total):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent.append(number)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with Server.running(pour) as server:
        client = await server.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a socket's
        await client.send(GET)
        assert await steady(lambda: len(sent)) < total // 2
        client.writer.transport.resume_reading()  # type: ignore[attr-defined] # as above
        received = 0
        while received < total * len(piece):
            received += len(await client.read())
        await until(lambda: len(sent) == total)


def passing(scope: Any) -> Callable[[bytes], bool]:
    """What sends a piece at once, where it can."""
    send: Callable[[bytes], bool] = scope["extensions"][PASS_ON]["send"]
    return send


async def until_last_chunk(client: Client) -> bytes:
    """What comes up to the end of a body in chunks, as it is on the wire."""
    received = bytearray()
    while not received.endswith(b"0\r\n\r\n"):
        data = await client.read()
        assert data, "the connection ended"
        received += data
    return bytes(received)


async def received_late(server: Server, is_time: Callable[[], bool]) -> bytes:
    """What a client receives that takes nothing until `is_time`."""
    client = await server.connect()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a socket's
    await client.send(GET)
    await until(is_time)
    client.writer.transport.resume_reading()  # type: ignore[attr-defined] # as above
    return await until_last_chunk(client)


async def test_pieces_may_be_passed_on_at_once() -> None:
    told: list[bool] = []

    async def pass_on(scope: Any, _receive: Receive, send: Send) -> None:
        offer = passing(scope)
        told.append(offer(b"before the head"))
        await send(HEAD)
        told.append(offer(b"before the body"))
        await send(PART)
        told.append(offer(b"ti"))
        told.append(offer(b"al"))
        await send({**BODY, "body": b"!"})
        told.append(offer(b"after the end"))

    async with Server.running(pass_on) as server:
        client = await server.connect()
        for _ in range(2):
            assert b"partial!" == (await client.ask(GET)).body
    assert [False, False, True, True, False] * 2 == told


@pytest.mark.parametrize(
    ("request_", "head"),
    [
        pytest.param(GET.replace(b"HTTP/1.1", b"HTTP/1.0"), HEAD, id="HTTP/1.0"),
        pytest.param(GET.replace(b"GET", b"HEAD"), HEAD, id="HEAD"),
        pytest.param(GET, LONG, id="a length"),
    ],
)
async def test_only_pieces_of_a_body_in_chunks_are_passed_on(
    request_: bytes, head: dict[str, Any]
) -> None:
    told: list[bool] = []

    async def pass_on(scope: Any, _receive: Receive, send: Send) -> None:
        await send(head)
        await send(PART)
        told.append(passing(scope)(b"!"))
        await send({**BODY, "body": b"!"})

    async with Server.running(pass_on) as server:
        await (await server.connect()).send(request_)
        await until(lambda: bool(told))
    assert [False] == told


async def test_nothing_is_passed_on_to_who_has_left() -> None:
    told: list[bool] = []

    async def pass_on(scope: Any, receive: Receive, send: Send) -> None:
        await send(HEAD)
        await send(PART)
        while (await receive())["type"] != "http.disconnect":
            pass
        told.append(passing(scope)(b"!"))

    async with Server.running(pass_on) as server:
        client = await server.connect()
        await client.send(GET)
        await client.read()
        client.writer.close()
        await until(lambda: bool(told))
    assert [False] == told


async def test_passing_on_ends_when_the_client_takes_nothing() -> None:
    piece, most = bytes(64 * 1024), 10_000
    passed: list[int] = []

    async def pour(scope: Any, _receive: Receive, send: Send) -> None:
        offer = passing(scope)
        await send(HEAD)
        await send(PART)
        count = 0
        while count < most and offer(piece):
            count += 1
            await asyncio.sleep(0)
        passed.append(count)
        await send({**BODY, "body": b""})

    async with Server.running(pour) as server:
        received = await received_late(server, lambda: bool(passed))
    assert 0 < passed[0] < most
    assert passed[0] * len(piece) == received.count(0)


async def test_nothing_is_passed_on_before_what_waits_for_the_client() -> None:
    """Also not at the moment when there is room again, and what waits has not gone yet."""
    piece = bytes(256 * 1024)
    total = 128
    passed: list[bool] = []
    at_room: list[bool] = []

    async def pour(scope: Any, _receive: Receive, send: Send) -> None:
        offer = passing(scope)
        (connection,) = server.shared.connections
        make_room = connection.resume_writing

        def resume_writing() -> None:
            make_room()
            at_room.append(offer(b"too early"))

        connection_type = type(connection)
        patch.setattr(connection_type, "resume_writing", lambda _: resume_writing())
        await send(HEAD)
        for _ in range(total):
            sending = asyncio.ensure_future(
                send({"type": "http.response.body", "body": piece, "more_body": True})
            )
            await asyncio.sleep(0)
            if not sending.done():
                passed.append(offer(b"too early"))
            await sending
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    with pytest.MonkeyPatch.context() as patch:
        async with Server.running(pour) as server:
            received = await received_late(server, lambda: bool(passed))
    assert b"too early" not in received
    assert (False, False) == (any(passed), any(at_room))
    assert at_room


async def test_the_application_hears_who_leaves_and_may_go_on_sending() -> None:
    heard: list[str] = []
    is_over = asyncio.Event()

    async def listen(_scope: Any, receive: Receive, send: Send) -> None:
        await send(HEAD)
        await send(PART)
        while not heard or heard[-1] != "http.disconnect":
            heard.append((await receive())["type"])
        for _ in range(3):
            await send(PART)
        is_over.set()

    async with Server.running(listen) as server:
        client = await server.connect()
        await client.send(POST)
        await client.read()
        client.writer.close()
        async with asyncio.timeout(5):
            await is_over.wait()
    assert ["http.request", "http.disconnect"] == heard


async def test_an_answer_to_half_a_request_reaches_who_goes_on_sending() -> None:
    async def refuse(_scope: Any, _receive: Receive, send: Send) -> None:
        await reply(send, b"too much", 413)

    async with Server.running(refuse) as server:
        client = await server.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(10):
            await client.send(bytes(10_000))
        answer = await client.response()
        assert (413, b"too much") == (answer.status, answer.body)
        assert "close" == answer.fields["connection"]
        assert await client.is_closed()


async def test_a_connection_leaves_nothing_for_the_garbage_collector() -> None:
    async with Server.running(mirror) as server:
        was_enabled = gc.isenabled()
        gc.collect()
        gc.disable()
        try:
            client = await server.connect()
            for request in (GET, POST):
                assert 200 == (await client.ask(request)).status
            client.writer.transport.abort()
            await until(lambda: not (server.shared.connections or server.shared.tasks))
            kinds = {"Connection", "Channel"}
            left = [one for one in gc.get_objects() if type(one).__name__ in kinds]
            assert not [one for one in left if type(one).__module__.startswith("one_api.server")]
        finally:
            if was_enabled:
                gc.enable()
