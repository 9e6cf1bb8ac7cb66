"""Entry points that import well and are still no adapters for this gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import ClassVar

from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    BaseModelAdapter,
    Call,
    ChatCompletionRequest,
    Event,
    ModelInfo,
    TextDelta,
)

NOT_AN_ADAPTER = {"api_version": 1}


class FromTheFuture(BaseModelAdapter):
    """Written for a contract that this gateway does not have."""

    api_version: ClassVar[int] = 999

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        return [ModelInfo(id="future", owned_by="third-party")]

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        yield TextDelta("from the future")


class Unbuildable(FromTheFuture):
    """Raises when an instance is made."""

    api_version: ClassVar[int] = 1

    @override
    @classmethod
    def build(
        cls, name: str, environment: Mapping[str, str], context: AdapterContext
    ) -> Mapping[str, BaseModelAdapter]:
        raise KeyError("SOME_TABLE")
