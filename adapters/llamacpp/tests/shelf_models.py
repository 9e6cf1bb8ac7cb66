"""Models that take memory in name only, shelves of them, and a clock for both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from typing_extensions import override

from adapters.llamacpp.tests.local_models import LOGGER, NoNetwork
from one_api.adapter import AdapterContext, Clock, ModelNotFound
from one_api_llamacpp.catalogue import ModelFile
from one_api_llamacpp.gguf_header import GGUFHeader
from one_api_llamacpp.shelf import Shelf, ShelfLimits

MIB = 1024 * 1024
SIZES_MB = {"a": 10, "b": 20, "c": 30, "d": 40}


class SetClock(Clock):
    """Time that passes when it is told to, for all who sleep."""

    def __init__(self) -> None:
        self.time_s = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    @override
    def now_s(self) -> float:
        return self.time_s

    @override
    def monotonic_s(self) -> float:
        return self.time_s

    @override
    async def sleep(self, delay_s: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time_s + delay_s, woken))
        await woken

    async def advance(self, by_s: float) -> None:
        self.time_s += by_s
        due = [one for one in self._sleepers if one[0] <= self.time_s]
        self._sleepers = [one for one in self._sleepers if one[0] > self.time_s]
        for _, woken in due:
            if not woken.cancelled():
                woken.set_result(None)
        await settled()


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


class Loaded:
    """A model in memory."""

    def __init__(self, loader: Loader, model_id: str) -> None:
        self.id = model_id
        self._loader = loader
        self.may_close = asyncio.Event()
        self.may_close.set()

    async def close(self) -> None:
        await self.may_close.wait()
        self._loader.present.remove(self)


class Loader:
    """Loads models `a` to `d` of 10, 20, 30 and 40 MiB when `may_load` is set."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.retired: list[str] = []
        self.present: list[Loaded] = []
        self.most_mb = 0
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.begun, self.retiring = asyncio.Event(), asyncio.Event()
        self.error: Exception | None = None
        self.version = 0

    def find(self, model_id: str) -> ModelFile:
        if model_id not in SIZES_MB:
            raise ModelNotFound(f"The model '{model_id}' does not exist.", param="model")
        return ModelFile(
            id=model_id,
            path=Path(f"/models/{model_id}.gguf"),
            header=GGUFHeader({}),
            created=self.version,
        )

    def measure(self, file: ModelFile) -> int:
        return SIZES_MB[file.id] * MIB

    async def load(self, file: ModelFile) -> Loaded:
        self.loads.append(file.id)
        self.begun.set()
        await self.may_load.wait()
        if self.error is not None:
            raise self.error
        model = Loaded(self, file.id)
        self.present.append(model)
        self.most_mb = max(self.most_mb, sum(SIZES_MB[each.id] for each in self.present))
        return model

    def retire(self, model: Loaded) -> None:
        self.retired.append(model.id)
        self.retiring.set()

    @property
    def ids(self) -> list[str]:
        return sorted(model.id for model in self.present)


def new_shelf(loader: Loader, clock: Clock, memory_mb: int, **limits: Any) -> Shelf[Loaded]:
    return Shelf(
        find=loader.find,
        measure=loader.measure,
        load=loader.load,
        retire=loader.retire,
        limits=ShelfLimits(memory_bytes=memory_mb * MIB, **limits),
        context=AdapterContext(http=NoNetwork(), logger=LOGGER, clock=clock),
    )


ShelfFactory = Callable[..., Shelf[Loaded]]


@asynccontextmanager
async def closed_shelves(loader: Loader, clock: Clock) -> AsyncGenerator[ShelfFactory, None]:
    """Makes shelves, closed at the end, which may leave no model and no task behind."""
    shelves: list[Shelf[Loaded]] = []

    def make(memory_mb: int = 1000, **limits: Any) -> Shelf[Loaded]:
        shelves.append(new_shelf(loader, clock, memory_mb, **limits))
        return shelves[-1]

    yield make
    for shelf in shelves:
        await shelf.close()
    assert [] == loader.present
    await settled()
    assert {asyncio.current_task()} == asyncio.all_tasks()


async def use(shelf: Shelf[Loaded], model_id: str) -> str:
    async with shelf.lease(model_id) as model:
        return model.id
