"""What a provider's failure means: another one is asked, or the client is told; each asked once.

The providers count their calls themselves.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.e2e.failover_scenes import (
    PAIR,
    attempts,
    chat,
    is_whole_stream,
    streamed,
    text_of,
    until,
    whole,
    world,
)
from tests.scripted_upstream import (
    HELLO,
    Chunk,
    Close,
    EndChunks,
    Hang,
    Head,
    Pause,
    Reply,
    Reset,
    Send,
    bytes_reply,
    json_reply,
    openai_completion_body,
    openai_error,
    openai_frames,
    openai_stream,
    refusing_url,
    sse_reply,
)

JSON_HEAD = Head(200, (("Content-Type", "application/json"), ("Content-Length", "500")))
#: What only the provider itself can be blamed for, and another one may do better.
FAULTS: dict[str, Reply] = {
    **{
        str(status): openai_error(status)
        for status in (401, 402, 403, 408, 409, 429, 500, 502, 503, 504, 529)
    },
    "html": bytes_reply(200, b"<html>Welcome</html>", "text/html"),
    "cut json": bytes_reply(200, b'{"choices": [', "application/json"),
    "another schema": json_reply(200, {"ok": True}),
    "no choices": json_reply(200, {**openai_completion_body(), "choices": []}),
    "nothing": json_reply(200, None),
    "no bytes": (Close(),),
    "reset before the head": (Reset(),),
    "reset in the body": (JSON_HEAD, Send(b'{"choices": [{"index'), Reset()),
    "body shorter than told": (JSON_HEAD, Send(b"{}"), Close()),
    "redirect": json_reply(307, {}, {"Location": "http://127.0.0.1:9/elsewhere"}),
    "no http": (Send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), Close()),
}
STREAM_FAULTS: dict[str, Reply] = {
    **{name: FAULTS[name] for name in ("401", "409", "429", "500", "529", "html", "no bytes")},
    "ends at once": sse_reply([]),
    "ends without content": sse_reply(openai_frames()[:1]),
    "done without content": sse_reply([b"data: [DONE]\n\n"]),
    "error as the first event": sse_reply([b'data: {"error": {"message": "overloaded"}}\n\n']),
    "reset before content": sse_reply([openai_frames()[0], Reset()]),
    "noise": sse_reply([b"data: <html>\n\n"]),
}
#: The caller's own mistakes: asking again, or anybody else, does not help.
MISTAKES: dict[str, tuple[Reply, int, str | None]] = {
    "400": (openai_error(400, "bad field"), 400, None),
    "404": (openai_error(404, "no such model"), 404, None),
    "413": (openai_error(413, "too large"), 413, None),
    "422": (openai_error(422, "not so"), 400, None),
    "content filter": (
        openai_error(400, "filtered", code="content_filter"),
        400,
        "content_filter",
    ),
    "context length": (
        openai_error(400, "too long", code="context_length_exceeded"),
        400,
        "context_length_exceeded",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_providers_fault_is_mended_by_the_next_one(tmp_path: Path, fault: str) -> None:
    """F14, F20-F23, F25, F29: for a reply that is not streamed."""
    async with world(tmp_path, PAIR) as scene:
        scene.script(a=FAULTS[fault], b=whole("from b"))

        answer = await scene.ask(chat())

        assert (200, "from b") == (answer.status, text_of(answer))
        assert ("b/m", "2") == attempts(answer)
        assert "m" == answer.json["model"]
        assert ["a", "b"] == scene.asked
        assert "Bearer sk-credential-of-b" == scene.requests("b")[0].headers["authorization"]


@pytest.mark.parametrize("fault", STREAM_FAULTS)
async def test_a_fault_before_the_first_content_is_mended_by_the_next_one(
    tmp_path: Path, fault: str
) -> None:
    """F18, F20-F23, F25: for a stream; the client sees nothing of the first one."""
    async with world(tmp_path, PAIR) as scene:
        scene.script(a=STREAM_FAULTS[fault], b=openai_stream())

        answer = await scene.ask(streamed())

        assert (200, HELLO.text) == (answer.status, text_of(answer))
        assert ("b/m", "2") == attempts(answer)
        assert is_whole_stream(answer)
        assert ["a", "b"] == scene.asked


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("mistake", MISTAKES)
async def test_the_callers_mistake_is_told_by_the_first_one_asked(
    tmp_path: Path, mistake: str, is_stream: bool
) -> None:
    """F24: one call, and nobody's health suffers."""
    reply, status, code = MISTAKES[mistake]
    async with world(tmp_path, PAIR) as scene:
        scene.script(a=reply)

        answer = await scene.ask(chat(stream=is_stream))

        assert status == answer.status
        if code is not None:
            assert code == answer.error["code"]
        assert {"a": 1} == scene.calls


