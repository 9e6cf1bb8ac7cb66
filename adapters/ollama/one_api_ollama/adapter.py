"""Ollama as the gateway sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    AdapterSettings,
    Call,
    ChatCompletionRequest,
    EmbeddingRequest,
    Embeddings,
    Event,
    HTTPModelAdapter,
    JsonObject,
    ModelInfo,
    ModelNotFound,
    ParameterPolicy,
    UpstreamInvalidResponse,
    WireRequest,
)
from one_api_ollama.embeddings import embedding_to_wire, embeddings_from_wire
from one_api_ollama.from_wire import ChatParser
from one_api_ollama.settings import OllamaSettings
from one_api_ollama.thinking import SWITCH, values_from_wire
from one_api_ollama.to_wire import HONOURED, body_to_bytes, request_to_wire

if TYPE_CHECKING:
    from one_api_ollama.thinking import ThinkValues

OWNER: Final = "ollama"
#: The tag of a model that is named without one.
DEFAULT_TAG: Final = "latest"
MAX_ERROR_BYTES: Final = 64 * 1024
MAX_VECTOR_BYTES: Final = 64 * 1024 * 1024

_POLICY: Final = ParameterPolicy(honoured=HONOURED)


class OllamaAdapter(HTTPModelAdapter):
    """Ollama on the operator's machine, or ollama.com."""

    Settings: ClassVar[type[AdapterSettings]] = OllamaSettings
    settings: OllamaSettings

    def __init__(self, settings: OllamaSettings, context: AdapterContext) -> None:
        super().__init__(settings, context)
        self._headers = {"Content-Type": "application/json"}
        if settings.api_key is not None:
            self._headers["Authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
        #: The values of `think` by model, as far as they were needed.
        self._think_values: dict[str, ThinkValues] = {}

    @override
    def parameters(self, model_id: str) -> ParameterPolicy:
        return _POLICY

    @override
    def to_wire(self, request: ChatCompletionRequest, call: Call) -> WireRequest:
        values = self._think_values.get(call.model, SWITCH)
        return self._post("/api/chat", request_to_wire(request, call, values))

    @override
    def from_wire(
        self, request: ChatCompletionRequest, call: Call, headers: Mapping[str, str]
    ) -> ChatParser:
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == "text/html":
            raise UpstreamInvalidResponse("The provider answered with a page instead of a stream.")
        return ChatParser(wants_logprobs=bool(request.logprobs), request_id=call.request_id)

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        if request.reasoning_effort is not None and call.model not in self._think_values:
            shown = await self.fetch_json(self._post("/api/show", {"model": call.model}))
            self._think_values[call.model] = values_from_wire(_object(shown))
        events = cast("AsyncGenerator[Event, None]", super().generate_completion(request, call))
        async with aclosing(events):
            async for event in events:
                yield event

    async def embed(self, request: EmbeddingRequest, call: Call) -> Embeddings:
        """The vectors for `request.inputs`; a text that is too long is refused, not cut.

        Raises: GatewayError.
        """
        async with self.send(self._post("/api/embed", embedding_to_wire(request, call)), call) as (
            reply
        ):
            if reply.status != 200:
                body = await reply.read(MAX_ERROR_BYTES)
                raise self.error_from_wire(reply.status, reply.headers, body)
            return embeddings_from_wire(request, await reply.read(MAX_VECTOR_BYTES))

    async def probe(self, model_id: str, timeout_s: float) -> None:
        """Return where the server answers; a model is then loaded when it is asked.

        Source: docs.ollama.com/api-reference/get-version, crawled October 2026.
        Raises: GatewayError.
        """
        told = _object(await self.fetch_json(self._get("/api/version")))
        if not isinstance(told.get("version"), str):
            raise UpstreamInvalidResponse("The provider tells no version: it is no Ollama.")

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        """The models that were pulled.

        Their context windows are not told: Ollama serves a model with a window of the operator's
        choice, and `/api/show` tells, one model at a time, what the model could have.
        """
        models = _object(await self.fetch_json(self._get("/api/tags"))).get("models")
        if not isinstance(models, list):
            raise UpstreamInvalidResponse("The provider's model list has no 'models' array.")
        # A model may have been pulled anew since, and may think in another way.
        self._think_values.clear()
        return [_model_from_wire(model) for model in models if _is_model(model)]

    @override
    async def get_model_info(self, model_id: str) -> ModelInfo:
        try:
            return await super().get_model_info(model_id)
        except ModelNotFound:
            if ":" in model_id.rpartition("/")[2]:
                raise
            return await super().get_model_info(f"{model_id}:{DEFAULT_TAG}")

    def _get(self, path: str) -> WireRequest:
        return WireRequest(method="GET", url=f"{self.settings.url}{path}", headers=self._headers)

    def _post(self, path: str, body: JsonObject) -> WireRequest:
        if self.settings.keep_alive_on_wire is not None and path != "/api/show":
            body["keep_alive"] = self.settings.keep_alive_on_wire
        return WireRequest(
            url=f"{self.settings.url}{path}", headers=self._headers, body=body_to_bytes(body)
        )


def _object(fetched: Any) -> JsonObject:
    if not isinstance(fetched, dict):
        raise UpstreamInvalidResponse("The provider's reply is not a JSON object.")
    return fetched


def _is_model(model: object) -> bool:
    return isinstance(model, dict) and isinstance(model.get("name"), str) and bool(model["name"])


def _model_from_wire(model: JsonObject) -> ModelInfo:
    return ModelInfo(
        id=model["name"], owned_by=OWNER, created=_unix_time_s(model.get("modified_at"))
    )


def _unix_time_s(moment: object) -> int:
    """An RFC 3339 time as seconds since 1970, 0 when it is none or unknown."""
    if not isinstance(moment, str):
        return 0
    try:
        read = datetime.fromisoformat(moment)
    except ValueError:
        return 0
    return max(int(read.replace(tzinfo=read.tzinfo or UTC).timestamp()), 0)
