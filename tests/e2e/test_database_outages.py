"""Databases that fail under load: requests go on, and nothing is forgotten or made up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.account_scenes import (
    ADMIN_KEY,
    KEY_SECRET,
    Bank,
    Row,
    bank,
    bearer,
    ended_rows,
    postgres_rows,
    running_postgres,
    until_true,
)
from tests.e2e.failover_scenes import chat, whole
from tests.e2e.gateways import GatewayProcess
from tests.e2e.load import LONG_S, PATIENCE_S, Load
from tests.storage.postgres import PostgresServer

pytestmark = pytest.mark.slow

#: What every process keeps open at most.
POOL_SIZE = 5


async def until_storage_is(gateway: Bank, state: str) -> None:
    """Wait until the operator is told that the database stands like this."""
    async with asyncio.timeout(LONG_S):
        while (await gateway.admin("/health/deployments"))["storage"] != state:  # noqa: ASYNC110 - it calls nobody
            await asyncio.sleep(0.05)


# -- PostgreSQL


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


def served_by(server: PostgresServer, name: str, directory: Path) -> dict[str, Any]:
    """The settings of a gateway with the database `name`."""
    return {"database_url": server.url(name), "key_secret": KEY_SECRET, "data_dir": directory}


async def answered_rows(server: PostgresServer, name: str, count: int) -> list[Row]:
    """The rows of requests that were answered, once there are so many of them."""

    def read() -> list[Row]:
        return [row for row in postgres_rows(server, name) if row["status"] == 200]

    return await asyncio.to_thread(ended_rows, read, count, LONG_S)


@contextlib.contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    """The server is gone, as after a crash."""
    server.stop()
    try:
        yield
    finally:
        server.start()


@pytest.mark.postgres
@pytest.mark.parametrize("away", [stopped, PostgresServer.frozen])
async def test_a_database_that_is_away_for_seconds_costs_no_request_and_no_row(
    tmp_path: Path,
    postgres: PostgresServer,
    away: Callable[[PostgresServer], AbstractContextManager[None]],
) -> None:
    """Also one that takes all that it is told and says nothing, for which each wait is too long."""
    name = postgres.create_database()
    async with bank(tmp_path, **served_by(postgres, name, tmp_path)) as gateway:
        gateway.script(a=whole())
        known, unknown = [await gateway.make_key() for _ in range(2)]
        bound = await gateway.make_key(budget_total_microusd=10**9)
        load = Load(gateway, known)
        async with load.running():
            await load.more(10)
            assert 200 == (await gateway.ask_as(bound, chat())).status
            with away(postgres):
                await asyncio.sleep(1.5)  # so long that the key is asked for again
                await load.more(20)
                strangers = asyncio.gather(*(gateway.ask_as(unknown, chat()) for _ in range(20)))
                # Those who wait for it hold up nobody who does not.
                await load.more(20)
                of_settings = await gateway.ask(chat())
                refused = {answer.status: answer for answer in await strangers}
                poor = await gateway.ask_as(bound, chat())
                made = await gateway.ask({"name": "x"}, "/admin/keys", **bearer(ADMIN_KEY))
                await until_storage_is(gateway, "degraded")
            await load.more(10)
            await gateway.until(unknown, 200, LONG_S)
            await until_storage_is(gateway, "ok")
        answered = gateway.calls["a"]
        rows = await answered_rows(postgres, name, answered)
    assert {200} == load.statuses.keys()
    assert {503} == refused.keys()
    assert "storage_unavailable" == refused[503].error["code"]
    assert 200 == of_settings.status
    assert 503 == poor.status, "nobody knows what is left of a budget"
    assert 503 == made.status
    assert answered == len(rows) == len({row["request_id"] for row in rows})
    assert load.slowest_s < PATIENCE_S


@pytest.mark.postgres
async def test_connections_that_are_ended_again_and_again_cost_no_request_and_no_money(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    name = postgres.create_database()
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    end_all = f"SELECT count(pg_terminate_backend(pid)) {others}"
    async with bank(tmp_path, **served_by(postgres, name, tmp_path)) as gateway:
        gateway.script(a=whole())
        free = await gateway.make_key()
        bound = await gateway.make_key(budget_total_microusd=10**9)
        loads = [Load(gateway, free), *(Load(gateway, bound) for _ in range(4))]
        async with contextlib.AsyncExitStack() as stack:
            for load in loads:
                await stack.enter_async_context(load.running())
                await load.until(200)  # by then its key is known
            for _ in range(15):
                await asyncio.to_thread(postgres.execute, end_all, name)
                await loads[0].more(3)
            for load in loads:
                await load.until(200)
        held = int(await asyncio.to_thread(postgres.execute, f"SELECT count(*) {others}", name))

        rows = await answered_rows(postgres, name, gateway.calls["a"])

        def budget() -> Row:
            return postgres_rows(postgres, name, "budgets")[0]

        await until_true(lambda: budget()["reserved_microusd"] == 0, LONG_S)
        spent = sum(row["cost_microusd"] for row in rows if row["budget_periods"])
        told = sum((load.statuses for load in loads[1:]), Counter[int]())
        assert {200} == loads[0].statuses.keys()
        assert told.keys() <= {200, 503}
        assert spent == budget()["spent_microusd"] > 0
        assert len(rows) == gateway.calls["a"] == told[200] + loads[0].statuses[200]
    assert held <= POOL_SIZE
    assert max(load.slowest_s for load in loads) < PATIENCE_S


# -- SQLite


async def test_a_database_that_others_lock_holds_up_nobody(tmp_path: Path) -> None:
    async with bank(tmp_path) as gateway:
        gateway.script(a=whole())
        key = await gateway.make_key()
        load = Load(gateway, key)
        async with load.running():
            await load.more(5)
            with contextlib.closing(sqlite3.connect(gateway.database)) as other:
                other.execute("BEGIN EXCLUSIVE")
                # It is locked until they are answered: whoever waited for it would wait for ever.
                during = await load.more(60)
                other.rollback()
            await load.more(5)
        rows = await gateway.ended(gateway.calls["a"], LONG_S)
    assert {200: 60} == during
    assert {200} == load.statuses.keys()
    assert gateway.calls["a"] == len({row["request_id"] for row in rows}) == len(rows)


def renamed(file: Path) -> Callable[[], None]:
    hidden = file.rename(file.with_name("hidden"))
    return lambda: os.rename(hidden, file)


def replaced(file: Path) -> Callable[[], None]:
    hidden = file.rename(file.with_name("hidden"))
    shutil.copy(hidden, file)
    return lambda: os.replace(hidden, file)


def emptied(file: Path) -> Callable[[], None]:
    before = file.read_bytes()
    os.truncate(file, 0)

    def restore() -> None:
        file.write_bytes(before)

    return restore


SPOILT: dict[str, Callable[[Path], Callable[[], None]]] = {
    "gone": renamed,
    "another": replaced,
    "empty": emptied,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
async def test_a_file_that_is_spoilt_while_it_is_used_is_left_as_it_is(
    tmp_path: Path, spoil: Callable[[Path], Callable[[], None]]
) -> None:
    """Requests go on, the operator is told, and what they cost is written once it is back."""
    async with bank(tmp_path) as gateway:
        gateway.script(a=whole())
        key = await gateway.make_key()
        load = Load(gateway, key)
        async with load.running():
            await load.more(5)
            await gateway.ended(5, LONG_S)
            restore = spoil(gateway.database)
            spoilt = contents_of(gateway.database)
            await until_storage_is(gateway, "degraded")
            await asyncio.sleep(1.5)  # so long that the key is asked for again
            await load.more(20)
            made = await gateway.ask({"name": "x"}, "/admin/keys", **bearer(ADMIN_KEY))
            assert spoilt == contents_of(gateway.database)
            restore()
            await until_storage_is(gateway, "ok")
            await load.more(5)
        rows = await gateway.ended(gateway.calls["a"], LONG_S)
    assert {200} == load.statuses.keys()
    assert (503, "storage_unavailable") == (made.status, made.error["code"])
    assert gateway.calls["a"] == len({row["request_id"] for row in rows}) == len(rows)


def contents_of(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def whole_file(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE t (value TEXT)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 900,)] * 200)
        connection.commit()


def cut(file: Path) -> None:
    whole_file(file)
    os.truncate(file, file.stat().st_size // 2)


def spoilt_inside(file: Path) -> None:
    whole_file(file)
    with file.open("r+b") as stream:
        stream.seek(4096 * 4)
        stream.write(b"\xa5" * 4096 * 10)


UNUSABLE: dict[str, Callable[[Path], Any]] = {
    "cut": cut,
    "spoilt inside": spoilt_inside,
    "empty": Path.touch,
    "something else": lambda file: file.write_bytes(b"These are not the tables.\n" * 99),
    "a directory": Path.mkdir,
    "gone, but for its log": lambda file: file.with_name(f"{file.name}-wal").write_bytes(b"log"),
}


@pytest.mark.parametrize("make", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_file_that_cannot_be_used_ends_the_start_with_one_line(
    tmp_path: Path, make: Callable[[Path], Any]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    make(home / "one_api.db")
    before = {path.name: contents_of(path) for path in home.iterdir() if path.is_file()}
    gateway = GatewayProcess(home, {})
    try:
        status = gateway.wait_exit(LONG_S)
    finally:
        gateway.kill()
    log = home / f"one-api-{gateway.port}.log"
    after = {p.name: contents_of(p) for p in home.iterdir() if p.is_file() and p != log}
    (line,) = gateway.log.splitlines()

    assert 3 == status
    assert line.startswith("Error: DATABASE_URL: the file ")
    assert before == after
