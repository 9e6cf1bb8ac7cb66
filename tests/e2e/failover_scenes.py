"""Gateways with a file of upstreams, and scripted providers that count who was asked.

A gateway is the whole application on the test's own event loop: its doors, the registry with the
adapters that are installed, and the one HTTP client, which asks its providers over sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from one_api.app import create_asgi_app
from one_api.runtime.asgi import ASGIBridge
from one_api.settings import Settings
from tests.e2e.conftest import ADAPTERS_VARIABLES
from tests.e2e.exchanges import Answer
from tests.runtime.line import HOST, Line
from tests.scripted_upstream import (
    CHAT_PATH,
    DONE,
    HELLO,
    MODELS_PATH,
    RecordedRequest,
    Reply,
    ScriptedUpstream,
    anthropic_events,
    anthropic_frames,
    models_reply,
    openai_chunks,
    openai_completion,
    openai_frames,
)
from tests.scripted_upstream import Answer as Said

CALLER_KEY = "a-key-of-a-caller"
#: How long a request of a test may take, in seconds.
PATIENCE_S = 20.0
RESPONSES_PATH = "/v1/responses"
EMBEDDINGS_PATH = "/v1/embeddings"

#: Two deployments of the model `m`, in order.
PAIR = """
upstreams:
  - {name: a, adapter: openai, sk: sk-credential-of-a, endpoint: "${A_URL}", models: [m]}
  - {name: b, adapter: openai, sk: sk-credential-of-b, endpoint: "${B_URL}", models: [m]}
"""

#: One deployment of the model `m`.
ALONE = "".join(PAIR.splitlines(keepends=True)[:3])


class World:
    """One gateway and its providers, each called as its entry of the file."""

    def __init__(self, bridge: ASGIBridge, providers: Mapping[str, ScriptedUpstream]) -> None:
        self._bridge = bridge
        self._providers = providers

    def __getitem__(self, name: str) -> ScriptedUpstream:
        return self._providers[name]

    # -- clients

    def begin(
        self, body: object, path: str = CHAT_PATH, *, method: str = "POST", **headers: str
    ) -> Line:
        """A request on its way; underscores in the names of `headers` stand for hyphens."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {
            "authorization": f"Bearer {CALLER_KEY}",
            "content-type": "application/json",
            "content-length": str(len(data)),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        pairs = [(name.encode(), value.encode()) for name, value in told.items()]
        return Line(self._bridge, path, method=method, headers=[HOST, *pairs], body=data)

    async def ask(
        self, body: object, path: str = CHAT_PATH, *, method: str = "POST", **headers: str
    ) -> Answer:
        """The whole answer to a request."""
        return await answer_of(self.begin(body, path, method=method, **headers))

    # -- what the providers saw

    @property
    def asked(self) -> list[str]:
        """Who was asked, once for each request that arrived anywhere, in order of arrival."""
        seen = [
            (request.arrived_at, name)
            for name in self._providers
            for request in self.requests(name)
        ]
        return [name for _, name in sorted(seen)]

    @property
    def calls(self) -> Counter[str]:
        """How many requests each provider got."""
        return Counter(self.asked)

    def requests(self, name: str) -> list[RecordedRequest]:
        """The requests that a provider got, without those for its list of models."""
        return [one for one in self._providers[name].requests if one.path != MODELS_PATH]

    def script(self, **replies: Reply) -> None:
        """Have each provider give its reply to everything, for ever."""
        for name, reply in replies.items():
            self._providers[name].script(reply, repeat_last=True)


async def answer_of(line: Line) -> Answer:
    """The whole answer to a request that is on its way."""
    async with asyncio.timeout(PATIENCE_S):
        await line.task
    assert [] == line.violations
    assert line.status is not None
    headers = {name.lower(): value for name, value in line.headers.items()}
    return Answer(line.status, headers, line.body)


