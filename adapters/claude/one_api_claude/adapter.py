"""Claude models as the gateway sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final
from urllib.parse import quote

import orjson
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    AdapterSettings,
    Call,
    ChatCompletionRequest,
    Event,
    GatewayError,
    HTTPModelAdapter,
    InvalidRequest,
    JsonObject,
    ModelInfo,
    ModelNotFound,
    ParameterPolicy,
    UpstreamInvalidResponse,
    WireReply,
    WireRequest,
)
from one_api_claude.capabilities import KnownModels, ModelCapabilities
from one_api_claude.errors import error_from_body
from one_api_claude.from_wire import MessageParser, Reading
from one_api_claude.identifiers import names_from_wire
from one_api_claude.lessons import lesson_of, tells_of_foreign_thinking
from one_api_claude.response_format import asks_for_json
from one_api_claude.settings import ClaudeSettings
from one_api_claude.thinking import wants_reasoning_text
from one_api_claude.to_wire import (
    Conversion,
    body_to_bytes,
    request_to_wire,
    without_thinking_blocks,
)

#: Version of the API without sampling parameters, and the last one that has them.
VERSION: Final = "2026-10-21"
SAMPLING_VERSION: Final = "2023-06-01"

#: How often a turn that the model paused is gone on with.
MAX_CONTINUATIONS: Final = 5
MAX_ERROR_BYTES: Final = 64 * 1024
PAGE_SIZE: Final = 1_000
MAX_PAGES: Final = 20

_HONOURED: Final = frozenset(
    {
        "function_call",
        "functions",
        "max_completion_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "service_tier",
        "stop",
        "thinking",
        "tool_choice",
        "tools",
        "user",
    }
)
_NO_STREAM: Final = frozenset({"application/json", "text/html", "application/xhtml+xml"})


class ClaudeAdapter(HTTPModelAdapter):
    """Anthropic, or an endpoint that speaks its Messages format."""

    Settings: ClassVar[type[AdapterSettings]] = ClaudeSettings
    settings: ClaudeSettings

    def __init__(self, settings: ClaudeSettings, context: AdapterContext) -> None:
        super().__init__(settings, context)
        self._key = settings.api_key.get_secret_value()
        self._known = KnownModels()

    @override
    def parameters(self, model_id: str) -> ParameterPolicy:
        capabilities = self._known.capabilities(model_id)
        honoured = _HONOURED
        if capabilities.sampling == "one":
            honoured |= {"temperature", "top_p"}
        if wants_reasoning_text(capabilities):
            honoured |= {"include_reasoning"}
        return ParameterPolicy(honoured=honoured)

    @override
    def to_wire(self, request: ChatCompletionRequest, call: Call) -> WireRequest:
        conversion = Conversion(
            capabilities=self._known.capabilities(call.model),
            default_max_tokens=self.context.default_max_tokens,
            user_key=self._key.encode(),
        )
        body = request_to_wire(request, call, conversion)
        is_sampled = "temperature" in body or "top_p" in body
        headers = self._headers(SAMPLING_VERSION if is_sampled else VERSION)
        headers["content-type"] = "application/json"
        return WireRequest(
            url=f"{self.settings.base_url}/messages", headers=headers, body=body_to_bytes(body)
        )

    @override
    def from_wire(
        self, request: ChatCompletionRequest, call: Call, headers: Mapping[str, str]
    ) -> MessageParser:
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type in _NO_STREAM:
            raise UpstreamInvalidResponse(
                f"The provider answered with '{media_type}' instead of an event stream."
            )
        return MessageParser(
            Reading(
                names=names_from_wire(request),
                local_stops=tuple(stop for stop in request.stop_sequences if not stop.strip()),
                is_legacy=request.functions is not None,
                keeps_thinking="tool_choice" not in call.degraded,
                is_json=asks_for_json(request),
            )
        )

    @override
    def error_from_wire(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return error_from_body(status, headers, body)

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        async with AsyncExitStack() as stack:
            answered = await self._ask(stack, request, call)
            parser = self.from_wire(request, call, answered.reply.headers)
            for _ in range(MAX_CONTINUATIONS + 1):
                async with aclosing(answered.reply.chunks()) as chunks:
                    async for data in chunks:
                        for event in parser.feed(data):
                            yield event
                        if parser.is_done or parser.is_paused:
                            break
                if not parser.is_paused:
                    break
                await stack.aclose()
                
            for event in parser.close():
                yield event
