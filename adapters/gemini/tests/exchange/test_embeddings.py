"""Embeddings, in batches and at lengths that are asked for."""

from __future__ import annotations

import pytest

from adapters.gemini.tests.exchange.scripted_google import MODELS, told
from one_api.adapter import (
    Call,
    EmbeddingRequest,
    GatewayError,
    SupportsEmbeddings,
    UnsupportedParameter,
    UpstreamInvalidResponse,
    UpstreamRateLimited,
)
from one_api_gemini import GeminiAdapter
from tests.scripted_upstream import Reply, ScriptedUpstream, json_reply

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
