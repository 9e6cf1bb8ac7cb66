from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from adapters.llamacpp.tests.local_models import (
    LOGGER,
    ScriptedModel,
    engine_threads,
    make_request,
    text_of,
)
from one_api.adapter import (
    ModelNotFound,
    NoDeploymentAvailable,
    UpstreamError,
    UpstreamOverloaded,
)
from one_api_llamacpp.catalogue import ModelFile
from one_api_llamacpp.gguf_header import GGUFHeader
from one_api_llamacpp.language_model import LanguageModel, Vocabulary
from one_api_llamacpp.shelf import Shelf


class Loader:
    """Loads a `ScriptedModel` that answers its own name, when `may_load` is set."""

    def __init__(self) -> None:
        self.loaded: dict[str, ScriptedModel] = {}
        self.loads: list[str] = []
        self.begun = threading.Event()
        self.may_load = threading.Event()
        self.may_load.set()
        self.error: Exception | None = None
        self.chat_template: str | None = "{{ messages[0].content }}"

    def find(self, model_id: str) -> ModelFile | None:
        if model_id not in {"a", "b", "c"}:
            return None
        return ModelFile(
            id=model_id, path=Path(f"/models/{model_id}.gguf"), header=GGUFHeader({}), created=0
        )

    def load(self, file: ModelFile) -> LanguageModel:
        self.begun.set()
        self.may_load.wait()
        self.loads.append(file.id)
        if self.error is not None:
            raise self.error
        model = self.loaded[file.id] = ScriptedModel(file.id)
        model.vocabulary = Vocabulary(
            size=257, bos="", eos="", control_texts=(), chat_template=self.chat_template
        )
        return model


@pytest.fixture
def loader() -> Loader:
    return Loader()


ShelfFactory = Callable[[int], Shelf]


@pytest.fixture
async def make_shelf(loader: Loader) -> AsyncGenerator[ShelfFactory, None]:
    """Makes shelves with so many places, closed after the test."""
    shelves: list[Shelf] = []

    def make(max_loaded: int) -> Shelf:
        shelves.append(
            Shelf(
                find=loader.find,
                load=loader.load,
                max_loaded=max_loaded,
                queue_limit=16,
                logger=LOGGER,
            )
        )
        return shelves[-1]

    yield make
    for shelf in shelves:
        await shelf.close()
    assert engine_threads() == []
    assert [1] * len(loader.loaded) == [model.closed for model in loader.loaded.values()]


async def answer(shelf: Shelf, model_id: str) -> str:
    async with shelf.lease(model_id) as loaded:
        prompt = loaded.prompts.make(make_request())
        return text_of([event async for event in loaded.engine.generate(prompt)])


async def test_a_model_is_loaded_once_however_many_wait(
    loader: Loader, make_shelf: ShelfFactory
) -> None:
    shelf = make_shelf(2)
    loader.may_load.clear()
    tasks = [asyncio.create_task(answer(shelf, "a")) for _ in range(10)]
    await asyncio.to_thread(loader.begun.wait)
    loader.may_load.set()
    assert [await task for task in tasks] == ["a"] * 10
    assert loader.loads == ["a"]


async def test_a_request_that_leaves_does_not_stop_the_load_for_the_others(
    loader: Loader, make_shelf: ShelfFactory
) -> None:
    shelf = make_shelf(2)
    loader.may_load.clear()
    leaving, staying = (asyncio.create_task(answer(shelf, "a")) for _ in range(2))
    await asyncio.to_thread(loader.begun.wait)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    loader.may_load.set()
    assert await staying == "a"
    assert loader.loads == ["a"]


async def test_an_unknown_model_is_not_found(make_shelf: ShelfFactory) -> None:
    with pytest.raises(ModelNotFound, match="'/etc/passwd'"):
        await answer(make_shelf(1), "/etc/passwd")


async def test_a_load_that_failed_is_tried_anew_and_harms_no_other(
    loader: Loader, make_shelf: ShelfFactory
) -> None:
    shelf = make_shelf(2)
    loader.error = UpstreamError("broken")
    for _ in range(2):
        with pytest.raises(UpstreamError, match="broken"):
            await answer(shelf, "a")
    loader.error = None
    assert await answer(shelf, "b") == "b"
    assert await answer(shelf, "a") == "a"
    assert loader.loads == ["a", "a", "b", "a"]


async def test_the_model_unused_longest_makes_room(
    loader: Loader, make_shelf: ShelfFactory
) -> None:
    shelf = make_shelf(2)
    for model_id in ("a", "b", "a", "c", "a"):
        assert model_id == await answer(shelf, model_id)
    assert loader.loads == ["a", "b", "c"]
    assert {k: model.closed for k, model in loader.loaded.items()} == {"a": 0, "b": 1, "c": 0}


async def test_a_model_in_use_is_not_unloaded(loader: Loader, make_shelf: ShelfFactory) -> None:
    shelf = make_shelf(1)
    async with shelf.lease("a"):
        with pytest.raises(UpstreamOverloaded) as caught:
            await answer(shelf, "b")
        assert caught.value.headers() == {"Retry-After": "5"}
        assert await answer(shelf, "a") == "a"
    assert await answer(shelf, "b") == "b"
    assert loader.loaded["a"].closed == 1


async def test_a_model_under_load_is_not_unloaded(loader: Loader, make_shelf: ShelfFactory) -> None:
    shelf = make_shelf(1)
    loader.may_load.clear()
    first = asyncio.create_task(answer(shelf, "a"))
    await asyncio.to_thread(loader.begun.wait)
    with pytest.raises(UpstreamOverloaded):
        await answer(shelf, "b")
    loader.may_load.set()
    assert await first == "a"


async def test_a_closed_shelf_gives_nothing_more(loader: Loader, make_shelf: ShelfFactory) -> None:
    shelf = make_shelf(1)
    assert await answer(shelf, "a") == "a"
    await shelf.close()
    assert loader.loaded["a"].closed == 1
    with pytest.raises(NoDeploymentAvailable):
        await answer(shelf, "a")


async def test_closing_waits_for_a_load_and_undoes_it(
    loader: Loader, make_shelf: ShelfFactory
) -> None:
    shelf = make_shelf(1)
    loader.may_load.clear()
    waiting = asyncio.create_task(answer(shelf, "a"))
    await asyncio.to_thread(loader.begun.wait)
    closing = asyncio.create_task(shelf.close())
    loader.may_load.set()
    await closing
    assert loader.loaded["a"].closed == 1
    await asyncio.wait([waiting])


async def test_a_wrong_chat_template_is_a_failed_load(
    loader: Loader, make_shelf: ShelfFactory, caplog: pytest.LogCaptureFixture
) -> None:
    loader.chat_template = "{% for %}"
    with pytest.raises(UpstreamError, match="its chat template is wrong"):
        await answer(make_shelf(1), "a")
    assert "Expected an expression" in caplog.text


async def test_a_file_without_chat_template_is_warned_of_by_name(
    loader: Loader, make_shelf: ShelfFactory, caplog: pytest.LogCaptureFixture
) -> None:
    loader.chat_template = None
    assert await answer(make_shelf(1), "a") == "a"
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "'a.gguf' has no chat template" in record.message
