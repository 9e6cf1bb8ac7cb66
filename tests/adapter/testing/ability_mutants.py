"""Adapters that break a law of an optional ability each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from typing_extensions import override

from one_api.adapter import (
    Call,
    ChatCompletionRequest,
    CompletionRequest,
    Credential,
    EmbeddingRequest,
    Embeddings,
    Event,
    GatewayError,
    RawRequest,
    Reading,
    UpstreamError,
    UpstreamServerError,
    WireReply,
    WireRequest,
)
from one_api.adapter.credentials import CredentialKeeper
from tests.adapter.testing.able_adapter import AbleAdapter, FlowAdapter


class ContinuesASCII(AbleAdapter):
    @override
    def prompts(self, request: CompletionRequest) -> Sequence[Any]:
        return [str(prompt).encode("ascii", "replace").decode() for prompt in request.prompts]


class MistakesCompletions(AbleAdapter):
    @override
    async def complete(self, request: CompletionRequest, call: Call) -> AsyncGenerator[Event, None]:
        try:
            async for event in super().complete(request, call):
                yield event
        except GatewayError as exc:
            raise UpstreamServerError("Something went wrong.") from exc


class EmbedsBackwards(AbleAdapter):
    @override
    async def embed(self, request: EmbeddingRequest, call: Call) -> Embeddings:
        told = await super().embed(request, call)
        return replace(told, vectors=told.vectors[::-1])


class MistakesEmbeddings(AbleAdapter):
    @override
    async def embed(self, request: EmbeddingRequest, call: Call) -> Embeddings:
        try:
            return await super().embed(request, call)
        except GatewayError as exc:
            raise UpstreamServerError("Something went wrong.") from exc


class TrustsThePath(AbleAdapter):
    @override
    def passthrough(self, request: RawRequest, call: Call) -> WireRequest | None:
        wire = super().passthrough(request, call)
        if wire is not None and request.path.startswith("//"):
            return replace(wire, url=f"http:{request.path}")
        return wire


class TrustsTheHeaders(AbleAdapter):
    @override
    def passthrough(self, request: RawRequest, call: Call) -> WireRequest | None:
        wire = super().passthrough(request, call)
        return wire and replace(wire, headers={**wire.headers, **request.headers})


class CountsOneMore(AbleAdapter):
    @override
    async def count_tokens(self, request: ChatCompletionRequest, call: Call) -> int | None:
        return (await super().count_tokens(request, call) or 0) + 1


class ProbesTooMuch(AbleAdapter):
    """Finds a provider ill that has not the one model it knows."""

    @override
    async def probe(self, model_id: str, timeout_s: float) -> None:
        if [model.id for model in await self.list_models()] != [model_id]:
            raise UpstreamError("There is another model.")


class ProbesNothing(AbleAdapter):
    @override
    async def probe(self, model_id: str, timeout_s: float) -> None:
        return


class CountsDown(AbleAdapter):
    @override
    def readings(self) -> Iterable[Reading]:
        yield from (replace(each, value=100 - each.value) for each in super().readings())


class FetchesForEach(FlowAdapter):
    """Lets no two requests share a credential while both are under way."""

    under_way = 0

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        if self.under_way:
            self._credentials = CredentialKeeper(self, self.context)
        self.under_way += 1
        try:
            async for event in super().generate_completion(request, call):
                yield event
        finally:
            self.under_way -= 1


class NeverRenews(FlowAdapter):
    @override
    async def fetch_credential(self) -> Credential:
        return replace(await super().fetch_credential(), expires_at_s=None)


@dataclass(frozen=True)
class Pieces:
    """A body that is sent in pieces, and gone then."""

    body: object

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        assert isinstance(self.body, bytes)
        yield self.body


class SendsInPieces(FlowAdapter):
    """Has nothing left to send again once a credential was refused."""

    @override
    @asynccontextmanager
    async def send(self, wire: WireRequest, call: Call) -> AsyncIterator[WireReply]:
        async with super().send(replace(wire, body=Pieces(wire.body)), call) as reply:
            yield reply


#: The law that each of them breaks.
ABLE: Final[Mapping[str, type[AbleAdapter]]] = {
    "completion-told": ContinuesASCII,
    "completion-refused": MistakesCompletions,
    "embeddings-in-order": EmbedsBackwards,
    "embeddings-refused": MistakesEmbeddings,
    "passthrough-host": TrustsThePath,
    "passthrough-credential": TrustsTheHeaders,
    "tokens-counted": CountsOneMore,
    "probe-alive": ProbesTooMuch,
    "probe-dead": ProbesNothing,
    "readings-sane": CountsDown,
}
FLOWING: Final[Mapping[str, type[FlowAdapter]]] = {
    "flow-shared": FetchesForEach,
    "flow-renewed": NeverRenews,
    "flow-refused": SendsInPieces,
}
