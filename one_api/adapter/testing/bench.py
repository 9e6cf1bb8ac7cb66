"""Where a law is tried: an adapter made as the gateway makes it, and the provider it talks to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from typing_extensions import override

from one_api.adapter.base import AdapterContext, BaseModelAdapter, Call
from one_api.adapter.clock import SystemClock
from one_api.adapter.http import HTTPTransport, WireReply, WireRequest
from one_api.adapter.testing.answers import HELLO, Answer
from one_api.adapter.testing.core import PooledTransport, make_transport
from one_api.adapter.testing.exchange import Exchange, exchange
from one_api.adapter.testing.probe import Findings
from one_api.adapter.testing.profile import ConformanceProfile, UpstreamReply, UpstreamRequest
from one_api.adapter.testing.scripted_upstream import ScriptedUpstream
from one_api.adapter.testing.verdict import require
from one_api.deployment import Timeouts
from one_api.schemas.chat import ChatCompletionRequest

#: Looks like no provider's key, so that nothing but the adapter's own care hides it.
CREDENTIAL: Final = "Conformance.Credential.7Q2"
MODELS: Final = ("conformance-model", "conformance-other")
#: Long enough for a loaded machine, short enough for a law that is broken.
PATIENCE: Final = Timeouts(connect_s=5, first_content_s=10, idle_s=10, total_s=20)

#: Where nobody listens.
NOWHERE: Final = "http://127.0.0.1:9"
#: How long a credential that is fetched is good for, in seconds.
LIFETIME_S: Final = 3600

Replies = Callable[[UpstreamRequest], UpstreamReply | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An adapter to be tried: its class, and how to have it built and answered.

    `name` is its entry point's. `environment` are variables besides the profile's, for adapters
    that need something of this machine. `readme` is the description of its package.
    """

    name: str
    adapter: type[BaseModelAdapter]
    profile: ConformanceProfile | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    readme: str = ""
    #: What its import was seen to do: looked at once for all laws that ask.
    findings: list[Findings] = field(default_factory=list, compare=False, repr=False)

    @property
    def has_credential(self) -> bool:
        """Whether the provider is given one: some on one's own machine are not."""
        return any(CREDENTIAL in value for value in self.variables("").values())

    def variables(self, base_url: str, credential: str = CREDENTIAL) -> dict[str, str]:
        """The environment of an instance that talks to `base_url`."""
        told = self.profile.environment(base_url, credential) if self.profile else {}
        return {**told, **self.environment}

    def build(self, environment: Mapping[str, str], context: AdapterContext) -> BaseModelAdapter:
        """The one instance that the gateway would make of `environment`."""
        made = self.adapter.build(self.name, environment, context)
        adapter = made.get(self.name, next(iter(made.values()), None))
        require(adapter is not None, "build() makes no instance of the profile's environment")
        assert adapter is not None, "required above"  # noqa: S101 - for the type checker
        return adapter


class LogBook(logging.Handler):
    """Keeps what is logged, as text."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class ReplayedReply(WireReply):
    """A reply of the provider that never was on a wire, in pieces of our choice."""

    def __init__(self, reply: UpstreamReply, pieces: Sequence[bytes]) -> None:
        self._reply = reply
        self._pieces = pieces

    @property
    @override
    def status(self) -> int:
        return self._reply.status

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return self._reply.headers

    @override
    async def read(self, limit: int) -> bytes:
        return b"".join(self._pieces)

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for piece in self._pieces:
            yield piece


class ReplayingTransport(HTTPTransport):
    """An HTTP client that has the provider's reply already, and keeps what it was to send.

    `cut` divides the body of a reply into the pieces in which it is given.
    """

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self.cut: Callable[[bytes], Sequence[bytes]] = lambda body: (body,)
        self.sent: list[WireRequest] = []

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        self.sent.append(request)
        reply = self._replies(_as_it_arrives(request)) or UpstreamReply()
        yield ReplayedReply(reply, self.cut(reply.body))


class ShiftedClock(SystemClock):
    """This machine's clock, set forward by `ahead_s`."""

    ahead_s = 0.0

    @override
    def now_s(self) -> float:
        return super().now_s() + self.ahead_s

    @override
    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


