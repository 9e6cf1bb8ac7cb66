"""`one-api logs`: what was asked, of whom, and what came of it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict

import click
import orjson

from one_api.cli.printing import dollars, instant, number, printable
from one_api.cli.stores import with_database
from one_api.settings import Settings
from one_api.storage import Database
from one_api.storage.request_log import (
    MAX_PAGE_ROWS,
    Bodies,
    Cursor,
    LoggedRequest,
    RequestFilter,
    RequestLog,
)
from one_api.web.admin_requests import request_to_wire
from one_api.web.admin_values import instant_ms

_POLL_S = 1.0
#: How far behind the newest request one may still be written, and how long one may run.
_LATE_MS = 10_000
_LONGEST_MS = 900_000


def _time_ms(text: str) -> int:
    """A day or a time in ISO 8601, in UTC epoch milliseconds."""
    time_ms = instant_ms(text)
    if time_ms is None:
        raise click.BadParameter("a time such as 2026-11-21 or 2026-11-21T08:30Z is needed")
    return time_ms


@click.group()
def logs() -> None:
    """Look at the log of requests."""


@logs.command()
@click.option("-n", "count", type=click.IntRange(0, MAX_PAGE_ROWS), default=20, show_default=True)
@click.option("--follow", "-f", is_flag=True, help="Print what comes, until interrupted.")
def tail(count: int, follow: bool) -> None:
    """Print the latest requests, a line for each, latest last."""

    async def work(database: Database) -> None:
        log = RequestLog(database)
        latest = (await log.list(limit=count))[::-1]
        for request in latest:
            click.echo(_line(request))
        if follow:
            async for request in _coming(log, latest):
                click.echo(_line(request))

    with_database(Settings.load(), work)


@logs.command()
@click.argument("request_id")
@click.option("--json", "as_json", is_flag=True, help="As one line of JSON.")
def show(request_id: str, as_json: bool) -> None:
    """Print everything that is known of one request."""

    async def work(database: Database) -> tuple[LoggedRequest, Bodies | None] | None:
        return await RequestLog(database).get(request_id)

    found = with_database(Settings.load(), work)
    if found is None:
        raise click.ClickException("There is no request with this id in the log.")
    request, bodies = found
    if as_json:
        click.echo(orjson.dumps(request_to_wire(request, bodies)))
        return
    for name, value in _fields_of(request):
        click.echo(f"{name:<20} {printable(value)}")
    if bodies is not None:
        _print_bodies(bodies)


@logs.command()
@click.option("--since", "since_ms", type=_time_ms, help="2026-11-21 or 2026-11-21T08:30Z.")
@click.option("--key", "key_id", help="Only requests with the key of this id.")
@click.option("--model", help="Only requests for this model.")
def export(since_ms: int | None, key_id: str | None, model: str | None) -> None:
    """Print all requests as JSON, one object a line, oldest first."""
    wanted = RequestFilter(key_id=key_id, model=model, since_ms=since_ms)

    async def work(database: Database) -> None:
        async for request in RequestLog(database).export(wanted):
            sys.stdout.buffer.write(orjson.dumps(request_to_wire(request)) + b"\n")
        sys.stdout.flush()

    with_database(Settings.load(), work)


async def _coming(
    log: RequestLog, known: tuple[LoggedRequest, ...]
) -> AsyncIterator[LoggedRequest]:
    """Requests as they end, but for those that are `known` to have ended."""
    told = {request.request_id for request in known if request.state != "reserved"}
    start = known[0].cursor if known else Cursor(_now_ms(), "")
    since_ms = start.created_ms
    while True:
        await asyncio.sleep(_POLL_S)
        now_ms = _now_ms()
        next_ms = now_ms - _LATE_MS
        seen = set()
        async for request in log.export(RequestFilter(since_ms=since_ms)):
            if request.state == "reserved":
                # Its end shall not be missed, unless it never comes.
                next_ms = min(next_ms, max(request.created_ms, now_ms - _LONGEST_MS))
                continue
            seen.add(request.request_id)
            if request.request_id not in told and request.cursor >= start:
                yield request
        told = seen
        since_ms = max(since_ms, next_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _line(request: LoggedRequest) -> str:
    tokens = f"{request.prompt_tokens}+{request.completion_tokens}"
    outcome = "..." if request.state == "reserved" else number(request.status)
    cells = (
        instant(request.created_ms),
        f"{outcome:>3}",
        f"{number(request.total_ms):>6} ms",
        f"{tokens:>11} tokens",
        f"{dollars(request.cost_microusd):>10} USD",
        request.key_id or "-",
        request.model or "-",
        request.deployment or "-",
        request.error_code or request.cache or "-",
        request.request_id,
    )
    return "  ".join(map(printable, cells))


def _fields_of(request: LoggedRequest) -> list[tuple[str, str]]:
    fields = []
    for name, value in asdict(request).items():
        if name in ("created_ms", "settled_ms"):
            fields.append((name.removesuffix("_ms"), instant(value)))
        elif name == "cost_microusd":
            fields.append(("cost_usd", dollars(value)))
        elif isinstance(value, bool):
            fields.append((name, "yes" if value else "no"))
        else:
            fields.append((name, "-" if value in (None, "") else str(value)))
    return fields


def _print_bodies(bodies: Bodies) -> None:
    for name, body in (("request", bodies.request), ("reply", bodies.reply)):
        if body is not None:
            click.echo(f"\n--- {name}\n{printable(body, keep=chr(10) + chr(9))}")
    if bodies.is_truncated:
        click.echo("\n(not all of it was kept)")
