"""Host names into addresses, remembered for a while."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from aiohappyeyeballs import AddrInfoType

#: How long an address is remembered, in seconds.
DNS_CACHE_S: Final = 60

#: `socket.getaddrinfo`, or what stands in for it; it may block.
LookUp = Callable[..., Sequence[tuple[Any, ...]]]
_Key = tuple[str, int]


class _Answer(NamedTuple):
    addresses: list[AddrInfoType]
    expires_at: float


class Names:
    """Looks addresses up in threads of its own.

    A look-up may hang for as long as the system's resolver is patient. In a pool of threads it
    would keep out others, and the end of the process. Each host is asked for once at a time, so
    there are no more threads than hosts.
    """

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._loop = asyncio.get_running_loop()
        self._known: dict[_Key, _Answer] = {}
        self._sought: dict[_Key, asyncio.Future[None]] = {}

    async def addresses(self, host: str, port: int) -> list[AddrInfoType]:
        """Those of `host`, beginning with another one each time.

        Raises: OSError when it has none.
        """
        if ":" in host or host.replace(".", "").isdigit():
            return _numeric(host, port)
        key = (host, port)
        answer = self._known.get(key)
        if answer is None or answer.expires_at <= self._loop.time():
            # Who stops waiting does not stop the others.
            await asyncio.shield(self._sought.get(key) or self._seek(key))
            answer = self._known[key]
        addresses = answer.addresses.copy()
        answer.addresses.append(answer.addresses.pop(0))
        return addresses

    def _seek(self, key: _Key) -> asyncio.Future[None]:
        host, port = key
        loop = self._loop
        sought: asyncio.Future[None] = loop.create_future()

        def tell(outcome: Sequence[tuple[Any, ...]] | Exception) -> None:
            del self._sought[key]
            error = outcome if isinstance(outcome, Exception) else self._remember(key, outcome)
            if error is None:
                sought.set_result(None)
            else:
                sought.set_exception(error)
                sought.exception()  # Whoever waited may have left.

        def look_up() -> None:
            outcome: Sequence[tuple[Any, ...]] | Exception
            try:
                outcome = self._look_up(
                    host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG
                )
            except Exception as exc:  # noqa: BLE001 - raised where it is waited for
                outcome = exc
            with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
                loop.call_soon_threadsafe(tell, outcome)

        threading.Thread(target=look_up, name=f"one-api-look-up-{host}", daemon=True).start()
        self._sought[key] = sought
        return sought

    def _remember(self, key: _Key, found: Sequence[tuple[Any, ...]]) -> OSError | None:
        families = (socket.AF_INET, socket.AF_INET6)
        addresses = [
            (family, kind, proto, name, address)
            for family, kind, proto, name, address in found
            if family in families
        ]
        if not addresses:
            return OSError(f"{key[0]} has no address")
        now = self._loop.time()
        self._known = {known: one for known, one in self._known.items() if one.expires_at > now}
        self._known[key] = _Answer(addresses, now + DNS_CACHE_S)
        return None


def _numeric(host: str, port: int) -> list[AddrInfoType]:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))
