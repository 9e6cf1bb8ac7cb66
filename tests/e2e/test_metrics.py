"""Metrics of whole gateways, read as Prometheus reads them, against what the providers counted."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import http.client
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.e2e.conftest import API_KEY, StartGateway
from tests.e2e.exchanges import exchange
from tests.e2e.failover_scenes import (
    CALLER_KEY,
    PAIR,
    World,
    begun,
    chat,
    streamed,
    until,
    whole,
    world,
)
from tests.e2e.gateways import GatewayProcess, children_of, free_port
from tests.observe.scenes import Samples, samples_of
from tests.scripted_upstream import (
    CHAT_PATH,
    HELLO,
    MODELS_PATH,
    Gate,
    Hang,
    Hold,
    Reset,
    ScriptedUpstream,
    Step,
    models_reply,
    openai_completion,
    openai_error,
    openai_frames,
    sse_reply,
)

TOKEN = "a-token-for-metrics"
PRICED = PAIR.replace("models: [m]", "models: [m], price: {input: 2, output: 10}")
CHATS = {"endpoint": CHAT_PATH, "model": "m"}
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


class Scraped:
    """What one scrape told."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __call__(self, name: str, **labels: str) -> float:
        """The sum over all samples of `name` that have these labels."""
        wanted = labels.items()
        return sum(
            value
            for (told, given), value in self.samples.items()
            if told == f"one_api_{name}" and wanted <= set(given)
        )


async def scrape(scene: World, path: str = "/metrics") -> Scraped:
    answer = await scene.ask(b"", path, method="GET", authorization=f"Bearer {TOKEN}")
    assert 200 == answer.status
    return Scraped(samples_of(answer.body.decode()))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, PRICED, metrics_token=TOKEN) as scene:
        yield scene


async def test_what_is_told_is_what_providers_counted(scene: World) -> None:
    scene["a"].script(openai_error(503), openai_error(500))
    scene.script(a=whole(), b=whole())

    for _ in range(8):
        assert 200 == (await scene.ask(chat())).status

    told = await scrape(scene)
    assert 8 == told("requests_total", **CHATS, status="200")
    assert {"a": 8, "b": 2} == scene.calls
    for name, count in scene.calls.items():
        assert count == told("attempts_total", deployment=f"{name}/m")
    assert scene.calls["b"] == told("failovers_total", deployment="a/m")
    for reason in ("server_is_overloaded", "upstream_server_error"):
        assert 1 == told("failovers_total", deployment="a/m", reason=reason)
    assert HELLO.usage is not None
    prompt, completion = HELLO.usage.prompt, HELLO.usage.completion
    assert 8 * prompt == told("tokens_total", kind="input")
    assert 8 * completion == told("tokens_total", kind="output")
    assert pytest.approx(8 * (2 * prompt + 10 * completion) / 1e6) == told("cost_usd_total")


async def test_streams_open_goes_up_and_comes_down(scene: World) -> None:
    """Told to the end, broken by the provider, and left by the client."""
    gate = Gate()
    first, *rest = begun("Hello", ", ", "world")
    held: list[bytes | Step] = [first, rest[0], Hold(gate)]
    scene["a"].script(
        sse_reply([*held, *openai_frames()[2:]]),
        sse_reply([*held, Reset()]),
        sse_reply([*held, Hang()]),
    )
    lines = [scene.begin(streamed()) for _ in range(3)]
    for line in lines:
        await line.until(lambda line=line: b"Hello" in line.body)  # type: ignore[misc]
    # Which of them got which reply is not told: each ends by itself, or is left.
    assert 3 == (await scrape(scene))("streams_open")

    gate.open()
    await asyncio.wait([line.task for line in lines], return_when=asyncio.FIRST_COMPLETED)
    await until(lambda: 2 == sum(line.task.done() for line in lines), lambda: asyncio.sleep(0))
    assert 1 == (await scrape(scene))("streams_open")
    for line in lines:
        line.leave()
        await line.until_served()

    told = await eventually(scene, lambda told: not told("streams_open"))
    assert 2 == told("requests_total", **CHATS, status="200")
    assert 1 == told("requests_total", **CHATS, status="499")
    assert 1 == told("streams_broken_total", deployment="a/m", reason="upstream_disconnected")
    assert 3 == told("first_content_seconds_count", model="m", deployment="a/m")
    assert 0 < told("inter_chunk_seconds_count", model="m", deployment="a/m")


