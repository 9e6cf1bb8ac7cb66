"""A third-party adapter, written from the contract alone: it greets whoever is named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from pydantic import Field
from typing_extensions import override

from one_api.adapter import (
    AdapterSettings,
    BaseModelAdapter,
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    ModelInfo,
    TextDelta,
)


class GreeterSettings(AdapterSettings):
    """How to greet."""

    greeting: str = Field(default="Hello", validation_alias="GREETER_GREETING")


class Greeter(BaseModelAdapter):
    """Model `greeter`."""

    Settings = GreeterSettings
    settings: GreeterSettings

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        return [ModelInfo(id="greeter", owned_by="third-party")]

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        yield TextDelta(self.settings.greeting)
        yield TextDelta(f", {request.messages[-1].get('content')}!")
        yield Finish("stop")
