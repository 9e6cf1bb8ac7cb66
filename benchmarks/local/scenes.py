"""What is measured in one pass: who is asked for what, in turn, on one machine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.local import contenders
from benchmarks.local.contenders import Contender, Site
from benchmarks.local.machine import Meter, busy_neighbour
from benchmarks.local.stints import PromptSource, Result, Stint


class Name(StrEnum):
    """The contenders, as the tables call them."""

    ADAPTER = "one_api"
    ADAPTER_DEFAULT = "one_api, default threads"
    GATEWAY = "one_api, whole gateway"
    LOCK = "llama-cpp-python, lock"
    SERVER = "llama-server"
    SERVER_DEFAULT = "llama-server, default threads"


_STREAMING: Final = (Name.ADAPTER, Name.LOCK, Name.SERVER, Name.GATEWAY)
_BESIDE_NEIGHBOUR: Final = (Name.ADAPTER, Name.ADAPTER_DEFAULT, Name.SERVER_DEFAULT)


class Scene(StrEnum):
    """What surrounds a stint."""

    STREAMS = "streams"
    NEIGHBOUR = "busy neighbour"
    COLD = "cold prefix"
    WARM = "warm prefix"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One stint of one contender in one pass; cores are means over the stint."""

    pass_number: int
    scene: Scene
    contender: Name
    clients: int
    result: Result
    own_cores: float
    other_cores: float

    def to_wire(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured.

    Each of `clients` is a number of clients, and these ask `rounds` times each. Sizes are in
    tokens.
    """

    clients: Sequence[int] = (1, 8, 16)
    rounds: int = 2
    neighbour_clients: Sequence[int] = (1, 8)
    neighbour_rounds: int = 1
    least_prompts: int = 4
    prompt: int = 128
    answer: int = 64
    prefix: int = 512
    question: int = 16
    warm_asks: int = 4


QUICK: Final = Plan(rounds=1, least_prompts=2, warm_asks=2)


@asynccontextmanager
async def lineup(
    site: Site, *, threads: int, program: Path | None, with_gateway: bool
) -> AsyncGenerator[Mapping[Name, Contender], None]:
    """All contenders, loaded; without llama-server's `program` the others only."""
    entering: dict[Name, AbstractAsyncContextManager[Contender]] = {
        Name.ADAPTER: contenders.adapter(site, threads=threads),
        Name.ADAPTER_DEFAULT: contenders.adapter(site, threads=None),
        Name.LOCK: contenders.locked_llama(site, threads=threads),
    }
    if program is not None:
        serve = partial(contenders.llama_server, site, program=program)
        entering[Name.SERVER] = serve(threads=threads)
        entering[Name.SERVER_DEFAULT] = serve(threads=None)
    if with_gateway:
        entering[Name.GATEWAY] = contenders.gateway(site, threads=threads)
    async with AsyncExitStack() as stack:
        ready = {name: await stack.enter_async_context(one) for name, one in entering.items()}
        yield ready


class Pass:
    """One pass over all scenes; `tell` is told of each row as it is there."""

    def __init__(
        self,
        number: int,
        lineup: Mapping[Name, Contender],
        plan: Plan,
        source: PromptSource,
        tell: Callable[[Row], None],
    ) -> None:
        self._number = number
        self._lineup = lineup
        self._plan = plan
        self._source = source
        self._tell = tell

    async def run(self) -> None:
        """Measure everything once."""
        for clients in self._plan.clients:
            await self._compete(_STREAMING, Scene.STREAMS, clients, self._plan.rounds)
        await self._remember()
        for clients in self._plan.neighbour_clients:
            with busy_neighbour():
                rounds = self._plan.neighbour_rounds
                await self._compete(_BESIDE_NEIGHBOUR, Scene.NEIGHBOUR, clients, rounds)

    async def warm_up(self) -> None:
        """Ask everybody once, so that what is loaded late is loaded."""
        stint = self._stint(clients=1, prompts=1)
        for contender in self._lineup.values():
            await contender.work(stint)

    async def _compete(
        self, names: Sequence[Name], scene: Scene, clients: int, rounds: int
    ) -> None:
        """Give the same stint to each of `names` that is there, each pass in another order."""
        prompts = max(self._plan.least_prompts, clients * rounds)
        stint = self._stint(clients=clients, prompts=prompts)
        present = [name for name in names if name in self._lineup]
        first = self._number % len(present)
        for name in present[first:] + present[:first]:
            await self._measure(scene, name, stint)

    async def _remember(self) -> None:
        """Ask for several answers to prompts that begin alike, one after the other."""
        plan = self._plan
        prefix = self._source.prompt(plan.prefix)
        for number in range(1 + plan.warm_asks):
            _, *question = self._source.prompt(1 + plan.question)
            stint = Stint(clients=1, prompts=[[*prefix, *question]], tokens=2)
            scene = Scene.WARM if number else Scene.COLD
            await self._measure(scene, Name.ADAPTER, stint)

    async def _measure(self, scene: Scene, name: Name, stint: Stint) -> None:
        meter = Meter()
        answers = await self._lineup[name].work(stint)
        took_s = meter.took_s
        own, other = meter.cores()
        self._tell(
            Row(
                pass_number=self._number,
                scene=scene,
                contender=name,
                clients=stint.clients,
                result=Result.of(stint, answers, took_s),
                own_cores=own,
                other_cores=other,
            )
        )

    def _stint(self, *, clients: int, prompts: int) -> Stint:
        plan = self._plan
        return self._source.stint(
            clients=clients, prompts=prompts, length=plan.prompt, tokens=plan.answer
        )
