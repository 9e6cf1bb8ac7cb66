"""An adapter under a name that another distribution declares too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from typing_extensions import override

from one_api.adapter import BaseModelAdapter, Call, ChatCompletionRequest, Event, ModelInfo


class Twin(BaseModelAdapter):
    """Never built: the first of the name serves."""

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        return [ModelInfo(id="twin", owned_by="third-party")]

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        raise AssertionError("the other one serves")
        yield
