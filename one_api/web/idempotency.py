"""Requests with an `Idempotency-Key`: the first is answered, its repeats get the same answer.

It is for what asks models by POST, but for uploads: those are not read before their view. A repeat
takes nothing from the limits and is neither in the ledger nor in the log, for no provider was
asked: its account is never admitted. Whose keys they are is told by the API key, in an open gateway
by the client's address.

A client that hangs up ends its request as it would without a key, and a repeat asks again: what it
was not told to the end is not kept. The same goes for a stream that told of an error.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final

import flask

from one_api.policy.auth import ApiKey
from one_api.policy.idempotency import Idempotency, Replay, Started, Tape, digest_of
from one_api.runtime import StreamingResponse, UploadPolicy
from one_api.web.guard import METERED

#: Tells a repeat's reply from that of the first request.
REPLAYED: Final = "idempotent-replayed"
#: Headers that belong to one response, and not to the reply in it.
_OWN_HEADERS: Final = frozenset({"content-length", "request-id"})
#: An event by which any of our formats, or a provider's, tells of an error in a stream.
_ERROR_EVENT: Final = re.compile(
    rb'(?:^|[\r\n])(?:event: *(?:error|response\.failed)\b|data: *\{ *"(?:error"|type": *"error"))'
)


class Repeats:
    """Tells repeats what was told before; `install` hooks it in, behind the guard.

    `do_later` runs what must be done even where the client leaves meanwhile.
    """

    def __init__(
        self,
        idempotency: Idempotency,
        uploads: UploadPolicy,
        do_later: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._idempotency = idempotency
        self._uploads = uploads
        self._do_later = do_later

    def install(self, app: flask.Flask) -> None:
        """Hook into the requests and responses of `app`, once the guard is: it knows who calls."""
        app.before_request(self._begin)
        app.after_request(self._end)
        app.teardown_request(self._release)

    def _begin(self) -> flask.Response | None:
        request = flask.request
        key = request.headers.get("Idempotency-Key")
        if key is None or request.method != "POST" or request.endpoint not in METERED:
            return None
        if self._uploads.covers(request.endpoint, request.content_type or ""):
            return None
        caller: ApiKey = flask.g.caller
        asked = f"{request.path}?{request.query_string.decode('latin-1')}"
        begin = flask.current_app.ensure_sync(self._idempotency.begin)
        begun: Started | Replay = begin(caller.id, key, digest_of(asked, request.get_data()))
        if isinstance(begun, Replay):
            return _response_of(begun)
        flask.g.idempotent = begun
        return None

    def _end(self, response: flask.Response) -> flask.Response:
        if isinstance(response, StreamingResponse) and response.chunks is None:
            return response  # Only the head of a stream whose view has not returned.
        started: Started | None = flask.g.pop("idempotent", None)
        if started is None:
            return response
        wait_for = flask.current_app.ensure_sync
        if not 200 <= response.status_code < 300:
            wait_for(self._surely)(self._idempotency.release(started))
        elif isinstance(response, StreamingResponse):
            response.chunks = wait_for(self._begin_tape)(response, started)
        else:
            reply = _reply_in(response, response.get_data())
            wait_for(self._surely)(self._idempotency.finish(started, reply))
        return response

    def _release(self, _: BaseException | None) -> None:
        """Give back the key of a request that has no response: its client left."""
        started: Started | None = flask.g.pop("idempotent", None)
        if started is not None:
            flask.current_app.ensure_sync(self._surely)(self._idempotency.release(started))

    async def _begin_tape(
        self, response: StreamingResponse, started: Started
    ) -> AsyncGenerator[bytes, None]:
        chunks = self._taped(response, started)
        # Begun here: closing a generator that never ran would not release the key.
        await anext(chunks)
        return chunks

    async def _taped(
        self, response: StreamingResponse, started: Started
    ) -> AsyncGenerator[bytes, None]:
        """The pieces of `response`, kept for repeats once all have passed."""
        chunks = response.chunks
        assert chunks is not None, "checked by the caller"  # noqa: S101
        tape, last = Tape(self._idempotency.max_reply_bytes), b""
        try:
            async with aclosing(chunks):
                yield b""
                async for last in chunks:
                    tape.write(last)
                    yield last
            body = tape.body
            is_told = response.mimetype == "text/event-stream" and _ERROR_EVENT.search(body or last)
            if not is_told:
                reply = None if body is None else _reply_in(response, body)
                await self._surely(self._idempotency.finish(started, reply))
        finally:
            await self._surely(self._idempotency.release(started))

    async def _surely(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` to its end, also when whoever waits for it is cancelled."""
        is_over = asyncio.Event()

        async def run() -> None:
            try:
                await work
            finally:
                is_over.set()

        self._do_later(run())
        await is_over.wait()


def _reply_in(response: flask.Response, body: bytes) -> Replay:
    headers = {
        name.lower(): value for name, value in response.headers if name.lower() not in _OWN_HEADERS
    }
    return Replay(response.status_code, headers, body)


def _response_of(replay: Replay) -> flask.Response:
    response = flask.Response(replay.body, replay.status)
    response.headers.clear()
    response.headers.extend(replay.headers)
    response.headers[REPLAYED] = "true"
    return response
