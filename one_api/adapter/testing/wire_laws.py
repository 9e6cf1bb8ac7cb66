"""Laws of the conversions: what a request becomes, and how a reply may be cut."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import cast
from urllib.parse import urlsplit

import orjson

from one_api.adapter.base import Call
from one_api.adapter.http import HTTPModelAdapter, WireRequest
from one_api.adapter.testing.answers import UNICODE
from one_api.adapter.testing.bench import (
    CREDENTIAL,
    Bench,
    ReplayingTransport,
    Subject,
    make_bench,
    open_bench,
)
from one_api.adapter.testing.event_laws import TOOLS
from one_api.adapter.testing.law import Chapter
from one_api.adapter.testing.verdict import require, require_equal
from one_api.errors import InvalidRequest

_SYSTEM = {"role": "system", "content": f"Say {UNICODE.text}"}
_TOOL_RESULT = [
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
]
#: A conversation with a bit of everything.
CONVERSATION = [
    _SYSTEM,
    {"role": "user", "content": "How is the weather?"},
    *_TOOL_RESULT,
    {"role": "user", "content": [{"type": "text", "text": UNICODE.text}]},
]
_FOREIGN = ("..", "a/../../b", "x?y=1#z", "@127.0.0.2/x", "//127.0.0.2/", "\\\\127.0.0.2\\", "m:9")

chapter = Chapter()


@chapter.law("unicode-splits", need="profile")
async def reads_any_cut(subject: Subject) -> None:
    """A reply may be cut between any two bytes."""
    async with open_bench(subject) as world:
        http = ReplayingTransport(world.reply)
        bench = make_bench(subject, http, world.upstream)
        world.answer = UNICODE
        whole = await bench.hear()
        size = 0

        def measure(body: bytes) -> Sequence[bytes]:
            nonlocal size
            size = len(body)
            return [body[at : at + 1] for at in range(size)]

        http.cut = measure
        require_equal(whole.gist, (await bench.hear()).gist, "the answer byte by byte")
        for at in range(1, size):
            http.cut = lambda body, at=at: (body[:at], body[at:])  # type: ignore[misc]  # at is bound
            told = await bench.hear()
            require_equal(whole.gist, told.gist, f"the answer cut after byte {at}")


@chapter.law("unicode-text", need="profile")
async def tells_unicode(subject: Subject) -> None:
    """Text of any script arrives as it was sent."""
    async with open_bench(subject) as bench:
        told = await bench.hear(UNICODE)
        require_equal(UNICODE.text, told.text, "the text")


@chapter.law("unicode-request", need="profile")
async def sends_unicode(subject: Subject) -> None:
    """Text of any script reaches the provider as it was written."""
    async with open_bench(subject) as bench:
        await bench.hear(messages=[{"role": "user", "content": UNICODE.text}])
        body = bench.upstream.requests[-1].body
        texts = list(_strings(orjson.loads(body)))
        require(any(UNICODE.text in text for text in texts), f"it is not in {texts}")


@chapter.law("wire-pure", need="conversion")
async def converts_purely(subject: Subject) -> None:
    """`to_wire` leaves the request and the instance as they were."""
    async with open_bench(subject) as bench:
        request = bench.request(messages=copy.deepcopy(CONVERSATION), tools=TOOLS)
        before = copy.deepcopy(request.to_wire())
        _adapter(bench).to_wire(request, bench.call())
        require_equal(before, request.to_wire(), "the request after to_wire()")
        require_equal([], bench.upstream.connections, "connections made by to_wire()")


@chapter.law("wire-deterministic", need="conversion")
async def converts_alike(subject: Subject) -> None:
    """The same request is sent in the same bytes."""
    async with open_bench(subject) as bench:
        request = bench.request(messages=CONVERSATION, tools=TOOLS)
        other = make_bench(subject, bench.http, bench.upstream)
        wires = [
            _told(_adapter(each).to_wire(request, bench.call())) for each in (bench, bench, other)
        ]
        require_equal(wires[0], wires[1], "the second to_wire() of an instance")
        require_equal(wires[0], wires[2], "to_wire() of another instance")


@chapter.law("wire-host", need="conversion")
async def keeps_the_host(subject: Subject) -> None:
    """Nothing a client sends decides which host is called."""
    async with open_bench(subject) as bench:
        expected = urlsplit(bench.upstream.url)
        for model in _FOREIGN:
            try:
                wire = _adapter(bench).to_wire(bench.request(model=model), Call(model=model))
            except InvalidRequest:
                continue
            parts = urlsplit(wire.url)
            place = (parts.scheme, parts.netloc)
            require_equal((expected.scheme, expected.netloc), place, f"called for model '{model}'")


@chapter.law("wire-credential", need="credential")
async def sends_the_credential(subject: Subject) -> None:
    """The credential is sent, and not in the URL."""
    async with open_bench(subject) as bench:
        await bench.hear()
        request = bench.upstream.requests[-1]
        require(CREDENTIAL not in request.path, "the URL holds the credential")
        is_told = any(CREDENTIAL in value for value in request.headers.values())
        is_signed = "authorization" in request.headers
        require(is_told or is_signed, "no header holds the credential or a signature")


def _adapter(bench: Bench) -> HTTPModelAdapter:
    return cast("HTTPModelAdapter", bench.adapter)


def _told(wire: WireRequest) -> tuple[object, ...]:
    return wire.method, wire.url, dict(wire.headers), wire.body


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
