"""One deployment's answer on its way to the client: whole, or as a stream once it has content."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from one_api.adapter.tap import Flow, Outlet, PouredChunks, Tap, TappedEvents
from one_api.deadline import Deadline
from one_api.errors import GatewayError, UpstreamError, UpstreamTimeout
from one_api.linger import HoldBack, Outlasting, finish_body, hear_out, hold, next_event
from one_api.reply import ReplyBody, ReplyStream

if TYPE_CHECKING:
    from one_api.adapter.base import Call
    from one_api.converter import Dialect, ReplyForm
    from one_api.deployment import Deployment
    from one_api.events import Event, Usage
    from one_api.failover import Attempt
    from one_api.policy.accounts import Account
    from one_api.tokens import AnyRequest, TokenCounter

logger = logging.getLogger(__name__)

#: The status of a request whose client did not wait for the answer, as nginx has it.
CLIENT_GONE = 499
#: For how many streams at once a provider is heard out that nobody listens to.
_MAX_DRAINING = 100


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
class Answer:
    """What one deployment answers to one request; `events` are closed with the reply."""

    attempt: Attempt
    request: AnyRequest
    form: ReplyForm
    call: Call
    events: AsyncGenerator[Event, None]
    dialect: Dialect
    secrets: Callable[[], tuple[str, ...]] = tuple
    is_relinquished: bool = False

    @property
    def tap(self) -> Tap | None:
        """Where what follows the latest of `events` may be had; None: nowhere but there.

        Nor where the client's time may run out: that is seen to where `events` are waited for.
        """
        if self.attempt.context.deadline is not None or not isinstance(self.events, TappedEvents):
            return None
        return self.events.tap

    @property
    def deployment(self) -> Deployment:
        """Who answers."""
        return self.attempt.deployment

    def headers(self) -> dict[str, str]:
        """What the client is told of how the answer came about."""
        deployment = self.attempt.deployment
        headers = {
            "x-one-api-model": deployment.upstream_model,
            "x-one-api-deployment": deployment.name,
            "x-one-api-attempts": str(self.attempt.number),
        }
        if self.call.dropped:
            headers["x-one-api-dropped-params"] = ",".join(sorted(self.call.dropped))
        if self.call.degraded:
            headers["x-one-api-degraded"] = ",".join(self.call.degraded)
        return headers

    def log_failure(self, exc: GatewayError) -> None:
        """Log why this answer failed, once what a provider quoted of our credential is out."""
        exc.conceal(self.secrets())
        logger.log(
            logging.WARNING if exc.status >= 500 else logging.INFO,
            "request %s: attempt %d: %s failed: %s %s: %s",
            self.call.request_id,
            self.attempt.number,
            self.deployment.name,
            exc.status,
            exc.code,
            exc.message,
        )

    def log_malformed(self, frames: int) -> None:
        """Log that a provider's stream held what is no chunk; it was left out."""
        if frames:
            logger.warning(
                "request %s: %s sent %d malformed chunks: left out",
                self.call.request_id,
                self.deployment.name,
                frames,
            )


