"""Which adapter answers for which model: the catalogue the rest of the gateway asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from one_api import discovery
from one_api.adapter.base import AdapterContext, BaseModelAdapter, Call
from one_api.catalogue import Catalogue, RegisteredModel
from one_api.deployment import Deployment, Timeouts
from one_api.discovery import AdapterEntry
from one_api.errors import (
    ConfigurationError,
    GatewayError,
    ModelNotFound,
    NoDeploymentAvailable,
)
from one_api.inventory import UpstreamsDiff, UpstreamStatus, compare, is_same_adapter, status_of
from one_api.members import Member, UpstreamBuilder, locate
from one_api.upstreams import Upstreams

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from one_api.adapter.readings import Reading
    from one_api.events import Event
    from one_api.schemas.chat import ChatCompletionRequest

__all__ = ["ModelRegistry", "RegisteredModel", "UpstreamStatus", "UpstreamsDiff"]

logger = logging.getLogger(__name__)

ContextOf = Callable[[str], AdapterContext]
#: An adapter, kept open by whoever is inside.
Lease = AbstractContextManager[BaseModelAdapter]


class ModelRegistry:
    """Adapters and upstreams by name, and the models they offer.

    Adapters come from the environment: the first to offer a model id answers for the plain id.
    Upstreams come from the operator's file: all that offer a model id answer for it together.
    Every model is also reached as `name/model`. Lists of models are cached and refreshed in the
    background between `start` and `close`; a provider that does not answer keeps its last list.
    """

    def __init__(
        self,
        *,
        timeouts: Timeouts | None = None,
        list_timeout_s: float = 10.0,
        refresh_s: float = 300.0,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._list_timeout_s = list_timeout_s
        self._refresh_s = refresh_s
        self._load_timeout_s = 10.0
        self._adapters: dict[str, Member] = {}
        self._pool: dict[str, Member] = {}
        self._catalogue = Catalogue(timeouts=self._timeouts)
        self._context: ContextOf | None = None
        self._is_running = False
        self._reloading = asyncio.Lock()
        self._is_closing = asyncio.Event()
        self._retiring: set[asyncio.Task[None]] = set()
        self.entries: list[AdapterEntry] = []
        #: The operator's upstreams as they are in force; None where there is no file of them.
        self.upstreams: Upstreams | None = None

    def load(
        self,
        *,
        environment: Mapping[str, str],
        context: ContextOf,
        allowed: Sequence[str] | None = None,
        found: Sequence[EntryPoint] | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        """Discover, import and register the installed adapters; never raises for one of them.

        `allowed` are entry-point names, None for all; `found` replaces what is installed.
        """
        self._context, self._load_timeout_s = context, timeout_s
        points = discovery.installed_entry_points() if found is None else found
        self.entries = discovery.catalogue(points, allowed)
        for entry in self.entries:
            discovery.load(entry, environment, context, timeout_s)
            taken = [name for name in entry.adapters if name in self._adapters]
            for name in taken:
                del entry.adapters[name]
            if taken:
                entry.reason = f"another adapter is already called '{taken[0]}'"
            if taken and not entry.adapters:
                entry.fail(entry.reason, "shadowed")
                # What the operator asked for is served under that name, by the other one.
                entry.is_required = False
            for name, adapter in entry.adapters.items():
                self._adapters[name] = Member(name, adapter, entry=entry)
        self._index()

    def register_adapter(self, name: str, adapter: BaseModelAdapter) -> None:
        """Add an adapter made by hand.

        Raises: ValueError when the name is taken.
        """
        if name in self._adapters or name in self._pool:
            raise ValueError(f"an adapter called '{name}' is registered already")
        self._adapters[name] = Member(name, adapter)
        self._index()

    def set_upstreams(self, upstreams: Upstreams, context: ContextOf) -> None:
        """Add the upstreams of the operator's file; after `load`, and once: then `reload`.

        Raises: ConfigurationError that names file, line and field.
        """
        self._context = context
        members: dict[str, Member] = {}
        self._builder().build(upstreams, members)
        self._swap(upstreams, members)

    async def start(self) -> None:
        """Start every adapter and begin to list models; waits for no provider."""
        self._is_running = True
        for members in (self._adapters, self._pool):
            for member in list(members.values()):
                reason = await member.start(self._list_timeout_s)
                if not reason:
                    self._begin_listing(member)
                    continue
                del members[member.name]
                if member.entry is not None:
                    member.entry.fail(reason)
                else:
                    logger.warning("adapter %s: %s", member.name, reason)
        self._index()

    async def close(self) -> None:
        """Stop listing and close every adapter, the retired ones included."""
        self._is_running = False
        self._is_closing.set()
        async with self._reloading:
            await asyncio.gather(*self._retiring)
            for member in self._members():
                await member.close()

    async def reload(self, upstreams: Upstreams) -> UpstreamsDiff:
        """Put another version of the operator's file in force, all of it or nothing.

        Entries that mean the same provider keep their adapter and its list. The adapters of others
        are closed when the calls that hold a lease of them have ended.
        Raises: ConfigurationError that names file, line and field; then nothing has changed.
        """
        async with self._reloading:
            diff = compare(self.upstreams or Upstreams(), upstreams)
            members = self._kept(upstreams)
            kept = frozenset(members.values())
            try:
                # Plugins may take their time to build, and streams are running here.
                await asyncio.to_thread(self._builder().build, upstreams, members)
                built = [member for member in members.values() if member not in kept]
                if self._is_running:
                    await self._start_built(built, upstreams)
            except BaseException:
                for member in [member for member in members.values() if member not in kept]:
                    await member.close()
                raise
            retired = [member for member in self._pool.values() if member not in kept]
            self._swap(upstreams, members)
            for member in retired:
                self._retire(member)
            for member in built if self._is_running else ():
                self._begin_listing(member)
            return diff

    def _kept(self, upstreams: Upstreams) -> dict[str, Member]:
        """The members that serve `upstreams` as they are."""
        kept = {}
        for entry in upstreams.entries:
            member = self._pool.get(entry.name)
            before = member.upstream if member is not None else None
            if member is not None and before is not None and is_same_adapter(before, entry):
                kept[entry.name] = member
        return kept

    def is_ready(self) -> bool:
        """Whether every adapter the operator switched on is serving."""
        return all(entry.state == "loaded" for entry in self.entries if entry.is_required)

    def adapter(self, name: str) -> BaseModelAdapter:
        """The adapter instance called `name`, which may be an upstream's name.

        Raises: ModelNotFound.
        """
        member = self._member(name)
        if member is None:
            raise ModelNotFound(f"There is no adapter '{name}'.", param="model")
        return member.adapter

    def lease(self, deployment: Deployment) -> Lease:
        """The deployment's adapter, kept open until the context is left; it may be entered again.

        Raises: NoDeploymentAvailable when a reload has removed it meanwhile.
        """
        member = self._pool.get(deployment.adapter) or self._adapters.get(deployment.adapter)
        if member is None:
            raise NoDeploymentAvailable(f"The upstream '{deployment.adapter}' has been removed.")
        return member

    async def deployments_for(self, model_id: str) -> tuple[Deployment, ...]:
        """The ways to have `model_id` answered, in the order of the operator's file.

        The deployments of an alias are those of the models it leads to, by whose names they go.
        Raises: ModelNotFound; NoDeploymentAvailable when a provider that might know the model
        could not be asked for its list.
        """
        deployments = self._catalogue.remembered.get(model_id)
        if deployments is not None:
            return deployments
        if not self._catalogue.is_known(model_id):
            await self._wait_for_lists()
        deployments = self._catalogue.remember(model_id)
        if not deployments:
            raise self._unknown(model_id)
        return deployments

    def get_adapter_for_model(self, model_id: str) -> BaseModelAdapter:
        """The first adapter that answers for `model_id`, by what is known now.

        Raises: ModelNotFound.
        """
        deployments = self._catalogue.find(model_id)
        if not deployments:
            raise model_not_found(model_id)
        return self.adapter(deployments[0].adapter)

    async def list_all_models(self) -> list[RegisteredModel]:
        """Every model with a name, once; waits for lists that never came yet."""
        await self._wait_for_lists()
        return self._catalogue.models

    async def get_model_info(self, model_id: str) -> RegisteredModel:
        """One model by plain id or as `adapter/model`.

        Raises: ModelNotFound, NoDeploymentAvailable as `deployments_for`.
        """
        deployment = (await self.deployments_for(model_id))[0]
        known = self._catalogue.model(model_id)
        if known is not None:
            return known
        with self.lease(deployment) as adapter:
            info = await adapter.get_model_info(deployment.upstream_model)
        return RegisteredModel(model_id, deployment.adapter, info)

    async def generate_completion(
        self, request: ChatCompletionRequest, request_id: str = ""
    ) -> AsyncIterator[Event]:
        """The events of the first adapter that answers for `request.model`."""
        deployment = (await self.deployments_for(request.model or ""))[0]
        call = Call(
            model=deployment.upstream_model, request_id=request_id, timeouts=deployment.timeouts
        )
        with self.lease(deployment) as adapter:
            async for event in adapter.generate_completion(request, call):
                yield event

    def adapters(self) -> list[tuple[str, int, str | None]]:
        """Name, number of models and last listing error of every adapter and upstream."""
        rows = [(m.name, len(m.models or ()), m.list_error) for m in self._adapters.values()]
        for member in self._pool.values():
            offered = self._catalogue.names_of(member.name)
            rows.append((member.name, len(offered), member.list_error))
        return rows

    def readings(self) -> list[tuple[str, Reading]]:
        """The numbers that adapters and upstreams tell of themselves, each with their name."""
        return [(member.name, one) for member in self._members() for one in member.readings()]

    def describe_upstreams(self) -> list[UpstreamStatus]:
        """The upstreams of the operator's file as they stand, in its order; no secrets."""
        told = []
        for entry in self.upstreams.entries if self.upstreams else ():
            member = self._pool.get(entry.name)
            told.append(
                status_of(
                    entry,
                    member.adapter if member else None,
                    adapter_name=member.adapter_name if member else entry.adapter or "",
                    models=self._catalogue.names_of(entry.name) if member else (),
                    list_error=member.list_error if member else "its adapter did not start",
                )
            )
        return told

    def _members(self) -> list[Member]:
        return [*self._adapters.values(), *self._pool.values()]

    def _member(self, name: str) -> Member | None:
        member = self._pool.get(name)
        return self._adapters.get(name) if member is None else member

    def _builder(self) -> UpstreamBuilder:
        if self._context is None:
            raise RuntimeError("upstreams need the context that load() or set_upstreams() gets")
        return UpstreamBuilder(
            self.entries, frozenset(self._adapters), self._context, self._load_timeout_s
        )

    async def _start_built(self, members: Sequence[Member], upstreams: Upstreams) -> None:
        """Start the new members of a reload.

        Raises: ConfigurationError when one does not start.
        """
        for member in members:
            reason = await member.start(self._list_timeout_s)
            if reason and member.upstream is not None:
                error = ConfigurationError("adapter", reason)
                raise locate(error, upstreams, member.upstream)

    def _begin_listing(self, member: Member) -> None:
        member.begin_listing(self._list_timeout_s, self._refresh_s, self._index)

    def _swap(self, upstreams: Upstreams, members: dict[str, Member]) -> None:
        for entry in upstreams.entries:
            members[entry.name].upstream = entry
        self._pool, self.upstreams = members, upstreams
        self._index()

    def _retire(self, member: Member) -> None:
        task = asyncio.create_task(member.retire(self._is_closing))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _index(self) -> None:
        """Rebuild the catalogue."""
        before = self._catalogue.collisions
        groups = [group.name for group in self.upstreams.groups] if self.upstreams else []
        place = {name: at for at, name in enumerate(groups)}
        offers = [member.offer() for member in self._pool.values()]
        # Groups are tried in the order of the file; one that it does not list comes last.
        offers.sort(
            key=lambda one: place.get(one.upstream.group.name if one.upstream else "", len(place))
        )
        self._catalogue = Catalogue(
            [member.offer() for member in self._adapters.values()],
            offers,
            self.upstreams.aliases if self.upstreams else {},
            self._timeouts,
        )
        for full_id, (model_id, winner) in self._catalogue.collisions.items():
            if full_id not in before:
                _log_collision(model_id, winner, full_id)

    def _unknown(self, model_id: str) -> GatewayError:
        silent = [m.name for m in self._adapters.values() if m.list_error and not m.models]
        if silent:
            return NoDeploymentAvailable(
                f"The model '{model_id}' is not known, but the models of {', '.join(silent)} could "
                "not be listed. Try again, or name the adapter: "
                f"'{silent[0]}/{model_id}'.",
                param="model",
                retry_after_s=5,
            )
        return model_not_found(model_id)

    async def _wait_for_lists(self) -> None:
        """Wait for every first list to come or fail."""
        for member in self._members():
            if member.is_pending:
                await member.listed.wait()


def _log_collision(model_id: str, winner: str, full_id: str) -> None:
    logger.info(
        "model %s: %s answers for the plain id, the other is reached as %s",
        model_id,
        winner,
        full_id,
    )


def model_not_found(model_id: str) -> ModelNotFound:
    """The error for a model that nobody serves, or that the caller may not know of."""
    return ModelNotFound(
        f"The model '{model_id}' does not exist or you do not have access to it. "
        "GET /v1/models lists what is served.",
        param="model",
    )
