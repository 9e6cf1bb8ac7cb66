"""Providers that speak OpenAI's own format: a row of data is enough.

What arrives is relayed, not rewritten. As soon as a provider needs behaviour of its own it gets a
package of its own instead of another flag here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from pydantic import SecretStr, field_validator
from typing_extensions import override

from one_api.adapter.base import AdapterContext, Call
from one_api.adapter.completions import CompletionParser
from one_api.adapter.http import (
    MAX_ERROR_BYTES,
    HTTPModelAdapter,
    RelayParser,
    ReplyParser,
    WireRequest,
)
from one_api.adapter.parameters import ParameterPolicy
from one_api.adapter.passthrough import RawRequest
from one_api.adapter.settings import AdapterSettings
from one_api.errors import UnsupportedParameter, UpstreamInvalidResponse
from one_api.schemas.models import ModelInfo

if TYPE_CHECKING:
    from one_api.events import Event
    from one_api.schemas import JsonObject
    from one_api.schemas.chat import ChatCompletionRequest
    from one_api.schemas.completions import CompletionRequest


#: Names under which providers list a model's context window.
_CONTEXT_FIELDS = ("context_window", "context_length", "max_context_length", "max_model_len")
_FORWARDS_ALL = ParameterPolicy(forwards_unknown=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompatibleProvider:
    """What differs between providers that speak OpenAI's format; capabilities start closed.

    `base_url` includes the version path (`https://api.example.com/v1`).
    """

    name: str
    base_url: str
    #: Reached without a credential (an engine on the operator's own machine).
    keyless: bool = False
    #: Knows `max_completion_tokens`; else it is sent as `max_tokens`.
    max_completion_tokens: bool = False
    #: Knows role `developer`; else it is sent as `system`.
    developer_role: bool = False
    #: Has OpenAI's `/responses`; else such requests are answered through chat completions.
    responses: bool = False
    #: Has the legacy `/completions`; else those are asked as chats.
    completions: bool = False
    #: Knows `safety_identifier`; else it is dropped: clients of other formats send it with every
    #: request, and strict providers refuse fields they do not know.
    safety_identifier: bool = False
    #: Sends a usage chunk when `stream_options.include_usage` asks for one.
    stream_usage: bool = True
    #: Page the facts of this row were read from, and when.
    source: str = ""


class OpenAICompatibleSettings(AdapterSettings):
    """Where the provider is, and our credential for it.

    `models` names the models to offer, comma-separated, for a provider that cannot list them.
    """

    api_key: SecretStr | None = None
    base_url: str = ""
    models: str = ""

    @field_validator("base_url")
    @classmethod
    def _is_http_url(cls, value: str) -> str:
        return normalise_base_url(value) if value else value

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names in `models`."""
        return tuple(name.strip() for name in self.models.split(",") if name.strip())


def normalise_base_url(value: str) -> str:
    """`value` with a path, `/v1` where it has none, and without a slash at its end.

    Raises: ValueError when it is not an http(s) URL with a host, or has a query or a user in it.
    """
    parts = urlsplit(value.strip())
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or re.search(r"\s", value.strip())
    ):
        raise ValueError("not an http:// or https:// URL with a host")
    try:
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        raise ValueError("the port is not a number from 0 to 65535") from None
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("a base URL has no query, fragment, user or password")
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


