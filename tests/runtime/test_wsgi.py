"""The same application under WSGI: one loop thread, one task for each request."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor

import flask
import pytest

from one_api.errors import UpstreamError
from one_api.runtime import GatewayFlask, StreamingResponse, open_early
from tests.runtime.apps import RecordedServices, add_stream, new_app


@pytest.fixture
def services() -> RecordedServices:
    return RecordedServices()


@pytest.fixture
def app(services: RecordedServices) -> Iterator[GatewayFlask]:
    app = new_app(services)
    yield app
    app.close()


class Slow:
    """A stream that waits for ever after its pieces; safe to look at from any thread."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.ending: str | None = None
        self.is_over = threading.Event()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self.pieces:
                yield piece
            await asyncio.Event().wait()
        except BaseException as exc:
            self.ending = type(exc).__name__
            raise
        finally:
            self.is_over.set()


def test_async_view_is_awaited(app: GatewayFlask) -> None:
    @app.get("/")
    async def view() -> str:
        await asyncio.sleep(0)
        return flask.request.path

    assert "/" == app.test_client().get("/").text


def test_stream_is_pulled_to_its_end(app: GatewayFlask) -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for piece in (b"a", b"b", b"c"):
            await asyncio.sleep(0)
            yield piece

    add_stream(app, chunks)

    response = app.test_client().get("/stream")

    assert (200, b"abc") == (response.status_code, response.data)
    assert "Content-Length" not in response.headers


def test_error_in_a_view_keeps_its_status(app: GatewayFlask) -> None:
    @app.get("/")
    async def view() -> str:
        await asyncio.sleep(0)
        raise UpstreamError("it failed")

    assert 502 == app.test_client().get("/").status_code


