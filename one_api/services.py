"""What lives on the event loop beside the requests: opened with it, closed with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from typing_extensions import override

from one_api.errors import StorageUnavailable
from one_api.gateway import Gateway
from one_api.monitoring import Monitoring
from one_api.policy.accounts import AccountBook
from one_api.policy.auth import KeyRing
from one_api.policy.stored_keys import StoredKeys
from one_api.probing import Prober
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
from one_api.storage.budgets import BudgetReport
from one_api.telemetry import Telemetry
from one_api.upstream import Upstream
from one_api.web.admin_values import Stores

if TYPE_CHECKING:
    from one_api.alerting import Alerting

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
        self._opened = AsyncExitStack()

    async def start(self, book: AccountBook, keys: KeyRing) -> None:
        """Open the database, bring it up to date, and settle what a dead process left.

        Raises: ConfigurationError, StorageUnavailable.
        """
        async with AsyncExitStack() as stack:
            database = await Database.open(self._url)
            stack.push_async_callback(database.close)
            await upgrade(database)
            stored = await self._open_keys(database, stack)
            ledger = Ledger(database, Journal(self._settings.data_directory))
            stack.push_async_callback(ledger.close)
            await ledger.start()
            log = RequestLog(database)
            retention = asyncio.create_task(self._keep_small(log))
            stack.push_async_callback(_cancel, retention)
            self._opened = stack.pop_all()
        keys.stored, book.ledger = stored, ledger
        self._stores.log = log
        self._stores.usage = UsageReport(database)
        self._stores.budgets = BudgetReport(database)

    async def close(self) -> None:
        """Write down what is pending, and close the database."""
        await self._opened.aclose()

    async def _open_keys(self, database: Database, stack: AsyncExitStack) -> StoredKeys | None:
        """The stored keys; None where nobody set the secret that they are hashed with."""
        secret = self._settings.key_secret
        if secret is None and database.path is None:
            logger.info("without KEY_SECRET no stored API key opens this gateway")
            return None
        configured = secret.get_secret_value() if secret is not None else None
        store = KeyStore(database, await key_secret(database, configured))
        stored = StoredKeys(store)
        stack.push_async_callback(stored.close)
        await stored.start()
        self._stores.keys = store
        return stored

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
        self.registry = registry
        self._gateway = gateway
        self._book = book
        self._keys = keys
        self._storage = storage
        self._started = AsyncExitStack()
        #: Reads again what the operator may change while the gateway runs.
        self.reload_file: Callable[[], Awaitable[list[str]]] | None = None
        #: Tells the metrics of all that starts after it and stops before it; None without any.
        self.monitoring: Monitoring | None = None
        #: Tells of requests in the log and in traces; None where nobody does.
        self.telemetry: Telemetry | None = None
        #: Tells the operator what goes wrong, and looks whether idle deployments live; if anybody.
        self.alerting: Alerting | None = None
        self.prober: Prober | None = None

    @override
    async def start(self) -> None:
        """Begin with all or, where one cannot, with none.

        Raises: ConfigurationError, StorageUnavailable.
        """
        async with AsyncExitStack() as stack:
            if self.telemetry is not None:
                stack.push_async_callback(self.telemetry.stop)
                self.telemetry.start()
            if self.monitoring is not None:
                stack.push_async_callback(self.monitoring.stop)
            if self._storage is not None:
                stack.push_async_callback(self._storage.close)
                await self._storage.start(self._book, self._keys)
            stack.push_async_callback(self._book.counters.close)
            stack.push_async_callback(self._book.close)
            stack.push_async_callback(self._upstream.close)
            await self._upstream.open()
            if self.alerting is not None:
                # Before all that may fail, and for as long as it may be told through the client.
                stack.push_async_callback(self.alerting.stop)
                await self.alerting.start()
            stack.push_async_callback(self.registry.close)
            await self.registry.start()
            if self.prober is not None:
                stack.push_async_callback(self.prober.stop)
                await self.prober.start()
            if self.monitoring is not None:
                await self.monitoring.start()
            stack.push_async_callback(self._gateway.close)
            self._started = stack.pop_all()

    @override
    async def stop(self) -> None:
        """End in the opposite order; what fails to end keeps none of the others from it."""
        await self._started.aclose()

    @override
    async def reload(self) -> list[str]:
        return await self.reload_file() if self.reload_file is not None else []


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