@contextlib.asynccontextmanager
async def world(directory: Path, text: str, **settings: Any) -> AsyncIterator[World]:
    """A gateway with `text` as its file of upstreams, and a provider for each `${A_URL}` in it.

    A provider that is asked for something it has no reply for fails the test.
    """
    names = [name for name in "abc" if f"${{{name.upper()}_URL}}" in text]
    async with contextlib.AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.chdir(directory)  # no .env file
        for variable in (*map(str.upper, Settings.model_fields), *ADAPTERS_VARIABLES):
            patch.delenv(variable, raising=False)
        patch.setenv("LOCAL_MODELS_ENABLED", "false")  # on by itself
        providers = {name: stack.enter_context(ScriptedUpstream()) for name in names}
        for provider in providers.values():
            provider.script(models_reply(["m"]), path=MODELS_PATH, repeat_last=True)
        path = written(directory, text, {name: one.url for name, one in providers.items()})
        given = {
            "api_keys": CALLER_KEY,
            "routing_headers": True,
            "database_url": "none",
            **settings,
        }
        bridge = create_asgi_app(Settings(upstreams_file=path, **given))
        await bridge.app.start()
        try:
            yield World(bridge, providers)
        finally:
            await bridge.app.stop()
        for name, provider in providers.items():
            assert [] == provider.unexpected, f"{name} has no reply for these"


def written(directory: Path, text: str, urls: Mapping[str, str]) -> Path:
    """A file of upstreams whose `${A_URL}` is the address of the provider `a`."""
    for name, url in urls.items():
        text = text.replace(f"${{{name.upper()}_URL}}", url)
    path = directory / "upstreams.yaml"
    path.touch(0o600)
    path.write_text(text)
    return path


def chat(text: str = "Hello?", **fields: Any) -> dict[str, Any]:
    """A chat request to the model `m`."""
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


def streamed(text: str = "Hello?", **fields: Any) -> dict[str, Any]:
    """A chat request to the model `m` for a stream."""
    return chat(text, stream=True, **fields)


def said(text: str) -> Said:
    """An answer of one word, by which its provider is known."""
    return Said(words=(text,))


def whole(text: str = HELLO.text, headers: Mapping[str, str] | None = None) -> Reply:
    """A complete reply."""
    return openai_completion(said(text), headers=headers)


def begun(*words: str) -> list[bytes]:
    """The events of a stream up to the last of `words`; the first one has no content."""
    chunks = openai_chunks(Said(words=words, usage=None))
    return openai_frames(chunks[: 1 + len(words)], done=False)


def anthropic_begun(*words: str) -> list[bytes]:
    """The events of a message up to the last of `words`."""
    events = anthropic_events(Said(words=words))
    stops_at = [event["type"] for event in events].index("content_block_stop")
    return anthropic_frames(events[:stops_at])


def text_of(answer: Answer) -> str:
    """What the model wrote: in a complete reply, or in all events of a stream."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        text = answer.json["choices"][0]["message"]["content"]
        assert isinstance(text, str)
        return text
    return "".join(_deltas(answer.events))


def _deltas(events: Sequence[Any]) -> list[str]:
    return [
        choice["delta"].get("content") or ""
        for event in events
        if event != "[DONE]"
        for choice in event.get("choices") or ()
    ]


def is_whole_stream(answer: Answer) -> bool:
    """Whether a stream ended as OpenAI's do, with one finish reason and without an error."""
    events = [event for event in answer.events if event != "[DONE]"]
    reasons = [
        choice["finish_reason"]
        for event in events
        for choice in event.get("choices") or ()
        if choice.get("finish_reason")
    ]
    has_error = any("error" in event for event in events)
    return answer.body.endswith(DONE) and len(reasons) == 1 and not has_error


def ends_in_error(answer: Answer) -> bool:
    """Whether a stream ended in an error told in-band, and in nothing after it."""
    return "error" in answer.events[-1] and DONE not in answer.body


def attempts(answer: Answer) -> tuple[str, str]:
    """Who answered, and after how many attempts."""
    return answer.headers["x-one-api-deployment"], answer.headers["x-one-api-attempts"]


async def until(
    condition: Callable[[], bool], do: Callable[[], Any], timeout_s: float = 5.0
) -> None:
    """Do something again and again until it has made `condition` true.

    Raises: TimeoutError.
    """
    async with asyncio.timeout(timeout_s):
        while not condition():
            await do()
            await asyncio.sleep(0.02)