class Delivery:
    """Gives answers to clients; tells each attempt's trial how it ended."""

    def __init__(self, counter: TokenCounter, hold_back: HoldBack) -> None:
        self._counter = counter
        self._hold_back = hold_back
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = 0

    async def deliver(self, answer: Answer) -> CompleteReply | StreamedReply:
        """The whole reply, or a stream that has begun, as the request asks.

        Raises: GatewayError for whatever fails before the client is told anything.
        """
        try:
            if answer.request.wants_stream:
                return await self._stream(answer)
            return await self._complete(answer)
        except GatewayError as exc:
            answer.log_failure(exc)
            raise
        finally:
            if not answer.is_relinquished:
                await answer.events.aclose()

    async def _complete(self, answer: Answer) -> CompleteReply:
        reply = ReplyBody(answer.form, dialect=answer.dialect)
        total_s = answer.attempt.timeouts.total_s
        try:
            with Deadline(total_s):
                async for event in answer.events:
                    reply.take(event)
        except TimeoutError as exc:
            raise UpstreamTimeout(f"The model took longer than {total_s:g} s.") from exc
        answer.attempt.note_answered()
        reply.end()
        usage = reply.usage
        estimated = await self._estimate(answer, reply.texts) if usage is None else None
        body = reply.close(estimated)
        answer.attempt.succeed(usage or estimated)
        account = answer.attempt.context.account
        if account is not None and account.keeps_bodies:
            account.note_reply(body)
        return CompleteReply(body=body, headers=answer.headers())

    async def _estimate(self, answer: Answer, texts: list[str], frames: int = 0) -> Usage:
        """Our own count, for a provider that told none."""
        usage = await self._counter.usage(
            answer.request, answer.deployment.upstream_model, texts, uncounted_tokens=frames
        )
        logger.info(
            "request %s: usage_estimated: %d + %d tokens, %s told none",
            answer.call.request_id,
            usage.prompt_tokens,
            usage.completion_tokens,
            answer.deployment.name,
        )
        return usage

    async def _stream(self, answer: Answer) -> StreamedReply:
        reply = ReplyStream(answer.form, dialect=answer.dialect)
        first_s = answer.attempt.timeouts.first_content_s
        try:
            with Deadline(first_s):
                head = await _commit(reply, answer)
        except TimeoutError as exc:
            raise UpstreamTimeout(f"The model did not begin within {first_s:g} s.") from exc
        answer.attempt.note_first_content()
        if (self._hold_back.tokens or self._hold_back.ms) and not reply.is_closed:
            head = await self._hold(head, reply, answer)
        if answer.deployment.on_hang_up == "drain":
            answer.events = Outlasting(answer.events)
        answer.is_relinquished = True
        account = answer.attempt.context.account
        if account is not None:
            account.hand_over()
        outlet = Outlet()
        chunks: AsyncGenerator[bytes, None] = PouredChunks(
            self._rest(head, reply, answer, outlet), outlet
        )
        # Begun here: closing a generator that never ran would leave the events open.
        await anext(chunks)
        if account is not None and account.keeps_bodies:
            chunks = _kept(chunks, account)
            await anext(chunks)
        return StreamedReply(chunks=chunks, headers=answer.headers())

    async def _hold(self, head: bytes, reply: ReplyStream, answer: Answer) -> bytes:
        """`head` and what follows it until enough has come to commit."""
        held, answer.events, has_ended = await hold(self._hold_back, head, reply, answer.events)
        if has_ended or reply.is_done:
            # What is wrong with its end can still be mended: the client has seen nothing.
            held += await self._end(reply, answer)
        return held

    async def _rest(
        self, head: bytes, reply: ReplyStream, answer: Answer, outlet: Outlet
    ) -> AsyncGenerator[bytes, None]:
        """The stream to its end, or to an error told in-band; but for what leaves by `outlet`."""
        attempt, events = answer.attempt, answer.events
        has_ended = False
        try:
            yield b""
            note = _noting(attempt)
            note()
            yield head
            choices, deadline = answer.request.n or 1, attempt.context.deadline
            relay = reply.relay
            if relay is not None and not relay.is_ending and (tap := answer.tap) is not None:
                # Nearly all of a relayed stream comes here, each event in a read of its own.
                flow = Flow(relay, note, outlet.send)
                pour = flow.pour if outlet.send is not None else None
                while not relay.is_ending and (news := tap.news(pour)) is not None and await news:
                    data = flow.left() or relay.feed(tap.take())
                    if data:
                        note()
                        yield data
            # The first read may have held the whole stream, and nothing may follow it.
            # Where nothing bounds the wait, to ask for what would takes as long as an event does.
            is_bounded = reply.is_relayed or deadline is not None
            while not (is_bounded and reply.is_done):
                event = await (
                    next_event(events, reply, choices, deadline)
                    if is_bounded
                    else anext(events, None)
                )
                if event is None:
                    break
                data = reply.take(event)
                if data:
                    note()
                    yield data
            end = await self._end(reply, answer)
            has_ended = True
            attempt.succeed(reply.usage)
            answer.log_malformed(reply.malformed)
            if end:
                yield end
        except Exception as exc:  # noqa: BLE001 - a stream must not just end, whatever went wrong
            has_ended = True
            yield await self._broken(exc, reply, answer)
        finally:
            await (self._finish if has_ended else self._hang_up)(reply, answer)

    async def _finish(self, reply: ReplyStream, answer: Answer) -> None:
        """Close what belongs to a stream that was told to its end."""
        if reply.is_done:
            await finish_body(answer.events)
        await answer.events.aclose()
        if answer.attempt.context.account is not None:
            answer.attempt.context.account.close(200)

    async def _broken(self, cause: Exception, reply: ReplyStream, answer: Answer) -> bytes:
        """What a client is told in-band; what came until then is charged for."""
        error: GatewayError
        if isinstance(cause, GatewayError):
            error = cause
            # First: what is told of the attempt is shown to the operator.
            answer.log_failure(error)
        else:
            error = adapter_failed(answer.deployment)
            logger.error("events of %s cannot be rendered", answer.deployment.name, exc_info=cause)
        answer.attempt.fail(error)
        account = answer.attempt.context.account
        if account is not None:
            account.note_error(error)
            account.note_usage(await self._partial_usage(reply, answer))
        return answer.dialect.error_frame(error)

    async def _hang_up(self, reply: ReplyStream, answer: Answer) -> None:
        """The client has gone: the provider is told at once, or heard out for what it charges."""
        answer.attempt.trial.abandon()
        drains = answer.deployment.on_hang_up == "drain" and self._draining < _MAX_DRAINING
        if not drains:
            await answer.events.aclose()
        if answer.attempt.context.account is not None or drains:
            task = asyncio.create_task(self._settle_gone(reply, answer, drains=drains))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _settle_gone(self, reply: ReplyStream, answer: Answer, *, drains: bool) -> None:
        if drains:
            self._draining += 1
            try:
                await hear_out(reply, answer.events)
            finally:
                self._draining -= 1
        account = answer.attempt.context.account
        if account is not None:
            account.note_usage(await self._partial_usage(reply, answer))
            account.close(CLIENT_GONE)

    async def _partial_usage(self, reply: ReplyStream, answer: Answer) -> Usage:
        """What the provider told of a stream that did not end, else our own count of it."""
        return reply.usage or await self._estimate(answer, reply.texts, reply.relayed_frames)

    async def close(self) -> None:
        """Wait for what is still being settled."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # Or those that are done stay: Python 3.12 waits for none.

    async def _end(self, reply: ReplyStream, answer: Answer) -> bytes:
        """The end of a stream, with our own count where its provider told no usage."""
        if reply.usage is None:
            reply.usage = await self._estimate(answer, reply.texts, reply.relayed_frames)
        return reply.close()


def adapter_failed(deployment: Deployment) -> UpstreamError:
    """What a caller is told of a bug in an adapter."""
    return UpstreamError(
        f"The adapter '{deployment.adapter}' failed; the log of the gateway says why."
    )


async def _commit(reply: ReplyStream, answer: Answer) -> bytes:
    """Everything up to the first content.

    A reply that ends before any is closed here, while its errors can still be an HTTP status.
    """
    head = b""
    async for event in answer.events:
        head += reply.take(event)
        if reply.is_committed:
            return head
    return head + reply.close()


async def _kept(
    chunks: AsyncGenerator[bytes, None], account: Account
) -> AsyncGenerator[bytes, None]:
    """`chunks`, of which the account keeps what is to be logged."""
    async with aclosing(chunks):
        yield b""
        async for data in chunks:
            account.note_reply(data)
            yield data


def _noting(attempt: Attempt) -> Callable[[], None]:
    """What is to be told of each chunk that goes to the client."""
    exchange = attempt.context.exchange
    pace = exchange.pace if exchange is not None else None
    return pace.note if pace is not None else _ignore


def _ignore() -> None:
    """Note nothing, where nobody counts."""
