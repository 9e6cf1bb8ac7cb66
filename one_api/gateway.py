"""The road of a request: from a checked request to bytes for the client, in typed steps.

Each method has one duty, so that a traceback reads as the road. No provider is named here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from one_api.adapter.base import Call
from one_api.adapter.completions import SupportsCompletions
from one_api.converter import CHAT, Dialect, ReasoningField, ReplyForm
from one_api.converter.completions import TEXT, completion_as_chat
from one_api.errors import GatewayError, InvalidRequest, UpstreamError, UpstreamTimeout
from one_api.fanout import MAX_REPLIES, fan_out
from one_api.reply import ReplyBody, ReplyStream
from one_api.stopping import enforce_stops, read_relayed
from one_api.tokens import AnyRequest, TokenCounter

if TYPE_CHECKING:
    from one_api.deployment import Deployment
    from one_api.events import Event, Usage
    from one_api.registry import ModelRegistry
    from one_api.schemas.chat import ChatCompletionRequest
    from one_api.schemas.completions import CompletionRequest

logger = logging.getLogger(__name__)

#: How long a finished upstream may take to end its body, so that its connection is kept, seconds.
_LINGER_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What the operator decided about replies.

    `strict_params` refuses a parameter that would be dropped. `default_model` answers requests
    that name none. `emulate_n` asks a provider that gives one choice at a time several times.
    """

    emulate_n: bool = False
    strict_params: bool = False
    default_model: str | None = None
    reasoning_field: ReasoningField = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteReply:
    """A whole reply: a JSON body and what the headers say of how it came about."""

    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedReply:
    """A committed stream: close `chunks` when the client leaves; it never raises GatewayErrors."""

    chunks: AsyncGenerator[bytes, None]
    headers: dict[str, str]


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """One deployment being asked."""

    deployment: Deployment
    call: Call
    events: AsyncGenerator[Event, None]
    dialect: Dialect
    secrets: tuple[str, ...] = ()
    number: int = 1
    is_relinquished: bool = field(default=False)

    def headers(self) -> dict[str, str]:
        headers = {
            "x-one-api-model": self.deployment.upstream_model,
            "x-one-api-deployment": self.deployment.name,
            "x-one-api-attempts": str(self.number),
        }
        if self.call.dropped:
            headers["x-one-api-dropped-params"] = ",".join(sorted(self.call.dropped))
        if self.call.degraded:
            headers["x-one-api-degraded"] = ",".join(self.call.degraded)
        return headers


