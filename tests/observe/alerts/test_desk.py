"""From news to servers that answer as Feishu, Matrix, Slack and anybody do: on sockets."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typing_extensions import override

from one_api.adapter.clock import Clock, SystemClock
from one_api.observe import catalogue
from one_api.observe.alerts import BoardRules, Desk, DeskOptions, News
from one_api.observe.alerts.board import SharedBoard
from one_api.observe.alerts.channels import (
    Channel,
    Feishu,
    Matrix,
    Slack,
    Webhook,
    feishu_signature,
    webhook_signature,
)
from one_api.observe.alerts.desk import MAX_NEWS
from one_api.observe.alerts.outbox import MAX_ATTEMPTS, MAX_PENDING, Pacer, Post
from one_api.observe.families import Family, Labels, Snapshot, Value
from one_api.upstream import Upstream
from tests.scripted_upstream import (
    RecordedRequest,
    Reply,
    ScriptedUpstream,
    WaitForClose,
    bytes_reply,
    json_reply,
    refusing_url,
)

OK = bytes_reply(200, b"ok", "text/plain")
FEISHU_OK = json_reply(200, {"code": 0, "msg": "success"})
MATRIX_OK = json_reply(200, {"event_id": "$1"})
DOWN = News("breaker_opened", "a/m", {"reason": "5 failures in a row: timeout"})
UP = News("breaker_opened", "a/m", is_recovery=True)


class HastyClock(Clock):
    """The machine's clock, but for waits: they are noted, and over at once."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self.waits_s: list[float] = []
        self.has_waited_enough = asyncio.Event()

    @override
    def now_s(self) -> float:
        return self._clock.now_s()

    @override
    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    @override
    async def sleep(self, delay_s: float) -> None:
        self.waits_s.append(delay_s)
        if len(self.waits_s) == MAX_ATTEMPTS - 1:
            self.has_waited_enough.set()


@contextlib.asynccontextmanager
async def desk_of(
    directory: Path,
    channels: Sequence[Channel],
    *,
    clock: Clock | None = None,
    rules: BoardRules | None = None,
    **options: Any,
) -> AsyncIterator[Desk]:
    upstream = Upstream(user_agent="test")
    await upstream.open()
    board = SharedBoard(directory, rules or BoardRules(quiet_s=0, repeat_s=3600))
    post = Post(upstream, clock or SystemClock(), Random(1))  # noqa: S311 - spreads retries
    given = {"host": "gateway-1", "group_s": 0.0, "max_per_minute": 60, **options}
    desk = Desk(channels, board, post, DeskOptions(**given))
    await desk.start()
    try:
        yield desk
    finally:
        await desk.stop()
        await upstream.close()


def server(stack: contextlib.ExitStack, *replies: Reply) -> ScriptedUpstream:
    upstream = stack.enter_context(ScriptedUpstream())
    upstream.script(*replies, repeat_last=True)
    return upstream


def alerts_of(desk: Desk) -> dict[tuple[str, str], int]:
    """How many alerts there were by channel and outcome; the kinds are those of the news."""
    counts: Counter[tuple[str, str]] = Counter()
    for (channel, _, outcome), count in samples(desk, catalogue.ALERTS).items():
        assert isinstance(count, int)
        counts[channel, outcome] += count
    return dict(+counts)


def news_of(desk: Desk) -> dict[Labels, Value]:
    """How many news there were by kind and outcome."""
    found = samples(desk, catalogue.ALERT_NEWS)
    return {labels: count for labels, count in found.items() if count}


def samples(desk: Desk, family: Family) -> dict[Labels, Value]:
    snapshot = Snapshot([family])
    desk.add_counts(snapshot)
    return next(found for one, found in snapshot if one == family)


def texts(requests: Sequence[RecordedRequest]) -> list[str]:
    return [request.json["text"] for request in requests]


