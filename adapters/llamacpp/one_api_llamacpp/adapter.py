"""The local adapter: GGUF files of one directory as models, answered in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from importlib import import_module
from typing import Any, Final

from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    BaseModelAdapter,
    Call,
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    Event,
    ModelInfo,
    ParameterPolicy,
    UpstreamError,
)
from one_api_llamacpp.catalogue import Catalogue, ModelFile
from one_api_llamacpp.embedder import Embedder
from one_api_llamacpp.embedding_model import EmbeddingModel
from one_api_llamacpp.language_model import LanguageModel
from one_api_llamacpp.settings import LocalSettings
from one_api_llamacpp.shelf import Shelf
from one_api_llamacpp.text_completion import check, complete, make_prompts

_PARAMETERS: Final = ParameterPolicy(
    honoured=frozenset(
        {
            "frequency_penalty",
            "logit_bias",
            "max_completion_tokens",
            "max_tokens",
            "min_p",
            "presence_penalty",
            "seed",
            "stop",
            "temperature",
            "tool_choice",
            "tools",
            "top_k",
            "top_p",
        }
    )
)


class LlamaCppAdapter(BaseModelAdapter):
    """Local models through llama.cpp. A model is loaded when it is first asked something."""

    Settings = LocalSettings

    def __init__(self, settings: LocalSettings, context: AdapterContext) -> None:
        super().__init__(settings, context)
        self._local = settings
        self._catalogue = Catalogue(settings.directory, context.logger)
        self._shelf = Shelf(
            find=self._catalogue.find,
            load=self._load,
            max_loaded=settings.max_loaded,
            queue_limit=settings.queue,
            logger=context.logger,
        )

        self._embedder = Embedder(
            find=self._catalogue.find,
            load=self._load_for_embeddings,
            max_loaded=settings.max_loaded,
            queue_limit=settings.queue,
            logger=context.logger,
        )

    @override
    async def close(self) -> None:
        await self._embedder.close()
        await self._shelf.close()

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        files = await asyncio.to_thread(self._catalogue.scan)
        return [file.to_info(self._local.context_tokens) for file in files]

    @override
    def parameters(self, model_id: str) -> ParameterPolicy:
        return _PARAMETERS

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Event, None]:
        async with self._shelf.lease(call.model) as loaded:
            prompt = await asyncio.to_thread(loaded.prompts.make, request)
            async with aclosing(loaded.engine.generate(prompt)) as events:
                async for event in events:
                    yield event

    def completes(self, model_id: str) -> bool:
        """Always: a local model continues any text."""
        return True

    async def complete(self, request: CompletionRequest, call: Call) -> AsyncGenerator[Event, None]:
        """Continue the raw prompts, without the model's chat template."""
        check(request, call)
        async with self._shelf.lease(call.model) as loaded:
            prompts = await asyncio.to_thread(make_prompts, request, loaded.prompts)
            async with aclosing(complete(request, loaded.engine, prompts)) as events:
                async for event in events:
                    yield event

    async def embed(self, request: EmbeddingRequest, call: Call) -> Embeddings:
        """The vectors for the request's inputs, by any of the models."""
        return await self._embedder.embed(call.model, request)

    def _load(self, file: ModelFile) -> LanguageModel:
        model: LanguageModel = self._opened("native", "NativeModel", file)
        return model

    def _load_for_embeddings(self, file: ModelFile) -> EmbeddingModel:
        model: EmbeddingModel = self._opened("native_embedding", "NativeEmbeddingModel", file)
        return model

    def _opened(self, module: str, kind: str, file: ModelFile) -> Any:
        # Not before a model is wanted: the import loads llama.cpp's library and numpy.
        try:
            native = import_module(f"one_api_llamacpp.{module}")
        except (ImportError, OSError, RuntimeError) as exc:
            self.context.logger.error("llama-cpp-python cannot be imported: %s", exc)
            raise UpstreamError("llama.cpp cannot be used on this machine.") from exc
        return getattr(native, kind)(
            file.path,
            name=file.id,
            context_limit=self._local.context_tokens,
            threads=self._local.compute_threads,
            gpu_layers=self._local.gpu_layers,
            logger=self.context.logger,
        )