class OpenAICompatibleAdapter(HTTPModelAdapter):
    """A provider of the OpenAI format, described by a `CompatibleProvider`."""

    Settings = OpenAICompatibleSettings
    _may_relay = True

    def __init__(
        self,
        settings: OpenAICompatibleSettings,
        context: AdapterContext,
        provider: CompatibleProvider,
    ) -> None:
        super().__init__(settings, context)
        self.provider = provider
        self._base_url = settings.base_url or provider.base_url
        self._static_models = settings.model_names
        self._credential: dict[str, str] = {}
        if settings.api_key is not None:
            key = settings.api_key.get_secret_value()
            self._credential["Authorization"] = f"Bearer {key}"
        self._headers = {"Content-Type": "application/json", **self._credential}
        self._chat_url = f"{self._base_url}/chat/completions"

    @override
    def parameters(self, model_id: str) -> ParameterPolicy:
        return _FORWARDS_ALL

    @override
    def to_wire(self, request: ChatCompletionRequest, call: Call) -> WireRequest:
        body = request.to_wire()
        body["model"] = call.model
        provider = self.provider
        if not provider.stream_usage:
            # Usage comes unasked, and the gateway writes the chunk that a client asked for.
            body.pop("stream_options", None)
        elif request.wants_stream:
            body["stream_options"] = {**(request.stream_options or {}), "include_usage": True}
        if not provider.safety_identifier and "safety_identifier" in body:
            if call.strict_params:
                raise UnsupportedParameter(
                    "Unsupported parameter: 'safety_identifier' is not supported with this model.",
                    param="safety_identifier",
                )
            del body["safety_identifier"]
            call.drop("safety_identifier")
        if not provider.max_completion_tokens and "max_completion_tokens" in body:
            body["max_tokens"] = body.pop("max_completion_tokens")
        if not provider.developer_role:
            body["messages"] = [_as_system(message) for message in request.messages]
        return WireRequest(url=self._chat_url, headers=self._headers, body=orjson.dumps(body))

    @override
    def from_wire(
        self, request: ChatCompletionRequest, call: Call, headers: Mapping[str, str]
    ) -> ReplyParser:
        return RelayParser()

    def completes(self, model_id: str) -> bool:
        """Whether the provider has the legacy endpoint; it says itself for which models."""
        return self.provider.completions

    async def complete(self, request: CompletionRequest, call: Call) -> AsyncGenerator[Event, None]:
        """Pass a legacy completion on, and read its reply."""
        body = {**request.to_wire(), "model": call.model, "max_tokens": request.completion_limit}
        if not self.provider.stream_usage:
            body.pop("stream_options", None)
        elif request.wants_stream:
            body["stream_options"] = {**(request.stream_options or {}), "include_usage": True}
        wire = WireRequest(
            url=f"{self._base_url}/completions", headers=self._headers, body=orjson.dumps(body)
        )
        async with self.send(wire, call) as reply:
            if reply.status != 200:
                told = await reply.read(MAX_ERROR_BYTES)
                raise self.error_from_wire(reply.status, reply.headers, told)
            parser = CompletionParser(is_stream=request.wants_stream)
            async with aclosing(reply.chunks()) as chunks:
                async for data in chunks:
                    for event in parser.feed(data):
                        yield event
            for event in parser.close():
                yield event

    def passthrough(self, request: RawRequest, call: Call) -> WireRequest | None:
        """Any path below the version path of the provider, with our credential.

        None for Anthropic's own paths: whoever asks for those is answered in a translation.
        """
        if f"{request.path}/".startswith("/messages/"):
            return None
        if request.path == "/responses" and not self.provider.responses:
            return None
        headers = {**request.headers, **self._credential}
        query = f"?{request.query}" if request.query else ""
        return WireRequest(
            method=request.method,
            url=f"{self._base_url}{request.path}{query}",
            headers=headers,
            body=request.body,
        )

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        if self._static_models:
            return [ModelInfo(id=name, owned_by=self.provider.name) for name in self._static_models]
        listed = await self.fetch_json(
            WireRequest(method="GET", url=f"{self._base_url}/models", headers=self._headers)
        )
        return [self._model_from_wire(model) for model in _listed_models(listed)]

    def _model_from_wire(self, model: JsonObject) -> ModelInfo:
        created, owner = model.get("created"), model.get("owned_by")
        windows = (model.get(name) for name in _CONTEXT_FIELDS)
        return ModelInfo(
            id=model["id"],
            owned_by=owner if isinstance(owner, str) and owner else self.provider.name,
            created=created if isinstance(created, int) and 0 <= created < 2**33 else 0,
            context_window=next((size for size in windows if isinstance(size, int)), None),
        )


def _listed_models(listed: Any) -> list[JsonObject]:
    """The models of a list reply; some providers send the bare list.

    Raises: UpstreamInvalidResponse.
    """
    data = listed.get("data") if isinstance(listed, dict) else listed
    if not isinstance(data, list):
        raise UpstreamInvalidResponse("The provider's model list has no 'data' array.")
    return [model for model in data if isinstance(model, dict) and isinstance(model.get("id"), str)]


def _as_system(message: Any) -> Any:
    return {**message, "role": "system"} if message["role"] == "developer" else message
