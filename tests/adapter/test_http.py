"""HTTP adapters: conversions by the author, the road between them by the base class."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
import pytest
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    AdapterSettings,
    Call,
    ChatCompletionRequest,
    CredentialRejected,
    Event,
    Finish,
    GatewayError,
    HTTPModelAdapter,
    HTTPTransport,
    ModelInfo,
    ModelNotFound,
    ReplyParser,
    TextDelta,
    Timeouts,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamRateLimited,
    WireReply,
    WireRequest,
)

REQUEST = ChatCompletionRequest.from_wire(
    {"model": "public", "messages": [{"role": "user", "content": "Hi"}]}
)


@dataclass
class Reply(WireReply):
    """A provider's reply out of memory; `cut` is raised where the pieces end."""

    pieces: Sequence[bytes] = ()
    code: int = 200
    fields: Mapping[str, str] = field(default_factory=dict)
    cut: GatewayError | None = None
    pieces_given: int = 0
    chunks_closed: bool = False
    asked_limit: int | None = None

    @property
    @override
    def status(self) -> int:
        return self.code

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return self.fields

    @override
    async def read(self, limit: int) -> bytes:
        self.asked_limit = limit
        return b"".join([piece async for piece in self.chunks()])

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self.pieces:
                self.pieces_given += 1
                yield piece
            if self.cut is not None:
                raise self.cut
        finally:
            self.chunks_closed = True


class MemoryTransport(HTTPTransport):
    """Gives one reply and keeps what was asked for it."""

    def __init__(self, reply: Reply | GatewayError) -> None:
        self.reply = reply
        self.sent: list[tuple[WireRequest, Timeouts]] = []
        self.open = 0

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        self.sent.append((request, timeouts))
        if isinstance(self.reply, GatewayError):
            raise self.reply
        self.open += 1
        try:
            yield self.reply
        finally:
            self.open -= 1


class LineParser(ReplyParser):
    """Each line is text; the last must be `end`."""

    def __init__(self) -> None:
        self.rest = b""
        self.ended = False

    @override
    def feed(self, data: bytes) -> Iterable[Event]:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"{"):
                line = orjson.loads(line)["text"].encode()
            if line == b"busy":
                raise UpstreamOverloaded("busy")
            self.ended = line == b"end"
            if not self.ended:
                yield TextDelta(line.decode())

    @override
    def close(self) -> Iterable[Event]:
        if not self.ended:
            raise UpstreamDisconnected("no end")
        yield Finish("stop")


class LineAdapter(HTTPModelAdapter):
    """A provider that speaks lines of text."""

    @override
    def to_wire(self, request: ChatCompletionRequest, call: Call) -> WireRequest:
        return WireRequest(url="http://provider/chat", body=call.model.encode())

    @override
    def from_wire(
        self, request: ChatCompletionRequest, call: Call, headers: Mapping[str, str]
    ) -> ReplyParser:
        return LineParser()

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        listed = await self.fetch_json(WireRequest(method="GET", url="http://provider/models"))
        return [ModelInfo(id=name, owned_by="lines") for name in listed]


def adapter_over(transport: MemoryTransport) -> LineAdapter:
    context = AdapterContext(http=transport, logger=logging.getLogger("tests"), list_timeout_s=3.0)
    return LineAdapter(AdapterSettings(), context)


async def answer(
    transport: MemoryTransport, call: Call | None = None
) -> tuple[list[Event], GatewayError | None]:
    """What came before the end, and the error that was the end."""
    events: list[Event] = []
    try:
        async for event in adapter_over(transport).generate_completion(
            REQUEST, call or Call(model="theirs")
        ):
            events.append(event)
    except GatewayError as error:
        return events, error
    return events, None


@pytest.mark.parametrize(
    "pieces",
    [
        [b"one\ntwo\nend\n"],
        [b"o", b"ne\ntw", b"o\nend", b"\n"],
        [b"", b"one\ntwo\n", b"end\n", b""],
    ],
    ids=["whole", "cut", "empty pieces"],
)
async def test_reply_becomes_the_parsers_events(pieces: list[bytes]) -> None:
    transport = MemoryTransport(Reply(pieces))
    assert (
        [TextDelta("one"), TextDelta("two"), Finish("stop")],
        None,
    ) == await answer(transport)
    assert 0 == transport.open


async def test_request_goes_out_once_with_the_calls_timeouts() -> None:
    transport = MemoryTransport(Reply([b"end\n"]))
    call = Call(model="theirs", timeouts=Timeouts(connect_s=1, idle_s=2))
    await answer(transport, call)
    assert [
        (WireRequest(url="http://provider/chat", body=b"theirs"), call.timeouts)
    ] == transport.sent


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, CredentialRejected), (429, UpstreamRateLimited), (404, ModelNotFound)],
)
async def test_other_status_is_an_error_before_any_event(
    status: int, expected: type[GatewayError]
) -> None:
    reply = Reply([b'{"error":', b'{"message":"no"}}'], status, {"retry-after": "7"})
    transport = MemoryTransport(reply)
    events, error = await answer(transport)
    assert ([], expected) == (events, type(error))
    assert 64 * 1024 == reply.asked_limit
    assert 0 == transport.open


async def test_head_of_every_reply_is_told_once() -> None:
    heads: list[Mapping[str, str]] = []
    reply = Reply([b"end\n"], fields={"x-ratelimit-remaining-requests": "7"})
    transport = MemoryTransport(reply)
    assert None is (await answer(transport, Call(model="theirs", on_head=heads.append)))[1]
    reply.code = 429
    await answer(transport, Call(model="theirs", on_head=heads.append))
    assert [reply.fields, reply.fields] == heads


