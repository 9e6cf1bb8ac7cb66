"""The models in memory: loaded on first use, the one unused longest makes room for the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from one_api.adapter import (
    AdapterContext,
    GatewayError,
    NoDeploymentAvailable,
    UpstreamError,
    UpstreamOverloaded,
)
from one_api_llamacpp.catalogue import ModelFile

#: How long a model that could not be loaded is not tried again, in seconds, unless its file
#: changes: a load takes a process, memory and time from the others.
FAILURE_S: Final = 15.0
_RETRY_AFTER_S: Final = 5.0
_MIB: Final = 1024 * 1024


class Closable(Protocol):
    """What a loaded model must be able to do."""

    async def close(self) -> None:
        """Give its memory back."""


Model = TypeVar("Model", bound=Closable)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfLimits:
    """How much may be loaded and for how long.

    `pinned` ids are never unloaded. After `idle_unload_s` seconds without a request a model is;
    0 means never.
    """

    memory_bytes: int
    idle_unload_s: float = 0.0
    pinned: frozenset[str] = frozenset()


@dataclass(slots=True, eq=False)
class _Place(Generic[Model]):
    """A load under way or done, who uses its model now and since when nobody does."""

    file: ModelFile
    bytes_: int
    opening: asyncio.Task[Model]
    used_at_s: float
    leases: int = 0
    idling: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    file: ModelFile
    message: str
    until_s: float


class Shelf(Generic[Model]):
    """Loaded models, none of them twice, within a budget of memory. For one event loop.

    `find` looks a model up by id; it blocks, runs in a thread and raises GatewayErrors. `measure`
    tells how many bytes a model takes, `load` loads it, and `retire` is told of each that is about
    to be unloaded.
    """

    def __init__(
        self,
        *,
        find: Callable[[str], ModelFile],
        measure: Callable[[ModelFile], int],
        load: Callable[[ModelFile], Awaitable[Model]],
        retire: Callable[[Model], None],
        limits: ShelfLimits,
        context: AdapterContext,
    ) -> None:
        self._find = find
        self._measure = measure
        self._load = load
        self._retire = retire
        self._limits = limits
        self._clock = context.clock
        self._logger = context.logger
        self._is_closed = False
        # In the order of last use, the one unused longest first.
        self._places: dict[str, _Place[Model]] = {}
        self._failures: dict[str, _Failure] = {}
        self._unloading: set[asyncio.Task[None]] = set()
        #: Models loaded and unloaded so far.
        self.loads = self.unloads = 0

    @asynccontextmanager
    async def lease(self, model_id: str) -> AsyncGenerator[Model, None]:
        """The model, loaded, and kept loaded until the context is left.

        Raises: ModelNotFound, UpstreamOverloaded when models in use leave no room for it,
        UpstreamError when it cannot be loaded.
        """
        place = self._places.get(model_id) or await self._take_place(model_id)
        place.leases += 1
        try:
            yield await self._opened(place)
        finally:
            place.leases -= 1
            place.used_at_s = self._clock.monotonic_s()
            if self._places.get(model_id) is place:
                self._places[model_id] = self._places.pop(model_id)

    def loaded(self, model_id: str) -> Model | None:
        """The model if it is loaded now."""
        place = self._places.get(model_id)
        return None if place is None else _result(place.opening)

    def all_loaded(self) -> Iterator[Model]:
        """The models that are loaded now."""
        for place in self._places.values():
            model = _result(place.opening)
            if model is not None:
                yield model

    @property
    def memory_bytes(self) -> int:
        """What the models take that are loaded or being loaded."""
        return sum(place.bytes_ for place in self._places.values())

    def refuse_known_failure(self, model_id: str, file: ModelFile) -> None:
        """Raises: UpstreamError if `file` could not be loaded a moment ago."""
        failure = self._failures.get(model_id)
        if failure is None:
            return
        wait_s = failure.until_s - self._clock.monotonic_s()
        if wait_s <= 0 or failure.file != file:
            del self._failures[model_id]
            return
        raise UpstreamError(failure.message, retry_after_s=max(1.0, wait_s))

    async def close(self) -> None:
        """Unload everything; requests that wait or are being answered end with an error."""
        self._is_closed = True
        for model_id in list(self._places):
            self._unload(model_id)
        while self._unloading:
            await asyncio.wait(self._unloading)
            await asyncio.sleep(0)  # or those that are done would never be taken from the set

    async def _opened(self, place: _Place[Model]) -> Model:
        try:
            # The load goes on for the others when this request is cancelled.
            return await asyncio.shield(place.opening)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not place.opening.cancelled() or (task is not None and task.cancelling()):
                raise
            raise self._closing() from None

    def _closing(self) -> NoDeploymentAvailable:
        return NoDeploymentAvailable("The local models are being unloaded.", retry_after_s=1.0)

    async def _take_place(self, model_id: str) -> _Place[Model]:
        file = await asyncio.to_thread(self._find, model_id)
        if self._is_closed:
            raise self._closing()
        place = self._places.get(model_id)  # taken by another request during the search
        if place is not None:
            return place
        self.refuse_known_failure(model_id, file)
        needed = self._measure(file)
        self._make_room(file.id, needed)
        place = _Place(
            file, needed, asyncio.create_task(self._open(file, needed)), self._clock.monotonic_s()
        )
        self._places[model_id] = place
        place.opening.add_done_callback(lambda _: self._settle(model_id, place))
        return place

    def _make_room(self, model_id: str, needed: int) -> None:
        """Unload the models unused longest until `needed` bytes are free, or none at all."""
        budget = self._limits.memory_bytes
        if needed > budget:
            raise UpstreamError(
                f"The local model '{model_id}' cannot be loaded: it takes {_in_mb(needed)}, and "
                f"all local models together may take {_in_mb(budget)} (LOCAL_MEMORY_MB)."
            )
        missing = self.memory_bytes + needed - budget
        leaving: list[str] = []
        for other, place in self._places.items():
            if missing <= 0:
                break
            if self._may_leave(other, place):
                leaving.append(other)
                missing -= place.bytes_
        if missing > 0:
            raise UpstreamOverloaded(
                f"There is no memory for the local model '{model_id}': the models that are loaded "
                "are in use.",
                retry_after_s=_RETRY_AFTER_S,
            )
        for other in leaving:
            self._logger.info("Unloading local model '%s' to make room for '%s'", other, model_id)
            self._unload(other)

    def _may_leave(self, model_id: str, place: _Place[Model]) -> bool:
        is_idle = place.leases == 0 and place.opening.done()
        return is_idle and model_id not in self._limits.pinned

    async def _open(self, file: ModelFile, needed: int) -> Model:
        while self._unloading:  # their memory is not free before they are gone
            await asyncio.wait(self._unloading)
            await asyncio.sleep(0)  # or those that are done would never be taken from the set
        began_s = self._clock.monotonic_s()
        self._logger.info(
            "Loading local model '%s': file %s, memory %s",
            file.id,
            _in_mb(file.size_bytes),
            _in_mb(needed),
        )
        model = await self._load(file)
        took_s = self._clock.monotonic_s() - began_s
        self._logger.info("Loaded local model '%s' in %.1f s", file.id, took_s)
        return model

    def _settle(self, model_id: str, place: _Place[Model]) -> None:
        """Note how a load ended."""
        opening = place.opening
        error = None if opening.cancelled() else opening.exception()
        if error is None and not opening.cancelled():
            self.loads += 1
            is_staying = model_id in self._limits.pinned or self._limits.idle_unload_s == 0
            if self._places.get(model_id) is place and not is_staying:
                place.idling = asyncio.create_task(self._watch(model_id, place))
            return
        if self._places.get(model_id) is place:
            del self._places[model_id]
        if isinstance(error, GatewayError):
            until_s = self._clock.monotonic_s() + FAILURE_S
            self._failures[model_id] = _Failure(place.file, error.message, until_s)

    async def _watch(self, model_id: str, place: _Place[Model]) -> None:
        """Unload the model when nobody asked for it for `idle_unload_s`."""
        limit_s = wait_s = self._limits.idle_unload_s
        while wait_s > 0:
            await self._clock.sleep(wait_s)
            unused_s = self._clock.monotonic_s() - place.used_at_s
            wait_s = limit_s if place.leases else limit_s - unused_s
        self._logger.info("Unloading local model '%s': unused for %g s", model_id, limit_s)
        self._unload(model_id)

    def _unload(self, model_id: str) -> None:
        place = self._places.pop(model_id)
        if place.idling is not None and place.idling is not asyncio.current_task():
            place.idling.cancel()
        task = asyncio.create_task(self._close(place.opening))
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)

    async def _close(self, opening: asyncio.Task[Model]) -> None:
        opening.cancel()  # nothing, once it is done
        await asyncio.wait([opening])
        model = _result(opening)
        if model is not None:
            self._retire(model)
            self.unloads += 1
            await model.close()


def _result(opening: asyncio.Task[Model]) -> Model | None:
    is_done = opening.done() and not opening.cancelled() and opening.exception() is None
    return opening.result() if is_done else None


def _in_mb(count: int) -> str:
    return f"{count / _MIB:,.0f} MiB"