@dataclass(slots=True, kw_only=True)
class Bench:
    """One instance of the adapter, started, and its surroundings.

    `upstream` answers as `answer` says until a law replaces its script. `tokens` are the
    credentials it has handed out, where the adapter fetches them.
    """

    subject: Subject
    adapter: BaseModelAdapter
    http: HTTPTransport
    log: LogBook
    upstream: ScriptedUpstream
    clock: ShiftedClock
    answer: Answer = HELLO
    model: str = ""
    tokens: list[str] = field(default_factory=list)

    @property
    def profile(self) -> ConformanceProfile:
        """The provider's profile; laws without one do not ask."""
        require(self.subject.profile is not None, "the adapter has no profile")
        assert self.subject.profile is not None, "required above"  # noqa: S101 - for mypy
        return self.subject.profile

    def hand_out(self, request: UpstreamRequest) -> UpstreamReply | None:
        """A new credential, if `request` asks for one."""
        token = f"Conformance.Token.{len(self.tokens) + 1}"
        reply = self.profile.credential(token, LIFETIME_S, request)
        if reply is not None:
            self.tokens.append(token)
        return reply

    def reply(self, request: UpstreamRequest) -> UpstreamReply:
        """What the provider says when all is well."""
        handed_out = self.hand_out(request)
        if handed_out is not None:
            return handed_out
        if request.method == "GET":
            return self.profile.models(MODELS, request)
        return self.profile.answer(self.answer, request)

    def request(self, *, stream: bool = True, **fields: Any) -> ChatCompletionRequest:
        """A request as a client might send it."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": "Hello, world"}],
            "stream": stream,
            **fields,
        }
        return ChatCompletionRequest.from_wire(body)

    def call(self, timeouts: Timeouts = PATIENCE) -> Call:
        """What belongs to one attempt."""
        return Call(model=self.model, request_id="conformance", timeouts=timeouts)

    async def ask(
        self,
        answer: Answer | None = None,
        *,
        stream: bool = True,
        timeouts: Timeouts = PATIENCE,
        **fields: Any,
    ) -> Exchange:
        """Have `answer` given to one request, errors and all."""
        if answer is not None:
            self.answer = answer
        request, call = self.request(stream=stream, **fields), self.call(timeouts)
        told = await exchange(self.adapter.generate_completion(request, call), request, self.model)
        told.dropped = call.dropped
        return told

    async def hear(self, answer: Answer | None = None, **options: Any) -> Exchange:
        """Have `answer` given to one request; an error breaks the law."""
        told = await self.ask(answer, **options)
        require(told.error is None, f"the answer ended in {told.error!r}")
        return told

    async def sent(self, **fields: Any) -> tuple[WireRequest, list[str]]:
        """What reaches the provider of one request, and the parameters told as dropped.

        Raises: whatever the adapter refuses the request with.
        """
        http = ReplayingTransport(lambda request: bench.reply(request))
        bench = make_bench(self.subject, http, self.upstream)
        bench.model = self.model
        told = await bench.ask(**fields)
        for wire in http.sent:
            if self.profile.credential("", 0, _as_it_arrives(wire)) is None:
                return wire, told.dropped
        raise told.error or AssertionError("the adapter sent nothing")


def _as_it_arrives(wire: WireRequest) -> UpstreamRequest:
    body = wire.body if isinstance(wire.body, bytes) else b""
    headers = {name.lower(): value for name, value in wire.headers.items()}
    path = "/" + wire.url.partition("://")[2].partition("/")[2]
    return UpstreamRequest(method=wire.method, path=path, headers=headers, body=body)


def idle_context() -> AdapterContext:
    """What an adapter is lent that is not to send anything."""

    def refuse(request: object) -> None:
        raise AssertionError("an adapter that was asked nothing sends something")

    return AdapterContext(
        http=ReplayingTransport(refuse), logger=logging.getLogger("one_api.conformance")
    )


def make_bench(
    subject: Subject, http: HTTPTransport, upstream: ScriptedUpstream, credential: str = CREDENTIAL
) -> Bench:
    """An instance over `http` that is told of `upstream`, not started."""
    log = LogBook()
    logger = logging.Logger("one_api.conformance", logging.DEBUG)  # noqa: LOG001 - kept apart
    logger.addHandler(log)
    clock = ShiftedClock()
    context = AdapterContext(http=http, logger=logger, clock=clock)
    adapter = subject.build(subject.variables(upstream.url, credential), context)
    model = subject.profile.model if subject.profile else ""
    return Bench(
        subject=subject,
        adapter=adapter,
        http=http,
        log=log,
        upstream=upstream,
        clock=clock,
        model=model,
    )


@asynccontextmanager
async def open_bench(subject: Subject, credential: str = CREDENTIAL) -> AsyncIterator[Bench]:
    """A bench over real sockets, closed in the end as the gateway closes its adapters."""
    async with AsyncExitStack() as stack:
        upstream = ScriptedUpstream(lambda request: None)
        await upstream.open()
        stack.push_async_callback(upstream.close)
        transport: PooledTransport = make_transport()
        await transport.open()
        stack.push_async_callback(transport.close)
        bench = make_bench(subject, transport, upstream, credential)
        upstream.script = bench.reply
        if subject.profile is not None:
            upstream.aside = bench.hand_out
        await bench.adapter.start()
        stack.push_async_callback(bench.adapter.close)
        if not bench.model:
            async with asyncio.timeout(PATIENCE.total_s):
                models = await bench.adapter.list_models()
            bench.model = models[0].id if models else ""
        yield bench
