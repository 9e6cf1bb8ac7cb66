"""The local adapter: GGUF files of one directory as models, each answered by its own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, suppress
from functools import partial

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
    GatewayError,
    ModelInfo,
    NoDeploymentAvailable,
    ParameterPolicy,
    Reading,
)
from one_api_llamacpp.catalogue import DEMO, Catalogue, ModelFile
from one_api_llamacpp.footprint import footprint_bytes
from one_api_llamacpp.parameters import PARAMETERS
from one_api_llamacpp.settings import LocalSettings
from one_api_llamacpp.shelf import Shelf, ShelfLimits
from one_api_llamacpp.shelf_readings import PastCounts
from one_api_llamacpp.text_completion import check
from one_api_llamacpp.worker_client import Worker


class LlamaCppAdapter(BaseModelAdapter):
    """Local models through llama.cpp. A model is loaded when it is first asked something."""

    Settings = LocalSettings

    def __init__(self, settings: LocalSettings, context: AdapterContext) -> None:
        super().__init__(settings, context)
        self._local = settings
        self._catalogue = Catalogue(
            settings.directory, context.logger, demo=DEMO, is_needed=settings.is_directory_given
        )
        self._past = PastCounts()
        self._shelf: Shelf[Worker] = Shelf(
            find=self._catalogue.find,
            measure=partial(footprint_bytes, settings=settings),
            load=self._load,
            limits=ShelfLimits(
                memory_bytes=settings.memory_bytes,
                idle_unload_s=settings.idle_unload_s,
                pinned=frozenset(settings.pinned),
            ),
            retire=lambda worker: self._past.keep(worker.readings()),
            context=context,
        )
        self._pinning: asyncio.Task[None] | None = None

    @override
    async def start(self) -> None:
        if self._local.pinned:
            self._pinning = asyncio.create_task(self._load_pinned())
        await super().start()

    @override
    async def close(self) -> None:
        if self._pinning is not None:
            self._pinning.cancel()
            with suppress(asyncio.CancelledError):
                await self._pinning
        await self._shelf.close()

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        inventory = await asyncio.to_thread(self._catalogue.scan)
        return [file.to_info(self._local.context_tokens) for file in inventory.models]

    @override
    def parameters(self, model_id: str) -> ParameterPolicy:
        return PARAMETERS

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Event, None]:
        async with (
            self._shelf.lease(call.model) as worker,
            aclosing(worker.generate(request, call)) as events,
        ):
            async for event in events:
                yield event

    def completes(self, model_id: str) -> bool:
        """Always: a local model continues any text."""
        return True

    async def complete(self, request: CompletionRequest, call: Call) -> AsyncGenerator[Event, None]:
        """Continue the raw prompts, without the model's chat template."""
        check(request, call)
        async with (
            self._shelf.lease(call.model) as worker,
            aclosing(worker.complete(request, call)) as events,
        ):
            async for event in events:
                yield event

    async def embed(self, request: EmbeddingRequest, call: Call) -> Embeddings:
        """The vectors for the request's inputs, by any of the models."""
        async with self._shelf.lease(call.model) as worker:
            return await worker.embed(request, call)

    async def count_tokens(self, request: ChatCompletionRequest, call: Call) -> int | None:
        """How many tokens the prompt has, by the model's own tokeniser and template."""
        async with self._shelf.lease(call.model) as worker:
            return await worker.count_tokens(request, call)

    async def probe(self, model_id: str, timeout_s: float) -> None:
        """Return where `model_id` could answer; one that is not loaded stays so.

        Raises: ModelNotFound, UpstreamError for a file that cannot be used, NoDeploymentAvailable
        while its process is started again.
        """
        file = await asyncio.to_thread(self._catalogue.find, model_id)
        self._shelf.refuse_known_failure(model_id, file)
        worker = self._shelf.loaded(model_id)
        if worker is not None and not worker.is_alive:
            raise NoDeploymentAvailable(f"The local model '{model_id}' is being started again.")

    def readings(self) -> Iterable[Reading]:
        """What the loaded models are doing, and how much of the memory they take."""
        shelf = self._shelf
        workers = list(shelf.all_loaded())
        yield Reading(name="local_models", value=len(workers), help="Local models that are loaded")
        yield Reading(
            name="local_memory_reserved_bytes",
            value=shelf.memory_bytes,
            help="Memory set aside for local models that are loaded or being loaded",
        )
        yield Reading(
            name="local_memory_limit_bytes",
            value=self._local.memory_bytes,
            help="Memory that all local models together may take",
        )
        yield Reading(
            name="local_model_loads_total",
            value=shelf.loads,
            help="Local models loaded so far",
            kind="counter",
        )
        yield Reading(
            name="local_model_unloads_total",
            value=shelf.unloads,
            help="Local models unloaded so far",
            kind="counter",
        )
        yield from self._past.added_to(
            reading for worker in workers for reading in worker.readings()
        )

    async def _load(self, file: ModelFile) -> Worker:
        return await Worker.open(
            self._local.for_worker(file.id, file.path, is_embedding=file.header.is_embedding),
            clock=self.context.clock,
            notify=self.context.notify,
            logger=self.context.logger,
        )

    async def _load_pinned(self) -> None:
        for model_id in self._local.pinned:
            try:
                async with self._shelf.lease(model_id):
                    pass
            except GatewayError as exc:
                self.context.logger.error(
                    "Local model '%s' of LOCAL_PINNED is not loaded: %s", model_id, exc.message
                )
