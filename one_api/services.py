"""What lives on the event loop beside the requests: opened with it, closed with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from typing_extensions import override

from one_api.counters import Counters
from one_api.errors import StorageUnavailable
from one_api.gateway import Gateway
from one_api.policy.accounts import AccountBook
from one_api.policy.auth import KeyRing
from one_api.policy.stored_keys import StoredKeys
from one_api.registry import ModelRegistry
from one_api.runtime import Services
from one_api.settings import Settings
from one_api.storage import (
    Database,
    Journal,
    KeyStore,
    Ledger,
    RequestLog,
    UsageReport,
    key_secret,
    upgrade,
)
from one_api.upstream import Upstream
from one_api.web.admin_budgets import BudgetReport
from one_api.web.admin_values import Stores

logger = logging.getLogger(__name__)

#: Seconds between two looks for logged requests that are too old or too many.
_RETENTION_S = 600.0
#: Days that a request's row stays where none is to be logged: what a killed process has in its
#: journal is compared with it, so that nothing is counted twice.
_UNLOGGED_DAYS = 1.0


class Storage:
    """The database and what stands on it; fills in `stores`, the ledger and the stored keys."""

    def __init__(self, settings: Settings, url: str, stores: Stores) -> None:
        self._settings = settings
        self._url = url
        self._stores = stores
        self._database: Database | None = None
        self._ledger: Ledger | None = None
        self._stored: StoredKeys | None = None
        self._retention: asyncio.Task[None] | None = None

    async def start(self, book: AccountBook, keys: KeyRing) -> None:
        """Open the database, bring it up to date, and settle what a dead process left.

        Raises: ConfigurationError, StorageUnavailable.
        """
        settings = self._settings
        self._database = database = await Database.open(self._url)
        await upgrade(database)
        configured = settings.key_secret.get_secret_value() if settings.key_secret else None
        if configured is not None or database.path is not None:
            store = KeyStore(database, await key_secret(database, configured))
            self._stored = StoredKeys(store)
            await self._stored.start()
            self._stores.keys, keys.stored = store, self._stored
        self._ledger = Ledger(database, Journal(settings.data_directory))
        await self._ledger.start()
        book.ledger = self._ledger
        self._stores.log = log = RequestLog(database)
        self._stores.usage = UsageReport(database)
        self._stores.budgets = BudgetReport(database)
        self._retention = asyncio.create_task(self._keep_small(log))

    async def close(self) -> None:
        """Write down what is pending, and close the database."""
        if self._retention is not None:
            self._retention.cancel()
            await asyncio.gather(self._retention, return_exceptions=True)
        if self._stored is not None:
            await self._stored.close()
        if self._ledger is not None:
            await self._ledger.close()
        if self._database is not None:
            await self._database.close()

    async def _keep_small(self, log: RequestLog) -> None:
        settings = self._settings
        is_off = settings.request_log == "off"
        while True:
            try:
                await log.purge(
                    max_age_days=_UNLOGGED_DAYS if is_off else settings.request_log_max_days,
                    max_rows=settings.request_log_max_rows,
                )
            except StorageUnavailable as exc:
                logger.warning("old requests stay in the log for now: %s", exc.message)
            await asyncio.sleep(_RETENTION_S)


class GatewayServices(Services):
    """Everything that starts and stops with the event loop, in order."""

    def __init__(
        self,
        upstream: Upstream,
        registry: ModelRegistry,
        gateway: Gateway,
        book: AccountBook,
        keys: KeyRing,
        storage: Storage | None,
    ) -> None:
        self._upstream = upstream
        self._registry = registry
        self._gateway = gateway
        self._book = book
        self._keys = keys
        self._storage = storage
        #: Reads again what the operator may change while the gateway runs.
        self.reload_file: Callable[[], Awaitable[list[str]]] | None = None

    @override
    async def start(self) -> None:
        if self._storage is not None:
            await self._storage.start(self._book, self._keys)
        await self._upstream.open()
        await self._registry.start()

    @override
    async def stop(self) -> None:
        await self._gateway.close()
        await self._registry.close()
        await self._upstream.close()
        await self._book.close()
        await self._counters.close()
        if self._storage is not None:
            await self._storage.close()

    @property
    def _counters(self) -> Counters:
        return self._book.counters

    @override
    async def reload(self) -> list[str]:
        return await self.reload_file() if self.reload_file is not None else []
