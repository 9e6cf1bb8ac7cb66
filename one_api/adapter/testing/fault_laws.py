"""Laws of a provider that fails: what the caller is told, and what nobody may be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from one_api.adapter.testing.answers import HELLO
from one_api.adapter.testing.bench import (
    CREDENTIAL,
    PATIENCE,
    Bench,
    Subject,
    open_bench,
)
from one_api.adapter.testing.exchange import Exchange, texts_of
from one_api.adapter.testing.law import Chapter
from one_api.adapter.testing.profile import UpstreamReply, UpstreamRequest
from one_api.adapter.testing.verdict import require, require_equal
from one_api.errors import (
    Conflict,
    CredentialRejected,
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    RequestTooLarge,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamServerError,
    UpstreamTimeout,
    UpstreamUnreachable,
)

#: What each status of a provider means for the caller.
STATUSES: Final[Mapping[int, type[GatewayError]]] = {
    400: InvalidRequest,
    401: CredentialRejected,
    402: UpstreamQuotaExhausted,
    403: CredentialRejected,
    404: ModelNotFound,
    408: UpstreamTimeout,
    409: Conflict,
    413: RequestTooLarge,
    422: InvalidRequest,
    429: UpstreamRateLimited,
    500: UpstreamServerError,
    502: UpstreamServerError,
    503: UpstreamOverloaded,
    504: UpstreamTimeout,
    529: UpstreamOverloaded,
}
_RETRY_AFTER_S: Final = 7

chapter = Chapter()

Fault = Callable[[Bench, UpstreamRequest], UpstreamReply]


def _status_law(status: int, expected: type[GatewayError]) -> None:
    async def tells_status(subject: Subject) -> None:
        def fail(bench: Bench, request: UpstreamRequest) -> UpstreamReply:
            return bench.profile.error(status, "scripted failure")

        for stream in (True, False):
            told = await _fail(subject, fail, stream=stream)
            _require_error(expected, told)

    title = f"HTTP status {status} is told as {expected.__name__}"
    tells_status.__doc__ = title
    chapter.law(f"status-{status}", need="profile")(tells_status)


for _status, _expected in STATUSES.items():
    _status_law(_status, _expected)


@chapter.law("retry-after", need="profile")
async def passes_the_wait_on(subject: Subject) -> None:
    """What the provider asks to wait is passed on."""

    def fail(bench: Bench, request: UpstreamRequest) -> UpstreamReply:
        refusal = bench.profile.error(429, "scripted failure")
        headers = {**refusal.headers, "retry-after": str(_RETRY_AFTER_S)}
        return replace(refusal, headers=headers)

    told = await _fail(subject, fail)
    waits = getattr(told.error, "retry_after_s", None)
    require_equal(_RETRY_AFTER_S, waits, "retry_after_s of the error")


@chapter.law("stream-cut", need="profile")
async def tells_a_cut(subject: Subject) -> None:
    """A stream that is cut off is told as UpstreamDisconnected."""
    async with open_bench(subject) as bench:
        whole = bench.profile.answer(HELLO, await _a_request(bench))
        for kept in {1, len(whole.pieces) // 2, len(whole.pieces) - 2}:
            cut = replace(whole, pieces=whole.pieces[: max(kept, 1)], ending="cut")
            bench.upstream.script = lambda request, cut=cut: cut  # type: ignore[misc]  # bound
            _require_error(UpstreamDisconnected, await bench.ask())


@chapter.law("stream-short", need="profile")
async def tells_a_missing_end(subject: Subject) -> None:
    """A stream without its last events is told as UpstreamDisconnected."""
    async with open_bench(subject) as bench:
        whole = bench.profile.answer(HELLO, await _a_request(bench))
        half = replace(whole, pieces=whole.pieces[: len(whole.pieces) // 2])
        bench.upstream.script = lambda request: half
        _require_error(UpstreamDisconnected, await bench.ask())


@chapter.law("html-reply", need="profile")
async def tells_html(subject: Subject) -> None:
    """A web page with status 200 is UpstreamInvalidResponse."""
    for stream in (True, False):
        told = await _fail(subject, lambda bench, request: _web_page("Welcome"), stream=stream)
        _require_error(UpstreamInvalidResponse, told)


@chapter.law("broken-reply", need="profile")
async def tells_broken_json(subject: Subject) -> None:
    """A reply of broken JSON is UpstreamInvalidResponse."""

    def fail(bench: Bench, request: UpstreamRequest) -> UpstreamReply:
        return bench.profile.broken(bench.profile.answer(HELLO, request))

    for stream in (True, False):
        _require_error(UpstreamInvalidResponse, await _fail(subject, fail, stream=stream))


@chapter.law("stalled", need="profile")
async def tells_a_stall(subject: Subject) -> None:
    """A provider that falls silent is UpstreamTimeout."""

    def fail(bench: Bench, request: UpstreamRequest) -> UpstreamReply:
        whole = bench.profile.answer(HELLO, request)
        return replace(whole, pieces=whole.pieces[:1], ending="held")

    async with open_bench(subject) as bench:
        bench.upstream.script = lambda request: fail(bench, request)
        told = await bench.ask(timeouts=replace(PATIENCE, idle_s=0.1))
        _require_error(UpstreamTimeout, told)


@chapter.law("unreachable", need="profile")
async def tells_an_absence(subject: Subject) -> None:
    """A provider that is not there is UpstreamUnreachable."""
    async with open_bench(subject) as bench:
        await bench.upstream.close()
        _require_error(UpstreamUnreachable, await bench.ask())


@chapter.law("credential-silent", need="credential")
async def hides_the_credential(subject: Subject) -> None:
    """No error tells the credential, even if the provider does."""
    words = f"your key {CREDENTIAL} is not good for this"
    async with open_bench(subject) as bench:
        quoting = {f"status {each}": bench.profile.error(each, words) for each in STATUSES}
        quoting["a web page"] = _web_page(words)
        quoting["a web page with status 500"] = replace(_web_page(words), status=500)
        for fault, reply in quoting.items():
            bench.upstream.script = lambda request, reply=reply: reply  # type: ignore[misc]  # bound
            for stream in (True, False):
                error = (await bench.ask(stream=stream)).error
                if isinstance(error, GatewayError):
                    error.conceal(bench.adapter.settings.secrets())
                is_told = any(CREDENTIAL in text for text in texts_of(error))
                require(not is_told, f"the error for {fault} holds the credential")


@chapter.law("credential-unlogged", need="credential")
async def logs_no_credential(subject: Subject) -> None:
    """The credential is in no line of the log."""
    async with open_bench(subject) as bench:
        await bench.hear()
        await bench.adapter.list_models()
        for status in (401, 400, 500):
            refusal = bench.profile.error(status, "scripted failure")
            bench.upstream.script = lambda request, refusal=refusal: refusal  # type: ignore[misc]  # bound
            await bench.ask()
        lines = [line for line in bench.log.lines if CREDENTIAL in line]
        require_equal([], [line.replace(CREDENTIAL, "***") for line in lines], "lines of the log")


def _web_page(words: str) -> UpstreamReply:
    return UpstreamReply(
        headers={"content-type": "text/html; charset=utf-8"},
        pieces=(b"<!doctype html><html><body><h1>", words.encode(), b"</h1></body></html>\n"),
    )


async def _fail(subject: Subject, fault: Fault, *, stream: bool = True) -> Exchange:
    async with open_bench(subject) as bench:
        bench.upstream.script = lambda request: fault(bench, request)
        return await bench.ask(stream=stream)


async def _a_request(bench: Bench) -> UpstreamRequest:
    """A request for a stream, as it reaches the provider."""
    await bench.hear()
    return bench.upstream.requests[-1]


def _require_error(expected: type[GatewayError], told: Exchange) -> None:
    error = told.error
    require(error is not None, f"the answer was taken for whole: {told.reply}")
    # A subclass tells more of the same.
    require(isinstance(error, expected), f"expected {expected.__name__}, got {error!r}")
