"""What a request with an Idempotency-Key waits for, and what it leaves behind however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import flask
import pytest
from typing_extensions import override

from one_api.counters.memory import MemoryCounters
from one_api.errors import GatewayError, StorageUnavailable
from one_api.policy.accounts import AccountBook, Limits
from one_api.policy.auth import ApiKey
from one_api.policy.idempotency import Claims, Idempotency
from one_api.policy.prices import PriceTable
from one_api.runtime import Drain, GatewayFlask, Services, StreamingResponse, UploadPolicy
from one_api.runtime.asgi import ASGIBridge
from one_api.web.idempotency import REPLAYED, Repeats
from one_api.web.responses import error_response, open_stream_early
from tests.runtime.line import HOST, Line

PATH = "/v1/chat/completions"
KEY = {"Idempotency-Key": "once"}
PATIENCE_S = 5.0


class NoServices(Services):
    @override
    async def start(self) -> None:
        """Nothing to start."""

    @override
    async def stop(self) -> None:
        """Nothing to stop."""


class GoneStore(Claims):
    """A store that does not answer."""

    @override
    async def claim(self, key: str, owner: str, ttl_s: float) -> bytes | None:
        raise StorageUnavailable("gone")

    @override
    async def replace(self, key: str, owner: str, value: bytes, ttl_s: float) -> bool:
        raise StorageUnavailable("gone")

    @override
    async def delete(self, key: str, owner: str) -> bool:
        raise StorageUnavailable("gone")


class SlowStore(MemoryCounters):
    """A store that keeps a reply only once it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.keeps = asyncio.Event()
        self.may_keep = asyncio.Event()

    @override
    async def replace(self, key: str, owner: str, value: bytes, ttl_s: float) -> bool:
        if b'"done"' in value:
            self.keeps.set()
            await self.may_keep.wait()
        return await super().replace(key, owner, value, ttl_s)


class CountingStore(MemoryCounters):
    """A store that knows how often it was asked for the right to answer."""

    def __init__(self) -> None:
        super().__init__()
        self._claims = asyncio.Semaphore(0)

    async def until_claimed(self, times: int) -> None:
        """Wait until so many more have asked."""
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(times):
                await self._claims.acquire()

    @override
    async def claim(self, key: str, owner: str, ttl_s: float) -> bytes | None:
        self._claims.release()
        return await super().claim(key, owner, ttl_s)


class World:
    """An application with one view, which gives each of `replies` once; `asked` counts."""

    def __init__(self, store: Claims) -> None:
        self.replies: list[Callable[[], flask.Response]] = []
        self.asked = 0
        self.arrived = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.book = AccountBook(MemoryCounters(), None, PriceTable.load(None), Limits())
        self.app = GatewayFlask(__name__, services=NoServices(), drain=Drain(0.01))
        self.app.before_request(self._identify)
        self.app.register_error_handler(GatewayError, error_response)
        Repeats(Idempotency(store), UploadPolicy(), self.book.do_later).install(self.app)
        methods = ["GET", "POST", "PUT"]
        self.app.add_url_rule(PATH, "openai.chat_completions", self._view, methods=methods)
        self.app.add_url_rule("/v1/models", "openai.list_models", self._view, methods=methods)

    def _identify(self) -> None:
        flask.g.caller = ApiKey("alice")

    async def _view(self) -> flask.Response:
        self.asked += 1
        self.arrived.set()
        await self.may_answer.wait()
        return self.replies.pop(0)()

    def begin(self) -> Line:
        """A request with the key, on its way."""
        headers = [HOST, (b"idempotency-key", b"once")]
        return Line(ASGIBridge(self.app), PATH, method="POST", headers=headers, body=b"{}")

    async def ask(self) -> Line:
        """A request with the key, and its whole answer."""
        line = self.begin()
        await ended(line)
        return line


def told(status: int = 200) -> Callable[[], flask.Response]:
    return lambda: flask.Response(b'{"a":1}', status, content_type="application/json")


