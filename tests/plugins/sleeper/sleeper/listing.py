"""An adapter whose provider never tells its models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

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


class HangsOnListing(BaseModelAdapter):
    """Answers, but cannot say for which models."""

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        await asyncio.Event().wait()
        return []

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        yield TextDelta(f"{call.model} is here")
        yield Finish("stop")
