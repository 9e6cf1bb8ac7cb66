"""The adapter behind the gateway, in front of a server on a real socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from adapters.ollama.tests.scripted import chunk, last
from one_api.adapter import (
    AdapterContext,
    EmbeddingRequest,
    GatewayError,
    InvalidRequest,
    JsonObject,
    ModelNotFound,
    UnsupportedParameter,
    UpstreamDisconnected,
    UpstreamOverloaded,
    UpstreamServerError,
    UpstreamUnreachable,
)
from one_api.embedding import Embedder
from one_api.failover import Failover, RequestContext
from one_api.gateway import CompleteReply, Gateway, GatewayOptions, StreamedReply
from one_api.routing import Router
from one_api.tokens import TokenCounter
from one_api.upstream import Upstream
from one_api_ollama import OllamaAdapter
from tests.adapters_in_test import asked, registry_of, running
from tests.scripted_upstream import (
    Chunk,
    Close,
    EndChunks,
    Gate,
    Hang,
    Head,
    Hold,
    RecordedRequest,
    Reply,
    ScriptedUpstream,
    Step,
    json_reply,
    refusing_url,
    split,
)

CHAT = "/api/chat"
MODEL = "ollama/qwen3"
NDJSON = Head(200, (("Content-Type", "application/x-ndjson"), ("Transfer-Encoding", "chunked")))
WORDS = (chunk(thinking="Hm. "), chunk(content="Grüße, "), chunk(content="世界"))
TOOL = {"type": "function", "function": {"name": "get_time"}}


@dataclass(frozen=True)
class House:
    """A gateway whose only provider is Ollama."""

    gateway: Gateway
    embedder: Embedder

    async def complete(self, **fields: Any) -> tuple[JsonObject, dict[str, str]]:
        """The body of a reply that is not streamed, and its headers."""
        reply = await self.gateway.chat(
            asked(model=MODEL, **fields), RequestContext(request_id="req_1")
        )
        assert isinstance(reply, CompleteReply)
        return orjson.loads(reply.body), reply.headers

    async def stream(self, **fields: Any) -> StreamedReply:
        request = asked(model=MODEL, stream=True, **fields)
        reply = await self.gateway.chat(request, RequestContext(request_id="req_1"))
        assert isinstance(reply, StreamedReply)
        return reply


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[House]:
    http = Upstream(user_agent="tests")
    context = AdapterContext(http=http, logger=logging.getLogger("ollama"))
    built = OllamaAdapter.build("ollama", {"OLLAMA_BASE_URL": url}, context)
    await http.open()
    try:
        async with running(registry_of(ollama=built["ollama"])) as registry:
            failover = Failover(registry, Router(), max_attempts=1)
            counter = TokenCounter()
            yield House(Gateway(failover, GatewayOptions(), counter), Embedder(failover, counter))
    finally:
        await http.close()


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    """Ollama, with one model."""
    with ScriptedUpstream() as upstream:
        models = {"models": [{"name": "qwen3:latest"}]}
        upstream.script(json_reply(200, models), path="/api/tags", repeat_last=True)
        yield upstream


@pytest.fixture
async def house(server: ScriptedUpstream) -> AsyncIterator[House]:
    async with opened(server.url) as built:
        yield built


def lines(*told: JsonObject | Step) -> Reply:
    """A reply in lines, each a write of its own, with steps between them."""
    body = [one if isinstance(one, Step) else Chunk(orjson.dumps(one) + b"\n") for one in told]
    return (NDJSON, *body, EndChunks())


def asked_of(server: ScriptedUpstream, path: str = CHAT) -> list[Any]:
    """The bodies that were sent to `path`."""
    return [request.json for request in server.requests if request.path == path]


async def request_to(server: ScriptedUpstream, path: str) -> RecordedRequest:
    """The first request to `path`, once it is there."""
    for count in range(1, 10):
        *_, newest = (await server.until_requests(count))[:count]
        if newest.path == path:
            return newest
    raise AssertionError(f"nothing was asked of {path}")


async def chunks_of(reply: StreamedReply) -> list[Any]:
    """The decoded data of the events of a stream; `[DONE]` as it is."""
    body = b"".join([piece async for piece in reply.chunks])
    data = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event[:5] == b"data:"]
    return [told if told == b"[DONE]" else orjson.loads(told) for told in data]


async def test_a_complete_reply(server: ScriptedUpstream, house: House) -> None:
    server.script(lines(*WORDS, last(prompt_eval_cached_count=20)), path=CHAT)
    body, headers = await house.complete(temperature=0.5, max_tokens=9, user="ann")

    message = body["choices"][0]["message"]
    assert ("Grüße, 世界", "Hm. ") == (message["content"], message["reasoning_content"])
    assert "stop" == body["choices"][0]["finish_reason"]
    usage = body["usage"]
    assert (26, 7, 33) == tuple(
        usage[f"{kind}_tokens"] for kind in ("prompt", "completion", "total")
    )
    assert 20 == usage["prompt_tokens_details"]["cached_tokens"]
    assert "user" == headers["x-one-api-dropped-params"]
    assert [
        {
            "model": "qwen3",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": True,
            "options": {"temperature": 0.5, "num_predict": 9},
        }
    ] == asked_of(server)


async def test_a_streamed_reply_split_within_characters(
    server: ScriptedUpstream, house: House
) -> None:
    data = b"".join(orjson.dumps(line) + b"\n" for line in (*WORDS, last()))
    server.script((NDJSON, *map(Chunk, split(data, 7)), EndChunks()), path=CHAT)
    told = await chunks_of(await house.stream(stream_options={"include_usage": True}))

    deltas = [choice["delta"] for one in told[:-1] for choice in one["choices"]]
    assert "Grüße, 世界" == "".join(delta.get("content") or "" for delta in deltas)
    assert "Hm. " == "".join(delta.get("reasoning_content") or "" for delta in deltas)
    assert (33, b"[DONE]") == (told[-2]["usage"]["total_tokens"], told[-1])


async def test_a_tool_is_called_and_its_result_told(server: ScriptedUpstream, house: House) -> None:
    call = {"function": {"name": "get_time", "arguments": {"zone": "CET"}}}
    server.script(
        lines(chunk(tool_calls=[call]), last()),
        lines(chunk(content="Noon."), last()),
        path=CHAT,
    )
    body, _ = await house.complete(tools=[TOOL])
    choice = body["choices"][0]
    (made,) = choice["message"]["tool_calls"]

    assert "tool_calls" == choice["finish_reason"]
    assert {"name": "get_time", "arguments": '{"zone":"CET"}'} == made["function"]

    result = {"role": "tool", "tool_call_id": made["id"], "content": "12:00"}
    messages = [{"role": "user", "content": "Time?"}, choice["message"], result]
    body, _ = await house.complete(tools=[TOOL], messages=messages)

    assert "Noon." == body["choices"][0]["message"]["content"]
    sent = asked_of(server)[-1]["messages"]
    function = {"index": 0, **call["function"]}
    assert [{"type": "function", "function": function}] == sent[1]["tool_calls"]
    assert {"role": "tool", "tool_name": "get_time", "content": "12:00"} == sent[2]


async def test_an_effort_is_a_level_that_the_model_has(
    server: ScriptedUpstream, house: House
) -> None:
    shown = {"thinking": {"values": ["low", "medium", "high"], "default": "medium"}}
    # It is asked again where the list of models arrives in between.
    server.script(json_reply(200, shown), path="/api/show", repeat_last=True)
    server.script(lines(*WORDS, last()), path=CHAT, repeat_last=True)
    for effort in ("max", "minimal"):
        await house.complete(reasoning_effort=effort)

    assert ["high", "low"] == [body["think"] for body in asked_of(server)]


async def test_usage_is_counted_where_the_server_does_not(
    server: ScriptedUpstream, house: House
) -> None:
    end = {**chunk(), "done": True, "done_reason": "stop", "eval_count": 7}
    server.script(lines(*WORDS, end), path=CHAT)
    body, _ = await house.complete()

    assert body["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize(
    ("status", "text", "error", "told_status"),
    [
        (400, '"gemma3" does not support tools', InvalidRequest, 400),
        (404, "model 'qwen3' not found", ModelNotFound, 404),
        (500, "llama runner process has terminated", UpstreamServerError, 500),
        (503, "server busy, please try again", UpstreamOverloaded, 503),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_refusal(
    server: ScriptedUpstream,
    house: House,
    status: int,
    text: str,
    error: type[GatewayError],
    told_status: int,
    stream: bool,
) -> None:
    server.script(json_reply(status, {"error": text}), path=CHAT)

    with pytest.raises(error, match=text) as caught:
        await (house.stream() if stream else house.complete())
    assert told_status == caught.value.status


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ((chunk(content=""), {"error": "the model failed"}), UpstreamServerError),
        ((chunk(thinking="H"), chunk(content="Hi"), Close()), UpstreamDisconnected),
        ((chunk(content="Hi"),), UpstreamDisconnected),
    ],
    ids=["error", "cut", "without a last line"],
)
async def test_a_reply_that_fails_on_the_way_is_no_answer(
    server: ScriptedUpstream,
    house: House,
    told: tuple[JsonObject | Step, ...],
    error: type[GatewayError],
) -> None:
    server.script(lines(*told), path=CHAT)

    with pytest.raises(error):
        await house.complete()


async def test_an_error_after_words_ends_a_stream_in_an_error(
    server: ScriptedUpstream, house: House
) -> None:
    error = {"error": "an error was encountered while running the model"}
    server.script(lines(chunk(content="Hi"), error), path=CHAT)
    told = await chunks_of(await house.stream())

    assert "Hi" == "".join(one["choices"][0]["delta"]["content"] for one in told[:-1])
    assert error["error"] == told[-1]["error"]["message"]


async def test_words_arrive_while_the_model_goes_on(server: ScriptedUpstream, house: House) -> None:
    gate = Gate()
    server.script(lines(chunk(content="first"), Hold(gate), chunk(content="second"), last()))
    reply = await house.stream()
    begun = await anext(aiter(reply.chunks))
    gate.open()

    assert b"first" in begun
    assert b"second" in b"".join([piece async for piece in reply.chunks])


async def test_a_client_that_leaves_while_the_model_is_loaded_lets_go_of_it(
    server: ScriptedUpstream, house: House
) -> None:
    server.script((Hang(),), path=CHAT)
    asking = asyncio.create_task(house.complete())
    hung = await request_to(server, CHAT)
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    await hung.until_closed()


async def test_a_picture_to_fetch_is_refused_unasked(
    server: ScriptedUpstream, house: House
) -> None:
    url = {"url": "https://example.test/cat.png"}
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}]

    with pytest.raises(InvalidRequest, match="base64 data URLs") as caught:
        await house.complete(messages=messages)
    assert "messages[0].content[0].image_url.url" == caught.value.param
    assert [] == asked_of(server)


async def test_several_choices_are_refused(server: ScriptedUpstream, house: House) -> None:
    with pytest.raises(UnsupportedParameter):
        await house.complete(n=2)
    assert [] == asked_of(server)


async def test_embeddings(server: ScriptedUpstream, house: House) -> None:
    vectors = [[0.5, 0.25], [1.0, 0.0]]
    server.script(json_reply(200, {"embeddings": vectors, "prompt_eval_count": 4}))
    fields = {"model": MODEL, "input": ["a", "b"], "dimensions": 2}
    reply = await house.embedder.embed(
        EmbeddingRequest.from_wire(fields), RequestContext(request_id="req_1")
    )
    body = orjson.loads(reply.body)

    assert vectors == [item["embedding"] for item in body["data"]]
    assert 4 == body["usage"]["prompt_tokens"]
    sent = {"model": "qwen3", "input": ["a", "b"], "truncate": False, "dimensions": 2}
    assert [sent] == asked_of(server, "/api/embed")


async def test_a_server_that_is_not_there() -> None:
    with refusing_url() as url:
        async with opened(url) as house:
            with pytest.raises(UpstreamUnreachable):
                await house.complete()
