"""What starts and stops with the event loop: all of it or nothing, and in order."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typing_extensions import override

from one_api.app import create_app
from one_api.errors import ConfigurationError, StorageUnavailable
from one_api.observe import Exchange
from one_api.observe.observer import NOBODY
from one_api.policy.accounts import AccountBook
from one_api.policy.auth import ApiKey, KeyRing
from one_api.policy.demand import Demand
from one_api.registry import ModelRegistry
from one_api.runtime import GatewayFlask
from one_api.services import GatewayServices
from one_api.settings import Settings
from one_api.storage import Database, KeyStore, key_secret
from one_api.storage.keys import KeySpec
from one_api.storage.tables import requests
from one_api.web.admin_values import Stores
from tests.adapters_in_test import ScriptedAdapter, registry_of


class FailingRegistry(ModelRegistry):
    """A registry that cannot be started, or not be closed."""

    starts = closes = True

    @override
    async def start(self) -> None:
        if not self.starts:
            raise ConfigurationError("MODELS", "they cannot be started")
        await super().start()

    @override
    async def close(self) -> None:
        await super().close()
        if not self.closes:
            raise OSError("it cannot be closed")


class Gateway:
    """A gateway's services, and what they fill in."""

    def __init__(self, directory: Path, registry: ModelRegistry, **settings: str) -> None:
        url = f"sqlite:///{directory}/one_api.db"
        values: dict[str, Any] = {"api_keys": "sk-good-enough", "database_url": url, **settings}
        made = Settings(**values)
        app: GatewayFlask = create_app(made, registry=registry)
        assert isinstance(app.services, GatewayServices)
        self.services = app.services
        self.book: AccountBook = app.services._book
        self.keys: KeyRing = app.services._keys
        storage = app.services._storage
        self.stores = storage._stores if storage is not None else Stores()

    async def use(self, request_id: str) -> None:
        """One request, not yet over when this returns: its end is written off the path."""

        async def measure() -> Demand:
            return Demand(prompt_tokens=1)

        account = self.book.open(ApiKey("k"), request_id, Exchange(NOBODY, endpoint="/x"))
        await account.admit((), measure)
        account.close(200)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no .env file
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)


def threads() -> set[threading.Thread]:
    """All but those of pools: a connection that nobody closed has one."""
    pools = ("asyncio_", "ThreadPoolExecutor")
    return {one for one in threading.enumerate() if not one.name.startswith(pools)}


def require_no_more_than(before: set[threading.Thread]) -> None:
    """One that was told to end has ended a moment after that."""
    for one in threads() - before:
        one.join(5)
    assert threads() <= before


async def states(directory: Path) -> dict[str, str]:
    database = await Database.open(f"sqlite:///{directory}/one_api.db")
    async with database.read() as connection:
        rows = await connection.execute(select(requests.c.request_id, requests.c.state))
        found = {row.request_id: row.state for row in rows}
    await database.close()
    return found


async def test_start_fills_in_what_is_stored_and_stop_writes_what_is_pending(
    tmp_path: Path,
) -> None:
    before = threads()
    gateway = Gateway(tmp_path, registry_of(a=ScriptedAdapter()))
    assert gateway.book.ledger is None
    assert gateway.keys.stored is None

    await gateway.services.start()
    assert gateway.book.ledger is not None
    assert gateway.keys.stored is not None
    for store in (gateway.stores.keys, gateway.stores.log, gateway.stores.usage):
        assert store is not None
    await gateway.use("req_1")
    await gateway.services.stop()

    require_no_more_than(before)
    assert {"req_1": "settled"} == await states(tmp_path)
    with pytest.raises(StorageUnavailable):
        await gateway.use("req_2")


async def test_another_start_may_follow(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, registry_of(a=ScriptedAdapter()))
    for number in range(2):
        await gateway.services.start()
        await gateway.use(f"req_{number}")
        await gateway.services.stop()

    assert {"req_0": "settled", "req_1": "settled"} == await states(tmp_path)


async def test_a_stop_without_a_start_does_nothing(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, registry_of(a=ScriptedAdapter()))

    await gateway.services.stop()

    assert [] == os.listdir(tmp_path)


async def test_nothing_is_opened_where_nothing_is_stored(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, registry_of(a=ScriptedAdapter()), database_url="none")

    await gateway.services.start()
    await gateway.use("req_1")
    await gateway.services.stop()

    assert gateway.book.ledger is None
    assert [] == os.listdir(tmp_path)


async def test_what_cannot_start_leaves_nothing_open(tmp_path: Path) -> None:
    before = threads()
    registry = FailingRegistry()
    registry.starts = False
    gateway = Gateway(tmp_path, registry)

    with pytest.raises(ConfigurationError):
        await gateway.services.start()

    require_no_more_than(before)
    registry.starts = True
    await gateway.services.start()
    await gateway.use("req_1")
    await gateway.services.stop()
    assert {"req_1": "settled"} == await states(tmp_path)
    require_no_more_than(before)


@pytest.mark.parametrize("wrong", ["schema", "secret", "file"])
async def test_a_database_that_will_not_do_leaves_nothing_open(tmp_path: Path, wrong: str) -> None:
    gateway = Gateway(tmp_path, registry_of(a=ScriptedAdapter()))
    await gateway.services.start()
    await gateway.services.stop()
    match wrong:
        case "schema":
            with sqlite3.connect(tmp_path / "one_api.db") as connection:
                connection.execute("UPDATE alembic_version SET version_num = '9999'")
            connection.close()
        case "secret":
            (tmp_path / "key_secret").write_text("short")
        case _:
            (tmp_path / "one_api.db").write_bytes(b"no database" * 1_000)
    before = threads()

    with pytest.raises(ConfigurationError):
        await Gateway(tmp_path, registry_of(a=ScriptedAdapter())).services.start()

    require_no_more_than(before)


async def test_what_cannot_be_closed_keeps_nothing_else_open(tmp_path: Path) -> None:
    before = threads()
    registry = FailingRegistry()
    registry.closes = False
    gateway = Gateway(tmp_path, registry)
    await gateway.services.start()
    await gateway.use("req_1")

    with pytest.raises(OSError, match="cannot be closed"):
        await gateway.services.stop()

    require_no_more_than(before)
    assert {"req_1": "settled"} == await states(tmp_path)


async def test_stored_keys_open_the_gateway_from_its_start(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, registry_of(a=ScriptedAdapter()))
    await gateway.services.start()
    await gateway.services.stop()
    database = await Database.open(f"sqlite:///{tmp_path}/one_api.db")
    store = KeyStore(database, await key_secret(database, None))
    key, stored = await store.create(KeySpec(name="test"))
    await database.close()

    again = Gateway(tmp_path, registry_of(a=ScriptedAdapter()), api_keys="")
    await again.services.start()

    assert not again.keys.is_open
    assert stored.id == (await again.keys.look_up(key)).id
    await again.services.stop()


async def test_a_stop_waits_for_what_was_to_be_done_later(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, registry_of(a=ScriptedAdapter()))
    await gateway.services.start()
    done: list[int] = []

    async def work() -> None:
        await asyncio.sleep(0)
        done.append(1)

    gateway.book.do_later(work())
    await gateway.services.stop()

    assert [1] == done