def streamed(*pieces: bytes, kind: str = "text/event-stream") -> Callable[[], flask.Response]:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for piece in pieces:
            yield piece

    return lambda: StreamingResponse(chunks(), content_type=kind)


async def ended(line: Line) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await line.task
    assert [] == line.violations


def is_replay(line: Line) -> bool:
    return REPLAYED in line.headers


@asynccontextmanager
async def serving(store: Claims, *replies: Callable[[], flask.Response]) -> AsyncIterator[World]:
    """A world on the running loop that answers at once, unless its test says otherwise."""
    world = World(store)
    world.replies = list(replies)
    world.may_answer.set()
    await world.app.start()
    yield world
    await world.app.stop()
    await world.book.close()


@pytest.fixture
def worlds() -> Iterator[Callable[[Claims], World]]:
    """Worlds for WSGI."""
    made: list[World] = []

    def make(store: Claims) -> World:
        made.append(World(store))
        made[-1].may_answer.set()
        return made[-1]

    yield make
    for world in made:
        world.app.close()


# -- which requests it is about


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [("POST", PATH, {}), ("GET", PATH, KEY), ("PUT", PATH, KEY), ("POST", "/v1/models", KEY)],
    ids=["without the header", "GET", "PUT", "no model is asked"],
)
def test_others_do_not_look_into_the_store(
    worlds: Callable[[Claims], World], method: str, path: str, headers: dict[str, str]
) -> None:
    world = worlds(GoneStore())
    world.replies = [told()]

    assert 200 == world.app.test_client().open(path, method=method, headers=headers).status_code


def test_without_its_store_a_request_is_refused_and_nobody_is_asked(
    worlds: Callable[[Claims], World],
) -> None:
    world = worlds(GoneStore())

    assert 503 == world.app.test_client().post(PATH, headers=KEY, data="{}").status_code
    assert 0 == world.asked


# -- clients that leave


async def test_reply_is_kept_though_the_client_leaves_while_it_is_stored() -> None:
    store = SlowStore()
    async with serving(store, told()) as world:
        first = world.begin()
        await store.keeps.wait()
        first.leave()
        await ended(first)
        store.may_keep.set()

        assert is_replay(await world.ask())
        assert 1 == world.asked


async def test_client_that_leaves_before_the_reply_gives_its_key_back() -> None:
    async with serving(MemoryCounters(), told()) as world:
        world.may_answer.clear()
        first = world.begin()
        await world.arrived.wait()
        first.leave()
        await ended(first)
        world.may_answer.set()

        answers = [await world.ask() for _ in range(2)]
        assert [(200, False), (200, True)] == [(one.status, is_replay(one)) for one in answers]


async def test_repeat_that_leaves_while_it_waits_takes_nothing_along() -> None:
    store = CountingStore()
    async with serving(store, told()) as world:
        world.may_answer.clear()
        first = world.begin()
        repeats = [world.begin() for _ in range(3)]
        await store.until_claimed(4)
        repeats[0].leave()
        await ended(repeats[0])
        world.may_answer.set()
        for line in (first, *repeats[1:]):
            await ended(line)

        assert [False, True, True] == [is_replay(line) for line in (first, *repeats[1:])]
        assert 1 == world.asked


async def test_when_the_first_leaves_one_that_waits_asks() -> None:
    store = CountingStore()
    async with serving(store, told()) as world:
        world.may_answer.clear()
        first = world.begin()
        repeats = [world.begin() for _ in range(3)]
        await store.until_claimed(4)
        first.leave()
        await ended(first)
        world.may_answer.set()
        for line in repeats:
            await ended(line)

        assert [200] * 3 == [line.status for line in repeats]
        assert 2 == sum(is_replay(line) for line in repeats)
        assert 2 == world.asked


