"""One adapter for each law, which breaks it: everything but the reading of replies."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, ClassVar, Final, cast
from urllib.parse import urlsplit

from pydantic import Field
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    GatewayError,
    ModelInfo,
    ParameterPolicy,
    TextDelta,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamServerError,
    UpstreamTimeout,
    UsageReport,
    WireRequest,
)
from one_api.adapter.testing.fault_laws import STATUSES
from tests.adapter.testing.parser_mutants import (
    PARSERS,
    KeepingLessThanNothing,
    KeepingMoreThanIsWritten,
    reading_with,
)
from tests.adapter.testing.plain_adapter import PlainAdapter, PlainSettings


class OfAnotherVersion(PlainAdapter):
    api_version = 2


class DialsOnConstruction(PlainAdapter):
    def __init__(self, settings: PlainSettings, context: AdapterContext) -> None:
        super().__init__(settings, context)
        socket.getaddrinfo("127.0.0.1", 80)


class SharingSettings(PlainSettings):
    other_url: str = Field(
        default="", validation_alias="PLAIN_BASE_URL", description="Somewhere else."
    )


class SharesVariables(PlainAdapter):
    Settings = SharingSettings


class SilentSettings(PlainSettings):
    mood: str = Field(default="", validation_alias="PLAIN_MOOD")


class DescribesNothing(PlainAdapter):
    Settings = SilentSettings


class OpenSettings(PlainSettings):
    admin_token: str = Field(
        default="", validation_alias="PLAIN_ADMIN_TOKEN", description="Opens everything."
    )


class ShowsSecrets(PlainAdapter):
    Settings = OpenSettings


class AlwaysOnSettings(PlainSettings):
    @override
    def is_configured(self) -> bool:
        return True


class AlwaysOn(PlainAdapter):
    Settings = AlwaysOnSettings


class ListsTwice(PlainAdapter):
    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        return 2 * list(await super().list_models())


class KnowsEveryModel(PlainAdapter):
    @override
    async def get_model_info(self, model_id: str) -> ModelInfo:
        return ModelInfo(id=model_id, owned_by="plain")


class WritesASCII(PlainAdapter):
    @override
    def body(self, request: ChatCompletionRequest, call: Call) -> bytes:
        return super().body(request, call).decode().encode("ascii", "replace")


class ChangesTheRequest(PlainAdapter):
    @override
    def body(self, request: ChatCompletionRequest, call: Call) -> bytes:
        cast("dict[str, Any]", request.messages[0]).setdefault("name", "someone")
        return super().body(request, call)


class Numbers(PlainAdapter):
    number = 0

    @override
    def headers(self) -> dict[str, str]:
        self.number += 1
        return {**super().headers(), "x-number": str(self.number)}


class TrustsTheModel(PlainAdapter):
    @override
    def to_wire(self, request: ChatCompletionRequest, call: Call) -> WireRequest:
        wire = super().to_wire(request, call)
        if call.model.startswith("@"):
            return replace(wire, url=f"{self.settings.base_url}{call.model}")
        return wire


class TellsTheURL(PlainAdapter):
    @override
    def to_wire(self, request: ChatCompletionRequest, call: Call) -> WireRequest:
        wire = super().to_wire(request, call)
        return replace(wire, url=f"{wire.url}?key={self.key}")


class Boasts(PlainAdapter):
    @override
    def parameters(self, model_id: str) -> ParameterPolicy:
        told = super().parameters(model_id)
        return replace(told, honoured=told.honoured | {"seed"})


class SendsMore(PlainAdapter):
    @override
    def fields(self, request: ChatCompletionRequest) -> dict[str, Any]:
        more = {"user": request.user} if request.user is not None else {}
        return {**super().fields(request), **more}


class SendsAllItIsGiven(PlainAdapter):
    @override
    def fields(self, request: ChatCompletionRequest) -> dict[str, Any]:
        return {**super().fields(request), **(request.model_extra or {})}


class Answering(PlainAdapter):
    """Bends the whole answer."""

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        answer = cast("AsyncGenerator[Event, None]", super().generate_completion(request, call))
        async with aclosing(self.bend(answer)) as events:
            async for event in events:
                yield event

    async def bend(self, answer: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        async with aclosing(answer):
            async for event in answer:
                yield event


class ReadsToTheEnd(Answering):
    @override
    async def bend(self, answer: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        async with aclosing(answer):
            try:
                async for event in answer:
                    yield event
            finally:
                async for _ in answer:
                    pass


class SwallowsCancellation(Answering):
    @override
    async def bend(self, answer: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        async with aclosing(answer):
            try:
                async for event in answer:
                    yield event
            except asyncio.CancelledError:
                raise UpstreamTimeout("It took too long.") from None


class TakesOffence(Answering):
    """Has nothing to say any more once an answer was not heard out."""

    is_offended = False

    @override
    async def bend(self, answer: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        async with aclosing(answer):
            try:
                async for event in answer:
                    if not (self.is_offended and isinstance(event, TextDelta)):
                        yield event
            except GeneratorExit:
                self.is_offended = True
                raise


class ReadsAhead(Answering):
    @override
    async def bend(self, answer: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        queue: asyncio.Queue[Event | Exception | None] = asyncio.Queue()

        async def read() -> None:
            async with aclosing(answer):
                try:
                    async for event in answer:
                        queue.put_nowait(event)
                except GatewayError as exc:
                    queue.put_nowait(exc)
            queue.put_nowait(None)

        task = asyncio.create_task(read())
        try:
            while (told := await queue.get()) is not None:
                if isinstance(told, Exception):
                    raise told
                yield told
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class LeavesTasks(Answering):
    @override
    async def bend(self, answer: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        self.task = asyncio.create_task(asyncio.Event().wait())
        async for event in super().bend(answer):
            yield event


class LeavesTasksOfFailures(PlainAdapter):
    @override
    def error_from_wire(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        self.task = asyncio.create_task(asyncio.Event().wait())
        return super().error_from_wire(status, headers, body)


class CountsOnlyWhenDone(Answering):
    """Tells no usage of an answer that was cut short."""

    @override
    async def bend(self, answer: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        usage = None
        async with aclosing(answer):
            async for event in answer:
                if isinstance(event, UsageReport):
                    usage = event
                    continue
                yield event
                if isinstance(event, Finish) and event.reason != "length" and usage is not None:
                    yield usage


class KeepsASocket(PlainAdapter):
    """Has a connection of its own; who uses it closes `kept`."""

    kept: ClassVar[list[socket.socket]] = []

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        parts = urlsplit(self.settings.base_url)
        own = socket.create_connection((parts.hostname or "", parts.port or 0))
        self.kept.append(own)
        return await super().list_models()


class SharesTheKey(PlainAdapter):
    last_key: ClassVar[str] = ""

    def __init__(self, settings: PlainSettings, context: AdapterContext) -> None:
        super().__init__(settings, context)
        type(self).last_key = self.key

    @override
    def headers(self) -> dict[str, str]:
        return {**super().headers(), "authorization": f"Bearer {self.last_key}"}


class KeepsTheRequest(PlainAdapter):
    """Sends the newest body, after a pause in which another request may come."""

    newest: bytes = b""

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        self.newest = super().body(request, call)
        await asyncio.sleep(0)
        answer = cast("AsyncGenerator[Event, None]", super().generate_completion(request, call))
        async with aclosing(answer) as events:
            async for event in events:
                yield event

    @override
    def body(self, request: ChatCompletionRequest, call: Call) -> bytes:
        return self.newest or super().body(request, call)


class IgnoresTheWait(PlainAdapter):
    @override
    def error_from_wire(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return super().error_from_wire(status, {}, body)


class Translating(Answering):
    """Tells an error of the transport, known by its `words`, as something else."""

    words: ClassVar[str]
    told: ClassVar[type[GatewayError]]

    @override
    async def bend(self, answer: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        async with aclosing(answer):
            try:
                async for event in answer:
                    yield event
            except GatewayError as exc:
                if self.words not in exc.message:
                    raise
                raise self.told("Something went wrong.") from exc


class MistakesTimeouts(Translating):
    words, told = "sent nothing for", UpstreamDisconnected


class MistakesAbsence(Translating):
    words, told = "cannot be reached", UpstreamServerError


class ForgivesCuts(Answering):
    @override
    async def bend(self, answer: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        async with aclosing(answer):
            try:
                async for event in answer:
                    yield event
            except UpstreamDisconnected as exc:
                if "connection" not in exc.message:
                    raise
                yield Finish("stop")


class QuotesTheKey(PlainAdapter):
    @override
    def error_from_wire(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        error = super().error_from_wire(status, headers, body)
        error.code = f"refused:{self.key}"
        return error


class LogsTheKey(PlainAdapter):
    @override
    def to_wire(self, request: ChatCompletionRequest, call: Call) -> WireRequest:
        wire = super().to_wire(request, call)
        self.context.logger.debug("asking with %s", dict(wire.headers))
        return wire


def mistaking(status: int) -> type[PlainAdapter]:
    """An adapter that does not know what `status` means."""

    class Mistaking(PlainAdapter):
        @override
        def error_from_wire(
            self, status_: int, headers: Mapping[str, str], body: bytes
        ) -> GatewayError:
            if status_ == status:
                wait_s = float(headers.get("retry-after", "0"))
                return UpstreamError("Something went wrong.", retry_after_s=wait_s)
            return super().error_from_wire(status_, headers, body)

    return Mistaking


#: Adapters that break a law in another way than the one of `MUTANTS`.
FURTHER: Final[Sequence[tuple[str, type[PlainAdapter]]]] = (
    ("parameters-ignored", SendsAllItIsGiven),
    ("usage-once", CountsOnlyWhenDone),
    ("usage-sane", reading_with(KeepingMoreThanIsWritten)),
    ("usage-sane", reading_with(KeepingLessThanNothing)),
    ("tasks-ended", LeavesTasksOfFailures),
)

#: An adapter for each law, which breaks it; those of the import have modules of their own.
MUTANTS: Final[Mapping[str, type[PlainAdapter]]] = {
    "api-version": OfAnotherVersion,
    "construction-offline": DialsOnConstruction,
    "settings-variables": SharesVariables,
    "settings-described": DescribesNothing,
    "settings-secret": ShowsSecrets,
    "unconfigured": AlwaysOn,
    "models-listed": ListsTwice,
    "model-unknown": KnowsEveryModel,
    **{law: reading_with(parser) for law, parser in PARSERS.items()},
    "unicode-request": WritesASCII,
    "wire-pure": ChangesTheRequest,
    "wire-deterministic": Numbers,
    "wire-host": TrustsTheModel,
    "wire-credential": TellsTheURL,
    "parameters-honoured": Boasts,
    "parameters-ignored": SendsMore,
    "cancel-streaming": ReadsToTheEnd,
    "cancel-waiting": SwallowsCancellation,
    "closed-early": TakesOffence,
    "back-pressure": ReadsAhead,
    "tasks-ended": LeavesTasks,
    "sockets-closed": KeepsASocket,
    "instances-apart": SharesTheKey,
    "requests-apart": KeepsTheRequest,
    **{f"status-{status}": mistaking(status) for status in STATUSES},
    "retry-after": IgnoresTheWait,
    "stream-cut": ForgivesCuts,
    "stalled": MistakesTimeouts,
    "unreachable": MistakesAbsence,
    "credential-silent": QuotesTheKey,
    "credential-unlogged": LogsTheKey,
}