class Gateway:
    """Answers chat requests through the adapters of a registry."""

    def __init__(
        self,
        registry: ModelRegistry,
        options: GatewayOptions,
        counter: TokenCounter | None = None,
    ) -> None:
        self._registry = registry
        self._options = options
        self._counter = counter or TokenCounter()

    async def chat(
        self, request: ChatCompletionRequest, *, request_id: str, dialect: Dialect = CHAT
    ) -> CompleteReply | StreamedReply:
        """Answer `request` in `dialect`, as a stream when it asks for one.

        A stream is given once it has content: whatever fails before is raised.
        Raises: GatewayError.
        """
        model = self._named_or_default(request.model)
        form = ReplyForm(
            model=model,
            include_usage=request.wants_usage_chunk,
            functions=request.functions is not None,
            reasoning_field=self._options.reasoning_field,
        )
        deployments = await self._registry.deployments_for(model)
        attempt = self._begin(request, form, deployments[0], request_id, dialect)
        return await self._reply(request, form, attempt)

    async def complete(
        self, request: CompletionRequest, *, request_id: str
    ) -> CompleteReply | StreamedReply:
        """Continue the prompts of `request`; as a chat, where the provider knows nothing else.

        Raises: GatewayError; UnsupportedParameter for what no chat can give.
        """
        model = self._named_or_default(request.model)
        deployment = (await self._registry.deployments_for(model))[0]
        adapter = self._registry.adapter(deployment.adapter)
        if not isinstance(adapter, SupportsCompletions) or not adapter.completes(
            deployment.upstream_model
        ):
            chat = completion_as_chat(request)
            return await self.chat(chat, request_id=request_id, dialect=TEXT)
        call = Call(
            model=deployment.upstream_model,
            request_id=request_id,
            timeouts=deployment.timeouts,
            strict_params=self._options.strict_params,
        )
        events = _answer(partial(adapter.complete, request, call), deployment)
        attempt = _Attempt(
            deployment=deployment,
            call=call,
            events=events,
            dialect=TEXT,
            secrets=adapter.settings.secrets(),
        )
        form = ReplyForm(model=model, include_usage=request.wants_usage_chunk)
        return await self._reply(request, form, attempt)

    def _named_or_default(self, model: str | None) -> str:
        named = model or self._options.default_model
        if named is None:
            raise InvalidRequest(
                "Missing required parameter: 'model'.",
                param="model",
                code="missing_required_parameter",
            )
        return named

    async def _reply(
        self, request: AnyRequest, form: ReplyForm, attempt: _Attempt
    ) -> CompleteReply | StreamedReply:
        try:
            if request.wants_stream:
                return await self._stream(request, form, attempt)
            return await self._complete(request, form, attempt)
        except GatewayError as exc:
            _log_failure(attempt, attempt.call.request_id, exc)
            raise
        finally:
            if not attempt.is_relinquished:
                await attempt.events.aclose()

    def _begin(
        self,
        request: ChatCompletionRequest,
        form: ReplyForm,
        deployment: Deployment,
        request_id: str,
        dialect: Dialect,
    ) -> _Attempt:
        """Settle what the deployment cannot do, then ask it; nothing is sent yet."""
        adapter = self._registry.adapter(deployment.adapter)
        strict = self._options.strict_params
        policy = adapter.parameters(deployment.upstream_model)
        replies = 1
        if self._options.emulate_n and request.n and not policy.honours("n"):
            replies = _checked_replies(request.n)
            request = request.without("n")
        stops: tuple[str, ...] = ()
        if not policy.takes_stops(len(request.stop_sequences)):
            stops, request = request.stop_sequences, request.without("stop")
        call = Call(
            model=deployment.upstream_model,
            request_id=request_id,
            timeouts=deployment.timeouts,
            strict_params=strict,
            dropped=list(policy.settle(request, strict=strict)),
        )
        ask = partial(adapter.generate_completion, request, call)
        sources = [_answer(ask, deployment) for _ in range(replies)]
        events = sources[0] if replies == 1 else fan_out(sources)
        if stops:
            told = read_relayed(events, form, is_stream=request.wants_stream)
            events = enforce_stops(told, stops, choices=max(replies, request.n or 1))
        return _Attempt(
            deployment=deployment,
            call=call,
            events=events,
            dialect=dialect,
            secrets=adapter.settings.secrets(),
        )

    async def _complete(
        self, request: AnyRequest, form: ReplyForm, attempt: _Attempt
    ) -> CompleteReply:
        reply = ReplyBody(form, dialect=attempt.dialect)
        total_s = attempt.deployment.timeouts.total_s
        try:
            async with asyncio.timeout(total_s):
                async for event in attempt.events:
                    reply.take(event)
        except TimeoutError as exc:
            raise UpstreamTimeout(f"The model took longer than {total_s:g} s.") from exc
        reply.end()
        estimated = None
        if reply.usage is None:
            estimated = await self._estimate(request, attempt, reply.texts)
        return CompleteReply(body=reply.close(estimated), headers=attempt.headers())

    async def _estimate(
        self,
        request: AnyRequest,
        attempt: _Attempt,
        texts: list[str],
        frames: int = 0,
    ) -> Usage:
        """Our own count, for a provider that told none."""
        usage = await self._counter.usage(
            request, attempt.deployment.upstream_model, texts, uncounted_tokens=frames
        )
        logger.info(
            "request %s: usage_estimated: %d + %d tokens, %s told none",
            attempt.call.request_id,
            usage.prompt_tokens,
            usage.completion_tokens,
            attempt.deployment.name,
        )
        return usage

    async def _stream(
        self, request: AnyRequest, form: ReplyForm, attempt: _Attempt
    ) -> StreamedReply:
        reply = ReplyStream(form, dialect=attempt.dialect)
        first_s = attempt.deployment.timeouts.first_content_s
        try:
            async with asyncio.timeout(first_s):
                head = await self._commit(reply, attempt)
        except TimeoutError as exc:
            raise UpstreamTimeout(f"The model did not begin within {first_s:g} s.") from exc
        attempt.is_relinquished = True
        chunks = self._rest(head, request, reply, attempt)
        # Begun here: closing a generator that never ran would leave the events open.
        await anext(chunks)
        return StreamedReply(chunks=chunks, headers=attempt.headers())

    async def _commit(self, reply: ReplyStream, attempt: _Attempt) -> bytes:
        """Everything up to the first content.

        A reply that ends before any is closed here, while its errors can still be an HTTP status.
        """
        head = b""
        async for event in attempt.events:
            head += reply.take(event)
            if reply.is_committed:
                return head
        return head + reply.close()

    async def _rest(
        self,
        head: bytes,
        request: AnyRequest,
        reply: ReplyStream,
        attempt: _Attempt,
    ) -> AsyncGenerator[bytes, None]:
        """The stream from its first content to its end, or to an error told in-band."""
        async with aclosing(attempt.events) as events:
            try:
                yield b""
                yield head
                # The first read may have held the whole stream, and nothing may follow it.
                if not reply.is_done:
                    async for event in events:
                        data = reply.take(event)
                        if data:
                            yield data
                        if reply.is_done:
                            break
                end = reply.close() if reply.usage else await self._close(request, reply, attempt)
                if end:
                    yield end
            except GatewayError as exc:
                _log_failure(attempt, attempt.call.request_id, exc)
                yield attempt.dialect.error_frame(exc)
                return
            except Exception:  # a stream must not just end, whatever went wrong
                logger.exception("events of %s cannot be rendered", attempt.deployment.name)
                yield attempt.dialect.error_frame(_adapter_failed(attempt.deployment))
                return
            if reply.is_done:
                await _finish_body(events)

    async def _close(self, request: AnyRequest, reply: ReplyStream, attempt: _Attempt) -> bytes:
        """The end of a stream whose provider told no usage."""
        reply.usage = await self._estimate(request, attempt, reply.texts, reply.relayed_frames)
        return reply.close()


