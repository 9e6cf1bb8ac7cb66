"""What a provider's failure means: another one is asked, or the client is told; each asked once.

The providers count their calls themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.e2e.failover_scenes import (
    ALONE,
    PAIR,
    answer_of,
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
    Close,
    Gate,
    Hang,
    Head,
    Hold,
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
    "422": (openai_error(422, "not so"), 422, None),
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

    async def test_a_server_without_tls_gets_no_byte_of_the_key(self, tmp_path: Path) -> None:
        received = bytearray()

        async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            received.extend(await reader.read())
            writer.close()

        server = await asyncio.start_server(receive, "127.0.0.1", 0)
        async with server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with world(tmp_path, PAIR.replace("${A_URL}", url)) as scene:
                scene.script(b=whole())

                answer = await scene.ask(chat())

        assert ("b/m", "2") == attempts(answer)
        assert received
        assert b"sk-credential-of-a" not in received


class TestPatience:
    """F18: a provider that does not begin is left for the next one while there is one."""

    QUICK = PAIR.replace(
        '"${A_URL}", models: [m]', '"${A_URL}", models: [m], timeouts: {first_content: 0.15}'
    )
    SHORT = PAIR.replace('"${A_URL}", models: [m]', '"${A_URL}", models: [m], timeout: 0.15')

    @pytest.mark.parametrize(
        "silence",
        [
            (Hang(),),
            sse_reply([Hang()]),
            sse_reply([openai_frames()[0], Hang()]),
            sse_reply([b": ping\n\n", openai_frames()[0], b": ping\n\n", Hang()]),
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

    @pytest.mark.parametrize(
        "silence", [(Hang(),), (JSON_HEAD, Send(b"{"), Hang())], ids=["no head", "half a body"]
    )
    async def test_a_whole_reply_that_does_not_come_is_left(
        self, tmp_path: Path, silence: Reply
    ) -> None:
        async with world(tmp_path, self.SHORT) as scene:
            scene.script(a=silence, b=whole())

            answer = await scene.ask(chat())

            assert ("b/m", "2") == attempts(answer)
            await scene.requests("a")[0].until_closed()

    async def test_where_nobody_begins_it_is_told_as_a_timeout(self, tmp_path: Path) -> None:
        text = self.QUICK.replace(
            '"${B_URL}", models: [m]', '"${B_URL}", models: [m], timeouts: {first_content: 0.1}'
        )
        async with world(tmp_path, text) as scene:
            scene.script(a=(Hang(),), b=(Hang(),))

            answer = await scene.ask(streamed())

            assert (504, "timeout") == (answer.status, answer.error["code"])
            # A call that timed out may have been worked on: nobody is asked twice.
            assert ["a", "b"] == scene.asked

    async def test_patience_is_short_only_while_another_one_is_left(self, tmp_path: Path) -> None:
        """What the settings allow before failing over does not end a request of the last one."""
        gate = Gate()
        slow = sse_reply([Hold(gate), *openai_frames()])
        settings = {"failover_first_content_timeout_s": 0.1}
        async with world(tmp_path, PAIR, **settings) as scene:
            scene.script(a=(Hang(),), b=slow)
            line = scene.begin(streamed())
            await scene["b"].until_requests(1)
            await asyncio.sleep(0.3)  # longer than `a` was waited for
            assert line.status is None
            gate.open()

            answer = await answer_of(line)

            assert ("b/m", "2") == attempts(answer)


def http_date_in(seconds: float) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


class TestRetryAfter:
    """F22: nobody asks before the time that the provider named, and nobody sleeps for it."""

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize(
        ("header", "value"),
        [
            ("Retry-After", lambda: "30"),
            ("Retry-After", lambda: http_date_in(30)),
            ("retry-after-ms", lambda: "30000"),
        ],
        ids=["seconds", "date", "milliseconds"],
    )
    async def test_it_cools_the_deployment(
        self, tmp_path: Path, status: int, header: str, value: Callable[[], str]
    ) -> None:
        async with world(tmp_path, PAIR) as scene:
            scene.script(a=openai_error(status, headers={header: value()}), b=whole())

            answers = [await scene.ask(chat()) for _ in range(4)]

            assert [200] * 4 == [answer.status for answer in answers]
            assert ["2", "1", "1", "1"] == [attempts(answer)[1] for answer in answers]
            assert {"a": 1, "b": 4} == scene.calls

    async def test_it_is_asked_again_after_its_time(self, tmp_path: Path) -> None:
        async with world(tmp_path, PAIR) as scene:
            scene["a"].script(openai_error(429, headers={"retry-after-ms": "300"}))
            scene.script(a=whole(), b=whole())

            await until(lambda: scene.calls["a"] == 2, lambda: scene.ask(chat()))

            first, second = scene.requests("a")
            assert second.arrived_at - first.arrived_at >= 0.3

    async def test_alone_it_is_told_with_the_time(self, tmp_path: Path) -> None:
        async with world(tmp_path, ALONE) as scene:
            scene.script(a=openai_error(429, "slow down", headers={"Retry-After": "30"}))

            answers = [await scene.ask(chat()) for _ in range(3)]

            assert [429] * 3 == [answer.status for answer in answers]
            assert all(25 < int(answer.headers["retry-after"]) <= 30 for answer in answers)
            assert ["a"] == scene.asked

    async def test_a_429_that_names_no_time_is_heeded_for_a_moment(self, tmp_path: Path) -> None:
        async with world(tmp_path, PAIR) as scene:
            scene.script(a=openai_error(429), b=whole())

            for _ in range(3):
                await scene.ask(chat())

            assert {"a": 1, "b": 3} == scene.calls


class TestCredentials:
    """F23."""

    QUOTING = openai_error(401, "Incorrect API key provided: sk-credential-of-a")

    @pytest.mark.parametrize("status", [401, 403])
    async def test_the_client_is_told_no_word_of_it(self, tmp_path: Path, status: int) -> None:
        async with world(tmp_path, ALONE) as scene:
            scene.script(a=openai_error(status, "Incorrect API key: sk-credential-of-a"))

            answer = await scene.ask(chat())

            assert (502, "upstream_authentication_error") == (
                answer.status,
                answer.error["code"],
            )
            assert b"credential-of-a" not in answer.body
            assert b"Incorrect" not in answer.body
            assert ["a"] == scene.asked

    async def test_after_three_refusals_it_is_out_and_the_operator_is_told(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with world(tmp_path, PAIR) as scene:
            scene.script(a=self.QUOTING, b=whole())

            answers = [await scene.ask(chat()) for _ in range(6)]

            assert [200] * 6 == [answer.status for answer in answers]
            assert {"a": 3, "b": 6} == scene.calls
        assert 1 == caplog.text.count("credential_rejected")
        assert "sk-credential-of-a" not in caplog.text

    async def test_other_models_with_the_same_credential_are_spared(self, tmp_path: Path) -> None:
        text = PAIR.replace("models: [m]", "models: [m, n]")
        async with world(tmp_path, text) as scene:
            scene.script(a=self.QUOTING, b=whole())
            for _ in range(3):
                await scene.ask(chat())

            await scene.ask(chat(model="n"))

            assert {"a": 3, "b": 4} == scene.calls


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """F29: the place it leads to hears nothing."""
    text = f"{PAIR}  - {{name: c, adapter: openai, endpoint: '${{C_URL}}', models: [other]}}\n"
    async with world(tmp_path, text) as scene:
        away = {"Location": f"{scene['c'].url}/v1/chat/completions"}
        scene.script(a=json_reply(307, {}, away), b=whole())

        answer = await scene.ask(chat())

        assert ("b/m", "2") == attempts(answer)
        assert 0 == scene.calls["c"]
        assert 0 == scene["c"].connections - len(scene["c"].requests)


async def test_connections_that_the_provider_closed_are_nobodys_failure(tmp_path: Path) -> None:
    """F30: one call for each request, and no other deployment is needed."""
    body = openai_completion_body()
    async with world(tmp_path, PAIR) as scene:
        scene.script(a=(*json_reply(200, body), Close()))

        answers = [await scene.ask(chat()) for _ in range(30)]

        assert [("a/m", "1")] * 30 == [attempts(answer) for answer in answers]
        assert {"a": 30} == scene.calls


async def test_a_breaker_keeps_requests_from_what_is_down_and_lets_one_find_out(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, PAIR) as scene:
        scene.script(a=openai_error(500), b=whole())

        answers = [await scene.ask(chat()) for _ in range(12)]

        assert [200] * 12 == [answer.status for answer in answers]
        assert {"a": 5, "b": 12} == scene.calls


@contextlib.contextmanager
def deaf_url() -> Iterator[str]:
    """An address whose connections are never accepted."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # the kernel accepts these itself and drops what comes after
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