async def test_a_long_prompt_goes_where_there_is_more_room(tmp_path: Path) -> None:
    text = PAIR.replace(
        '"${A_URL}", models: [m]', '"${A_URL}", models: [m], context_window: 1000'
    ).replace('"${B_URL}", models: [m]', '"${B_URL}", models: [m], context_window: 9000')
    async with world(tmp_path, text) as scene:
        scene.script(a=MISTAKES["context length"][0], b=whole())

        answer = await scene.ask(chat())

        assert (200, ["a", "b"]) == (answer.status, scene.asked)


async def test_all_fail_and_the_last_error_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, PAIR, max_attempts=2) as scene:
        scene.script(a=openai_error(500, "a broke"), b=openai_error(503, "b broke"))

        answer = await scene.ask(chat())

        assert (503, "b broke") == (answer.status, answer.error["message"])
        assert ["a", "b"] == scene.asked


async def test_at_most_three_calls_are_made_for_one_request(tmp_path: Path) -> None:
    async with world(tmp_path, PAIR) as scene:
        scene.script(a=openai_error(500), b=openai_error(500))

        answer = await scene.ask(chat())

        assert 500 == answer.status
        assert ["a", "b", "a"] == scene.asked


class TestConnecting:
    """F14, F15, F17."""

    async def test_a_refused_connection(self, tmp_path: Path) -> None:
        with refusing_url() as nobody:
            async with world(tmp_path, PAIR.replace("${A_URL}", nobody)) as scene:
                scene.script(b=whole())

                answer = await scene.ask(chat())

                assert ("b/m", "2") == attempts(answer)

    async def test_nobody_to_connect_to(self, tmp_path: Path) -> None:
        with refusing_url() as nobody:
            text = PAIR.replace("${A_URL}", nobody).replace("${B_URL}", nobody)
            async with world(tmp_path, text, max_attempts=2) as scene:
                answer = await scene.ask(chat())

                assert (502, "upstream_unreachable") == (answer.status, answer.error["code"])

    async def test_a_connection_that_is_never_accepted(self, tmp_path: Path) -> None:
        with deaf_url() as deaf:
            text = PAIR.replace(
                '"${A_URL}", models: [m]', f'"{deaf}", models: [m], timeouts: {{connect: 0.1}}'
            )
            async with world(tmp_path, text) as scene:
                scene.script(b=whole())

                answer = await scene.ask(chat())

                assert ("b/m", "2") == attempts(answer)

    async def test_a_server_that_speaks_no_tls_gets_no_byte_of_the_key(
        self, tmp_path: Path
    ) -> None:
        text = PAIR.replace("${A_URL}", "https://${A_HOST}")
        with socket.create_server(("127.0.0.1", 0)) as plain:
            host = f"127.0.0.1:{plain.getsockname()[1]}"
            async with world(tmp_path, text.replace("${A_HOST}", host)) as scene:
                scene.script(b=whole())
                line = scene.begin(chat())
                plain.setblocking(False)
                connection = await accepted(plain)
                with connection:
                    said = connection.recv(65_536)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    await line.until_served()

                assert 200 == line.status
                assert b"sk-credential-of-a" not in said
                assert {"b": 1} == scene.calls


class TestPatience:
    """F18: a provider that does not begin is left for the next one while there is one."""

    QUICK = PAIR.replace(
        '"${A_URL}", models: [m]', '"${A_URL}", models: [m], timeouts: {first_content: 0.15}'
    )

    @pytest.mark.parametrize(
        "silence",
        [
            (Hang(),),
            sse_reply([Hang()]),
            sse_reply([openai_frames()[0], Hang()]),
            sse_reply([b": ping\n\n", *[step for _ in range(99) for step in tick()], Hang()])
            if False
            else sse_reply([b": ping\n\n", openai_frames()[0], b": ping\n\n", Hang()]),
        ],
        ids=["no head", "no event", "a role only", "pings"],
    )
    async def test_a_stream_without_content_is_left(self, tmp_path: Path, silence: Reply) -> None:
        async with world(tmp_path, self.QUICK) as scene:
            scene.script(a=silence, b=openai_stream())

            answer = await scene.ask(streamed())

            assert ("b/m", "2") == attempts(answer)
            assert is_whole_stream(answer)
            await scene.requests("a")[0].until_closed()