async def test_each_channel_gets_what_it_understands_signed(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        feishu, matrix = server(stack, FEISHU_OK), server(stack, MATRIX_OK)
        slack, anybody = server(stack, OK), server(stack, OK)
        channels = [
            Feishu(f"{feishu.url}/open-apis/bot/v2/hook/x", "bot-secret"),
            Matrix(matrix.url, "!room:example.org", "access-token"),
            Slack(f"{slack.url}/services/T/B/x"),
            Webhook(f"{anybody.url}/alerts", "a-secret-of-the-webhook"),
        ]
        async with desk_of(tmp_path, channels, language="zh") as desk:
            desk.report(DOWN)
            told = [(await one.until_requests(1))[0] for one in (feishu, matrix, slack, anybody)]
            assert [] == [one for one in (feishu, matrix, slack, anybody) if one.unexpected]

    line = "🟡 部署 a/m 已熔断：5 failures in a row: timeout"
    body = told[0].json
    assert feishu_signature(int(body["timestamp"]), "bot-secret") == body["sign"]
    assert [[{"tag": "text", "text": line}]] == body["content"]["post"]["zh_cn"]["content"]
    assert "PUT" == told[1].method
    assert "Bearer access-token" == told[1].headers["authorization"]
    assert told[1].json["body"].endswith(line)
    assert told[2].json["text"].endswith(line)
    headers = told[3].headers
    assert headers["webhook-signature"] == webhook_signature(
        "a-secret-of-the-webhook",
        headers["webhook-id"],
        int(headers["webhook-timestamp"]),
        told[3].body,
    )


async def test_trouble_is_told_once_and_then_its_end(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        slack = server(stack, OK)
        async with desk_of(tmp_path, [Slack(slack.url)]) as desk:
            for news in (DOWN, DOWN, DOWN):
                desk.report(news)
            await slack.until_requests(1)
            for news in (DOWN, UP, UP):
                desk.report(news)
            await slack.until_requests(2)
        first, second = texts(slack.requests)
    assert "one_api on gateway-1: 1 problem" == first.split("\n")[0]
    assert ["one_api on gateway-1: 1 over", "🟢 Deployment a/m answers again"] == second.split("\n")
    assert {("breaker_opened", "told"): 2, ("breaker_opened", "suppressed"): 4} == news_of(desk)


async def test_what_may_be_counted_is_there_from_the_beginning(tmp_path: Path) -> None:
    """Of a counter that begins at 1 Prometheus sees no increase."""
    async with desk_of(tmp_path, [Slack("http://s.example"), Webhook("http://w.example")]) as desk:
        told, news = samples(desk, catalogue.ALERTS), samples(desk, catalogue.ALERT_NEWS)
    assert {0} == {count for samples in (told, news) for count in samples.values()}
    page = (Path(__file__).parents[3] / "docs/alerts.md").read_text()
    kinds = set(re.findall(r"^\| `([a-z]+_[a-z_]+)` \|", page, re.M))
    expected = itertools.product(("slack", "webhook"), kinds, ("sent", "lost"))
    assert set(expected) == set(told)
    assert set(itertools.product(kinds, ("told", "suppressed", "dropped"))) == set(news)


async def test_nothing_is_counted_without_a_channel(tmp_path: Path) -> None:
    async with desk_of(tmp_path, []) as desk:
        assert {} == samples(desk, catalogue.ALERTS) | samples(desk, catalogue.ALERT_NEWS)


async def test_what_comes_together_is_one_message(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        slack = server(stack, OK)
        async with desk_of(tmp_path, [Slack(slack.url)], group_s=60.0) as desk:
            for number in range(25):
                desk.report(News("model_down", f"m{number}"))
            # Leaving ends the wait for more.
        (text,) = texts(slack.requests)
    assert "one_api on gateway-1: 25 problems" == text.split("\n")[0]
    assert "... and 5 more" == text.split("\n")[-1]


async def test_a_channel_that_is_busy_is_asked_again_with_the_same_message(
    tmp_path: Path,
) -> None:
    busy = bytes_reply(429, b"slow down", "text/plain", {"Retry-After": "17"})
    broken = bytes_reply(500, b"oops", "text/plain")
    clock = HastyClock()
    with contextlib.ExitStack() as stack:
        anybody = server(stack, busy, broken, OK)
        async with desk_of(tmp_path, [Webhook(anybody.url)], clock=clock) as desk:
            desk.report(DOWN)
            requests = await anybody.until_requests(3)
            await requests[2].until_finished()
    assert 1 == len({request.headers["webhook-id"] for request in requests})
    assert 17.0 == clock.waits_s[0]
    assert 0.5 <= clock.waits_s[1] / 2 <= 1.0
    assert {("webhook", "sent"): 1} == alerts_of(desk)


async def test_an_answer_that_is_final_is_logged_and_hides_no_other_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = bytes_reply(403, b"no_service for sk-live-0123456789abcdef", "text/plain")
    with contextlib.ExitStack() as stack:
        slack = server(stack, refusal, OK)
        async with desk_of(tmp_path, [Slack(slack.url)]) as desk:
            desk.report(DOWN)
            await slack.until_requests(1)
            desk.report(UP)
            await slack.until_requests(2)
    assert {("slack", "sent"): 1, ("slack", "lost"): 1} == alerts_of(desk)
    assert "not sent to slack: HTTP 403: no_service for [redacted]" in caplog.text


async def test_a_channel_that_is_gone_is_given_up_some_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = HastyClock()
    with refusing_url() as url:
        async with desk_of(tmp_path, [Slack(url)], clock=clock) as desk:
            desk.report(DOWN)
            async with asyncio.timeout(10):
                await clock.has_waited_enough.wait()
    assert {("slack", "lost"): 1} == alerts_of(desk)
    assert MAX_ATTEMPTS - 1 == len(clock.waits_s)
    assert max(clock.waits_s) <= 60.0
    assert "The channel cannot be reached" in caplog.text


async def test_no_more_messages_than_allowed_and_nothing_is_lost(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        slack = server(stack, OK)
        async with desk_of(tmp_path, [Slack(slack.url)], max_per_minute=1) as desk:
            desk.report(DOWN)
            await slack.until_requests(1)
            for number in range(30):
                desk.report(News("model_down", str(number)))
            # Leaving sends at once what had to wait.
        assert 2 == len(slack.requests)
        assert texts(slack.requests)[1].endswith("... and 10 more")
    assert {("slack", "sent"): 31} == alerts_of(desk)


async def test_a_channel_that_hangs_holds_up_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not the other channels, not who brings news, and the end of the process no longer than told.

    Leaving the script's context fails unless the hanging request was given up.
    """
    caplog.set_level(logging.WARNING)
    with contextlib.ExitStack() as stack:
        hanging, slack = server(stack, (WaitForClose(30.0),)), server(stack, OK)
        channels = [Webhook(hanging.url), Slack(slack.url)]
        async with desk_of(tmp_path, channels, flush_s=0.1) as desk:
            desk.report(DOWN)
            await hanging.until_requests(1)
            desk.report(UP)
            await slack.until_requests(2)
        (request,) = hanging.requests
        await request.until_closed()
    assert {("slack", "sent"): 2, ("webhook", "lost"): 2} == alerts_of(desk)
    assert "1 alerts for webhook are not sent any more" in caplog.text
    assert "1 alerts were never sent" in caplog.text


async def test_too_many_news_are_counted_not_kept(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        slack = server(stack, OK)
        async with desk_of(tmp_path, [Slack(slack.url)]) as desk:
            for number in range(MAX_NEWS + 50):  # the loop gets no turn in between
                desk.report(News("model_down", str(number)))
            assert 50 == desk.dropped
            await slack.until_requests(1)
        more = MAX_NEWS - 20 + 50
        assert texts(slack.requests)[0].endswith(f"... and {more} more")
    told = {("slack", "sent"): MAX_PENDING, ("slack", "lost"): MAX_NEWS - MAX_PENDING}
    assert told == alerts_of(desk)
    assert {("model_down", "told"): MAX_NEWS, ("model_down", "dropped"): 50} == news_of(desk)


async def test_news_may_come_from_any_thread_and_before_the_start(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        slack = server(stack, OK)
        upstream = Upstream(user_agent="test")
        await upstream.open()
        board = SharedBoard(tmp_path, BoardRules())
        post = Post(upstream, SystemClock(), Random(1))  # noqa: S311 - spreads retries
        desk = Desk([Slack(slack.url)], board, post, DeskOptions(host="h", group_s=0.0))
        desk.report(DOWN)
        await desk.start()
        await slack.until_requests(1)
        thread = threading.Thread(target=desk.report, args=(News("model_down", "m"),))
        thread.start()
        await slack.until_requests(2)
        await asyncio.to_thread(thread.join)
        await desk.stop()
        desk.report(UP)  # nobody hears it, and nothing happens
        await upstream.close()


async def test_processes_that_share_a_directory_tell_it_once(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        slack = server(stack, OK)
        channel = Slack(slack.url)
        async with desk_of(tmp_path, [channel]) as one, desk_of(tmp_path, [channel]) as other:
            one.report(DOWN)
            await slack.until_requests(1)
            other.report(DOWN)
            other.report(News("model_down", "m"))
            await slack.until_requests(2)
            one.report(UP)
            await slack.until_requests(3)
        told = ["\n".join(text.split("\n")[1:]) for text in texts(slack.requests)]
    assert [
        "🟡 Deployment a/m is left aside: 5 failures in a row: timeout",
        "🔴 All deployments of model m are down",
        "🟢 Deployment a/m answers again",
    ] == told


def test_the_pacer_lets_so_many_through_in_any_minute() -> None:
    pacer = Pacer(2)
    for now_s in (100.0, 130.0):
        assert 0.0 == pacer.wait_s(now_s)
        pacer.note(now_s)
    assert 25.0 == pacer.wait_s(135.0)
    assert 0.0 == pacer.wait_s(160.0)
    pacer.note(160.0)
    assert 30.0 == pacer.wait_s(160.0)
