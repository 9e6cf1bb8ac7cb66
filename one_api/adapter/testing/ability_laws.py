"""Laws of the optional abilities, for the adapters that have them."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, cast
from urllib.parse import urlsplit

from one_api.adapter.completions import SupportsCompletions
from one_api.adapter.credentials import SupportsCredentialFlow
from one_api.adapter.embeddings import SupportsEmbeddings
from one_api.adapter.health_probe import SupportsHealthProbe
from one_api.adapter.http import WireRequest
from one_api.adapter.passthrough import RawRequest, SupportsPassthrough
from one_api.adapter.readings import Reading, SupportsReadings
from one_api.adapter.testing.answers import HELLO
from one_api.adapter.testing.bench import CREDENTIAL, PATIENCE, Bench, Subject, open_bench
from one_api.adapter.testing.law import Chapter
from one_api.adapter.testing.verdict import LawBroken, require, require_equal
from one_api.adapter.token_counting import SupportsTokenCounting
from one_api.errors import CredentialRejected, GatewayError, InvalidRequest, UpstreamRateLimited
from one_api.events import Finish, KeepAlive, Start, TextDelta, UsageReport
from one_api.schemas.completions import CompletionRequest
from one_api.schemas.embeddings import EmbeddingRequest

_PROMPT: Final = "Grüße, 世界 👋🏽"
_INPUTS: Final = ("first", "zweiter", "第三")
_VECTORS: Final = ((0.5, -0.25, 1.0), (0.125, 0.0, -1.0), (0.75, 0.5, 0.25))
_EMBEDDING_TOKENS: Final = 9
_PROMPT_TOKENS: Final = 123
_FOREIGN_PATHS: Final = (
    "/../..",
    "/@127.0.0.2/x",
    "//127.0.0.2/x",
    "/\\127.0.0.2/x",
    "/#@127.0.0.2",
)
_FOREIGN_QUERIES: Final = ("a=@127.0.0.2/", "url=http://127.0.0.2/", "#@127.0.0.2")
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")

chapter = Chapter()


@chapter.law("completion-told", need="completions")
async def continues_a_prompt(subject: Subject) -> None:
    """A raw prompt reaches the provider as it was written; its continuation and usage are told."""
    async with open_bench(subject) as bench:
        bench.upstream.script = lambda request: bench.profile.completion(HELLO, request)
        for stream in (True, False):
            told = await _completed(bench, stream=stream)
            text = "".join(event.text for event in told if isinstance(event, TextDelta))
            ends = [event.reason for event in told if isinstance(event, Finish)]
            usages = [event.usage for event in told if isinstance(event, UsageReport)]
            require_equal((HELLO.text, ["stop"]), (text, ends), "the continuation and its end")
            counts = [(usage.prompt_tokens, usage.completion_tokens) for usage in usages]
            expected = [(HELLO.usage.prompt, HELLO.usage.completion)]
            require_equal(expected, counts, f"usage with stream={stream}")


@chapter.law("completion-refused", need="completions")
async def tells_refused_completions(subject: Subject) -> None:
    """A refused completion is told as a refused answer is."""

    async def ask(bench: Bench) -> None:
        await _completed(bench, stream=True)

    await _require_refusals(subject, ask)


@chapter.law("embeddings-in-order", need="embeddings")
async def embeds_in_order(subject: Subject) -> None:
    """Each text has its vector, in the order of the texts."""
    async with open_bench(subject) as bench:
        bench.upstream.script = lambda request: bench.profile.embeddings(
            _VECTORS, _EMBEDDING_TOKENS, request
        )
        adapter = cast("SupportsEmbeddings", bench.adapter)
        told = await adapter.embed(_embedding_of(bench), bench.call())
        vectors = [[round(value, 6) for value in vector] for vector in told.vectors]
        require_equal([list(vector) for vector in _VECTORS], vectors, "the vectors")
        is_counted = told.prompt_tokens in (None, _EMBEDDING_TOKENS)
        require(is_counted, f"prompt_tokens: {told.prompt_tokens}, not what the provider told")


@chapter.law("embeddings-refused", need="embeddings")
async def tells_refused_embeddings(subject: Subject) -> None:
    """Refused vectors are told as a refused answer is."""

    async def ask(bench: Bench) -> None:
        adapter = cast("SupportsEmbeddings", bench.adapter)
        await adapter.embed(_embedding_of(bench), bench.call())

    await _require_refusals(subject, ask)


@chapter.law("passthrough-host", need="passthrough")
async def passes_on_to_its_host(subject: Subject) -> None:
    """Nothing in a request that is passed on decides which host is called."""
    async with open_bench(subject) as bench:
        path = bench.profile.passthrough_path
        known = RawRequest(path=path, body=b"{}")
        _required(bench, known)
        tried = [RawRequest(path=foreign) for foreign in _FOREIGN_PATHS]
        tried += [RawRequest(path=path, query=query) for query in _FOREIGN_QUERIES]
        tried.append(RawRequest(path=path, headers={"host": "127.0.0.2"}))
        expected = urlsplit(bench.upstream.url)[:2]
        for request in tried:
            wire = _passed_on(bench, request)
            if wire is not None:
                require_equal(
                    tuple(expected), tuple(urlsplit(wire.url)[:2]), f"called of {request}"
                )


@chapter.law("passthrough-credential", need="passthrough")
async def passes_on_with_its_credential(subject: Subject) -> None:
    """What is passed on is as the client wrote it, with the credential and no other."""
    async with open_bench(subject) as bench:
        path = bench.profile.passthrough_path
        plain = _required(bench, RawRequest(path=path, query="a=b", body=b'{"a": 1}'))
        require_equal(b'{"a": 1}', plain.body, "the body that is passed on")
        require(CREDENTIAL not in plain.url, "the URL holds the credential")
        names = [name for name, value in plain.headers.items() if CREDENTIAL in value]
        # A credential that is fetched is added by the core.
        is_due = subject.has_credential and not isinstance(bench.adapter, SupportsCredentialFlow)
        require(bool(names) or not is_due, "no header holds the credential")
        for name in names:
            steered = _required(bench, RawRequest(path=path, headers={name: "Bearer of-a-client"}))
            told = [value for key, value in steered.headers.items() if key.lower() == name.lower()]
            require_equal([plain.headers[name]], told, f"'{name}' where the client sends one too")


@chapter.law("tokens-counted", need="counting")
async def counts_tokens(subject: Subject) -> None:
    """A prompt's tokens are as many as the provider says."""
    async with open_bench(subject) as bench:
        bench.upstream.script = lambda request: bench.profile.token_count(_PROMPT_TOKENS, request)
        adapter = cast("SupportsTokenCounting", bench.adapter)
        counted = await adapter.count_tokens(bench.request(stream=False), bench.call())
        require_equal(_PROMPT_TOKENS, counted, "the tokens of the prompt")


