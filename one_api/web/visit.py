"""One request at our door, whichever way it takes inside: its ids, its caller, its last headers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from one_api.converter import random_id
from one_api.delivery import CLIENT_GONE
from one_api.errors import AuthenticationFailed
from one_api.observe import Exchange
from one_api.policy.auth import bearer_token

if TYPE_CHECKING:
    from one_api.observe import Observers
    from one_api.policy.accounts import Account
    from one_api.policy.auth import ApiKey, KeyRing
    from one_api.web.routing_headers import Headers

Caller = TypeVar("Caller")

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,64}")


class Visit:
    """One request, from its first look to the headers of its response; close it when that is made.

    `request_id` is what the client is told: its own, where that is sound. `account_id` is the same
    but for that: a client may send an id again, and that of an account never comes twice. `status`
    is that of the response; until there is one it says that the client has gone.
    """

    __slots__ = ("account", "account_id", "exchange", "request_id", "status")

    def __init__(
        self, observers: Observers, headers: Headers, *, method: str, endpoint: str
    ) -> None:
        given = headers.get("x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given) is not None:
            self.request_id = given
            self.account_id = f"{given}.{random_id('', 8)}"
        else:
            self.request_id = self.account_id = random_id("req_", 32)
        self.account: Account | None = None
        self.status = CLIENT_GONE
        self.exchange = Exchange(
            observers,
            self.request_id,
            method=method,
            endpoint=endpoint,
            traceparent=headers.get("traceparent"),
            tracestate=headers.get("tracestate"),
        )

    def finish(self, status: int, *, tells_timing: bool = False) -> dict[str, str]:
        """The head of the response is made: headers that every one has, in lower case."""
        self.status = status
        exchange = self.exchange
        took_s = exchange.note_finished()
        headers = {
            "x-request-id": self.request_id,
            "openai-version": "2020-10-01",
            "openai-processing-ms": str(int(took_s * 1000)),
            "x-content-type-options": "nosniff",
        }
        if tells_timing:
            headers.update(_timing(exchange))
        return headers

    def close(self) -> None:
        """Settle what no stream settles; a request without a response is one whose client left."""
        account = self.account
        if account is None:
            self.exchange.end(self.status)
        elif not account.is_handed_over:
            account.close(self.status)


def recognise(keys: KeyRing, headers: Headers, address: str) -> ApiKey | None:
    """The caller, by whichever of the two headers of OpenAI's and Anthropic's clients.

    None where only the database can tell: `look_up` asks it. `address` names callers of an open
    gateway.
    Raises: AuthenticationFailed.
    """
    return by_either_key(headers, partial(keys.authenticate, fallback_id=address))


def by_either_key(headers: Headers, authenticate: Callable[[str | None], Caller]) -> Caller:
    """What `authenticate` says of the key in `x-api-key`, else of that in `authorization`.

    Raises: AuthenticationFailed.
    """
    given = headers.get("x-api-key")
    if given is not None:
        with contextlib.suppress(AuthenticationFailed):
            return authenticate(given)
    return authenticate(bearer_token(headers.get("authorization")))


async def look_up(keys: KeyRing, headers: Headers, address: str) -> ApiKey:
    """As `recognise`, with the database where only that can tell.

    Raises: AuthenticationFailed; StorageUnavailable.
    """
    given = headers.get("x-api-key")
    if given is not None:
        with contextlib.suppress(AuthenticationFailed):
            return await _looked_up(keys, given, address)
    return await _looked_up(keys, bearer_token(headers.get("authorization")), address)


async def _looked_up(keys: KeyRing, presented: str | None, address: str) -> ApiKey:
    known = keys.authenticate(presented, fallback_id=address)
    return known if known is not None else await keys.look_up(presented or "")


def _timing(exchange: Exchange) -> dict[str, str]:
    """Headers that say what took how long until the head of the response; none for one sent early.

    Of a stream that is until its first content.
    """
    overhead_s, upstream_s = exchange.overhead_s, exchange.upstream_s
    if overhead_s is None:
        return {}
    parts = [f"gateway;dur={overhead_s * 1000:.3f}"]
    if upstream_s is not None:
        parts.append(f"upstream;dur={upstream_s * 1000:.3f}")
    return {"server-timing": ", ".join(parts), "x-one-api-overhead-ms": f"{overhead_s * 1000:.3f}"}