async def test_connection_is_given_back_where_the_head_cannot_be_noted() -> None:
    def fail(headers: Mapping[str, str]) -> None:
        raise LookupError(*headers)

    transport = MemoryTransport(Reply([b"end\n"], fields={"a": "1"}))
    with pytest.raises(LookupError, match="a"):
        await answer(transport, Call(model="theirs", on_head=fail))
    assert 0 == transport.open


async def test_status_besides_200_is_never_parsed_as_an_answer() -> None:
    events, error = await answer(MemoryTransport(Reply([b"one\nend\n"], 206)))
    assert ([], 502) == (events, error and error.status)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply([b"one\n"], cut=UpstreamDisconnected("cut")), "cut"),
        (Reply([b"one\n"]), "no end"),
        (Reply([b"one\nbusy\ntwo\nend\n"]), "busy"),
        (Reply([b"one\n{no JSON\nend\n"]), "The provider's reply is not JSON."),
        (Reply([b"one\n\xff\nend\n"]), "The provider's reply is not JSON."),
    ],
    ids=["transport", "parser at the end", "parser inside", "no JSON", "no UTF-8"],
)
async def test_failure_comes_after_the_events_before_it(reply: Reply, expected: str) -> None:
    transport = MemoryTransport(reply)
    events, error = await answer(transport)
    assert ([TextDelta("one")], expected) == (events, error and error.message)
    assert (0, True) == (transport.open, reply.chunks_closed)


async def test_no_connection_is_the_transports_error() -> None:
    refused = UpstreamDisconnected("refused")
    assert ([], refused) == await answer(MemoryTransport(refused))


async def test_reply_is_read_only_as_fast_as_its_events_are_taken() -> None:
    reply = Reply([b"one\n", b"two\n", b"end\n"])
    events = adapter_over(MemoryTransport(reply)).generate_completion(REQUEST, Call(model="m"))
    assert 0 == reply.pieces_given
    assert TextDelta("one") == await anext(events)
    assert 1 == reply.pieces_given
    await as_generator(events).aclose()


async def test_leaving_early_closes_the_connection_at_once() -> None:
    reply = Reply([b"one\n", b"two\n", b"end\n"])
    transport = MemoryTransport(reply)
    events = adapter_over(transport).generate_completion(REQUEST, Call(model="m"))
    await anext(events)
    assert (1, False) == (transport.open, reply.chunks_closed)
    await as_generator(events).aclose()
    assert (0, True) == (transport.open, reply.chunks_closed)


def as_generator(events: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    assert isinstance(events, AsyncGenerator)
    return events


class TestFetchJson:
    async def test_body_is_decoded_within_the_listing_time(self) -> None:
        transport = MemoryTransport(Reply([b'["a",', b'"b"]']))
        assert ["a", "b"] == [model.id for model in await adapter_over(transport).list_models()]
        ((request, timeouts),) = transport.sent
        assert ("GET", 3.0) == (request.method, timeouts.total_s)

    @pytest.mark.parametrize("body", [b"", b"<html>", b'["a"', b"\xff", b"NaN"])
    async def test_what_is_no_json_is_told(self, body: bytes) -> None:
        with pytest.raises(UpstreamInvalidResponse, match="not JSON"):
            await adapter_over(MemoryTransport(Reply([body]))).list_models()

    async def test_other_status_is_the_same_error_as_for_an_answer(self) -> None:
        with pytest.raises(CredentialRejected):
            await adapter_over(MemoryTransport(Reply([b"{}"], 401))).list_models()

    async def test_model_is_looked_up_in_the_list(self) -> None:
        adapter = adapter_over(MemoryTransport(Reply([b'["a","b"]'])))
        assert ModelInfo(id="b", owned_by="lines") == await adapter.get_model_info("b")
        with pytest.raises(ModelNotFound, match="'c'") as caught:
            await adapter.get_model_info("c")
        assert "model" == caught.value.param


class TestBase:
    def test_always_on_without_settings_of_its_own(self) -> None:
        context = AdapterContext(http=MemoryTransport(Reply()), logger=logging.getLogger("tests"))
        built = LineAdapter.build("lines", {}, context)
        assert ["lines"] == list(built)
        assert isinstance(built["lines"], LineAdapter)
        assert "always on" == LineAdapter.how_to_configure()

    def test_unconfigured_adapter_contributes_nothing(self) -> None:
        class Off(AdapterSettings):
            @override
            def is_configured(self) -> bool:
                return False

        class OffAdapter(LineAdapter):
            Settings = Off

        context = AdapterContext(http=MemoryTransport(Reply()), logger=logging.getLogger("tests"))
        assert {} == OffAdapter.build("lines", {}, context)

    def test_nothing_is_honoured_unless_said(self) -> None:
        adapter = adapter_over(MemoryTransport(Reply()))
        assert "refused" == adapter.parameters("any").treatment("tools")

    async def test_starting_and_closing_need_no_code(self) -> None:
        transport = MemoryTransport(Reply())
        adapter = adapter_over(transport)
        await adapter.start()
        await adapter.close()
        assert [] == transport.sent

    def test_dropped_parameter_is_noted_once(self) -> None:
        call = Call(model="m")
        for name in ("seed", "user", "seed"):
            call.drop(name)
        assert ["seed", "user"] == call.dropped
        assert [] == Call(model="m").dropped
