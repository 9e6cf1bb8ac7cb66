"""A small adapter that keeps every law, for a provider whose wire is one JSON object a line.

Its methods are as small as the mutants need them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
from pydantic import Field, SecretStr
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    AdapterSettings,
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    HTTPModelAdapter,
    JsonObject,
    ModelInfo,
    ParameterPolicy,
    ReasoningDelta,
    ReplyParser,
    Start,
    TextDelta,
    ToolCallDelta,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    Usage,
    UsageReport,
    WireRequest,
)
from one_api.adapter.testing import (
    Answer,
    ConformanceProfile,
    UpstreamReply,
    UpstreamRequest,
)


class PlainSettings(AdapterSettings):
    api_key: SecretStr = Field(
        default=SecretStr(""), validation_alias="PLAIN_API_KEY", description="The credential."
    )
    base_url: str = Field(
        default="http://127.0.0.1:9",
        validation_alias="PLAIN_BASE_URL",
        description="Where the provider is.",
    )

    @override
    def is_configured(self) -> bool:
        return bool(self.api_key.get_secret_value())


class PlainParser(ReplyParser):
    """Reads `say`, `think`, `call`, `arguments` and `end` lines."""

    def __init__(self) -> None:
        self._line = b""
        self.calls = 0
        self.has_ended = False

    @override
    def feed(self, data: bytes) -> Iterable[Event]:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if line:
                yield from self.read(self.decode(line))

    @override
    def close(self) -> Iterable[Event]:
        if not self.has_ended:
            raise UpstreamDisconnected("The reply ended before it was complete.")
        return ()

    def decode(self, line: bytes) -> JsonObject:
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError as exc:
            raise UpstreamInvalidResponse("A line is not JSON.") from exc
        if not isinstance(told, dict):
            raise UpstreamInvalidResponse("A line is no object.")
        return told

    def read(self, told: JsonObject) -> Iterator[Event]:
        match told:
            case {"begin": str(reply_id)}:
                yield Start(reply_id)
            case {"think": str(text)}:
                yield ReasoningDelta(text)
            case {"say": str(text)}:
                yield TextDelta(text)
            case {"call": str(name), "id": str(call_id)}:
                yield ToolCallDelta(self.calls, call_id, name)
                self.calls += 1
            case {"arguments": str(text)}:
                yield ToolCallDelta(self.calls - 1, arguments=text)
            case {"end": ("stop" | "length" | "tool_calls") as end, "in": int(), "out": int()}:
                self.has_ended = True
                yield UsageReport(self.usage(told))
                yield Finish(end)

    def usage(self, told: JsonObject) -> Usage:
        return Usage(
            prompt_tokens=told["in"],
            completion_tokens=told["out"],
            cached_tokens=told.get("cached", 0),
        )


class PlainAdapter(HTTPModelAdapter):
    Settings = PlainSettings
    settings: PlainSettings

    def __init__(self, settings: PlainSettings, context: AdapterContext) -> None:
        super().__init__(settings, context)
        self.url = f"{settings.base_url}/talk"
        self.key = settings.api_key.get_secret_value()

    @override
    def parameters(self, model_id: str) -> ParameterPolicy:
        return ParameterPolicy(frozenset({"max_tokens", "temperature", "tools"}))

    @override
    def to_wire(self, request: ChatCompletionRequest, call: Call) -> WireRequest:
        return WireRequest(url=self.url, headers=self.headers(), body=self.body(request, call))

    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}", "content-type": "application/json"}

    def fields(self, request: ChatCompletionRequest) -> dict[str, Any]:
        given = {
            "limit": request.max_tokens,
            "heat": request.temperature,
            "tools": request.tools,
        }
        return {name: value for name, value in given.items() if value is not None}

    def body(self, request: ChatCompletionRequest, call: Call) -> bytes:
        told = {"model": call.model, "turns": request.messages, **self.fields(request)}
        return orjson.dumps(told)

    @override
    def from_wire(
        self, request: ChatCompletionRequest, call: Call, headers: Mapping[str, str]
    ) -> ReplyParser:
        return PlainParser()

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        url = f"{self.settings.base_url}/models"
        listed = await self.fetch_json(WireRequest(url=url, method="GET", headers=self.headers()))
        return [ModelInfo(id=each["id"], owned_by="plain") for each in listed["data"]]


class PlainProfile(ConformanceProfile):
    has_reasoning = True

    @override
    def environment(self, base_url: str, credential: str) -> Mapping[str, str]:
        return {"PLAIN_BASE_URL": base_url, "PLAIN_API_KEY": credential}

    @override
    def answer(self, answer: Answer, request: UpstreamRequest) -> UpstreamReply:
        pieces = tuple(orjson.dumps(line) + b"\n" for line in _lines(answer))
        return UpstreamReply(pieces=pieces, headers={"content-type": "application/x-ndjson"})


def _lines(answer: Answer) -> Iterator[JsonObject]:
    yield {"begin": "reply-1"}
    yield from ({"think": piece} for piece in answer.reasoning)
    yield from ({"say": word} for word in answer.words)
    for call in answer.tool_calls:
        yield {"call": call.name, "id": call.id}
        yield from ({"arguments": piece} for piece in call.arguments)
    count = answer.usage
    yield {
        "end": answer.end,
        "in": count.prompt,
        "out": count.completion,
        "cached": count.cached,
    }


PROFILE = PlainProfile()