async def test_stream_that_the_drain_cuts_is_not_kept() -> None:
    hangs = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        hangs.set()
        await asyncio.Event().wait()

    def cut() -> flask.Response:
        return StreamingResponse(endless(), content_type="text/event-stream", cut_off=b"cut")

    async with serving(MemoryCounters(), cut, streamed(b"data: 1\n\n")) as world:
        first = world.begin()
        await hangs.wait()
        world.app.drain.begin(asyncio.get_running_loop())
        await ended(first)

        assert b"data: 1\n\ncut" == first.body
        assert not is_replay(await world.ask())


def test_stream_that_no_server_pulled_gives_its_key_back(
    worlds: Callable[[Claims], World],
) -> None:
    world = worlds(MemoryCounters())
    world.replies = [streamed(b"data: 1\n\n"), streamed(b"data: 2\n\n")]
    client = world.app.test_client()
    client.post(PATH, headers=KEY, data="{}").close()

    answers = [client.post(PATH, headers=KEY, data="{}", buffered=True) for _ in range(2)]

    assert [b"data: 2\n\n"] * 2 == [answer.data for answer in answers]
    assert [None, "true"] == [answer.headers.get(REPLAYED) for answer in answers]


# -- streams


async def test_head_that_is_sent_early_is_not_the_reply() -> None:
    def opened() -> flask.Response:
        head = StreamingResponse(None, content_type="text/event-stream")
        open_stream_early(head, PATIENCE_S)
        return streamed(b"data: 1\n\n")()

    async with serving(MemoryCounters(), opened) as world:
        answers = [await world.ask() for _ in range(2)]

        assert [b"data: 1\n\n"] * 2 == [answer.body for answer in answers]
        assert [False, True] == [is_replay(answer) for answer in answers]


ERRORS = [
    [b'data: {"error":{"message":"m"}}\n\n'],
    [b"event: error\ndata: {}\n\n"],
    [b'event: response.failed\ndata: {"type":"response.failed"}\n\n'],
    [b'data: {"type":"error"}\r\n\r\n'],
    [b"data: {}\n", b"\nevent: er", b"ror\ndata: {}\n\n"],
    [b"data: " + b"x" * 1_100_000, b'\n\ndata: {"error":{}}\n\n'],
]


@pytest.mark.parametrize(
    "pieces", ERRORS, ids=["openai", "named", "responses", "crlf", "cut", "long"]
)
async def test_stream_that_told_of_an_error_is_not_kept(pieces: list[bytes]) -> None:
    whole = b"data: {}\n\n"
    async with serving(MemoryCounters(), streamed(*pieces), streamed(whole)) as world:
        answers = [await world.ask() for _ in range(3)]

        assert [b"".join(pieces), whole, whole] == [answer.body for answer in answers]
        assert [False, False, True] == [is_replay(answer) for answer in answers]


NO_ERRORS: list[tuple[bytes, str]] = [
    (b'data: {"text":"\\nevent: error\\ndata: {\\"error\\":1}"}\n\n', "text/event-stream"),
    (b'event: error\ndata: {"error":1}', "application/octet-stream"),
    (b"", "text/event-stream"),
]


@pytest.mark.parametrize(("body", "kind"), NO_ERRORS, ids=["within text", "no events", "empty"])
async def test_what_only_looks_like_an_error_is_kept(body: bytes, kind: str) -> None:
    async with serving(MemoryCounters(), streamed(body, kind=kind)) as world:
        answers = [await world.ask() for _ in range(2)]

        assert [(body, False), (body, True)] == [(one.body, is_replay(one)) for one in answers]


@pytest.mark.parametrize("status", [199, 300, 404, 500])
async def test_only_successes_are_kept(status: int) -> None:
    async with serving(MemoryCounters(), told(status), told(201)) as world:
        answers = [await world.ask() for _ in range(3)]

        assert [status, 201, 201] == [answer.status for answer in answers]
        assert [False, False, True] == [is_replay(answer) for answer in answers]
