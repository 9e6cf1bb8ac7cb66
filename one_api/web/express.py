"""Chat completions on the short way: what Flask's hooks and the view do, without Flask.

The steps are those of the guard and of the view, in the same order and through the same functions;
tests compare both ways. A request that needs anything else - a page's origin, an idempotency key, a
gateway that is draining - takes the long way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import orjson
from typing_extensions import override

from one_api.converter import PING
from one_api.delivery import CLIENT_GONE
from one_api.errors import GatewayError
from one_api.failover import RequestContext
from one_api.gateway import CompleteReply, Gateway
from one_api.runtime.environ import Scope, plain_headers
from one_api.runtime.express import Express, Inbound, Opener, Outgoing
from one_api.schemas.chat import ChatCompletionRequest
from one_api.web.bodies import decoded
from one_api.web.guard import Guard, bug
from one_api.web.responses import CUT_OFF, JSON, STREAM_HEADERS
from one_api.web.routing_headers import ASKING, routed
from one_api.web.visit import Visit

#: Request headers that need the long way.
_LONG_WAY: Final = frozenset({"idempotency-key", "origin"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressOptions:
    """The path of chat completions, and what their view is told of the settings."""

    path: str
    stream_open_after_s: float
    keep_alive_s: float
    max_attempts: int


class ChatExpress(Express):
    """Answers what is posted to the path of chat completions."""

    def __init__(self, gateway: Gateway, guard: Guard, options: ExpressOptions) -> None:
        self._gateway = gateway
        self._guard = guard
        self._options = options

    @override
    def take(self, scope: Scope) -> Inbound | None:
        if scope["path"] != self._options.path or scope["method"] != "POST":
            return None
        headers = plain_headers(scope["headers"])
        if headers is None or self._guard.is_draining or not _LONG_WAY.isdisjoint(headers):
            return None
        client = scope.get("client")
        return Inbound(headers, client[0] if client else "", scope.get("http_version") == "1.1")

    @override
    async def respond(self, inbound: Inbound, opener: Opener) -> Outgoing:
        visit = self._guard.receive(inbound.headers, method="POST", endpoint=self._options.path)
        try:
            return await self._answer(inbound, visit, opener)
        except GatewayError as exc:
            return self._failed(exc, inbound, visit)
        except Exception as exc:  # noqa: BLE001 - as Flask would: a 500, and the log
            return self._failed(bug(exc, visit.request_id), inbound, visit)
        finally:
            visit.close()

    async def _answer(self, inbound: Inbound, visit: Visit, opener: Opener) -> Outgoing:
        headers, options = inbound.headers, self._options
        account = await self._guard.admit(visit, headers, inbound.peer)
        if account.keeps_bodies:
            account.note_request(inbound.body)
        body = decoded(inbound.body, headers.get("content-encoding"))
        inbound.body = b""  # It may be large, and what it is answered with may take long.
        request = ChatCompletionRequest.from_wire(body)
        if request.wants_stream and options.stream_open_after_s:
            opener.open_after(options.stream_open_after_s, partial(self._head, inbound, visit))
        context = RequestContext(request_id=visit.request_id, account=account)
        if not ASKING.isdisjoint(headers):
            routed(context, headers, account.caller, max_attempts=options.max_attempts)
        reply = await self._gateway.chat(request, context)
        if isinstance(reply, CompleteReply):
            told = self._told({"content-type": JSON, **reply.headers}, 200, inbound, visit)
            return Outgoing(200, told.items(), reply.body)
        told = self._told({**STREAM_HEADERS, **reply.headers}, 200, inbound, visit)
        return self._streamed(Outgoing(200, told.items(), chunks=reply.chunks))

    def _head(self, inbound: Inbound, visit: Visit) -> Outgoing:
        """The head of a stream that is sent before there is anything of it."""
        told = self._told(STREAM_HEADERS, 200, inbound, visit)
        # What becomes of the request is not known yet: its client may leave before it is.
        visit.status = CLIENT_GONE
        return self._streamed(Outgoing(200, told.items()))

    def _failed(self, error: GatewayError, inbound: Inbound, visit: Visit) -> Outgoing:
        visit.exchange.error = error
        headers = {name.lower(): value for name, value in error.headers().items()}
        told = self._told({"content-type": JSON, **headers}, error.status, inbound, visit)
        return Outgoing(error.status, told.items(), orjson.dumps(error.to_wire()))

    def _told(
        self, headers: Mapping[str, str], status: int, inbound: Inbound, visit: Visit
    ) -> dict[str, str]:
        """All headers of a response that has `headers` of its own."""
        last = self._guard.last_headers(visit, status, is_http11=inbound.is_http11)
        account = visit.account
        return {**headers, **last} if account is None else {**account.headers, **headers, **last}

    def _streamed(self, outgoing: Outgoing) -> Outgoing:
        outgoing.keep_alive, outgoing.keep_alive_s = PING, self._options.keep_alive_s
        outgoing.cut_off = CUT_OFF
        return outgoing