async def test_unknown_models_add_no_series(scene: World) -> None:
    async def ask(number: int) -> None:
        assert 404 == (await scene.ask({**chat(), "model": f"unknown-{number}"})).status

    await ask(0)
    await scrape(scene)
    before = await scrape(scene)
    for number in range(200):
        await ask(number)

    after = await scrape(scene)
    assert before.samples.keys() == after.samples.keys()
    assert 201 == after("requests_total", model="other", status="404")


async def test_breakers_are_told_by_deployment(scene: World) -> None:
    scene.script(a=openai_error(500), b=whole())

    for _ in range(8):
        await scene.ask(chat())

    told = await scrape(scene)
    assert 1 == told("deployment_breaker", deployment="a/m", state="open")
    assert 1 == told("deployment_breaker", deployment="b/m", state="closed")
    assert 1 == told("routing_events_total", deployment="a/m", kind="opened")
    assert 0 == told("deployment_available", deployment="a/m")
    assert 0 == told("deployment_in_flight")


async def test_refusals_are_told_by_limit(tmp_path: Path) -> None:
    """The refusals that clients get, not errors made by hand: their limit is read from them."""
    limits = {
        "requests_per_minute": {"rate_limit_enabled": True, "rate_limit_requests": 1},
        "tokens_per_minute": {"rate_limit_tokens": 10},
        "concurrent_requests": {"max_concurrent_requests": 1},
    }
    for name, settings in limits.items():
        async with world(tmp_path, PAIR, metrics_token=TOKEN, **settings) as scene:
            gate = Gate()
            scene["a"].script((Hold(gate), *whole()), repeat_last=True)
            first = scene.begin(chat())
            if name != "tokens_per_minute":
                await scene["a"].until_requests(1)
            assert 429 == (await scene.ask(chat())).status
            gate.open()
            await first.until_served()

            told = await scrape(scene)
            refused = 2 if name == "tokens_per_minute" else 1
            assert refused == told("limit_refusals_total", limit=name)
            assert refused == told("limit_refusals_total")


async def test_hits_and_misses_of_the_cache(tmp_path: Path) -> None:
    async with world(tmp_path, PAIR, metrics_token=TOKEN, cache="memory") as scene:
        scene.script(a=whole())
        for text in ("one", "one", "two", "one"):
            await scene.ask(chat(text, temperature=0))

        told = await scrape(scene)
        assert (4, 2) == (told("cache_lookups_total"), told("cache_hits_total"))
        assert 2 == scene.calls["a"] == told("attempts_total")


TOKENS = {
    "none": ({}, 401),
    "of a client": ({"authorization": f"Bearer {CALLER_KEY}"}, 401),
    "of the operator": ({"authorization": f"Bearer {'k' * 16}"}, 401),
    "as a client's header": ({"x_api_key": TOKEN, "authorization": ""}, 401),
    "wrong": ({"authorization": f"Bearer {TOKEN}x"}, 401),
    "right": ({"authorization": f"Bearer {TOKEN}"}, 200),
}


@pytest.mark.parametrize("path", ["/metrics", "/v1/metrics"])
@pytest.mark.parametrize(("headers", "status"), TOKENS.values(), ids=TOKENS)
async def test_metrics_open_to_their_token_only(
    tmp_path: Path, path: str, headers: dict[str, str], status: int
) -> None:
    given = {"authorization": "", **headers}
    async with world(tmp_path, "{}", metrics_token=TOKEN, admin_key="k" * 16) as scene:
        answer = await scene.ask(b"", path, method="GET", **given)

        assert status == answer.status
        assert (b"one_api_workers" in answer.body) == (status == 200)
        if status != 200:
            assert "invalid_api_key" == answer.error["code"]


async def test_without_a_token_it_is_told_what_to_set(tmp_path: Path) -> None:
    async with world(tmp_path, "{}") as scene:
        answer = await scene.ask(b"", "/metrics", method="GET")

        assert 403 == answer.status
        assert "METRICS_TOKEN" in answer.error["message"]


