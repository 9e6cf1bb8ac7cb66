"""A database for the doors that show what is stored, and an application that has it."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import flask
from flask.testing import FlaskClient
from typing_extensions import override

from one_api.errors import GatewayError
from one_api.policy.auth import ApiKey
from one_api.runtime import Drain, GatewayFlask, Services
from one_api.storage import Database
from one_api.storage.budgets import BudgetReport
from one_api.storage.entries import Reservation, Settlement
from one_api.storage.journal import Journal
from one_api.storage.keys import KeyStore
from one_api.storage.ledger import Ledger
from one_api.storage.request_log import RequestLog
from one_api.storage.schema import upgrade
from one_api.storage.usage import UsageReport
from one_api.web.admin_values import Stores
from one_api.web.responses import error_response

SECRET = b"a secret of the server that is long enough"

#: Values that a program which builds its statements of text would trip over.
ODD_VALUES = [
    "' OR '1'='1",
    "x'; DROP TABLE requests; --",
    'key" OR 1=1',
    "%",
    "_____",
    "*",
    "key_1) UNION SELECT digest FROM api_keys --",
    "\\",
    "sk-oa-' OR 1=1",
    "名",
]


class StoreServices(Services):
    """Opens a database and fills the stores of an application, as a gateway does."""

    def __init__(self, url: str, stores: Stores) -> None:
        self._url = url
        self._stores = stores
        self._database: Database | None = None

    @override
    async def start(self) -> None:
        database = self._database = await Database.open(self._url)
        await upgrade(database)
        self._stores.keys = KeyStore(database, SECRET)
        self._stores.log = RequestLog(database)
        self._stores.usage = UsageReport(database)
        self._stores.budgets = BudgetReport(database)

    @override
    async def stop(self) -> None:
        if self._database is not None:
            await self._database.close()


@contextmanager
def serving(
    directory: Path, blueprint: flask.Blueprint, stores: Stores, caller: ApiKey | None = None
) -> Iterator[FlaskClient]:
    """A client of an application with this blueprint; everybody who calls it is `caller`."""
    lay_tables(directory)
    services = StoreServices(url_in(directory), stores)
    app = GatewayFlask(__name__, services=services, drain=Drain(1))

    def admit() -> None:
        flask.g.caller = caller

    def tell(error: GatewayError) -> flask.Response:
        return error_response(error)

    app.before_request(admit)
    app.register_error_handler(GatewayError, tell)
    app.register_blueprint(blueprint)
    try:
        yield app.test_client()
    finally:
        app.close()


def url_in(directory: Path) -> str:
    return f"sqlite:///{directory}/one_api.db"


def lay_tables(directory: Path) -> None:
    """Let there be a database with all tables, if there is none."""
    path = directory / "one_api.db"
    if not path.exists():
        path.write_bytes(_empty_database())


@functools.cache
def _empty_database() -> bytes:
    """A file with all tables: to copy it costs a third of what making them does."""

    async def make(directory: Path) -> None:
        database = await Database.open(url_in(directory))
        await upgrade(database)
        await database.close()

    with TemporaryDirectory() as directory:
        asyncio.run(make(Path(directory)))
        return (Path(directory) / "one_api.db").read_bytes()


@dataclass(frozen=True, kw_only=True)
class Past:
    """A request that was made, and how it ended; None: it has not."""

    request: Reservation
    end: Settlement | None = None


def remember(directory: Path, past: Iterable[Past]) -> None:
    """Let these requests have been made, as the ledger writes them down."""
    lay_tables(directory)

    async def write() -> None:
        database = await Database.open(url_in(directory))
        ledger = Ledger(database, Journal(directory))
        await ledger.start()
        for one in past:
            await ledger.reserve(one.request)
            if one.end is not None:
                ledger.settle(one.request.request_id, one.end)
        await ledger.flush()
        # A row that is not settled is left as a running gateway has it.
        await database.close()

    asyncio.run(write())


def now_ms() -> int:
    return time.time_ns() // 1_000_000
