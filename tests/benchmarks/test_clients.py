import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks import paced_load, stream_load
from benchmarks.contenders import Work
from benchmarks.paced_provider import PacedStreams
from benchmarks.payloads import STREAM_EVENTS, chat_request, claude_stream, openai_stream
from benchmarks.stage import http_request
from benchmarks.wrk import Target


def test_streams_have_as_many_events_as_is_said() -> None:
    assert STREAM_EVENTS + 1 == openai_stream().count(b"data: ")  # and [DONE]
    # Five frame the pieces, three of ours do.
    assert STREAM_EVENTS - 3 + 5 == claude_stream().count(b"event: ")


def test_a_request_is_whole() -> None:
    body = chat_request(Work.CHAT)
    head, _, sent = http_request(
        Target(url="http://h:1/v1/x", body=body, headers={"A": "b"})
    ).partition("\r\n\r\n")

    assert body.decode() == sent
    assert "POST /v1/x HTTP/1.1" == head.splitlines()[0]
    assert {"Host: h:1", f"Content-Length: {len(body)}", "A: b"} <= set(head.splitlines())
    assert "bench-chat" == json.loads(sent)["model"]


@asynccontextmanager
async def provider(pieces: int, interval_s: float) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: PacedStreams(pieces, interval_s), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def request_to(port: int) -> str:
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return http_request(Target(url=url, body=chat_request(Work.PACED, stream=True)))


async def test_every_stream_is_counted_and_its_pieces_timed() -> None:
    async with provider(pieces=1000, interval_s=0.01) as port:
        plan = stream_load.StreamPlan(
            host="127.0.0.1",
            port=port,
            request=request_to(port),
            streams=5,
            ramp_s=0.05,
            duration_s=0.3,
        )
        output = io.StringIO()
        outcome = await stream_load.load(plan, output)

    assert "open\n" == output.getvalue()
    assert (5, 0) == (outcome.begun, outcome.broken)
    assert outcome.pieces > 5
    assert 0 < outcome.delay_p50_ms <= outcome.delay_p99_ms
    assert 0 < outcome.client_cpus


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(b"", (0, 0)), (b"HTTP/1.1 200 OK\r\n\r\n@%019d, and some text after it" % 1, (3, 3))],
    ids=["never began", "broke"],
)
async def test_a_stream_that_ends_early_broke_if_it_had_begun(
    answer: bytes, outcome: tuple[int, int]
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        plan = stream_load.StreamPlan(
            host="127.0.0.1",
            port=port,
            request=request_to(port),
            streams=3,
            ramp_s=0,
            duration_s=0.3,
        )
        told = await stream_load.load(plan, io.StringIO())

    assert outcome == (told.begun, told.broken)


async def test_replies_are_told_apart_by_status() -> None:
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    ]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            answers.append(answers.pop(0))
            writer.write(answers[-1])

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        plan = paced_load.RatePlan(
            host="127.0.0.1",
            port=port,
            request=request_to(port),
            per_s=200,
            duration_s=0.2,
            connections=4,
        )
        outcome = await paced_load.load(plan)

    assert outcome.good > 0
    assert outcome.turned_away > 0
    assert outcome.turned_away == outcome.with_retry_after
    assert 0 == outcome.unanswered
    assert 0 < outcome.client_cpus
