"""The registry's members: adapter instances, their lists, who uses them, and their ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from one_api import discovery
from one_api.adapter.base import AdapterContext, BaseModelAdapter
from one_api.adapter.readings import Reading, SupportsReadings
from one_api.catalogue import Offer
from one_api.discovery import AdapterEntry
from one_api.errors import ConfigurationError, GatewayError
from one_api.schemas.models import ModelInfo
from one_api.upstreams import UpstreamEntry, Upstreams

logger = logging.getLogger(__name__)

#: Waits between attempts to list the models of a provider that does not answer, in seconds.
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0
#: How long calls may keep a retired adapter open, in seconds.
MAX_LEASE_S = 3600.0


class Member:
    """One adapter instance and what it was last heard to offer.

    As a context manager it gives the adapter and keeps it open: one that is retired is closed when
    the last such context is left. `entry` is set for adapters of the environment only: an upstream
    of the operator's file says nothing about the health of the plugin that serves it.
    """

    __slots__ = (
        "_idle",
        "_leases",
        "_refresh",
        "adapter",
        "adapter_name",
        "entry",
        "list_error",
        "listed",
        "models",
        "name",
        "upstream",
    )

    def __init__(
        self,
        name: str,
        adapter: BaseModelAdapter,
        *,
        entry: AdapterEntry | None = None,
        upstream: UpstreamEntry | None = None,
        adapter_name: str = "",
    ) -> None:
        self.name = name
        self.adapter = adapter
        self.entry = entry
        self.upstream = upstream
        self.adapter_name = adapter_name or name
        #: The last list; None before the first.
        self.models: tuple[ModelInfo, ...] | None = None
        self.list_error: str | None = None
        #: Set when the first list came or failed.
        self.listed = asyncio.Event()
        self._refresh: asyncio.Task[None] | None = None
        self._leases = 0
        self._idle: asyncio.Event | None = None

    def __enter__(self) -> BaseModelAdapter:
        self._leases += 1
        return self.adapter

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leases -= 1
        if not self._leases and self._idle is not None:
            self._idle.set()

    @property
    def is_pending(self) -> bool:
        """Whether its first list is still to come or fail."""
        return self._refresh is not None and not self.listed.is_set()

    def offer(self) -> Offer:
        """What it offers now."""
        return Offer(
            name=self.name,
            listed=self.models,
            upstream=self.upstream,
            owner=self.upstream.adapter or self.adapter_name if self.upstream else "",
        )

    async def start(self, timeout_s: float) -> str:
        """Start the adapter; why it did not start, empty when it did."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.adapter.start()
        except Exception as exc:  # noqa: BLE001 - a plugin's failure is its state, not ours
            return self._without_secrets(f"its start() raised {type(exc).__name__}: {exc}")
        return ""

    def begin_listing(
        self, timeout_s: float, refresh_s: float, on_change: Callable[[], None]
    ) -> None:
        """List the models again and again; not where the operator names them.

        `on_change` is called whenever the list is another one than before.
        """
        if self.upstream is None or self.upstream.models is None:
            self._refresh = asyncio.create_task(self._keep_listed(timeout_s, refresh_s, on_change))

    async def close(self) -> None:
        """Stop listing and close the adapter, whoever uses it; a plugin's failure is logged."""
        self._stop_listing()
        if self._refresh is not None:
            await asyncio.gather(self._refresh, return_exceptions=True)
        try:
            await self.adapter.close()
        except Exception:
            logger.exception("adapter %s failed to close", self.name)

    def readings(self) -> list[Reading]:
        """The adapter's numbers as they are now; none where it cannot tell any."""
        if not isinstance(self.adapter, SupportsReadings):
            return []
        try:
            return [*self.adapter.readings()]
        except Exception as exc:  # noqa: BLE001 - a plugin's failure spoils no one else's metrics
            reason = self._without_secrets(f"{type(exc).__name__}: {exc}")
            logger.warning("adapter %s: its readings() raised %s", self.name, reason)
            return []

    async def retire(self, give_up: asyncio.Event) -> None:
        """Close the adapter as soon as nobody uses it, `give_up` is set or `MAX_LEASE_S` passed."""
        self._stop_listing()
        if self._leases:
            self._idle = asyncio.Event()
            waits = [asyncio.create_task(event.wait()) for event in (self._idle, give_up)]
            try:
                await asyncio.wait(waits, timeout=MAX_LEASE_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        if self._leases:
            logger.warning("upstream %s: closed with %d calls running", self.name, self._leases)
        await self.close()

    def _stop_listing(self) -> None:
        if self._refresh is not None:
            self._refresh.cancel()
        self.listed.set()  # Nobody shall wait for it.

    async def _keep_listed(
        self, timeout_s: float, refresh_s: float, on_change: Callable[[], None]
    ) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            before = self.models
            is_listed = await self._list(timeout_s)
            if self.models != before:
                on_change()
            self.listed.set()
            await asyncio.sleep(refresh_s if is_listed else retry_s)
            retry_s = FIRST_RETRY_S if is_listed else min(retry_s * 2, LAST_RETRY_S)

    async def _list(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                models = tuple(await self.adapter.list_models())
        except TimeoutError:
            self._note(f"no list of models within {timeout_s:g} s")
            return False
        except GatewayError as exc:
            self._note(exc.message)
            return False
        except Exception as exc:  # noqa: BLE001 - a plugin's failure is its state, not ours
            self._note(f"list_models() raised {type(exc).__name__}: {exc}", is_broken=True)
            return False
        if not all(_is_sound(model) for model in models):
            self._note("list_models() did not return ModelInfo values", is_broken=True)
            return False
        if self.entry is not None:
            if self.entry.state == "failed":
                self.entry.state = "loaded"
            self.entry.reason = ""
        self.list_error = None
        self.models = models
        return True

    def _note(self, reason: str, *, is_broken: bool = False) -> None:
        """Remember why a list did not come; a plugin that breaks the contract has failed."""
        reason = self._without_secrets(reason)
        if self.list_error != reason:
            logger.warning("adapter %s: cannot list models: %s", self.name, reason)
        self.list_error = reason
        if self.entry is not None:
            self.entry.reason = reason
            if is_broken:
                self.entry.state = "failed"

    def _without_secrets(self, text: str) -> str:
        for secret in self.adapter.settings.secrets():
            text = text.replace(secret, "[redacted]")
        return text


@dataclass(frozen=True, slots=True)
class UpstreamBuilder:
    """Makes members of the entries of the operator's file.

    `taken` are the names of the environment's adapters.
    """

    entries: Sequence[AdapterEntry]
    taken: frozenset[str]
    context: Callable[[str], AdapterContext]
    timeout_s: float

    def build(self, upstreams: Upstreams, members: dict[str, Member]) -> None:
        """Put a member for each entry into `members`, in the order of the file.

        Those that are there already stay as they are.
        Raises: ConfigurationError that names file, line and field; close what is in `members`.
        """
        done: set[str] = set()
        for entry in upstreams.entries:
            try:
                if entry.name in self.taken or entry.name in done:
                    raise ConfigurationError("name", f"'{entry.name}' is taken by another adapter")
                member = members.pop(entry.name, None) or self._build(entry)
            except ConfigurationError as exc:
                raise locate(exc, upstreams, entry) from None
            members[entry.name] = member
            done.add(entry.name)

    def _build(self, upstream: UpstreamEntry) -> Member:
        entry = discovery.entry_for(self.entries, upstream.adapter)
        adapter = discovery.build_upstream(
            entry, upstream.name, upstream.settings, self.context(upstream.name), self.timeout_s
        )
        return Member(upstream.name, adapter, upstream=upstream, adapter_name=entry.name)


def locate(
    error: ConfigurationError, upstreams: Upstreams, entry: UpstreamEntry
) -> ConfigurationError:
    """`error` about a field of `entry`, with the place in the file where it stands."""
    index = next(i for i, other in enumerate(upstreams.entries) if other is entry)
    place = f"{upstreams.path or 'upstreams'}:{entry.line}: upstreams[{index}].{error.variable}"
    return ConfigurationError("UPSTREAMS_FILE", f"{place}: {error.problem}", error.expected)


def _is_sound(model: object) -> bool:
    """Whether a plugin's model can be shown: a name, and a time that is one."""
    return (
        isinstance(model, ModelInfo)
        and isinstance(model.id, str)
        and 0 < len(model.id) <= 256
        and isinstance(model.created, int)
        and 0 <= model.created < 2**33
    )
