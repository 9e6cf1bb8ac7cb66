"""Who answers: our adapter, the whole gateway, llama-cpp-python under a lock, llama-server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
import orjson
from typing_extensions import override

from benchmarks.local.stints import Answer, Prompt, Stint, Watch, drive
from benchmarks.processes import Launch, running
from one_api.adapter import AdapterContext, Call, CompletionRequest, TextDelta, UsageReport
from one_api.upstream import Upstream
from one_api_llamacpp.adapter import LlamaCppAdapter

ROOT: Final = Path(__file__).parents[2]
#: How long a model may take to be loaded, and a program to end, in seconds.
READY_S, STOP_S = 90.0, 10.0
#: Answers at once, and tokens they may all hold together, of whoever is asked for several.
PARALLEL: Final = 16
CONTEXT_TOKENS: Final = 8192
#: The lock's one answer.
_LOCK_CONTEXT_TOKENS: Final = 256
_LOOPBACK: Final = "127.0.0.1"
_MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_logger = logging.getLogger("one_api.benchmarks")


@dataclass(frozen=True, slots=True)
class Site:
    """What contenders share: the model's file, and a directory for what they write."""

    model: Path
    directory: Path


class Contender(Protocol):
    """One that answers stints."""

    async def work(self, stint: Stint) -> list[Answer]:
        """The answers to `stint`, in any order."""


class _Adapter(Contender):
    def __init__(self, adapter: LlamaCppAdapter, model_id: str) -> None:
        self._adapter = adapter
        self._call = Call(model=model_id)

    @override
    async def work(self, stint: Stint) -> list[Answer]:
        return await drive(self._ask, stint)

    async def _ask(self, prompt: Prompt, tokens: int, watch: Watch) -> None:
        request = CompletionRequest.from_wire(_body(self._call.model, prompt, tokens))
        async with aclosing(self._adapter.complete(request, self._call)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    watch.see()
                elif isinstance(event, UsageReport):
                    watch.tokens = event.usage.completion_tokens


class _HTTPServer(Contender):
    """One that speaks OpenAI's completions."""

    def __init__(
        self, session: aiohttp.ClientSession, port: int, model: str, extra: Mapping[str, Any]
    ) -> None:
        self._session = session
        self._url = f"http://{_LOOPBACK}:{port}/v1/completions"
        self._model = model
        self._extra = extra

    @override
    async def work(self, stint: Stint) -> list[Answer]:
        return await drive(self._ask, stint)

    async def _ask(self, prompt: Prompt, tokens: int, watch: Watch) -> None:
        body = {
            **_body(self._model, prompt, tokens),
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._extra,
        }
        headers = {"Content-Type": "application/json"}
        async with self._session.post(
            self._url, data=orjson.dumps(body), headers=headers, raise_for_status=True
        ) as reply:
            async for line in reply.content:
                if line.startswith(b"data: {"):
                    _take(orjson.loads(line.removeprefix(b"data: ")), watch)


class _LockedLlama(Contender):
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @override
    async def work(self, stint: Stint) -> list[Answer]:
        assert self._process.stdin is not None  # noqa: S101 - a pipe, which the type cannot say
        self._process.stdin.write(orjson.dumps(stint.to_wire()) + b"\n")
        return await self.hear()

    async def hear(self) -> list[Answer]:
        """The next line of its output.

        Raises: RuntimeError when it has ended.
        """
        assert self._process.stdout is not None  # noqa: S101 - as above
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("llama-cpp-python ended: its words are above")
        return [Answer.from_wire(answer) for answer in orjson.loads(line)]


@asynccontextmanager
async def adapter(site: Site, *, threads: int | None) -> AsyncGenerator[Contender, None]:
    """Our adapter, its worker process behind it; without `threads` it takes as many as it likes."""
    context = AdapterContext(http=Upstream(user_agent="one_api-benchmark"), logger=_logger)
    variables = _local_variables(site, threads)
    made = LlamaCppAdapter.build("llamacpp", variables, context)["llamacpp"]
    assert isinstance(made, LlamaCppAdapter)  # noqa: S101 - that is what it builds
    try:
        yield _Adapter(made, site.model.stem)
    finally:
        await made.close()


@asynccontextmanager
async def gateway(site: Site, *, threads: int) -> AsyncGenerator[Contender, None]:
    """The whole gateway with our adapter in it, over HTTP."""
    port = _free_port()
    launch = Launch(
        command=[str(Path(sys.executable).with_name("one-api")), "serve", "--port", str(port)],
        ready_url=f"http://{_LOOPBACK}:{port}/health",
        environment=_local_variables(site, threads),
    )
    async with _serving(launch, port, site, "gateway", {}) as contender:
        yield contender


@asynccontextmanager
async def llama_server(
    site: Site, *, program: Path, threads: int | None
) -> AsyncGenerator[Contender, None]:
    """llama.cpp's own server; without `threads` it takes as many as it likes."""
    port = _free_port()
    chosen = [] if threads is None else ["-t", str(threads), "-tb", str(threads)]
    launch = Launch(
        command=[
            *(str(program), "-m", str(site.model), "--host", _LOOPBACK, "--port", str(port)),
            *("-np", str(PARALLEL), "-c", str(CONTEXT_TOKENS), "--kv-unified"),
            *("-b", "512", "-ub", "512", "--cache-ram", "0", *chosen),
        ],
        ready_url=f"http://{_LOOPBACK}:{port}/health",
    )
    extra = {"cache_prompt": False, "samplers": ["temperature"]}
    name = f"llama-server-{threads or 'default'}"
    async with _serving(launch, port, site, name, extra) as contender:
        yield contender


@asynccontextmanager
async def locked_llama(site: Site, *, threads: int) -> AsyncGenerator[Contender, None]:
    """llama-cpp-python's high-level API under a lock, in a process of its own."""
    arguments = (str(site.model), str(threads), str(_LOCK_CONTEXT_TOKENS))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.local.locked_llama", *arguments),
        stdin=PIPE,
        stdout=PIPE,
        cwd=ROOT,
        limit=_MAX_LINE_BYTES,
        start_new_session=True,
    )
    try:
        contender = _LockedLlama(process)
        async with asyncio.timeout(READY_S):
            await contender.hear()
        yield contender
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def _serving(
    launch: Launch, port: int, site: Site, name: str, extra: Mapping[str, Any]
) -> AsyncIterator[Contender]:
    cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    with running(launch, cpus=cpus, directory=site.directory / name):
        # llama-server closes connections that rest for seconds, as they do between stints.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield _HTTPServer(session, port, site.model.stem, extra)


def _local_variables(site: Site, threads: int | None) -> dict[str, str]:
    return {
        "LOCAL_MODELS_DIR": str(site.model.parent),
        "LOCAL_PARALLEL": str(PARALLEL),
        "LOCAL_CONTEXT_TOKENS": str(CONTEXT_TOKENS),
        **({} if threads is None else {"LOCAL_THREADS": str(threads)}),
    }


def _body(model: str, prompt: Prompt, tokens: int) -> dict[str, Any]:
    return {"model": model, "prompt": list(prompt), "max_tokens": tokens, "temperature": 0}


def _take(chunk: Mapping[str, Any], watch: Watch) -> None:
    """Note what one chunk of a streamed completion brings."""
    choices: Sequence[Mapping[str, Any]] = chunk.get("choices") or ()
    if choices and choices[0].get("text"):
        watch.see()
    usage = chunk.get("usage")
    if usage:
        watch.tokens = int(usage["completion_tokens"])


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind((_LOOPBACK, 0))
        return int(bound.getsockname()[1])
