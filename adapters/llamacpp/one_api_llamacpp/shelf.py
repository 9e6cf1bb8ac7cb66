"""The models in memory: loaded on first use, the one unused longest makes room for the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from one_api.adapter import (
    ModelNotFound,
    NoDeploymentAvailable,
    UpstreamError,
    UpstreamOverloaded,
)
from one_api_llamacpp.catalogue import ModelFile
from one_api_llamacpp.engine import SerialEngine
from one_api_llamacpp.language_model import LanguageModel
from one_api_llamacpp.prompt import PromptMaker
from one_api_llamacpp.template import CHATML, ChatTemplate, InvalidTemplate


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to answer."""

    engine: SerialEngine
    prompts: PromptMaker


@dataclass(slots=True, eq=False)
class _Place:
    """A place on the shelf: a load under way or done, and who uses its model now."""

    opening: asyncio.Task[LoadedModel]
    leases: int = 0


class Shelf:
    """At most `max_loaded` models, each loaded once however many requests wait for it.

    `find` looks a model up by id and `load` loads it; both block and run in threads. Everything
    else happens on one event loop.
    """

    def __init__(
        self,
        *,
        find: Callable[[str], ModelFile | None],
        load: Callable[[ModelFile], LanguageModel],
        max_loaded: int,
        queue_limit: int,
        logger: logging.Logger,
    ) -> None:
        self._find = find
        self._load = load
        self._max_loaded = max_loaded
        self._queue_limit = queue_limit
        self._logger = logger
        self._is_closed = False
        # In the order of last use, the one unused longest first.
        self._places: dict[str, _Place] = {}

    @asynccontextmanager
    async def lease(self, model_id: str) -> AsyncGenerator[LoadedModel, None]:
        """The model, loaded, and kept loaded until the context is left.

        Raises: ModelNotFound, UpstreamOverloaded when all places are taken by models in use,
        UpstreamError when it cannot be loaded.
        """
        place = self._places.get(model_id) or await self._take_place(model_id)
        place.leases += 1
        try:
            # The load goes on for the others when this request is cancelled.
            yield await asyncio.shield(place.opening)
        finally:
            place.leases -= 1
            if self._places.get(model_id) is place:
                self._places[model_id] = self._places.pop(model_id)

    async def close(self) -> None:
        """Unload everything; requests that are being answered end with an error."""
        self._is_closed = True
        places, self._places = list(self._places.values()), {}
        await asyncio.gather(*(_unload(place) for place in places))

    async def _take_place(self, model_id: str) -> _Place:
        file = await asyncio.to_thread(self._find, model_id)
        if file is None:
            raise ModelNotFound(f"The model '{model_id}' does not exist.", param="model")
        if self._is_closed:
            raise NoDeploymentAvailable("The local models are being unloaded.", retry_after_s=1.0)
        place = self._places.get(model_id)  # taken by another request during the search
        if place is None:
            evicted = self._make_room()
            place = _Place(asyncio.create_task(self._open(file, evicted)))
            self._places[model_id] = place
            place.opening.add_done_callback(partial(self._forget_failure, model_id))
        return place

    def _make_room(self) -> _Place | None:
        """Take the model unused longest off the shelf if a new one would not fit."""
        if len(self._places) < self._max_loaded:
            return None
        for model_id, place in self._places.items():
            if place.leases == 0 and place.opening.done():
                self._logger.info("Unloading local model '%s' to make room", model_id)
                return self._places.pop(model_id)
        raise UpstreamOverloaded(
            f"{self._max_loaded} local models are loaded and all of them are answering.",
            retry_after_s=5.0,
        )

    async def _open(self, file: ModelFile, evicted: _Place | None) -> LoadedModel:
        if evicted is not None:
            await _unload(evicted)
        engine = await SerialEngine.open(
            partial(self._load, file),
            name=file.id,
            queue_limit=self._queue_limit,
            logger=self._logger,
        )
        try:
            return LoadedModel(engine, PromptMaker(engine.model, self._template(file, engine)))
        except InvalidTemplate as exc:
            await engine.close()
            self._logger.error("The chat template of local model '%s' is wrong: %s", file.id, exc)
            raise UpstreamError(
                f"The local model '{file.id}' cannot be used: its chat template is wrong."
            ) from exc

    def _template(self, file: ModelFile, engine: SerialEngine) -> ChatTemplate:
        vocabulary = engine.model.vocabulary
        if vocabulary.chat_template is None:
            self._logger.warning(
                "Local model file '%s' has no chat template: ChatML is used, and answers will be "
                "poor if the model was trained on another format",
                file.path.name,
            )
        source = vocabulary.chat_template or CHATML
        return ChatTemplate(source, bos=vocabulary.bos, eos=vocabulary.eos)

    def _forget_failure(self, model_id: str, opening: asyncio.Task[LoadedModel]) -> None:
        failed = opening.cancelled() or opening.exception() is not None
        place = self._places.get(model_id)
        if failed and place is not None and place.opening is opening:
            del self._places[model_id]  # the next request tries anew


async def _unload(place: _Place) -> None:
    # A failed load has been told to those who waited for it; there is nothing to unload.
    for loaded in await asyncio.gather(place.opening, return_exceptions=True):
        if isinstance(loaded, LoadedModel):
            await loaded.engine.close()
