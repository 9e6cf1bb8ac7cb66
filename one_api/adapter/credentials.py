"""Credentials that a provider hands out for a while: fetched by the adapter, kept by the core."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from one_api.errors import GatewayError, UpstreamTimeout

if TYPE_CHECKING:
    from one_api.adapter.base import AdapterContext
    from one_api.adapter.http import WireReply, WireRequest
    from one_api.deployment import Timeouts

#: A credential is renewed this long before it expires, or when a tenth of its life is left.
RENEW_BEFORE_S: Final = 60.0
#: How long to go on with a credential that could not be renewed but has not expired.
RENEW_AGAIN_S: Final = 5.0
#: A provider that refuses a fresh credential is not asked for another one sooner than this.
REFUSAL_PAUSE_S: Final = 30.0
#: So many credentials are known for secrets: with the current one the one before, which requests
#: under way may have been sent with.
_REMEMBERED: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Headers that open a provider, until `expires_at_s` (since the epoch; None: until refused).

    Their values are taken for secrets: what is none belongs to the request.
    """

    headers: Mapping[str, str] = field(repr=False)
    expires_at_s: float | None = None


@runtime_checkable
class SupportsCredentialFlow(Protocol):
    """An `HTTPModelAdapter` whose provider wants a token that must be fetched first.

    `to_wire` leaves the credential out: its headers are added to whatever is sent.
    """

    async def fetch_credential(self) -> Credential:
        """A new credential.

        Awaited by one request at a time, while the others wait; it may take the context's
        `list_timeout_s`. Its own requests go out without one: `fetch_json(with_credential=False)`.
        Raises: GatewayError, for instance CredentialRejected.
        """


@dataclass(frozen=True, slots=True)
class _Held:
    credential: Credential
    renew_at_s: float | None


class CredentialKeeper:
    """Keeps the credential of one adapter: fetched when first needed, renewed before it expires.

    Belongs to one event loop.
    """

    def __init__(self, source: SupportsCredentialFlow, context: AdapterContext) -> None:
        self._source = source
        self._context = context
        self._clock = context.clock
        self._held: _Held | None = None
        self._fetched: deque[Credential] = deque(maxlen=_REMEMBERED)
        self._fetching = asyncio.Lock()
        self._fetcher: asyncio.Task[object] | None = None
        self._refused_at_s: float | None = None

    def secrets(self) -> tuple[str, ...]:
        """What may not be told of the last credentials that were fetched."""
        return tuple(secret for credential in self._fetched for secret in _secrets(credential))

    @asynccontextmanager
    async def send(self, wire: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        """Send `wire` with the credential; once more with another one if that was refused.

        Errors raised inside the context do not tell the credential.
        """
        http = self._context.http
        credential = await self._current()
        async with AsyncExitStack() as stack:
            signed = _signed(wire, credential)
            reply = await stack.enter_async_context(http.send(signed, timeouts))
            may_renew = reply.status == 401 and self._give_up(credential)
            # A body that comes in pieces is gone: only the next request profits.
            if may_renew and not isinstance(wire.body, AsyncIterable):
                await stack.aclose()
                credential = await self._current()
                signed = _signed(wire, credential)
                reply = await stack.enter_async_context(http.send(signed, timeouts))
            try:
                yield reply
            except GatewayError as exc:
                exc.conceal(_secrets(credential))
                raise

    def _give_up(self, refused: Credential) -> bool:
        """Whether another credential may be had instead of the one that was `refused`."""
        if self._held is None or self._held.credential is not refused:
            return True
        now_s, before_s = self._clock.monotonic_s(), self._refused_at_s
        if before_s is not None and now_s - before_s < REFUSAL_PAUSE_S:
            return False
        self._refused_at_s, self._held = now_s, None
        return True

    async def _current(self) -> Credential:
        held = self._held
        if held is not None and not self._is_due(held):
            return held.credential
        if self._fetching.locked():
            if held is not None and self._has_time_left(held):
                return held.credential
            if self._fetcher is asyncio.current_task():
                raise RuntimeError(
                    "fetch_credential() needs the credential that it is to fetch: use "
                    "fetch_json(..., with_credential=False)"
                )
        async with self._fetching:
            held = self._held
            if held is None or self._is_due(held):
                held = await self._renewed(held)
            return held.credential

    async def _renewed(self, held: _Held | None) -> _Held:
        self._fetcher = asyncio.current_task()
        try:
            async with asyncio.timeout(self._context.list_timeout_s):
                credential = await self._source.fetch_credential()
        except (GatewayError, TimeoutError) as exc:
            if held is None or not self._has_time_left(held):
                if isinstance(exc, TimeoutError):
                    raise UpstreamTimeout("The provider gave no credential in time.") from exc
                raise
            # Its text may quote what it was asked with: the class says enough.
            self._context.logger.warning(
                "the credential could not be renewed yet (%s)", type(exc).__name__
            )
            self._held = replace(held, renew_at_s=self._clock.now_s() + RENEW_AGAIN_S)
            return self._held
        finally:
            self._fetcher = None
        self._fetched.append(credential)
        self._held = _Held(credential, self._renewal_of(credential))
        return self._held

    def _renewal_of(self, credential: Credential) -> float | None:
        if credential.expires_at_s is None:
            return None
        life_s = credential.expires_at_s - self._clock.now_s()
        return credential.expires_at_s - min(RENEW_BEFORE_S, max(life_s, 0.0) / 10)

    def _is_due(self, held: _Held) -> bool:
        return held.renew_at_s is not None and self._clock.now_s() >= held.renew_at_s

    def _has_time_left(self, held: _Held) -> bool:
        expires_at_s = held.credential.expires_at_s
        return expires_at_s is None or self._clock.now_s() < expires_at_s


def _signed(wire: WireRequest, credential: Credential) -> WireRequest:
    replaced = {name.lower() for name in credential.headers}
    others = {name: value for name, value in wire.headers.items() if name.lower() not in replaced}
    return replace(wire, headers={**others, **credential.headers})


def _secrets(credential: Credential) -> list[str]:
    """What may not be told: the headers' values, and the token in `Bearer <token>`."""
    values = list(credential.headers.values())
    return [word for word in (*values, *(v.rpartition(" ")[2] for v in values)) if len(word) > 5]
