"""Adapters that answer as a test says, and the registry and gateway around them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import orjson
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    AdapterSettings,
    BaseModelAdapter,
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    HTTPTransport,
    ModelInfo,
    ParameterPolicy,
    Relay,
    Start,
    TextDelta,
    Timeouts,
    Usage,
    UsageReport,
    WireRequest,
)
from one_api.failover import Failover, RequestContext
from one_api.gateway import CompleteReply, Gateway, GatewayOptions, StreamedReply
from one_api.registry import ModelRegistry
from one_api.routing import Router

HELLO: tuple[Event, ...] = (
    Start(),
    TextDelta("Hello"),
    Finish("stop"),
    UsageReport(Usage(prompt_tokens=3, completion_tokens=1)),
)


class NoTransport(HTTPTransport):
    """A client that must not be used."""

    @override
    def send(self, request: WireRequest, timeouts: Timeouts) -> NoReturn:
        raise AssertionError(f"nothing may be asked of {request.url}")


def context(name: str = "test") -> AdapterContext:
    return AdapterContext(http=NoTransport(), logger=logging.getLogger(name))


Step = Event | BaseException | Callable[[], Any]


class ScriptedAdapter(BaseModelAdapter):
    """Answers every request with the same steps: events, exceptions to raise, things to await.

    `calls` and `requests` are what it was asked; `endings` tells how each answer ended: "ended",
    or the name of the exception that ended it.
    """

    def __init__(
        self,
        steps: Iterable[Step | object] = HELLO,
        *,
        models: Sequence[str] = ("m",),
        policy: ParameterPolicy | None = None,
        list_error: BaseException | None = None,
    ) -> None:
        super().__init__(AdapterSettings(), context())
        self.steps = list(steps)
        self.models: Sequence[object] = [ModelInfo(id=id_, owned_by="test") for id_ in models]
        self.policy = policy or ParameterPolicy()
        self.list_error = list_error
        self.listings = 0
        self._listed = asyncio.Event()
        self.calls: list[Call] = []
        self.requests: list[ChatCompletionRequest] = []
        self.endings: list[str] = []
        self.life: list[str] = []

    @override
    async def start(self) -> None:
        self.life.append("start")

    @override
    async def close(self) -> None:
        self.life.append("close")

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        self.listings += 1
        self._listed.set()
        if self.list_error is not None:
            raise self.list_error
        return self.models  # type: ignore[return-value]  # may be what no adapter should give

    async def until_listed(self, listings: int) -> None:
        """Wait until its models were asked for so many times."""
        async with asyncio.timeout(5):
            while self.listings < listings:
                self._listed.clear()
                await self._listed.wait()

    @override
    def parameters(self, model_id: str) -> ParameterPolicy:
        return self.policy

    @override
    def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        self.requests.append(request)
        self.calls.append(call)
        return self._answer()

    async def _answer(self) -> AsyncGenerator[Event, None]:
        try:
            for step in self.steps:
                if isinstance(step, BaseException):
                    raise step
                if callable(step):
                    await step()
                else:
                    yield step  # type: ignore[misc]  # may be what no adapter should yield
        except BaseException as exc:
            self.endings.append(type(exc).__name__)
            raise
        else:
            self.endings.append("ended")


async def forever() -> None:
    """A step that never ends."""
    await asyncio.Event().wait()


@asynccontextmanager
async def running(registry: ModelRegistry) -> AsyncIterator[ModelRegistry]:
    """`registry`, started, its first lists asked for, and closed in the end."""
    await registry.start()
    try:
        yield registry
    finally:
        await registry.close()


def registry_of(timeouts: Timeouts | None = None, **adapters: BaseModelAdapter) -> ModelRegistry:
    """A registry of adapters made by hand, by their names."""
    registry = ModelRegistry(timeouts=timeouts)
    for name, adapter in adapters.items():
        registry.register_adapter(name, adapter)
    return registry


def asked(**fields: Any) -> ChatCompletionRequest:
    """A request with these fields; `...` leaves one out."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return ChatCompletionRequest.from_wire({k: v for k, v in body.items() if v is not ...})


def gateway_of(registry: ModelRegistry, **options: Any) -> Gateway:
    """A gateway that asks each deployment once."""
    return Gateway(Failover(registry, Router(), max_attempts=1), GatewayOptions(**options))


async def reply_of(
    adapter: ScriptedAdapter,
    request: ChatCompletionRequest,
    *,
    timeouts: Timeouts | None = None,
    **options: Any,
) -> CompleteReply | StreamedReply:
    async with running(registry_of(timeouts, a=adapter)) as registry:
        context = RequestContext(request_id="req_1")
        return await gateway_of(registry, **options).chat(request, context)


async def completion_of(adapter: ScriptedAdapter, **fields: Any) -> Any:
    reply = await reply_of(adapter, asked(**fields))
    assert isinstance(reply, CompleteReply)
    return orjson.loads(reply.body)


async def begun_stream(adapter: ScriptedAdapter, **fields: Any) -> StreamedReply:
    reply = await reply_of(adapter, asked(stream=True, **fields))
    assert isinstance(reply, StreamedReply)
    return reply


async def stream_of(adapter: ScriptedAdapter, **fields: Any) -> bytes:
    reply = await begun_stream(adapter, **fields)
    return b"".join([piece async for piece in reply.chunks])


def frames(*parts: bytes) -> list[Event]:
    return [Relay(part) for part in parts]
