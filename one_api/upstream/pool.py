"""Connections to providers: the idle ones by origin, and how a new one is made."""

from __future__ import annotations

import asyncio
import functools
import ssl
from typing import Final

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from one_api.deployment import Timeouts
from one_api.errors import UpstreamTimeout, UpstreamUnreachable, UpstreamUntrusted
from one_api.upstream.connection import Connection
from one_api.upstream.names import LookUp, Names
from one_api.upstream.target import Origin

#: How long a connection is kept that nobody uses, in seconds; up to twice as long until it is
#: closed.
KEEP_ALIVE_S: Final = 15
#: How long the first address of a host may take before the next one is tried beside it, in
#: seconds: RFC 8305, section 8.
_NEXT_ADDRESS_S: Final = 0.25


class Pool:
    """All connections of the process, without a limit.

    Admission bounds the work, not the pool: a full pool would block healthy providers behind one
    that hangs.
    """

    def __init__(self, look_up: LookUp) -> None:
        self.loop = asyncio.get_running_loop()
        self._names = Names(look_up)
        self._idle: dict[Origin, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] | None = None
        # Reading the authorities takes 40 ms, in which the gateway can begin to serve. Whoever
        # connects meanwhile waits for what is left of them.
        self._trust = self.loop.run_in_executor(None, trusting_context)

    def take(self, origin: Origin) -> Connection | None:
        """The idle connection that was used last, if there is one that is not too old."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if not connection.is_closing:
                if self.loop.time() - connection.idle_since <= KEEP_ALIVE_S:
                    return connection
                connection.close()
        return None

    def end(self, connection: Connection) -> None:
        """End the exchange on `connection`; it is kept if its reply is complete."""
        if not connection.finish():
            return
        connection.idle_since = self.loop.time()
        self._idle.setdefault(connection.origin, []).append(connection)
        if self._sweep is None:
            self._sweep = self.loop.call_later(KEEP_ALIVE_S, self._close_old)

    def close_idle(self, origin: Origin) -> None:
        """Close the idle connections to `origin`."""
        for connection in self._idle.pop(origin, ()):
            connection.close()

    async def connect(self, origin: Origin, timeouts: Timeouts, ends_at: float) -> Connection:
        """A new connection to `origin`, no later than `ends_at`.

        Raises: UpstreamTimeout, UpstreamUnreachable, UpstreamUntrusted.
        """
        connects_until = self.loop.time() + timeouts.connect_s
        try:
            async with asyncio.timeout_at(min(connects_until, ends_at)):
                return await self._connect(origin)
        except TimeoutError as exc:
            raise UpstreamTimeout(
                f"No connection to the provider within {timeouts.connect_s:g} s."
                if connects_until <= ends_at
                else f"The provider did not answer within {timeouts.total_s:g} s."
            ) from exc

    async def close(self) -> None:
        """Close every connection, and wait until they are."""
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        self._closed = self.loop.create_future()
        for connection in list(self._open):
            connection.close()
        if self._open:
            await self._closed
        await asyncio.wait([self._trust])

    async def _connect(self, origin: Origin) -> Connection:
        self._require_open()
        try:
            addresses = await self._names.addresses(origin.host, origin.port)
            connection = await self._connect_to(addresses, origin)
        except ssl.SSLError as exc:
            raise UpstreamUntrusted("No trusted TLS connection to the provider.") from exc
        except (OSError, ValueError, RuntimeError) as exc:
            raise UpstreamUnreachable("The provider cannot be reached.") from exc
        if not connection.is_broken:
            self._open.add(connection)
        try:
            self._require_open()
        except UpstreamUnreachable:
            connection.close()
            raise
        return connection

    def _require_open(self) -> None:
        if self._closed is not None:
            raise UpstreamUnreachable("The gateway is stopping.")

    async def _connect_to(self, addresses: list[AddrInfoType], origin: Origin) -> Connection:
        # Shielded: one request that is cancelled takes it from no other.
        context = await asyncio.shield(self._trust) if origin.is_tls else None
        while True:
            sock = await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, loop=self.loop
            )
            try:
                _, connection = await self.loop.create_connection(
                    lambda: Connection(origin, self.loop, self._forget),
                    sock=sock,
                    ssl=context,
                    server_hostname=origin.host.rstrip(".") if origin.is_tls else None,
                )
            except OSError:
                # Somebody answered, and would not speak TLS with us: there may be others.
                aiohappyeyeballs.pop_addr_infos_interleave(addresses)
                if not addresses:
                    raise
            else:
                return connection

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not self._open and self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def _close_old(self) -> None:
        oldest = self.loop.time() - KEEP_ALIVE_S
        kept = {}
        for origin, idle in self._idle.items():
            for connection in idle:
                if connection.idle_since < oldest:
                    connection.close()
            if alive := [one for one in idle if not one.is_closing]:
                kept[origin] = alive
        self._idle = kept
        self._sweep = self.loop.call_later(KEEP_ALIVE_S, self._close_old) if kept else None


@functools.cache
def trusting_context() -> ssl.SSLContext:
    """TLS with whoever the system's authorities vouch for; they are read once."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
