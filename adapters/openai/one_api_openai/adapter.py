"""One adapter instance for each provider of the table that is switched on."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

import orjson
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    BaseModelAdapter,
    Call,
    ChatCompletionRequest,
    ConfigurationError,
    Event,
    InvalidRequest,
    ModelNotFound,
    OpenAICompatibleAdapter,
    OpenAICompatibleSettings,
    ParameterPolicy,
    UpstreamInvalidResponse,
    UpstreamSettings,
    WireReply,
    WireRequest,
)
from one_api_openai.from_wire import ResponseParser
from one_api_openai.providers import PROVIDERS, is_at, row_at, row_named
from one_api_openai.refusals import (
    KNOWN,
    RefusingModels,
    advises_responses,
    reasons_with_tools,
)
from one_api_openai.to_wire import parameter_from_wire, request_to_wire

if TYPE_CHECKING:
    from one_api.adapter import CompatibleProvider

#: Models that refuse `stop`; the gateway enforces it for them.
#: Source: openai-python 3.52.0, `completion_create_params`, names o3 and o4-mini; that the other
#: reasoning models refuse it too is assumed: enforced by the gateway it works with either.
_REASONING_MODEL: Final = re.compile(r"(?:o\d|gpt-5(?!.*chat))")
MAX_ERROR_BYTES: Final = 64 * 1024
_NO_STREAM: Final = frozenset({"application/json", "text/html"})


class OpenAIAdapter(OpenAICompatibleAdapter):
    """A provider of the table.

    Each row reads `<NAME>_API_KEY`, `<NAME>_BASE_URL` and `<NAME>_MODELS`. A key switches it on; a
    base URL alone does for rows that need no key, and for the first row (any other endpoint).

    Chats are asked as such, but for those that reason with function tools: models that refuse them
    are asked for a response instead, where the provider has responses.
    """

    is_default_upstream = True

    def __init__(
        self,
        settings: OpenAICompatibleSettings,
        context: AdapterContext,
        provider: CompatibleProvider,
    ) -> None:
        super().__init__(settings, context, provider)
        # What is behind another URL may go by the same names and be of another mind.
        is_openai = self._base_url == PROVIDERS[0].base_url
        self._refusing = RefusingModels(KNOWN if is_openai else {})
        self._is_openai = is_openai

    @override
    def parameters(self, model_id: str) -> ParameterPolicy:
        policy = super().parameters(model_id)
        if self._is_openai and _REASONING_MODEL.match(model_id):
            return replace(policy, lacks=frozenset({"stop"}))
        return policy

    @override
    @classmethod
    def build(
        cls, name: str, environment: Mapping[str, str], context: AdapterContext
    ) -> Mapping[str, BaseModelAdapter]:
        adapters = {}
        for provider in PROVIDERS:
            settings = settings_of(provider, environment)
            if is_configured(provider, settings):
                adapters[provider.name] = cls(settings, context, provider)
        return adapters

    @override
    @classmethod
    def build_upstream(
        cls, name: str, upstream: UpstreamSettings, context: AdapterContext
    ) -> BaseModelAdapter:
        """The row that `upstream` names, else the one at its endpoint, else any other endpoint.

        Raises: ConfigurationError; for a missing key where the row's own host insists on one.
        """
        settings = OpenAICompatibleSettings.from_upstream(
            replace(upstream, provider=upstream.provider or PROVIDERS[0].name)
        )
        provider = row_named(upstream.provider) or row_at(settings.base_url) or PROVIDERS[0]
        base_url = settings.base_url or provider.base_url
        if settings.api_key is None and not provider.keyless and is_at(base_url, provider):
            raise ConfigurationError("sk", f"the provider '{provider.name}' insists on a key")
        return cls(settings.model_copy(update={"base_url": base_url}), context, provider)

    @override
    @classmethod
    def providers(cls) -> Sequence[str]:
        return tuple(provider.name for provider in PROVIDERS)

    @override
    @classmethod
    def how_to_configure(cls) -> str:
        return "set OPENAI_API_KEY, or OPENAI_BASE_URL, or another provider's variable"

    @override
    def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        if self.provider.responses and reasons_with_tools(request):
            return self._answer_either_way(request, call)
        return super().generate_completion(request, call)

    async def _answer_either_way(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Event, None]:
        """The answer to a chat, or to a request for a response if the chat is refused."""
        refusal = None
        if not self._refusing.refuses(call.model, request):
            try:
                # A chat is refused before its first event, or never: what follows is relayed.
                async with aclosing(self._chat(request, call)) as events:
                    async for event in events:
                        yield event
            except InvalidRequest as exc:
                if not advises_responses(exc):
                    raise
                refusal = exc
            else:
                return
            self._learn(request, call)
        try:
            async with aclosing(self._respond(request, call)) as events:
                async for event in events:
                    yield event
        except ModelNotFound:
            if refusal is None:
                raise
            # The advice leads nowhere: something between us and the provider has no responses.
            self._refusing.forget(call.model)
            raise refusal from None

    def _chat(self, request: ChatCompletionRequest, call: Call) -> AsyncGenerator[Event, None]:
        events = super().generate_completion(request, call)
        return cast("AsyncGenerator[Event, None]", events)

    def _learn(self, request: ChatCompletionRequest, call: Call) -> None:
        self._refusing.learn(call.model, request)
        self.context.logger.info(
            "%s refuses function tools beside reasoning in chats: from now on it is asked for "
            "responses then",
            call.model,
        )

    async def _respond(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Event, None]:
        wire = WireRequest(
            url=f"{self._base_url}/responses",
            headers=self._headers,
            body=orjson.dumps(request_to_wire(request, call)),
        )
        async with self.send(wire, call) as reply:
            await self._require_stream(reply, request)
            parser = ResponseParser()
            async with aclosing(reply.chunks()) as chunks:
                async for data in chunks:
                    for event in parser.feed(data):
                        yield event
                    if parser.is_finished:
                        break
            for event in parser.close():
                yield event

    async def _require_stream(self, reply: WireReply, request: ChatCompletionRequest) -> None:
        if reply.status != 200:
            body = await reply.read(MAX_ERROR_BYTES)
            error = self.error_from_wire(reply.status, reply.headers, body)
            if error.param is not None:
                error.param = parameter_from_wire(error.param, request)
            raise error
        media_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type in _NO_STREAM:
            raise UpstreamInvalidResponse(
                f"The provider answered with '{media_type}' instead of an event stream."
            )


def settings_of(
    provider: CompatibleProvider, environment: Mapping[str, str]
) -> OpenAICompatibleSettings:
    """The settings of one row.

    Raises: ConfigurationError that names the row's variable.
    """
    prefix = variable_prefix(provider)
    given = {
        field: environment.get(f"{prefix}_{field.upper()}", "")
        for field in ("api_key", "base_url", "models")
    }
    try:
        return OpenAICompatibleSettings.from_environment(
            {field.upper(): value for field, value in given.items()}
        )
    except ConfigurationError as exc:
        raise ConfigurationError(
            f"{prefix}_{exc.variable}", exc.problem, f"a URL such as {provider.base_url}"
        ) from exc


def is_configured(provider: CompatibleProvider, settings: OpenAICompatibleSettings) -> bool:
    """Whether the operator switched the row on."""
    if settings.api_key is not None:
        return True
    is_first = provider is PROVIDERS[0]
    return bool(settings.base_url) and (provider.keyless or is_first)


def variable_prefix(provider: CompatibleProvider) -> str:
    """What the row's variables begin with."""
    return provider.name.upper().replace("-", "_")