def test_error_in_a_stream_reaches_the_server(app: GatewayFlask) -> None:
    """The server cuts the body short: the client must not take it for complete."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"a"
        await asyncio.sleep(0)
        raise RuntimeError("a bug")

    add_stream(app, chunks)
    response = app.test_client().get("/stream", buffered=False)

    with pytest.raises(RuntimeError, match="a bug"):
        b"".join(response.response)  # type: ignore[arg-type]
    response.close()


@pytest.mark.parametrize("taken", [0, 1])
def test_closing_the_response_closes_the_generator(app: GatewayFlask, taken: int) -> None:
    slow = Slow(b"a", b"b")
    add_stream(app, slow.chunks)
    response = app.test_client().get("/stream", buffered=False)
    pieces = iter(response.response)
    for _ in range(taken):
        next(pieces)

    response.close()

    # A generator that never ran has nothing to give back, so nothing that tells its end.
    assert slow.is_over.wait(5) or not taken
    assert slow.ending in (None, "GeneratorExit")


def test_closing_while_a_piece_is_awaited_cancels_the_generator(app: GatewayFlask) -> None:
    slow = Slow(b"a")
    add_stream(app, slow.chunks, keep_alive=b"ping", keep_alive_s=0.001)
    response = app.test_client().get("/stream", buffered=False)
    pieces = iter(response.response)
    assert [b"a", b"ping", b"ping"] == [next(pieces) for _ in range(3)]

    response.close()

    assert slow.is_over.wait(5)
    assert "CancelledError" == slow.ending


def test_head_does_not_leak_its_stream(app: GatewayFlask) -> None:
    slow = Slow(b"a")
    add_stream(app, slow.chunks)

    response = app.test_client().head("/stream")

    assert (200, b"") == (response.status_code, response.data)


def test_all_that_a_request_awaits_runs_in_one_task(app: GatewayFlask) -> None:
    """What is opened under a timeout or a cancel scope must be closed under the same one."""
    tasks: list[asyncio.Task[object] | None] = []

    def note() -> None:
        tasks.append(asyncio.current_task())

    @app.before_request
    async def before() -> None:
        note()
        await asyncio.sleep(0)

    @app.after_request
    async def after(response: flask.Response) -> flask.Response:
        note()
        await asyncio.sleep(0)
        return response

    async def chunks() -> AsyncGenerator[bytes, None]:
        note()
        try:
            async with asyncio.timeout(60):
                yield b"a"
                await asyncio.Event().wait()
        finally:
            note()

    @app.get("/")
    async def view() -> flask.Response:
        note()
        await asyncio.sleep(0)
        return StreamingResponse(chunks(), content_type="text/plain")

    response = app.test_client().get("/", buffered=False)
    assert b"a" == next(iter(response.response))
    response.close()

    assert 5 == len(tasks)
    assert 1 == len(set(tasks))


def test_requests_do_not_share_a_task(app: GatewayFlask) -> None:
    @app.get("/")
    async def view() -> str:
        await asyncio.sleep(0)
        return str(id(asyncio.current_task()))

    @app.get("/hold")
    async def hold() -> str:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        return "held"

    tasks: list[asyncio.Task[object] | None] = []
    client = app.test_client()
    for _ in range(3):
        client.get("/hold")

    assert 3 == len(set(tasks))


def test_services_start_once_for_all_threads(app: GatewayFlask, services: RecordedServices) -> None:
    @app.get("/<canary>")
    async def view(canary: str) -> str:
        await asyncio.sleep(0)
        return f"{canary} {flask.request.path}"

    def ask(at: int) -> str:
        return app.test_client().get(f"/{at}").text

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(ask, range(64)))

    assert [f"{at} /{at}" for at in range(64)] == told
    assert ["start"] == services.events


def test_application_can_be_closed_and_used_again(
    app: GatewayFlask, services: RecordedServices
) -> None:
    @app.get("/")
    async def view() -> str:
        await asyncio.sleep(0)
        return "ok"

    client = app.test_client()
    assert "ok" == client.get("/").text
    app.close()
    app.close()
    assert "ok" == client.get("/").text
    app.close()

    assert ["start", "stop", "start", "stop"] == services.events
    assert services.loops[0] is services.loops[1] is not services.loops[2]


def test_failure_to_start_is_told_each_time(app: GatewayFlask, services: RecordedServices) -> None:
    @app.get("/")
    async def view() -> str:
        await asyncio.sleep(0)
        return "ok"

    services.failure = RuntimeError("no room")
    client = app.test_client()

    assert 500 == client.get("/").status_code
    assert 500 == client.get("/").status_code
    services.failure = None
    assert "ok" == client.get("/").text


def test_sync_views_need_no_loop(app: GatewayFlask, services: RecordedServices) -> None:
    app.add_url_rule("/", view_func=lambda: "ok")

    assert "ok" == app.test_client().get("/").text
    assert [] == services.events


def test_early_opening_is_for_asgi_alone(app: GatewayFlask) -> None:
    @app.get("/")
    async def view() -> str:
        head = StreamingResponse(None, content_type="text/event-stream")
        open_early(flask.request.environ, 0, head)
        await asyncio.sleep(0)
        return "plain"

    response = app.test_client().get("/")

    assert ("plain", "text/html") == (response.text, response.mimetype)


def test_no_cookie_is_ever_set(app: GatewayFlask) -> None:
    app.secret_key = "s"
    app.add_url_rule("/", view_func=lambda: str(flask.session.get("a")))

    response = app.test_client().get("/", headers={"Cookie": "session=x"})

    assert "None" == response.text
    assert "Set-Cookie" not in response.headers


FORKING = """
import asyncio, os, sys
from tests.runtime.apps import RecordedServices, new_app

services = RecordedServices()
app = new_app(services)

@app.get("/")
async def view():
    await asyncio.sleep(0)
    return "ok"

def ask():
    return app.test_client().get("/").text

assert ask() == "ok"
child = os.fork()
if child == 0:
    told = ask(), services.events
    app.close()
    os._exit(0 if told == ("ok", ["start", "start", "stop"]) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert ask() == "ok"
app.close()
assert services.events == ["start", "stop"], services.events
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="forks")
def test_forked_process_has_a_loop_of_its_own() -> None:
    """Servers load the application, maybe use it, and fork: threads do not come along."""
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING],
        timeout=30,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (child.returncode, child.stderr)
