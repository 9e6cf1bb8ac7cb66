"""The small adapter with the optional abilities, and one that fetches its credential."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any

import orjson
from typing_extensions import override

from one_api.adapter import (
    Call,
    ChatCompletionRequest,
    CompletionRequest,
    Credential,
    EmbeddingRequest,
    Embeddings,
    Event,
    RawRequest,
    Reading,
    WireRequest,
)
from one_api.adapter.testing import Answer, UpstreamReply, UpstreamRequest, json_reply
from tests.adapter.testing.plain_adapter import PlainAdapter, PlainParser, PlainProfile


class AbleAdapter(PlainAdapter):
    """Has all abilities but that of `FlowAdapter`."""

    answers = 0

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Event, None]:
        self.answers += 1
        async for event in super().generate_completion(request, call):
            yield event

    def completes(self, model_id: str) -> bool:
        return True

    async def complete(self, request: CompletionRequest, call: Call) -> AsyncGenerator[Event, None]:
        body = orjson.dumps({"model": call.model, "prompts": self.prompts(request)})
        async with self.send(self.wire("continue", body), call) as reply:
            told = await reply.read(10**6)
            if reply.status != 200:
                raise self.error_from_wire(reply.status, reply.headers, told)
        parser = PlainParser()
        for event in (*parser.feed(told), *parser.close()):
            yield event

    def prompts(self, request: CompletionRequest) -> Sequence[Any]:
        return request.prompts

    async def embed(self, request: EmbeddingRequest, call: Call) -> Embeddings:
        told = await self.fetch_json(self.wire("embed", orjson.dumps({"texts": request.inputs})))
        return Embeddings(vectors=told["vectors"], prompt_tokens=told["in"])

    def passthrough(self, request: RawRequest, call: Call) -> WireRequest | None:
        query = f"?{request.query}" if request.query else ""
        return WireRequest(
            method=request.method,
            url=f"{self.settings.base_url}{request.path}{query}",
            headers={**request.headers, **self.headers()},
            body=request.body,
        )

    async def count_tokens(self, request: ChatCompletionRequest, call: Call) -> int | None:
        told = await self.fetch_json(self.wire("count", self.body(request, call)))
        return int(told["in"])

    async def probe(self, model_id: str, timeout_s: float) -> None:
        await self.list_models()

    def readings(self) -> Iterable[Reading]:
        yield Reading(name="answers", value=self.answers, help="Answers begun.", kind="counter")

    def wire(self, path: str, body: bytes) -> WireRequest:
        return WireRequest(
            url=f"{self.settings.base_url}/{path}", headers=self.headers(), body=body
        )


class AbleProfile(PlainProfile):
    @override
    def completion(self, answer: Answer, request: UpstreamRequest) -> UpstreamReply:
        return self.answer(answer, request)

    @override
    def embeddings(
        self, vectors: Sequence[Sequence[float]], prompt_tokens: int, request: UpstreamRequest
    ) -> UpstreamReply:
        return json_reply({"vectors": vectors, "in": prompt_tokens})

    @override
    def token_count(self, tokens: int, request: UpstreamRequest) -> UpstreamReply:
        return json_reply({"in": tokens})


class FlowAdapter(PlainAdapter):
    """Has its key changed for a token, which opens the rest."""

    @override
    def headers(self) -> dict[str, str]:
        return {"content-type": "application/json"}

    async def fetch_credential(self) -> Credential:
        wire = WireRequest(
            url=f"{self.settings.base_url}/token",
            headers=self.headers(),
            body=orjson.dumps({"key": self.key}),
        )
        told = await self.fetch_json(wire, with_credential=False)
        return Credential(
            headers={"authorization": f"Bearer {told['token']}"},
            expires_at_s=self.context.clock.now_s() + told["lasts_s"],
        )


class FlowProfile(PlainProfile):
    @override
    def credential(
        self, token: str, lifetime_s: int, request: UpstreamRequest
    ) -> UpstreamReply | None:
        if request.path != "/token":
            return None
        return json_reply({"token": token, "lasts_s": lifetime_s})
