"""Adapters that load and then do not keep the contract, each in its own way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import cast

from typing_extensions import override

from one_api.adapter import (
    BaseModelAdapter,
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    ModelInfo,
    TextDelta,
)


class SameModel(BaseModelAdapter):
    """Offers a model that another adapter offers too."""

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        return [ModelInfo(id="echo", owned_by="third-party")]

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        yield TextDelta("the other echo")
        yield Finish("stop")


class Nonsense(SameModel):
    """Lists what are no models."""

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        return cast("Sequence[ModelInfo]", ["gpt", None, ModelInfo(id="", owned_by="nobody")])


class RaisesOnListing(SameModel):
    """Fails to list, with an error of its own."""

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        raise LookupError("no table of models")


class RaisesOnStart(SameModel):
    """Fails to start."""

    @override
    async def start(self) -> None:
        raise PermissionError("no access to /dev/accelerator")


class RaisesWhileAnswering(SameModel):
    """Fails with an error of its own, after the first word when the user says so."""

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        return [ModelInfo(id="faulty", owned_by="third-party")]

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        if request.messages[-1].get("content") == "late":
            yield TextDelta("so far so good")
        raise ZeroDivisionError("an inner detail")
