"""Laws of credentials that are fetched, and good for a while: when they are fetched and renewed."""

from __future__ import annotations

import asyncio

from one_api.adapter.testing.answers import HELLO
from one_api.adapter.testing.bench import LIFETIME_S, Bench, Subject, open_bench
from one_api.adapter.testing.exchange import texts_of
from one_api.adapter.testing.law import Chapter
from one_api.adapter.testing.profile import UpstreamReply, UpstreamRequest
from one_api.adapter.testing.verdict import require, require_equal
from one_api.errors import CredentialRejected

_MANY = 5

chapter = Chapter()


@chapter.law("flow-shared", need="flow")
async def fetches_once(subject: Subject) -> None:
    """Requests at the same time share one credential, and so do those after them."""
    async with open_bench(subject) as bench:
        await asyncio.gather(*(bench.hear() for _ in range(_MANY)))
        await bench.hear()
        require_equal(1, len(bench.tokens), "credentials fetched")
        require_equal([bench.tokens[0]] * (_MANY + 1), _carried(bench), "credentials sent")


@chapter.law("flow-renewed", need="flow")
async def renews_in_time(subject: Subject) -> None:
    """A credential is renewed before it expires, and not long before."""
    async with open_bench(subject) as bench:
        for ahead_s in (0, LIFETIME_S // 2, LIFETIME_S - 1):
            bench.clock.ahead_s = ahead_s
            await bench.hear()
        first, second = (*bench.tokens, "", "")[:2]
        require_equal([first, first, second], _carried(bench), "credentials sent")
        require_equal(2, len(bench.tokens), "credentials fetched")


@chapter.law("flow-refused", need="flow")
async def replaces_a_refused_one(subject: Subject) -> None:
    """A credential that is refused is fetched anew once; refused again, that is told."""
    async with open_bench(subject) as bench:
        await bench.hear()
        bench.upstream.script = lambda request: _refusing(bench, request, bench.tokens[0])
        told = await bench.hear()
        require_equal(HELLO.text, told.text, "the answer after a new credential")
        require_equal(2, len(bench.tokens), "credentials fetched")
    async with open_bench(subject) as bench:
        bench.upstream.script = lambda request: bench.profile.error(401, f"not {bench.tokens[-1]}")
        error = (await bench.ask()).error
        is_told = isinstance(error, CredentialRejected)
        require(is_told, f"refused twice: expected CredentialRejected, got {error!r}")
        require_equal(2, len(bench.tokens), "credentials fetched")
        is_quoted = any(token in text for token in bench.tokens for text in texts_of(error))
        require(not is_quoted, "the error holds a credential")


def _refusing(bench: Bench, request: UpstreamRequest, token: str) -> UpstreamReply:
    if any(value.endswith(token) for value in request.headers.values()):
        return bench.profile.error(401, "scripted failure")
    return bench.reply(request)


def _carried(bench: Bench) -> list[str]:
    """The credentials of the requests that were answered, in their order."""
    found = []
    for request in bench.upstream.requests:
        if bench.profile.credential("", 0, request) is None:
            values = list(request.headers.values())
            found += [t for t in bench.tokens if any(value.endswith(t) for value in values)] or [""]
    return found