def _checked_replies(count: int) -> int:
    if count > MAX_REPLIES:
        raise InvalidRequest(
            f"Invalid value for 'n': at most {MAX_REPLIES} choices are given for this model.",
            param="n",
            code="integer_above_max_value",
        )
    return count


async def _finish_body(events: AsyncGenerator[Event, None]) -> None:
    """Read the end of an upstream's body after its `[DONE]`: the connection can be used again."""
    try:
        async with asyncio.timeout(_LINGER_S):
            async for _ in events:
                pass
    except (TimeoutError, GatewayError):
        pass  # The answer is complete; only the connection is not kept.


async def _answer(
    ask: Callable[[], AsyncIterator[Event]], deployment: Deployment
) -> AsyncGenerator[Event, None]:
    """The adapter's events; what it raises besides GatewayErrors becomes an UpstreamError."""
    try:
        events = ask()
        if isinstance(events, AsyncGenerator):
            async with aclosing(events):
                async for event in events:
                    yield event
        else:
            async for event in events:
                yield event
    except GatewayError:
        raise
    except Exception as exc:
        logger.exception("adapter %s raised while answering", deployment.adapter)
        raise _adapter_failed(deployment) from exc


def _adapter_failed(deployment: Deployment) -> UpstreamError:
    return UpstreamError(
        f"The adapter '{deployment.adapter}' failed; the log of the gateway says why."
    )


def _log_failure(attempt: _Attempt, request_id: str, exc: GatewayError) -> None:
    """Log an attempt's error, once what a provider quoted of our credential is out of it."""
    exc.conceal(attempt.secrets)
    logger.log(
        logging.WARNING if exc.status >= 500 else logging.INFO,
        "request %s: %s failed: %s %s: %s",
        request_id,
        attempt.deployment.name,
        exc.status,
        exc.code,
        exc.message,
    )
