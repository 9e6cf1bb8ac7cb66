"""Two gateways that run as processes of their own tell each incident once between them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from tests.counters.redis_server import running_redis
from tests.e2e.conftest import API_KEY, StartGateway
from tests.e2e.exchanges import exchange
from tests.e2e.failover_scenes import chat
from tests.e2e.gateways import GatewayProcess
from tests.e2e.test_alerts import Inbox
from tests.observe.scenes import samples_of
from tests.scripted_upstream import (
    CHAT_PATH,
    MODELS_PATH,
    ScriptedUpstream,
    models_reply,
    openai_completion,
    openai_error,
)

pytestmark = pytest.mark.slow

TOKEN = "a-token-for-metrics"
#: How long both processes may take to notice what happened, in seconds.
PATIENCE_S = 30.0


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    with inbox.server:
        yield inbox


@pytest.fixture
def provider() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        upstream.script(models_reply(["m"]), path=MODELS_PATH, repeat_last=True)
        yield upstream


class Pair:
    """Two processes with one data directory, each asked by name."""

    def __init__(self, gateways: list[GatewayProcess], inbox: Inbox) -> None:
        self._gateways = gateways
        self._inbox = inbox

    async def ask(self) -> list[int]:
        """The statuses of one request to each of them."""
        return [await asyncio.to_thread(self._ask, gateway) for gateway in self._gateways]

    async def until_noticed(self, kind: str, *, times: int) -> None:
        """Return once both have noticed so many news of `kind`, told or not; requests go on."""
        async with asyncio.timeout(PATIENCE_S):
            for gateway in self._gateways:
                while await asyncio.to_thread(_news, gateway, kind) < times:
                    await self.ask()
                    await asyncio.sleep(0.1)

    async def told(self, kind: str) -> tuple[float, list[str]]:
        """How many alerts of `kind` both decided to tell; the states that the channel was told."""
        counts = [
            await asyncio.to_thread(_news, gateway, kind, "told") for gateway in self._gateways
        ]
        return sum(counts), [state for one, _, state in self._inbox.told if one == kind]

    def _ask(self, gateway: GatewayProcess) -> int:
        return exchange(f"{gateway.base_url}/chat/completions", chat(), key=API_KEY).status


def _news(gateway: GatewayProcess, kind: str, *outcomes: str) -> float:
    """How many news of `kind` a process has noticed; of some `outcomes`, or of all."""
    answer = exchange(f"{gateway.url}/metrics", key=TOKEN)
    assert 200 == answer.status
    return sum(
        value
        for (name, labels), value in samples_of(answer.body.decode()).items()
        if name == "one_api_alert_news_total"
        and dict(labels)["kind"] == kind
        and (not outcomes or dict(labels)["outcome"] in outcomes)
    )


@contextlib.asynccontextmanager
async def pair(
    start_gateway: StartGateway,
    directory: Path,
    inbox: Inbox,
    provider: ScriptedUpstream,
    more: Mapping[str, str],
) -> AsyncIterator[Pair]:
    environment = {
        "API_KEYS": API_KEY,
        "OPENAI_API_KEY": "sk-scripted-openai-credential",
        "OPENAI_BASE_URL": f"{provider.url}/v1",
        "DATA_DIR": str(directory),
        "DATABASE_URL": "none",
        "METRICS_TOKEN": TOKEN,
        "ALERT_WEBHOOK_URL": inbox.server.url,
        "ALERT_GROUP_S": "0",
        "ALERT_QUIET_S": "0",
        "ALERT_MAX_PER_MINUTE": "60",
        **more,
    }
    gateways = await asyncio.gather(
        *(asyncio.to_thread(start_gateway, environment) for _ in range(2))
    )
    yield Pair(gateways, inbox)


async def test_a_provider_that_is_down_for_both(
    tmp_path: Path, start_gateway: StartGateway, inbox: Inbox, provider: ScriptedUpstream
) -> None:
    provider.script(openai_error(500, "broken"), path=CHAT_PATH, repeat_last=True)
    async with pair(start_gateway, tmp_path, inbox, provider, {"MAX_ATTEMPTS": "1"}) as both:
        await both.until_noticed("breaker_opened", times=1)
        await both.until_noticed("model_down", times=1)
        await inbox.until(
            ("request_failed", "m", "open"),
            ("breaker_opened", "openai/m", "open"),
            ("model_down", "m", "open"),
        )

        for kind in ("request_failed", "breaker_opened", "model_down"):
            assert (1, ["open"]) == await both.told(kind)


@pytest.mark.redis
async def test_a_redis_that_goes_and_comes_back(
    tmp_path: Path, start_gateway: StartGateway, inbox: Inbox, provider: ScriptedUpstream
) -> None:
    provider.script(openai_completion(), path=CHAT_PATH, repeat_last=True)
    with running_redis(tmp_path) as redis:
        limits = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_REQUESTS": "100000"}
        more = {"REDIS_URL": redis.url, **limits}
        async with pair(start_gateway, tmp_path / "data", inbox, provider, more) as both:
            assert [200, 200] == await both.ask()
            redis.stop()
            await both.until_noticed("redis_lost", times=1)
            assert [200, 200] == await both.ask()
            await inbox.until(("redis_lost", "redis", "open"))

            redis.start()
            await both.until_noticed("redis_lost", times=2)
            await inbox.until(("redis_lost", "redis", "over"))

            assert (2, ["open", "over"]) == await both.told("redis_lost")
