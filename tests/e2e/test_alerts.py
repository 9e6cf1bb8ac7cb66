"""A whole gateway tells its operator what goes wrong, and when it is over; no request waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from one_api.adapter import Notice
from one_api.app import create_app
from one_api.cli.commands import main
from one_api.services import GatewayServices
from one_api.settings import Settings
from tests.e2e.account_scenes import ADMIN_KEY, KEY_SECRET, PRICED, bearer, counted
from tests.e2e.failover_scenes import ALONE, PAIR, World, chat, until, whole, world
from tests.e2e.gateways import run_to_end
from tests.observe.scenes import Samples, samples_of
from tests.scripted_upstream import (
    CHAT_PATH,
    ScriptedUpstream,
    WaitForClose,
    bytes_reply,
    json_reply,
    openai_completion,
    openai_error,
    refusing_url,
)

OK = bytes_reply(200, b"ok", "text/plain")
BROKEN = openai_error(500, "broken")
METRICS_TOKEN = "a-token-for-metrics"
#: How long a message may take to come, in seconds.
PATIENCE_S = 15.0


class Inbox:
    """An endpoint for alerts, and what it was told."""

    def __init__(self) -> None:
        self.server = ScriptedUpstream()
        self.server.script(OK, repeat_last=True)

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """Kind, subject and state of each alert so far."""
        return [
            (alert["kind"], alert["subject"], alert["state"])
            for request in self.server.requests
            for alert in request.json["alerts"]
        ]

    async def until(self, *wanted: tuple[str, str, str]) -> None:
        """Return once all that is `wanted` has been told."""
        async with asyncio.timeout(PATIENCE_S):
            count = 0
            while not set(wanted) <= set(self.told):
                count = len(await self.server.until_requests(count + 1, PATIENCE_S))


@contextlib.asynccontextmanager
async def watched(
    directory: Path, text: str, **settings: Any
) -> AsyncIterator[tuple[World, Inbox]]:
    inbox = Inbox()
    with inbox.server, pytest.MonkeyPatch.context() as patch:
        # Where nothing calls for a look, the next one comes soon all the same.
        patch.setattr("one_api.alerting.LOOK_S", 0.1)
        given = {
            "alert_webhook_url": inbox.server.url,
            "alert_group_s": 0,
            "alert_quiet_s": 0,
            "alert_max_per_minute": 60,
            "data_dir": directory / "data",
            **settings,
        }
        async with world(directory, text, **given) as gateway:
            yield gateway, inbox


async def test_a_provider_that_goes_down_and_comes_back(tmp_path: Path) -> None:
    async with watched(tmp_path, ALONE, max_attempts=1) as (gateway, inbox):
        gateway["a"].script(*[BROKEN] * 5, path=CHAT_PATH)
        for _ in range(5):
            assert (await gateway.ask(chat())).status >= 500
        await inbox.until(
            ("request_failed", "m", "open"),
            ("breaker_opened", "a/m", "open"),
            ("model_down", "m", "open"),
        )
        gateway.script(a=whole())
        assert 200 == (await gateway.ask(chat())).status
        await inbox.until(
            ("request_failed", "m", "over"),
            ("breaker_opened", "a/m", "over"),
            ("model_down", "m", "over"),
        )
    assert len(set(inbox.told)) == len(inbox.told)


async def test_metrics_count_what_was_noticed_and_told(tmp_path: Path) -> None:
    settings = {"max_attempts": 1, "metrics_token": METRICS_TOKEN}
    async with watched(tmp_path, ALONE, **settings) as (gateway, inbox):
        gateway["a"].script(BROKEN, path=CHAT_PATH)
        assert (await gateway.ask(chat())).status >= 500
        await inbox.until(("request_failed", "m", "open"))
        found: Samples = {}

        async def scrape() -> None:
            given = {"method": "GET", "authorization": f"Bearer {METRICS_TOKEN}"}
            answer = await gateway.ask(b"", "/metrics", **given)
            found.update(samples_of(answer.body.decode()))

        def count(name: str, **labels: str) -> float | None:
            return found.get((name, frozenset({"kind": "request_failed", **labels}.items())))

        sent = {"channel": "webhook", "outcome": "sent"}
        # It is sent when the channel's answer is read, which the channel does not see.
        await until(lambda: count("one_api_alerts_total", **sent) == 1, scrape)
    assert 0 == count("one_api_alerts_total", channel="webhook", outcome="lost")
    assert 1 == count("one_api_alert_news_total", outcome="told")


async def test_one_of_two_that_is_down_is_not_the_model(tmp_path: Path) -> None:
    async with watched(tmp_path, PAIR) as (gateway, inbox):
        gateway.script(a=BROKEN, b=whole())
        for _ in range(5):
            assert 200 == (await gateway.ask(chat())).status
        await inbox.until(("breaker_opened", "a/m", "open"))
    assert {"breaker_opened"} == {kind for kind, *_ in inbox.told}


async def test_a_credential_that_is_refused(tmp_path: Path) -> None:
    async with watched(tmp_path, ALONE) as (gateway, inbox):
        gateway.script(a=openai_error(401, "Incorrect API key provided: sk-credential-of-a"))
        for _ in range(3):
            assert 502 == (await gateway.ask(chat())).status
        await inbox.until(("credential_refused", "a", "open"), ("model_down", "m", "open"))
        assert b"sk-credential-of-a" not in b"".join(one.body for one in inbox.server.requests)


async def test_too_many_errors(tmp_path: Path) -> None:
    settings = {"alert_error_min_requests": 4, "alert_error_percent": 50}
    async with watched(tmp_path, PAIR, **settings) as (gateway, inbox):
        gateway.script(a=BROKEN, b=BROKEN)
        for _ in range(4):
            assert (await gateway.ask(chat())).status >= 500
        await inbox.until(("error_rate", "requests", "open"))


async def test_a_budget_that_runs_out(tmp_path: Path) -> None:
    settings = {
        "database_url": f"sqlite:///{tmp_path}/accounts.db",
        "admin_key": ADMIN_KEY,
        "key_secret": KEY_SECRET,
    }
    # The refusal is seen before what was spent is in the database.
    async with watched(tmp_path, PRICED, **settings) as (gateway, inbox):
        made = await gateway.ask(
            {"name": "team", "budget_day_microusd": 150}, "/admin/keys", **bearer(ADMIN_KEY)
        )
        assert made.status in (200, 201), made.body
        key, key_id = made.json["key"], made.json["id"]
        gateway["a"].script(openai_completion(counted(30, 7)), path=CHAT_PATH, repeat_last=True)
        first = await gateway.ask(chat(max_tokens=7), **bearer(key))
        assert 200 == first.status, first.body
        refused = await gateway.ask(chat(max_tokens=7), **bearer(key))
        assert 429 == refused.status
        await inbox.until(("budget_exhausted", f"team ({key_id}, day)", "open"))


async def test_a_redis_that_does_not_answer(tmp_path: Path) -> None:
    with refusing_url() as url:
        settings = {"redis_url": url.replace("http", "redis"), "rate_limit_enabled": True}
        async with watched(tmp_path, ALONE, **settings) as (gateway, inbox):
            gateway.script(a=whole())
            assert 200 == (await gateway.ask(chat())).status
            await inbox.until(("redis_lost", "redis", "open"))


async def test_a_database_that_is_gone_and_comes_back(tmp_path: Path) -> None:
    path, aside = tmp_path / "one.db", tmp_path / "aside.db"
    async with watched(tmp_path, ALONE, database_url=f"sqlite:///{path}") as (gateway, inbox):
        gateway.script(a=whole())
        path.rename(aside)
        assert 200 == (await gateway.ask(chat())).status
        await inbox.until(("storage_lost", "database", "open"))
        aside.rename(path)
        assert 200 == (await gateway.ask(chat())).status
        await inbox.until(("storage_lost", "database", "over"))


async def test_what_adapters_have_to_say(tmp_path: Path) -> None:
    inbox = Inbox()
    settings = Settings(
        database_url="none",
        one_api_adapters="echo",
        alert_webhook_url=inbox.server.start().url,
        alert_group_s=0,
        data_dir=tmp_path,
    )
    app = create_app(settings)
    assert isinstance(app.services, GatewayServices)
    alerting = app.services.alerting
    assert alerting is not None
    await app.start()
    try:
        crashed = Notice(kind="worker_crashed", subject="m", message="Signal 9.")
        alerting.note_notice("local", crashed)
        alerting.note_notice("local", Notice(kind="disk_full", subject="/", message="No room."))
        await inbox.until(
            ("worker_crashed", "local m", "open"), ("adapter_notice", "local disk_full /", "open")
        )
        back = Notice(kind="worker_crashed", subject="m", message="Up.", is_recovery=True)
        alerting.note_notice("local", back)
        await inbox.until(("worker_crashed", "local m", "over"))
    finally:
        await app.stop()
        await asyncio.to_thread(inbox.server.stop)


@pytest.mark.slow
async def test_a_channel_that_hangs_holds_up_neither_requests_nor_the_end(tmp_path: Path) -> None:
    """Requests are answered while the channel holds its message; the end gives the message up."""
    with ScriptedUpstream() as hanging:
        hanging.script((WaitForClose(60.0),), repeat_last=True)
        settings = {
            "alert_webhook_url": hanging.url, "alert_group_s": 0, "data_dir": tmp_path / "data",
            "max_attempts": 1,
        }  # fmt: skip
        async with world(tmp_path, ALONE, **settings) as gateway:
            gateway["a"].script(*[BROKEN] * 5, path=CHAT_PATH)
            for _ in range(5):
                await gateway.ask(chat())
            (message,) = await hanging.until_requests(1)
            gateway.script(a=whole())
            assert 200 == (await gateway.ask(chat())).status
            assert None is message.closed_at
            assert None is message.finished_at
        await message.until_closed()


class TestCommand:
    def variables(self, feishu: str, slack: str) -> dict[str, str]:
        return {
            "ALERT_FEISHU_URL": f"{feishu}/hook/the-secret-path",
            "ALERT_FEISHU_SECRET": "bot-secret",
            "ALERT_SLACK_URL": f"{slack}/services/the-secret-path",
            "ALERT_LANGUAGE": "zh",
        }

    @pytest.mark.slow
    def test_it_says_what_arrived_and_what_did_not(self, tmp_path: Path) -> None:
        with ScriptedUpstream() as feishu, ScriptedUpstream() as slack:
            feishu.script(json_reply(200, {"code": 19021, "msg": "sign match fail"}))
            slack.script(OK)
            variables = self.variables(feishu.url, slack.url)
            done = run_to_end(["alerts", "test", "all"], tmp_path, variables)
        assert 1 == done.returncode
        assert "feishu: not sent: code 19021: sign match fail\nslack: sent\n" == done.stdout
        assert "这是 slack 的测试" in slack.requests[0].json["text"]
        assert "the-secret-path" not in done.stdout + done.stderr

    @pytest.mark.parametrize(
        ("channel", "variable"), [("matrix", "ALERT_MATRIX_URL"), ("all", "ALERT_*_URL")]
    )
    def test_one_that_is_not_set_up_is_told_by_its_variable(
        self, channel: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        done = CliRunner().invoke(main, ["alerts", "test", channel])
        assert 2 == done.exit_code
        assert variable in done.output

    def test_one_that_arrives_is_success(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with ScriptedUpstream() as slack, refusing_url() as gone:
            slack.script(OK)
            for name, value in self.variables(gone, slack.url).items():
                monkeypatch.setenv(name, value)
            done = CliRunner().invoke(main, ["alerts", "test", "slack"])
        assert (0, "slack: sent\n") == (done.exit_code, done.output)
