"""Gemini models as the gateway sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final
from urllib.parse import quote

from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    AdapterSettings,
    BaseModelAdapter,
    Call,
    ChatCompletionRequest,
    ConfigurationError,
    EmbeddingRequest,
    Embeddings,
    GatewayError,
    HTTPModelAdapter,
    ModelInfo,
    ModelNotFound,
    ParameterPolicy,
    UpstreamInvalidResponse,
    UpstreamSettings,
    WireRequest,
)
from one_api_gemini.capabilities import KnownModels, model_name
from one_api_gemini.embeddings import batches_to_wire, texts_of, vectors_from_wire
from one_api_gemini.errors import error_from_body
from one_api_gemini.from_wire import GenerateContentParser, Reading
from one_api_gemini.listing import OWNER, PAGE_SIZE, info_from_wire, is_model, models_of
from one_api_gemini.names import names_from_wire
from one_api_gemini.service_tiers import served_tier
from one_api_gemini.settings import DEFAULT_BASE_URL, GeminiSettings
from one_api_gemini.to_wire import count_to_wire, local_stops, request_to_wire
from one_api_gemini.usage import count_from_wire

MAX_ERROR_BYTES: Final = 64 * 1024
MAX_COUNT_BYTES: Final = 64 * 1024
MAX_EMBEDDINGS_BYTES: Final = 64 * 1024 * 1024
MAX_PAGES: Final = 20

_HONOURED: Final = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "tool_choice",
        "tools",
    }
)

#: What is counted to see whether anybody counts.
_SMALLEST: Final = ChatCompletionRequest.model_validate(
    {"model": "any", "messages": [{"role": "user", "content": "Hi"}]}
)


class GeminiAdapter(HTTPModelAdapter):
    """Google's Gemini API, or an endpoint that speaks its generateContent."""

    Settings: ClassVar[type[AdapterSettings]] = GeminiSettings
    settings: GeminiSettings

    def __init__(self, settings: GeminiSettings, context: AdapterContext) -> None:
        super().__init__(settings, context)
        # In a header: addresses are written to logs.
        self._headers = {"x-goog-api-key": settings.api_key.get_secret_value()}
        self._known = KnownModels()

    @override
    @classmethod
    def build_upstream(
        cls, name: str, upstream: UpstreamSettings, context: AdapterContext
    ) -> BaseModelAdapter:
        settings = GeminiSettings.from_upstream(upstream)
        if settings.base_url == DEFAULT_BASE_URL and not settings.is_configured():
            raise ConfigurationError("sk", "Google insists on a key")
        return cls(settings, context)

    @override
    def parameters(self, model_id: str) -> ParameterPolicy:
        capabilities = self._known.capabilities(model_id)
        honoured = _HONOURED
        if capabilities.sampling:
            honoured |= {"temperature", "top_p"}
        if capabilities.thinks:
            honoured |= {"include_reasoning", "reasoning_effort"}
        return ParameterPolicy(honoured=honoured)

    @override
    def to_wire(self, request: ChatCompletionRequest, call: Call) -> WireRequest:
        method = "streamGenerateContent?alt=sse" if request.wants_stream else "generateContent"
        body = request_to_wire(request, call, self._known.capabilities(call.model))
        return self._post(call.model, method, body)

    @override
    def from_wire(
        self, request: ChatCompletionRequest, call: Call, headers: Mapping[str, str]
    ) -> GenerateContentParser:
        return GenerateContentParser(
            Reading(
                is_stream=request.wants_stream,
                names=names_from_wire(request),
                local_stops=local_stops(request),
                service_tier=served_tier(headers),
            )
        )

    @override
    def error_from_wire(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return error_from_body(status, headers, body)

    async def embed(self, request: EmbeddingRequest, call: Call) -> Embeddings:
        """The vectors for `request.inputs`, a hundred of them in one request to Google.

        Raises: UnsupportedParameter for token ids; any other GatewayError.
        """
        texts, model = texts_of(request), f"models/{model_name(call.model)}"
        vectors: list[list[float]] = []
        counts: list[int | None] = []
        for body in batches_to_wire(texts, model, request.dimensions):
            wire = self._post(call.model, "batchEmbedContents", body)
            answer = await self._answer(wire, call, MAX_EMBEDDINGS_BYTES)
            batch, count = vectors_from_wire(answer, shortened=request.dimensions is not None)
            vectors += batch
            counts.append(count)
        if len(vectors) != len(texts):
            raise UpstreamInvalidResponse("The provider did not give one embedding for each input.")
        known = [count for count in counts if count is not None]
        return Embeddings(
            vectors=vectors, prompt_tokens=sum(known) if len(known) == len(counts) else None
        )

    async def count_tokens(self, request: ChatCompletionRequest, call: Call) -> int | None:
        """The tokens of the prompt by Google's own count, which is free of charge.

        None where the endpoint does not count for this model.
        Raises: GatewayError.
        """
        body = count_to_wire(request, call, self._known.capabilities(call.model))
        try:
            answer = await self._answer(
                self._post(call.model, "countTokens", body), call, MAX_COUNT_BYTES
            )
        except ModelNotFound:
            # Not every model, nor every endpoint that speaks generateContent, has the method.
            return None
        return count_from_wire(answer)

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        if self.settings.model_names:
            return [ModelInfo(id=name, owned_by=OWNER) for name in self.settings.model_names]
        models: list[ModelInfo] = []
        after = ""
        for _ in range(MAX_PAGES):
            page = await self.fetch_json(self._get(f"/models?pageSize={PAGE_SIZE}{after}"))
            for model in models_of(page):
                self._known.take_listing(model)
                models.append(info_from_wire(model))
            token = page.get("nextPageToken")
            if not isinstance(token, str) or not token:
                break
            after = f"&pageToken={quote(token, safe='')}"
        return models

    @override
    async def get_model_info(self, model_id: str) -> ModelInfo:
        if self.settings.model_names:
            return await super().get_model_info(model_id)
        # Asked by name, Google also knows models that its list leaves out.
        model = await self.fetch_json(self._get(f"/models/{_segment(model_id)}"))
        if not is_model(model):
            raise UpstreamInvalidResponse("The provider's description of a model has no 'name'.")
        self._known.take_listing(model)
        return info_from_wire(model)

    async def probe(self, model_id: str, timeout_s: float) -> None:
        """Return where Google still has the model for our key; billed is neither way of asking.

        An endpoint that cannot list its models is asked to count, and one that cannot count either
        is alive for saying so.
        Raises: GatewayError.
        """
        if self.settings.model_names:
            await self.count_tokens(_SMALLEST, Call(model=model_id))
        else:
            await self.get_model_info(model_id)

    async def _answer(self, wire: WireRequest, call: Call, limit: int) -> bytes:
        """The body of a reply of status 200 and at most `limit` bytes."""
        async with self.send(wire, call) as reply:
            if reply.status != 200:
                told = await reply.read(MAX_ERROR_BYTES)
                raise self.error_from_wire(reply.status, reply.headers, told)
            return await reply.read(limit)

    def _get(self, path: str) -> WireRequest:
        url = f"{self.settings.base_url}{path}"
        return WireRequest(method="GET", url=url, headers=self._headers)

    def _post(self, model: str, method: str, body: bytes) -> WireRequest:
        return WireRequest(
            url=f"{self.settings.base_url}/models/{_segment(model)}:{method}",
            headers={"content-type": "application/json", **self._headers},
            body=body,
        )


def _segment(model_id: str) -> str:
    """A model's name as one segment of a path: nothing in it may lead elsewhere."""
    return quote(model_name(model_id), safe="")
