"""Claude models as the gateway sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar, Final
from urllib.parse import quote

import orjson
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    AdapterSettings,
    BaseModelAdapter,
    Call,
    ChatCompletionRequest,
    ConfigurationError,
    Event,
    GatewayError,
    HTTPModelAdapter,
    JsonObject,
    ModelInfo,
    ModelNotFound,
    ParameterPolicy,
    RawRequest,
    UpstreamInvalidResponse,
    UpstreamSettings,
    WireReply,
    WireRequest,
)
from one_api_claude.capabilities import KnownModels
from one_api_claude.errors import error_from_body, message_of
from one_api_claude.from_wire import MessageParser, Reading
from one_api_claude.identifiers import names_from_wire
from one_api_claude.lessons import lesson_of, tells_of_foreign_thinking
from one_api_claude.response_format import asks_for_json
from one_api_claude.settings import DEFAULT_BASE_URL, ClaudeSettings
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

OWNER: Final = "anthropic"

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
#: Where clients may speak Anthropic's format with the provider themselves.
_OWN_PATHS: Final = frozenset({"/messages", "/messages/count_tokens"})
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
    @classmethod
    def build_upstream(
        cls, name: str, upstream: UpstreamSettings, context: AdapterContext
    ) -> BaseModelAdapter:
        settings = ClaudeSettings.from_upstream(upstream)
        if settings.base_url == DEFAULT_BASE_URL and not settings.is_configured():
            raise ConfigurationError("sk", "Anthropic insists on a key")
        return cls(settings, context)

    @override
    def continues(self, model_id: str) -> bool:
        return self._known.capabilities(model_id).prefill

    @override
    def parameters(self, model_id: str) -> ParameterPolicy:
        capabilities = self._known.capabilities(model_id)
        honoured = _HONOURED
        if capabilities.sampling == "one":
            honoured |= {"temperature", "top_p"}
        if wants_reasoning_text(capabilities):
            honoured |= {"include_reasoning"}
        asked_in_words = {
            "tool_choice": not capabilities.forced_tools,
            "response_format": not capabilities.structured_outputs,
        }
        return ParameterPolicy(
            honoured=honoured,
            emulated=frozenset(name for name, is_asked in asked_in_words.items() if is_asked),
        )

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
            wire, reply = await self._ask(stack, request, call)
            parser = self.from_wire(request, call, reply.headers)
            for continuation in range(MAX_CONTINUATIONS + 1):
                if continuation:
                    parser.resume()
                async with aclosing(reply.chunks()) as chunks:
                    async for data in chunks:
                        for event in parser.feed(data):
                            yield event
                        if parser.is_stopped:
                            break
                if not parser.is_paused or continuation == MAX_CONTINUATIONS:
                    break
                reply = await self._go_on(stack, wire, parser.content, call)
            for event in parser.close():
                yield event

    async def _ask(
        self, stack: AsyncExitStack, request: ChatCompletionRequest, call: Call
    ) -> tuple[WireRequest, WireReply]:
        """Send `request`; once more, corrected, if the refusal says what was wrong.

        Raises: the error of `error_from_wire` for any final status but 200.
        """
        wire = self.to_wire(request, call)
        reply = await stack.enter_async_context(self.send(wire, call))
        if reply.status == 200:
            return wire, reply
        body = await reply.read(MAX_ERROR_BYTES)
        corrected = self._corrected(request, call, wire, body) if reply.status == 400 else None
        if corrected is None:
            raise self.error_from_wire(reply.status, reply.headers, body)
        await stack.aclose()
        reply = await stack.enter_async_context(self.send(corrected, call))
        await self._require_success(reply)
        return corrected, reply

    def _corrected(
        self, request: ChatCompletionRequest, call: Call, wire: WireRequest, refusal: bytes
    ) -> WireRequest | None:
        """`wire` as the provider's `refusal` teaches it to be; None when it teaches nothing."""
        message = message_of(refusal)
        if tells_of_foreign_thinking(message):
            request = without_thinking_blocks(request)
        else:
            capabilities = self._known.capabilities(call.model)
            lesson = lesson_of(message, _body_of(wire), capabilities)
            if lesson is None or (
                "thinking" in lesson and "thinking" in (request.model_extra or {})
            ):
                # What a client's own `thinking` object got wrong says nothing about the model.
                return None
            self._known.learn(call.model, lesson)
            self.context.logger.info(
                "The provider refused a request for %s: from now on %s",
                call.model,
                ", ".join(sorted(lesson)),
            )
        corrected = self.to_wire(request, call)
        return corrected if corrected.body != wire.body else None

    async def _go_on(
        self, stack: AsyncExitStack, wire: WireRequest, content: list[JsonObject], call: Call
    ) -> WireReply:
        """Let the model go on with the turn it paused after `content`."""
        await stack.aclose()
        body = _body_of(wire)
        body["messages"].append({"role": "assistant", "content": content})
        wire = replace(wire, body=body_to_bytes(body))
        reply = await stack.enter_async_context(self.send(wire, call))
        await self._require_success(reply)
        return reply

    async def _require_success(self, reply: WireReply) -> None:
        if reply.status != 200:
            body = await reply.read(MAX_ERROR_BYTES)
            raise self.error_from_wire(reply.status, reply.headers, body)

    def passthrough(self, request: RawRequest, call: Call) -> WireRequest | None:
        """Anthropic's own requests; without a version they get the last one that takes all fields.

        None for any other path.
        """
        if request.path not in _OWN_PATHS:
            return None
        query = f"?{request.query}" if request.query else ""
        return WireRequest(
            method=request.method,
            url=f"{self.settings.base_url}{request.path}{query}",
            headers={**self._headers(SAMPLING_VERSION), **request.headers, "x-api-key": self._key},
            body=request.body,
        )

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        if self.settings.model_names:
            return [ModelInfo(id=name, owned_by=OWNER) for name in self.settings.model_names]
        models: list[ModelInfo] = []
        after = ""
        for _ in range(MAX_PAGES):
            page = await self._fetch(f"/models?limit={PAGE_SIZE}{after}")
            data = page.get("data")
            if not isinstance(data, list):
                raise UpstreamInvalidResponse("The provider's model list has no 'data' array.")
            models += [self._take_listing(model) for model in data if _is_model(model)]
            last_id = page.get("last_id")
            if page.get("has_more") is not True or not isinstance(last_id, str) or not data:
                break
            after = f"&after_id={quote(last_id, safe='')}"
        return models

    @override
    async def get_model_info(self, model_id: str) -> ModelInfo:
        if self.settings.model_names:
            return await super().get_model_info(model_id)
        # Asked by name, Anthropic also knows names without a date, which its list leaves out.
        model = await self._fetch(f"/models/{quote(model_id, safe='')}")
        if not _is_model(model):
            raise UpstreamInvalidResponse("The provider's description of a model has no 'id'.")
        return self._take_listing(model)

    async def _fetch(self, path: str) -> JsonObject:
        request = WireRequest(
            method="GET", url=f"{self.settings.base_url}{path}", headers=self._headers(VERSION)
        )
        try:
            fetched = await self.fetch_json(request)
        except ModelNotFound:
            if path.startswith("/models/"):
                raise
            raise UpstreamInvalidResponse(
                "The provider does not list its models; name them in CLAUDE_MODELS."
            ) from None
        if not isinstance(fetched, dict):
            raise UpstreamInvalidResponse("The provider's reply is not a JSON object.")
        return fetched

    def _take_listing(self, model: JsonObject) -> ModelInfo:
        self._known.take_listing(model)
        window, limit, name = (
            model.get("max_input_tokens"),
            model.get("max_tokens"),
            model.get("display_name"),
        )
        return ModelInfo(
            id=model["id"],
            owned_by=OWNER,
            created=_unix_time_s(model.get("created_at")),
            display_name=name if isinstance(name, str) else None,
            context_window=window if isinstance(window, int) else None,
            max_completion_tokens=limit if isinstance(limit, int) else None,
        )

    def _headers(self, version: str) -> dict[str, str]:
        return {"x-api-key": self._key, "anthropic-version": version}


def _body_of(wire: WireRequest) -> JsonObject:
    assert isinstance(wire.body, bytes), "only what is passed on comes in pieces"  # noqa: S101
    body: JsonObject = orjson.loads(wire.body)
    return body


def _is_model(model: object) -> bool:
    return isinstance(model, dict) and isinstance(model.get("id"), str) and bool(model["id"])


def _unix_time_s(moment: object) -> int:
    """An RFC 3339 time as seconds since 1970, 0 when it is none or unknown."""
    if not isinstance(moment, str):
        return 0
    try:
        read = datetime.fromisoformat(moment)
    except ValueError:
        return 0
    return max(int(read.replace(tzinfo=read.tzinfo or UTC).timestamp()), 0)