@chapter.law("probe-alive", need="probe")
async def finds_life(subject: Subject) -> None:
    """A provider that is well is found well."""
    async with open_bench(subject) as bench:
        await cast("SupportsHealthProbe", bench.adapter).probe(bench.model, PATIENCE.total_s)


@chapter.law("probe-dead", need="probe")
async def finds_no_life(subject: Subject) -> None:
    """A provider that is overloaded, or not there, is found so."""
    async with open_bench(subject) as bench:
        bench.upstream.script = lambda request: bench.profile.error(503, "scripted failure")
        await _require_dead(bench, "answers with HTTP status 503")
    async with open_bench(subject) as bench:
        await bench.upstream.close()
        await _require_dead(bench, "is not there")


@chapter.law("readings-sane", need="readings")
async def reads_sanely(subject: Subject) -> None:
    """Readings are named, described, told once each, and counters do not go back."""
    async with open_bench(subject) as bench:
        adapter = cast("SupportsReadings", bench.adapter)
        before = _readings(adapter)
        await bench.hear()
        after = _readings(adapter)
        for key, reading in before.items():
            if reading.kind == "counter" and key in after:
                has_grown = after[key].value >= reading.value
                require(has_grown, f"the counter '{reading.name}' went back")


async def _completed(bench: Bench, *, stream: bool) -> list[object]:
    body = {"model": bench.model, "prompt": _PROMPT, "stream": stream, "max_tokens": 16}
    adapter = cast("SupportsCompletions", bench.adapter)
    events = adapter.complete(CompletionRequest.from_wire(body), bench.call())
    told: list[object] = [event async for event in events]
    kinds = (Start, TextDelta, Finish, UsageReport, KeepAlive)
    strange = [event for event in told if not isinstance(event, kinds)]
    require_equal([], strange, "told besides text")
    said = bench.upstream.requests[-1].json
    require(_PROMPT in _texts(said), f"the prompt is not in {said}")
    return told


def _texts(value: object) -> str:
    """All strings in `value`, one after the other."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return "\n".join(_texts(each) for each in value)
    return value if isinstance(value, str) else ""


def _embedding_of(bench: Bench) -> EmbeddingRequest:
    return EmbeddingRequest.from_wire({"model": bench.model, "input": list(_INPUTS)})


async def _require_refusals(subject: Subject, ask: Callable[[Bench], Awaitable[None]]) -> None:
    refusals = {401: CredentialRejected, 429: UpstreamRateLimited}
    for status, expected in refusals.items():
        async with open_bench(subject) as bench:
            refusal = bench.profile.error(status, "scripted failure")
            bench.upstream.script = lambda request, refusal=refusal: refusal  # type: ignore[misc]  # bound
            try:
                await ask(bench)
            except GatewayError as exc:
                is_told = isinstance(exc, expected)
                require(is_told, f"HTTP status {status}: expected {expected.__name__}, got {exc!r}")
            else:
                require(False, f"HTTP status {status} is taken for a reply")


def _passed_on(bench: Bench, request: RawRequest) -> WireRequest | None:
    try:
        return cast("SupportsPassthrough", bench.adapter).passthrough(request, bench.call())
    except InvalidRequest:
        return None


def _required(bench: Bench, request: RawRequest) -> WireRequest:
    wire = _passed_on(bench, request)
    if wire is None:
        raise LawBroken(f"'{request.path}' is not passed on: see `passthrough_path` of the profile")
    return wire


async def _require_dead(bench: Bench, state: str) -> None:
    adapter = cast("SupportsHealthProbe", bench.adapter)
    try:
        await adapter.probe(bench.model, PATIENCE.total_s)
    except GatewayError:
        return
    require(False, f"a provider that {state} is found well")


def _readings(adapter: SupportsReadings) -> Mapping[object, Reading]:
    told: dict[object, Reading] = {}
    for reading in adapter.readings():
        require(isinstance(reading, Reading), f"{reading!r} is no Reading")
        require(_NAME.fullmatch(reading.name) is not None, f"'{reading.name}' is not in snake case")
        require(bool(reading.help.strip()), f"'{reading.name}' has no help")
        is_number = math.isfinite(reading.value)
        require(is_number and (reading.kind == "gauge" or reading.value >= 0), f"{reading}")
        key = (reading.name, *sorted(reading.labels.items()))
        require(key not in told, f"{key} is told twice")
        told[key] = reading
    return told
