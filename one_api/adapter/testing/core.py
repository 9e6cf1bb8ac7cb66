"""The parts of the gateway that an adapter meets, for the suite to run it on.

They lie above the contract, whose package this is part of, and bring the HTTP client along: they
are loaded by name, when a law needs them, and not with the pytest plugin into every run of pytest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, Protocol

from typing_extensions import override

from one_api.adapter.http import HTTPTransport
from one_api.converter import ReplyForm
from one_api.events import Event


class PooledTransport(HTTPTransport, Protocol):
    """The gateway's HTTP client, from `open` to `close` on one event loop."""

    async def open(self) -> None:
        """Make the pool on the running loop."""

    async def close(self) -> None:
        """Close every connection."""


class RelayReader(Protocol):
    """Reads relayed bytes as events: `feed` each, then `close` once."""

    def feed(self, data: bytes) -> Iterable[Event]:
        """The events that `data` completes."""

    def close(self) -> Iterable[Event]:
        """The events still owed.

        Raises: UpstreamDisconnected, UpstreamInvalidResponse when the reply was not complete.
        """


class _BodyReader(RelayReader):
    """Reads a relayed body that is no stream."""

    def __init__(self, form: ReplyForm) -> None:
        self._form = form
        self._body = b""

    @override
    def feed(self, data: bytes) -> Iterable[Event]:
        self._body += data
        return ()

    @override
    def close(self) -> Iterator[Event]:
        read_body: Any = import_module("one_api.relay").read_body
        yield from read_body(self._body, self._form)


def make_transport() -> PooledTransport:
    """The gateway's own HTTP client."""
    transport: PooledTransport = import_module("one_api.upstream").Upstream(
        user_agent="one_api-conformance"
    )
    return transport


def make_relay_reader(form: ReplyForm, *, is_stream: bool) -> RelayReader:
    """What the gateway reads relayed bytes with."""
    if not is_stream:
        return _BodyReader(form)
    reader: RelayReader = import_module("one_api.relay").ChunkReader(form)
    return reader
