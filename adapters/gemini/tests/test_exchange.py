"""Whole exchanges: the adapter in a gateway, over real sockets, against a scripted Google."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from one_api.adapter import (
    AdapterContext,
    Call,
    CredentialRejected,
    EmbeddingRequest,
    GatewayError,
    ModelNotFound,
    SupportsEmbeddings,
    SupportsTokenCounting,
    UnsupportedParameter,
    UpstreamInvalidResponse,
    UpstreamRateLimited,
)
from one_api.failover import RequestContext
from one_api.gateway import CompleteReply, StreamedReply
from one_api.upstream import Upstream
from one_api_gemini import GeminiAdapter, GeminiSettings
from tests.adapters_in_test import asked, gateway_of, registry_of, running
from tests.scripted_upstream import (
    RecordedRequest,
    Reply,
    Reset,
    ScriptedUpstream,
    json_reply,
    split,
    sse_reply,
)

REPLIES = Path(__file__).parent / "replies"
KEY = "AIza-scripted-key"
MODEL = "gemini-3.8-flash"
MODELS = "/v1beta/models"
TOOL = {"type": "function", "function": {"name": "get_weather"}}


@pytest.fixture
def google() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream
        assert [] == upstream.unexpected


@pytest.fixture
async def adapter(google: ScriptedUpstream) -> AsyncIterator[GeminiAdapter]:
    """The adapter over a real client of the scripted Google."""
    client = Upstream(user_agent="tests")
    await client.open()
    environment = {"GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": google.url}
    context = AdapterContext(http=client, logger=logging.getLogger("gemini"))
    yield GeminiAdapter(GeminiSettings.from_environment(environment), context)
    await client.close()


def told(name: str, status: int = 200) -> Reply:
    return json_reply(status, orjson.loads((REPLIES / f"{name}.json").read_bytes()))


def streamed(name: str) -> Reply:
    return sse_reply(split((REPLIES / f"{name}.sse").read_bytes(), 17))


def list_models(google: ScriptedUpstream) -> None:
    google.script(told("models_2"), path=MODELS, repeat_last=True)


def posts(google: ScriptedUpstream) -> list[RecordedRequest]:
    """The requests but those for the list of models, which come when they like."""
    return [request for request in google.requests if request.method == "POST"]


async def chat(adapter: GeminiAdapter, **fields: Any) -> CompleteReply | StreamedReply:
    async with running(registry_of(gemini=adapter)) as registry:
        request = asked(**{"model": f"gemini/{MODEL}", **fields})
        return await gateway_of(registry).chat(request, RequestContext(request_id="req_1"))


async def completion(adapter: GeminiAdapter, **fields: Any) -> Any:
    reply = await chat(adapter, **fields)
    assert isinstance(reply, CompleteReply)
    return orjson.loads(reply.body)


async def chunks(adapter: GeminiAdapter, **fields: Any) -> list[Any]:
    reply = await chat(adapter, stream=True, **fields)
    assert isinstance(reply, StreamedReply)
    data = b"".join([piece async for piece in reply.chunks])
    frames = [frame.removeprefix(b"data: ") for frame in data.split(b"\n\n") if frame]
    assert b"[DONE]" == frames[-1]
    return [orjson.loads(frame) for frame in frames[:-1]]


async def test_a_completion_is_answered(adapter: GeminiAdapter, google: ScriptedUpstream) -> None:
    list_models(google)
    google.script(told("thought_text"), path=f"{MODELS}/{MODEL}:generateContent")

    body = await completion(adapter, reasoning_effort="low")

    (choice,) = body["choices"]
    assert ("Four.", "stop") == (choice["message"]["content"], choice["finish_reason"])
    assert "**Adding**\n\nTwo and two." == choice["message"]["reasoning_content"]
    assert (11, 36, 47) == tuple(
        body["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    assert 7 == body["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert 34 == body["usage"]["completion_tokens_details"]["reasoning_tokens"]
    (request,) = posts(google)
    assert KEY == request.headers["x-goog-api-key"]
    assert KEY not in request.target
    level = {"includeThoughts": True, "thinkingLevel": "LOW"}
    assert {"thinkingConfig": level} == request.json["generationConfig"]


async def test_a_stream_is_answered(adapter: GeminiAdapter, google: ScriptedUpstream) -> None:
    list_models(google)
    google.script(streamed("text"), path=f"{MODELS}/{MODEL}:streamGenerateContent")

    told_chunks = await chunks(adapter)

    deltas = [chunk["choices"][0]["delta"] for chunk in told_chunks if chunk["choices"]]
    assert "Hello, wörld \u2028🙂" == "".join(delta.get("content") or "" for delta in deltas)
    assert "stop" == told_chunks[-1]["choices"][0]["finish_reason"]
    (request,) = posts(google)
    assert "alt=sse" == request.query


@pytest.mark.parametrize("case", ["parallel_calls", "call_after_thought"])
async def test_calls_go_back_signed_as_they_came(
    adapter: GeminiAdapter, google: ScriptedUpstream, case: str
) -> None:
    """The law of Gemini 3: what the model said comes back with its signatures where they were."""
    list_models(google)
    path = f"{MODELS}/{MODEL}:generateContent"
    google.script(told(case), told("text"), path=path)
    question = {"role": "user", "content": "How is the weather?"}

    first = await completion(adapter, messages=[question], tools=[TOOL])
    message = first["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "rain"}
        for call in message["tool_calls"]
    ]
    await completion(adapter, messages=[question, message, *results], tools=[TOOL])

    assert "tool_calls" == first["choices"][0]["finish_reason"]
    given = orjson.loads((REPLIES / f"{case}.json").read_bytes())
    said = given["candidates"][0]["content"]["parts"]
    sent = posts(google)[-1].json["contents"][1]
    assert [part for part in said if not part.get("thought")] == sent["parts"]


async def test_a_call_without_an_id_gets_one(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    list_models(google)
    google.script(told("call_without_id"), path=f"{MODELS}/{MODEL}:generateContent")

    body = await completion(adapter, tools=[TOOL])

    (call,) = body["choices"][0]["message"]["tool_calls"]
    assert call["id"]
    assert {"name": "get_news", "arguments": "{}"} == call["function"]


@pytest.mark.parametrize("case", ["safety", "blocked_prompt"])
async def test_a_filtered_answer_says_so(
    adapter: GeminiAdapter, google: ScriptedUpstream, case: str
) -> None:
    list_models(google)
    google.script(told(case), path=f"{MODELS}/{MODEL}:generateContent")

    body = await completion(adapter)

    (choice,) = body["choices"]
    assert "content_filter" == choice["finish_reason"]
    assert choice["message"]["refusal"]


@pytest.mark.parametrize(
    ("case", "status", "kind"),
    [("key_invalid", 400, CredentialRejected), ("rate_limited", 429, UpstreamRateLimited)],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_refusal_is_told_without_the_credential(
    adapter: GeminiAdapter,
    google: ScriptedUpstream,
    case: str,
    status: int,
    kind: type[GatewayError],
    stream: bool,
) -> None:
    list_models(google)
    method = "streamGenerateContent" if stream else "generateContent"
    google.script(told(f"error_{case}", status), path=f"{MODELS}/{MODEL}:{method}")

    with pytest.raises(kind) as caught:
        await chat(adapter, stream=stream)

    assert KEY not in str(caught.value)


async def test_a_cut_stream_is_told_as_an_error(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    list_models(google)
    frames = (REPLIES / "text.sse").read_bytes().split(b"\r\n\r\n")
    cut = sse_reply([frames[0] + b"\r\n\r\n", Reset()])
    google.script(cut, path=f"{MODELS}/{MODEL}:streamGenerateContent")

    reply = await chat(adapter, stream=True)

    assert isinstance(reply, StreamedReply)
    data = b"".join([piece async for piece in reply.chunks])
    assert b"Hello" in data
    assert b'"error"' in data


# --- The list of models


async def test_models_are_listed_over_all_pages(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(told("models_1"), told("models_2"), path=MODELS)

    models = await adapter.list_models()

    assert [MODEL, "gemini-embedding-2"] == [model.id for model in models]
    assert (1_048_576, 65_536) == (models[0].context_window, models[0].max_completion_tokens)
    assert "Gemini 3.8 Flash" == models[0].display_name
    first = {"pageSize": ["1000"]}
    assert [first, {**first, "pageToken": ["Ch9tb2RlbHMv/w=="]}] == [
        parse_qs(request.query) for request in google.requests
    ]
    assert [KEY, KEY] == [request.headers["x-goog-api-key"] for request in google.requests]


async def test_what_the_list_tells_bounds_later_requests(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(told("models_2"), path=MODELS)
    await adapter.list_models()

    wire = adapter.to_wire(asked(max_tokens=50), Call(model="gemini-embedding-2"))

    assert isinstance(wire.body, bytes)
    assert {"maxOutputTokens": 1} == orjson.loads(wire.body)["generationConfig"]


async def test_a_list_without_models_is_empty(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(json_reply(200, {}), path=MODELS)

    assert [] == await adapter.list_models()


@pytest.mark.parametrize("page", [[], {"models": 7}, "x"])
async def test_a_list_that_is_none_is_told_so(
    adapter: GeminiAdapter, google: ScriptedUpstream, page: object
) -> None:
    google.script(json_reply(200, page), path=MODELS)

    with pytest.raises(UpstreamInvalidResponse):
        await adapter.list_models()


async def test_a_model_can_be_asked_for_by_name(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    entry = orjson.loads((REPLIES / "models_1.json").read_bytes())["models"][0]
    google.script(json_reply(200, entry), path=f"{MODELS}/{MODEL}")
    missing = {"error": {"code": 404, "message": "x is not found", "status": "NOT_FOUND"}}
    google.script(json_reply(404, missing), json_reply(200, {}), path=f"{MODELS}/x")

    assert MODEL == (await adapter.get_model_info(MODEL)).id
    with pytest.raises(ModelNotFound):
        await adapter.get_model_info("x")
    with pytest.raises(UpstreamInvalidResponse):
        await adapter.get_model_info("x")


# --- Embeddings

EMBED = f"{MODELS}/gemini-embedding-2:batchEmbedContents"
EMBED_CALL = Call(model="gemini-embedding-2")


def vectors(*values: list[float], **more: object) -> Reply:
    return json_reply(200, {"embeddings": [{"values": vector} for vector in values], **more})


def embedding_of(given: object, **fields: object) -> EmbeddingRequest:
    return EmbeddingRequest.from_wire({"model": "m", "input": given, **fields})


def test_the_adapter_says_that_it_embeds(adapter: GeminiAdapter) -> None:
    assert isinstance(adapter, SupportsEmbeddings)


async def test_each_text_gets_a_vector(adapter: GeminiAdapter, google: ScriptedUpstream) -> None:
    google.script(vectors([3, 4], [0, 2], usageMetadata={"promptTokenCount": 5}), path=EMBED)

    embeddings = await adapter.embed(embedding_of(["a", "b"]), EMBED_CALL)

    assert [[3.0, 4.0], [0.0, 2.0]] == embeddings.vectors
    assert 5 == embeddings.prompt_tokens
    assert {
        "requests": [
            {"model": "models/gemini-embedding-2", "content": {"parts": [{"text": text}]}}
            for text in ("a", "b")
        ]
    } == google.requests[0].json


async def test_shortened_vectors_have_length_1_like_openais(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(vectors([3, 4], [0, 0]), path=EMBED)

    embeddings = await adapter.embed(embedding_of(["a", "b"], dimensions=2), EMBED_CALL)

    assert [[0.6, 0.8], [0.0, 0.0]] == embeddings.vectors
    assert embeddings.prompt_tokens is None
    assert [2, 2] == [each["outputDimensionality"] for each in google.requests[0].json["requests"]]


async def test_many_texts_go_in_batches_of_a_hundred(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    count = {"promptTokenCount": 100}
    full = [[float(number)] for number in range(100)]
    google.script(vectors(*full, usageMetadata=count), vectors([100.0]), path=EMBED)

    embeddings = await adapter.embed(embedding_of([str(n) for n in range(101)]), EMBED_CALL)

    assert [[float(number)] for number in range(101)] == embeddings.vectors
    assert embeddings.prompt_tokens is None, "one of the replies did not tell"
    assert [100, 1] == [len(request.json["requests"]) for request in google.requests]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (vectors([1.0]), UpstreamInvalidResponse),
        (json_reply(200, {"embeddings": [{}, {}]}), UpstreamInvalidResponse),
        (json_reply(200, []), UpstreamInvalidResponse),
        (told("error_rate_limited", 429), UpstreamRateLimited),
    ],
    ids=["too few", "empty", "none", "refused"],
)
async def test_embeddings_that_fail(
    adapter: GeminiAdapter, google: ScriptedUpstream, reply: Reply, kind: type[GatewayError]
) -> None:
    google.script(reply, path=EMBED)

    with pytest.raises(kind):
        await adapter.embed(embedding_of(["a", "b"]), EMBED_CALL)


async def test_token_ids_are_refused(adapter: GeminiAdapter) -> None:
    with pytest.raises(UnsupportedParameter):
        await adapter.embed(embedding_of([[1, 2]]), EMBED_CALL)


# --- Counted prompts

COUNT = f"{MODELS}/{MODEL}:countTokens"


async def test_a_prompt_is_counted_as_it_would_be_asked(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(json_reply(200, {"totalTokens": 31, "cachedContentTokenCount": 8}), path=COUNT)
    request = asked(
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        tools=[TOOL],
        service_tier="flex",
    )

    assert isinstance(adapter, SupportsTokenCounting)
    assert 31 == await adapter.count_tokens(request, Call(model=MODEL))
    assert {
        "generateContentRequest": {
            "model": f"models/{MODEL}",
            "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "tools": [{"functionDeclarations": [{"name": "get_weather"}]}],
        }
    } == google.requests[0].json


async def test_where_nobody_counts_the_gateway_is_told_so(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(json_reply(404, {"error": {"message": "no such method"}}), path=COUNT)

    assert await adapter.count_tokens(asked(), Call(model=MODEL)) is None


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (json_reply(200, {}), UpstreamInvalidResponse),
        (json_reply(200, {"totalTokens": True}), UpstreamInvalidResponse),
        (json_reply(200, []), UpstreamInvalidResponse),
        (told("error_rate_limited", 429), UpstreamRateLimited),
        (told("error_key_invalid", 400), CredentialRejected),
    ],
    ids=["nothing", "no number", "no object", "refused", "key"],
)
async def test_counts_that_fail(
    adapter: GeminiAdapter, google: ScriptedUpstream, reply: Reply, kind: type[GatewayError]
) -> None:
    google.script(reply, path=COUNT)

    with pytest.raises(kind):
        await adapter.count_tokens(asked(), Call(model=MODEL))
