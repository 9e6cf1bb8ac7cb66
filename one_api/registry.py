"""Which adapter answers for which model: the catalogue the rest of the gateway asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from one_api import discovery
from one_api.adapter.base import AdapterContext, BaseModelAdapter, Call
from one_api.deployment import Deployment, Timeouts
from one_api.discovery import AdapterEntry
from one_api.errors import GatewayError, ModelNotFound, NoDeploymentAvailable
from one_api.schemas.models import ModelInfo

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from one_api.events import Event
    from one_api.schemas.chat import ChatCompletionRequest

logger = logging.getLogger(__name__)

#: Waits between attempts to list the models of a provider that does not answer, in seconds.
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model under the id by which clients ask for it."""

    id: str
    adapter: str
    info: ModelInfo


@dataclass(slots=True)
class _Member:
    """One adapter instance and what it was last heard to offer."""

    name: str
    adapter: BaseModelAdapter
    entry: AdapterEntry | None = None
    models: tuple[ModelInfo, ...] = ()
    list_error: str | None = None
    listed: asyncio.Event = field(default_factory=asyncio.Event)
    refresh: asyncio.Task[None] | None = None


class ModelRegistry:
    """Adapters by name, and the models they offer.

    The first adapter to offer a model id answers for the plain id; every model is also reached as
    `adapter/model`. Lists of models are cached and refreshed in the background between `start`
    and `close`; a provider that does not answer keeps its last list.
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
        self._members: dict[str, _Member] = {}
        self._by_id: dict[str, RegisteredModel] = {}
        self.entries: list[AdapterEntry] = []

    def load(
        self,
        *,
        environment: Mapping[str, str],
        context: Callable[[str], AdapterContext],
        allowed: Sequence[str] | None = None,
        found: Sequence[EntryPoint] | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        """Discover, import and register the installed adapters; never raises for one of them.

        `allowed` are entry-point names, None for all; `found` replaces what is installed.
        """
        points = discovery.installed_entry_points() if found is None else found
        self.entries = discovery.catalogue(points, allowed)
        for entry in self.entries:
            discovery.load(entry, environment, context, timeout_s)
            taken = [name for name in entry.adapters if name in self._members]
            for name in taken:
                del entry.adapters[name]
            if taken:
                entry.reason = f"another adapter is already called '{taken[0]}'"
            if taken and not entry.adapters:
                entry.fail(entry.reason, "shadowed")
            for name, adapter in entry.adapters.items():
                self._members[name] = _Member(name, adapter, entry)

    def register_adapter(self, name: str, adapter: BaseModelAdapter) -> None:
        """Add an adapter made by hand.

        Raises: ValueError when the name is taken.
        """
        if name in self._members:
            raise ValueError(f"an adapter called '{name}' is registered already")
        self._members[name] = _Member(name, adapter)

    async def start(self) -> None:
        """Start every adapter and begin to list models; waits for no provider."""
        for member in list(self._members.values()):
            try:
                async with asyncio.timeout(self._list_timeout_s):
                    await member.adapter.start()
            except Exception as exc:  # noqa: BLE001 - a plugin's failure is its state, not ours
                del self._members[member.name]
                reason = f"its start() raised {type(exc).__name__}: {exc}"
                if member.entry is not None:
                    member.entry.fail(reason)
                else:
                    logger.warning("adapter %s: %s", member.name, reason)
                continue
            member.refresh = asyncio.create_task(self._keep_listed(member))

    async def close(self) -> None:
        """Stop listing and close every adapter."""
        members = list(self._members.values())
        tasks = [member.refresh for member in members if member.refresh is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for member in members:
            try:
                await member.adapter.close()
            except Exception:
                logger.exception("adapter %s failed to close", member.name)

    def is_ready(self) -> bool:
        """Whether every adapter the operator switched on is serving."""
        return all(entry.state == "loaded" for entry in self.entries if entry.is_required)

    def adapter(self, name: str) -> BaseModelAdapter:
        """The adapter instance called `name`.

        Raises: ModelNotFound.
        """
        member = self._members.get(name)
        if member is None:
            raise ModelNotFound(f"There is no adapter '{name}'.", param="model")
        return member.adapter

    async def deployments_for(self, model_id: str) -> tuple[Deployment, ...]:
        """The ways to have `model_id` answered, in the order to try them.

        Raises: ModelNotFound; NoDeploymentAvailable when a provider that might know the model
        could not be asked for its list.
        """
        deployment = self._find(model_id)
        if deployment is None and await self._wait_for_lists():
            deployment = self._find(model_id)
        if deployment is None:
            raise self._unknown(model_id)
        return (deployment,)

    def get_adapter_for_model(self, model_id: str) -> BaseModelAdapter:
        """The adapter that answers for `model_id`, by what is known now.

        Raises: ModelNotFound.
        """
        deployment = self._find(model_id)
        if deployment is None:
            raise _not_found(model_id)
        return self._members[deployment.adapter].adapter

    async def list_all_models(self) -> list[RegisteredModel]:
        """Every model, once, in the adapters' order; waits for lists that never came yet."""
        await self._wait_for_lists()
        return list(self._by_id.values())

    async def get_model_info(self, model_id: str) -> RegisteredModel:
        """One model by plain id or as `adapter/model`.

        Raises: ModelNotFound, NoDeploymentAvailable as `deployments_for`.
        """
        deployment = (await self.deployments_for(model_id))[0]
        known = self._by_id.get(model_id)
        if known is not None:
            return known
        info = await self._members[deployment.adapter].adapter.get_model_info(
            deployment.upstream_model
        )
        return RegisteredModel(model_id, deployment.adapter, info)

    async def generate_completion(
        self, request: ChatCompletionRequest, request_id: str = ""
    ) -> AsyncIterator[Event]:
        """The events of the adapter that answers for `request.model`."""
        deployment = (await self.deployments_for(request.model or ""))[0]
        call = Call(
            model=deployment.upstream_model, request_id=request_id, timeouts=deployment.timeouts
        )
        adapter = self._members[deployment.adapter].adapter
        async for event in adapter.generate_completion(request, call):
            yield event

    def adapters(self) -> list[tuple[str, int, str | None]]:
        """Name, number of models and last listing error of every registered adapter."""
        return [(m.name, len(m.models), m.list_error) for m in self._members.values()]

    def _find(self, model_id: str) -> Deployment | None:
        name, _, upstream_model = model_id.partition("/")
        if upstream_model and name in self._members:
            # Not looked up in the list: providers serve models that they do not list. And first:
            # what an id means must not depend on which lists have come.
            return self._deployment(model_id, name, upstream_model)
        known = self._by_id.get(model_id)
        if known is not None:
            return self._deployment(model_id, known.adapter, known.info.id)
        return None

    def _deployment(self, model: str, adapter: str, upstream_model: str) -> Deployment:
        return Deployment(
            model=model, adapter=adapter, upstream_model=upstream_model, timeouts=self._timeouts
        )

    def _unknown(self, model_id: str) -> GatewayError:
        silent = [m.name for m in self._members.values() if m.list_error and not m.models]
        if silent:
            return NoDeploymentAvailable(
                f"The model '{model_id}' is not known, but the models of {', '.join(silent)} could "
                "not be listed. Try again, or name the adapter: "
                f"'{silent[0]}/{model_id}'.",
                param="model",
                retry_after_s=5,
            )
        return _not_found(model_id)

    async def _wait_for_lists(self) -> bool:
        """Wait for every first list to come or fail; whether there was anything to wait for."""
        pending = [m for m in self._members.values() if m.refresh and not m.listed.is_set()]
        for member in pending:
            await member.listed.wait()
        return bool(pending)

    async def _keep_listed(self, member: _Member) -> None:
        """List the models of one adapter again and again, until cancelled."""
        retry_s = _FIRST_RETRY_S
        while True:
            is_listed = await self._list(member)
            member.listed.set()
            await asyncio.sleep(self._refresh_s if is_listed else retry_s)
            retry_s = _FIRST_RETRY_S if is_listed else min(retry_s * 2, _LAST_RETRY_S)

    async def _list(self, member: _Member) -> bool:
        try:
            async with asyncio.timeout(self._list_timeout_s):
                models = tuple(await member.adapter.list_models())
        except TimeoutError:
            self._note(member, f"no list of models within {self._list_timeout_s:g} s")
            return False
        except GatewayError as exc:
            self._note(member, exc.message)
            return False
        except Exception as exc:  # noqa: BLE001 - a plugin's failure is its state, not ours
            self._note(member, f"list_models() raised {type(exc).__name__}: {exc}", is_broken=True)
            return False
        if not all(_is_sound(model) for model in models):
            self._note(member, "list_models() did not return ModelInfo values", is_broken=True)
            return False
        if member.entry is not None and member.entry.state == "failed":
            member.entry.state = "loaded"
        if member.entry is not None:
            member.entry.reason = ""
        member.list_error = None
        if models != member.models:
            member.models = models
            self._index()
        return True

    def _note(self, member: _Member, reason: str, *, is_broken: bool = False) -> None:
        """Remember why a list did not come; a plugin that breaks the contract has failed."""
        if member.list_error != reason:
            logger.warning("adapter %s: cannot list models: %s", member.name, reason)
        member.list_error = reason
        if member.entry is not None:
            member.entry.reason = reason
            if is_broken:
                member.entry.state = "failed"

    def _index(self) -> None:
        """Rebuild the table of ids: the first adapter wins a plain id, the others keep theirs."""
        by_id: dict[str, RegisteredModel] = {}
        for member in self._members.values():
            for info in member.models:
                full_id = f"{member.name}/{info.id}"
                first, slash, _ = info.id.partition("/")
                if slash and first in self._members:
                    # The plain id would mean a model of the adapter it begins with.
                    by_id.setdefault(full_id, RegisteredModel(full_id, member.name, info))
                    continue
                winner = by_id.setdefault(info.id, RegisteredModel(info.id, member.name, info))
                if winner.adapter != member.name:  # Some providers list a model twice.
                    by_id.setdefault(full_id, RegisteredModel(full_id, member.name, info))
                    if full_id not in self._by_id:
                        _log_collision(info.id, winner.adapter, full_id)
        self._by_id = by_id


def _log_collision(model_id: str, winner: str, full_id: str) -> None:
    logger.info(
        "model %s: %s answers for the plain id, the other is reached as %s",
        model_id,
        winner,
        full_id,
    )


def _is_sound(model: object) -> bool:
    """Whether a plugin's model can be shown: a name, and a time that is one."""
    return (
        isinstance(model, ModelInfo)
        and isinstance(model.id, str)
        and 0 < len(model.id) <= 256
        and isinstance(model.created, int)
        and 0 <= model.created < 2**33
    )


def _not_found(model_id: str) -> ModelNotFound:
    return ModelNotFound(
        f"The model '{model_id}' does not exist or you do not have access to it. "
        "GET /v1/models lists what is served.",
        param="model",
    )