async def test_the_token_opens_nothing_else(scene: World) -> None:
    bearer = f"Bearer {TOKEN}"

    for path in ("/v1/models", "/admin/deployments"):
        answer = await scene.ask(b"", path, method="GET", authorization=bearer)
        assert answer.status in (401, 403)


async def eventually(scene: World, holds: Callable[[Scraped], bool]) -> Scraped:
    """A scrape for which `holds` does, once there is one."""
    scrapes: list[Scraped] = []

    async def look() -> None:
        scrapes.append(await scrape(scene))

    await until(lambda: bool(scrapes) and holds(scrapes[-1]), look)
    return scrapes[-1]


# -- gateways of several processes


def read(url: str) -> Scraped:
    """What a gateway's process, or another, tells of all of them."""
    answer = exchange(url, key=TOKEN, headers={"Accept": OPENMETRICS})
    assert 200 == answer.status
    families = text_string_to_metric_families(  # type: ignore[no-untyped-call] # it has no types
        answer.body.decode()
    )
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    return Scraped(samples)


def soon(url: str, holds: Callable[[Scraped], bool]) -> Scraped:
    """What is told once it `holds`, also where nobody listens at first. Raises: TimeoutError."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            told = read(url)
            if holds(told):
                return told
        time.sleep(0.05)
    raise TimeoutError(url)


def kill_worker(gateway: GatewayProcess) -> None:
    """Kill one of two processes that serve; return once another one takes its place."""
    (supervisor,) = children_of(gateway.pid)
    os.kill(children_of(supervisor)[0], signal.SIGKILL)
    gateway.wait_until_listening(3)


@pytest.mark.slow
def test_two_processes_add_up_to_what_the_provider_counted(start_gateway: StartGateway) -> None:
    """Under load, and after one of them was killed and replaced."""
    with ScriptedUpstream() as upstream:
        upstream.script(models_reply(["m"]), path=MODELS_PATH, repeat_last=True)
        upstream.script(openai_completion(), path=CHAT_PATH, repeat_last=True)
        bind = f"127.0.0.1:{free_port()}"
        gateway = start_gateway(
            {
                "API_KEYS": API_KEY,
                "METRICS_TOKEN": TOKEN,
                "METRICS_BIND": bind,
                "WORKERS": "2",
                "OPENAI_API_KEY": "sk-scripted-openai-credential",
                "OPENAI_BASE_URL": f"{upstream.url}/v1",
                "DATABASE_URL": "none",
            }
        )
        soon(f"{gateway.url}/metrics", lambda told: told("workers") == 2)

        load(gateway, 120)
        seen = [one for one in upstream.requests if one.path == CHAT_PATH]
        assert 120 == len(seen)
        told = soon(f"{gateway.url}/metrics", lambda told: told("attempts_total") >= 120)
        check_sums(told, 120)
        check_sums(read(f"http://{bind}/metrics"), 120)

        kill_worker(gateway)
        soon(f"{gateway.url}/v1/metrics", lambda told: told("workers") == 2)
        load(gateway, 40)

        told = soon(f"{gateway.url}/metrics", lambda told: told("attempts_total") >= 160)
        check_sums(told, 160)
        # Whoever held the other address: somebody does now.
        check_sums(soon(f"http://{bind}/metrics", lambda told: told("workers") == 2), 160)


def load(gateway: GatewayProcess, count: int) -> None:
    """So many requests, eight at a time, each on a connection of its own."""

    def ask(_: int) -> int:
        return exchange(f"{gateway.base_url}/chat/completions", chat(), key=API_KEY).status

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert {200} == set(pool.map(ask, range(count)))


def check_sums(told: Scraped, count: int) -> None:
    assert HELLO.usage is not None
    assert count == told("requests_total", **CHATS, deployment="openai/m", status="200")
    assert count == told("attempts_total", deployment="openai/m", outcome="committed")
    assert count == told("request_seconds_count", **CHATS)
    assert count * HELLO.usage.prompt == told("tokens_total", kind="input")
    assert count * HELLO.usage.completion == told("tokens_total", kind="output")
