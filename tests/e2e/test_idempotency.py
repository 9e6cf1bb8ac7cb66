"""Requests that come again under one Idempotency-Key: asked once, told to all."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.counters.redis_server import RedisServer, running_redis
from tests.e2e.account_scenes import ended_rows, sqlite_rows
from tests.e2e.conftest import API_KEY, OPENAI_CREDENTIAL, StartGateway
from tests.e2e.exchanges import Answer, exchange, raw_request, sent, stream
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    Close,
    Gate,
    Hang,
    Hold,
    Reply,
    ScriptedUpstream,
    Step,
    bytes_reply,
    json_reply,
    sse_reply,
)

OTHER_KEY = "gateway-key-of-another"
CHAT = "/chat/completions"
REPLAYED = "idempotent-replayed"
#: What of a reply must come again; the rest is of one response.
KEPT_HEADERS = ("content-type", "x-one-api-model", "x-one-api-deployment", "x-one-api-attempts")
PARALLEL = 50
#: How long Redis may be late on a busy machine, in seconds.
PATIENCE_S = 20.0


@pytest.fixture
def once() -> str:
    """An Idempotency-Key that no other test uses."""
    return f"key-{secrets.token_hex(6)}"


@pytest.fixture
def environment(openai_upstream: ScriptedUpstream) -> dict[str, str]:
    """That of a gateway with two callers and one provider."""
    return {
        "API_KEYS": f"{API_KEY},{OTHER_KEY}",
        "MAX_ATTEMPTS": "1",
        "OPENAI_API_KEY": OPENAI_CREDENTIAL,
        "OPENAI_BASE_URL": f"{openai_upstream.url}/v1",
    }


def ask(
    gateway: GatewayProcess, body: object, once: str | None, path: str = CHAT, *, key: str = API_KEY
) -> Answer:
    headers = {} if once is None else {"Idempotency-Key": once}
    return exchange(f"{gateway.base_url}{path}", body, headers=headers, key=key)


def is_replay(answer: Answer) -> bool:
    assert answer.headers.get(REPLAYED, "true") == "true"
    return REPLAYED in answer.headers


def raw(body: object, once: str) -> bytes:
    request = raw_request(f"/v1{CHAT}", json.dumps(body).encode(), API_KEY)
    return request.replace(b"Content-Type", b"Idempotency-Key: %b\r\nContent-Type" % once.encode())


def answer_on(sock: socket.socket) -> Answer:
    with http.client.HTTPResponse(sock) as response:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())


def ask_at_once(gateway: GatewayProcess, scene: Scene, body: object, once: str) -> list[Answer]:
    """The answers to many repeats that were all sent before the provider said anything."""
    gate = Gate()
    scene.script((Hold(gate), *reply_to(scene, body)))
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(sent(gateway.url, raw(body, once))) for _ in range(PARALLEL)]
        scene.wait_for_request()
        gate.open()
        return [answer_on(sock) for sock in sockets]


def reply_to(scene: Scene, body: Any) -> Reply:
    return scene.streamed() if body.get("stream") else scene.whole()


# -- what is told


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_fifty_repeats_at_once_ask_the_provider_once(
    any_gateway: GatewayProcess, openai_scene: Scene, once: str, is_stream: bool
) -> None:
    answers = ask_at_once(any_gateway, openai_scene, openai_scene.ask(stream=is_stream), once)

    assert {200} == {answer.status for answer in answers}
    assert 1 == len({answer.body for answer in answers})
    assert PARALLEL - 1 == sum(map(is_replay, answers))
    assert 1 == len(openai_scene.requests)


DOORS: dict[str, tuple[str, dict[str, object]]] = {
    "chat": (CHAT, {}),
    "completions": ("/completions", {"prompt": "Hello?"}),
    "messages": ("/messages", {"max_tokens": 50}),
    "responses": ("/responses", {"input": "Hello?"}),
}


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, claude_scene: Scene) -> tuple[str, dict[str, object]]:
    """A path, and the body of a request to it."""
    path, fields = DOORS[request.param]
    body = {**claude_scene.ask(), **fields}
    if path in ("/completions", "/responses"):
        del body["messages"]
    return path, body


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_repeats_are_told_the_same_byte_for_byte(
    any_gateway: GatewayProcess,
    claude_scene: Scene,
    door: tuple[str, dict[str, object]],
    once: str,
    is_stream: bool,
) -> None:
    path, body = door
    body["stream"] = is_stream
    claude_scene.script(claude_scene.streamed())

    first, *repeats = [ask(any_gateway, body, once, path) for _ in range(3)]

    assert 200 == first.status, first.body
    assert not is_replay(first)
    for repeat in repeats:
        assert is_replay(repeat)
        assert (first.status, first.body) == (repeat.status, repeat.body)
        for name in KEPT_HEADERS:
            assert first.headers.get(name) == repeat.headers.get(name)
    answers = [first, *repeats]
    assert 3 == len({answer.headers["x-request-id"] for answer in answers})
    if path == "/messages":
        assert all(one.headers["request-id"] == one.headers["x-request-id"] for one in answers)
    assert 1 == len(claude_scene.requests)


def test_what_the_gateway_passes_on_is_kept_too(
    any_gateway: GatewayProcess, openai_scene: Scene, once: str
) -> None:
    spoken = bytes(range(256)) * 100
    openai_scene.script(bytes_reply(200, spoken, "audio/mpeg"))
    body = {"model": openai_scene.model, "input": "Hello", "voice": "alloy"}

    first, repeat = [ask(any_gateway, body, once, "/audio/speech") for _ in range(2)]

    assert (200, spoken) == (first.status, first.body)
    assert (200, spoken, "audio/mpeg") == (
        repeat.status,
        repeat.body,
        repeat.headers["content-type"],
    )
    assert (False, True) == (is_replay(first), is_replay(repeat))
    assert "POST" == openai_scene.request.method


def test_a_reply_too_large_to_be_kept_is_not_asked_for_again(
    gateway: GatewayProcess, openai_scene: Scene, once: str
) -> None:
    openai_scene.script(bytes_reply(200, bytes(1_100_000), "audio/mpeg"))
    body = {"model": openai_scene.model, "input": "a long story", "voice": "alloy"}

    first, repeat = [ask(gateway, body, once, "/audio/speech") for _ in range(2)]

    assert (200, 1_100_000) == (first.status, len(first.body))
    assert (409, "idempotent_reply_too_large") == (repeat.status, repeat.error["code"])
    assert "false" == repeat.headers["x-should-retry"]
    assert 1 == len(openai_scene.requests)


# -- what is another request


def test_without_the_header_each_request_is_one_of_its_own(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script(openai_scene.whole(), openai_scene.whole())

    answers = [ask(gateway, openai_scene.ask(), None) for _ in range(2)]

    assert [200, 200] == [answer.status for answer in answers]
    assert [False, False] == [is_replay(answer) for answer in answers]
    assert 2 == len(openai_scene.requests)


def test_uploads_are_requests_of_their_own(
    any_gateway: GatewayProcess, openai_upstream: ScriptedUpstream, once: str
) -> None:
    """They go to the provider piece by piece, and their key with them."""
    path = "/audio/transcriptions"
    openai_upstream.script(json_reply(200, {"text": "Hello"}), path=f"/v1{path}", repeat_last=True)
    model = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nopenai/scribe\r\n'
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n'
    headers = {"Idempotency-Key": once, "Content-Type": "multipart/form-data; boundary=b"}
    url = f"{any_gateway.base_url}{path}"

    answers = [
        exchange(url, model + file + b"--b--\r\n", headers=headers, key=API_KEY) for _ in range(2)
    ]

    assert [(200, {"text": "Hello"})] * 2 == [(answer.status, answer.json) for answer in answers]
    assert [False, False] == [is_replay(answer) for answer in answers]
    asked = [one.headers.get("idempotency-key") for one in openai_upstream.requests]
    assert 2 == asked.count(once)


def test_another_request_under_the_same_key_is_refused(
    any_gateway: GatewayProcess, openai_scene: Scene, once: str
) -> None:
    openai_scene.script(openai_scene.whole())
    body = openai_scene.ask()
    assert 200 == ask(any_gateway, body, once).status

    others = [
        ask(any_gateway, openai_scene.ask("Other"), once),
        ask(any_gateway, body, once, "/responses"),
        ask(any_gateway, body, once, f"{CHAT}?a=b"),
    ]

    assert [(422, "idempotency_key_reused")] * 3 == [
        (answer.status, answer.error["code"]) for answer in others
    ]
    assert is_replay(ask(any_gateway, body, once))
    assert 1 == len(openai_scene.requests)


@pytest.mark.parametrize(
    "bad", ["", "a b", "\u00fc", "x" * 256], ids=["none", "space", "\u00fc", "long"]
)
def test_a_key_that_is_none_is_refused(
    any_gateway: GatewayProcess, openai_scene: Scene, bad: str
) -> None:
    answer = ask(any_gateway, openai_scene.ask(), bad)

    assert (400, "invalid_idempotency_key") == (answer.status, answer.error["code"])
    assert [] == openai_scene.requests


# -- what is not kept


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_after_an_error_the_repeat_asks_again(
    any_gateway: GatewayProcess, openai_scene: Scene, once: str, status: int
) -> None:
    openai_scene.script(openai_scene.refused(status), openai_scene.whole())

    answers = [ask(any_gateway, openai_scene.ask(), once) for _ in range(3)]

    assert answers[0].status >= 400
    assert [200, 200] == [answer.status for answer in answers[1:]]
    assert [False, False, True] == [is_replay(answer) for answer in answers]
    assert 2 == len(openai_scene.requests)


@pytest.mark.parametrize("ending", ["told", "cut"])
def test_after_a_stream_that_broke_the_repeat_asks_again(
    any_gateway: GatewayProcess,
    claude_scene: Scene,
    door: tuple[str, dict[str, object]],
    once: str,
    ending: str,
) -> None:
    path, body = door
    body["stream"] = True
    steps: list[bytes | Step] = [*claude_scene.begun()]
    steps.append(claude_scene.error_frame() if ending == "told" else Close())
    claude_scene.script(sse_reply(steps), claude_scene.streamed())

    answers = [ask(any_gateway, body, once, path) for _ in range(3)]

    assert b"error" in answers[0].body
    assert b'error":{' not in answers[1].body
    assert answers[1].body == answers[2].body
    assert [False, False, True] == [is_replay(answer) for answer in answers]
    assert 2 == len(claude_scene.requests)


def test_after_a_passed_on_reply_that_was_cut_the_repeat_asks_again(
    any_gateway: GatewayProcess, openai_scene: Scene, once: str
) -> None:
    whole = bytes_reply(200, b"ID3" * 1000, "audio/mpeg")
    (head, *_) = whole
    openai_scene.script((head, Close()), whole)
    body = {"model": openai_scene.model, "input": "Hello", "voice": "alloy"}
    with contextlib.suppress(http.client.HTTPException, ConnectionError):
        ask(any_gateway, body, once, "/audio/speech")

    answers = [ask(any_gateway, body, once, "/audio/speech") for _ in range(2)]

    assert [b"ID3" * 1000] * 2 == [answer.body for answer in answers]
    assert [False, True] == [is_replay(answer) for answer in answers]
    assert 2 == len(openai_scene.requests)


@pytest.mark.parametrize("server", ["one-api", "uvicorn"])
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_after_the_client_left_the_repeat_asks_again(
    shared_gateway: Any, openai_scene: Scene, once: str, server: str, is_stream: bool
) -> None:
    gateway = shared_gateway(server)
    body = openai_scene.ask(stream=is_stream)
    openai_scene.script((Hang(),), reply_to(openai_scene, body))
    with sent(gateway.url, raw(body, once)) as sock:
        openai_scene.wait_for_request()
        sock.shutdown(socket.SHUT_RDWR)

    answers = [ask(gateway, body, once) for _ in range(2)]

    assert [200, 200] == [answer.status for answer in answers]
    assert [False, True] == [is_replay(answer) for answer in answers]
    openai_scene.requests[0].wait_closed()


def test_after_the_client_left_midway_the_repeat_asks_again(
    any_gateway: GatewayProcess, openai_scene: Scene, once: str
) -> None:
    gate = Gate()
    body = openai_scene.ask(stream=True)
    word = openai_scene.begun()[-1]
    # Some servers learn that a client left only by writing to it.
    long: list[bytes | Step] = [*openai_scene.begun(), Hold(gate), *[word] * 10_000, Hang()]
    openai_scene.script(sse_reply(long), openai_scene.streamed())
    url = f"{any_gateway.base_url}{CHAT}"
    with stream(url, body, headers={"Idempotency-Key": once}, key=API_KEY) as response:
        assert response.read1().startswith(b"data: ")
    gate.open()

    answers = [ask(any_gateway, body, once) for _ in range(2)]

    assert [200, 200] == [answer.status for answer in answers]
    assert [False, True] == [is_replay(answer) for answer in answers]
    assert answers[0].body == answers[1].body
    assert 2 == len(openai_scene.requests)


# -- whose they are, and what they take


@pytest.mark.slow
def test_repeats_belong_to_their_caller_and_take_nothing(
    start_gateway: StartGateway,
    environment: dict[str, str],
    openai_scene: Scene,
    tmp_path: Path,
    once: str,
) -> None:
    database = tmp_path / "ledger.db"
    limits = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_REQUESTS": "2"}
    gateway = start_gateway({**environment, **limits, "DATABASE_URL": f"sqlite:///{database}"})
    openai_scene.script(*[openai_scene.whole()] * 3)

    mine = [ask(gateway, openai_scene.ask(), once) for _ in range(5)]
    theirs = [ask(gateway, openai_scene.ask(), once, key=OTHER_KEY) for _ in range(5)]
    others = [ask(gateway, openai_scene.ask(), None) for _ in range(2)]
    late = ask(gateway, openai_scene.ask(), once)

    for answers in (mine, theirs):
        assert [200] * 5 == [answer.status for answer in answers]
        assert [False, *[True] * 4] == [is_replay(answer) for answer in answers]
    assert [200, 429] == [answer.status for answer in others]
    assert (200, True) == (late.status, is_replay(late))
    assert 3 == len(openai_scene.requests)
    rows = ended_rows(lambda: sqlite_rows(database), 3)
    assert 3 == len(rows)


# -- many processes


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


def warm_up(gateway: GatewayProcess) -> None:
    """Let each worker have met Redis: on a busy machine its first look may take too long."""
    body = {"model": "echo", "messages": [{"role": "user", "content": "Hello?"}]}
    for _ in range(2):
        with contextlib.ExitStack() as stack:
            requests = [raw(body, secrets.token_hex(6)) for _ in range(8)]
            for sock in [stack.enter_context(sent(gateway.url, request)) for request in requests]:
                answer_on(sock)


def ask_until_told(gateway: GatewayProcess, body: object, once: str) -> Answer:
    """The answer once Redis is in time, as a client has it that tries again after a 503."""
    deadline = time.monotonic() + PATIENCE_S
    while (answer := ask(gateway, body, once)).status == 503:
        assert time.monotonic() < deadline
    return answer


@pytest.mark.redis
@pytest.mark.slow
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_processes_that_share_redis_ask_once(
    start_gateway: StartGateway,
    environment: dict[str, str],
    redis: RedisServer,
    openai_scene: Scene,
    once: str,
    is_stream: bool,
) -> None:
    shared = {
        **environment,
        "IDEMPOTENCY_TTL_S": "1000",
        "REDIS_FAILURE": "fail_closed",
        "REDIS_URL": redis.url,
    }
    gateway = start_gateway({**shared, "WORKERS": "2"})
    elsewhere = start_gateway(shared)
    warm_up(gateway)
    body = openai_scene.ask(stream=is_stream)

    at_once = ask_at_once(gateway, openai_scene, body, once)
    later = [ask_until_told(one, body, once) for one in (gateway, elsewhere)]
    other = ask_until_told(elsewhere, openai_scene.ask("Other"), once)

    # Who comes while Redis is not in time is refused, and never asks a second time.
    assert {200} == {answer.status for answer in at_once} - {503}
    told = [answer for answer in at_once if answer.status == 200]
    assert len(told) - 1 == sum(map(is_replay, told))
    assert [True, True] == [is_replay(answer) for answer in later]
    assert 1 == len({answer.body for answer in (*told, *later)})
    assert 1 == len(openai_scene.requests)
    assert 422 == other.status


@pytest.mark.redis
@pytest.mark.slow
def test_what_is_kept_in_redis_ends_and_does_not_name_the_key(
    start_gateway: StartGateway,
    environment: dict[str, str],
    tmp_path: Path,
    openai_scene: Scene,
    once: str,
) -> None:
    with running_redis(tmp_path) as redis:
        shared = {"REDIS_FAILURE": "fail_closed", "REDIS_URL": redis.url}
        gateway = start_gateway({**environment, **shared, "IDEMPOTENCY_TTL_S": "1000"})
        warm_up(gateway)
        openai_scene.script(openai_scene.whole())

        assert 200 == ask_until_told(gateway, openai_scene.ask(), once).status

        names = redis.command("KEYS", "*idempotency*")
        assert names
        for name in names:
            assert 0 < redis.command("PTTL", name) <= 1_000_000
            assert once.encode() not in name
