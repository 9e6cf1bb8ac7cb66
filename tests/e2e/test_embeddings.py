"""Vectors as OpenAI's SDK reads them, in both encodings, whichever one the provider knows."""

from __future__ import annotations

import base64
import struct
from typing import Any

import openai
import pytest

from tests.e2e.conftest import API_KEY, CLAUDE_MODELS, OPENAI_CREDENTIAL
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import Reply, json_reply, openai_error

VECTORS = ([0.25, -1.5, 3.0], [1e-3, 0.1, -7.25])


def packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def reply(*, is_base64: bool, vectors: Any = VECTORS, **more: object) -> Reply:
    data = [
        {"object": "embedding", "index": i, "embedding": packed(v) if is_base64 else v}
        for i, v in enumerate(vectors)
    ]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return json_reply(200, {"object": "list", "data": data, "model": "emb", "usage": usage, **more})


@pytest.mark.parametrize("is_base64", [True, False], ids=["base64", "numbers"])
def test_p43_the_sdks_default_and_floats_are_equal(
    any_client: openai.OpenAI, openai_scene: Scene, is_base64: bool
) -> None:
    openai_scene.script(reply(is_base64=is_base64), repeat_last=True)
    default = any_client.embeddings.create(model=openai_scene.model, input=["a", "b"])
    floats = any_client.embeddings.create(
        model=openai_scene.model, input=["a", "b"], encoding_format="float"
    )
    for one, other, vector in zip(default.data, floats.data, VECTORS, strict=True):
        assert pytest.approx(vector, abs=1e-6) == one.embedding
        assert pytest.approx(vector, abs=1e-6) == other.embedding
    assert 5 == default.usage.prompt_tokens


def test_the_provider_gets_the_checked_request_and_our_credential(
    client: openai.OpenAI, openai_scene: Scene
) -> None:
    openai_scene.script(reply(is_base64=True))
    client.embeddings.create(
        model=openai_scene.model,
        input=[[1, 2], [3]],
        dimensions=3,
        user="u",
        extra_body={"input_type": "query"},
    )
    request = openai_scene.request
    assert "/v1/embeddings" == request.path
    assert {
        "model": openai_scene.name,
        "input": [[1, 2], [3]],
        "dimensions": 3,
        "user": "u",
        "encoding_format": "base64",
        "input_type": "query",
    } == request.json
    assert f"Bearer {OPENAI_CREDENTIAL}" == request.headers["authorization"]


@pytest.mark.parametrize("given", ["text", [1, 2, 3], ["a"], [[1]]], ids=repr)
def test_a_missing_usage_is_estimated(
    gateway: GatewayProcess, openai_scene: Scene, given: object
) -> None:
    openai_scene.script(reply(is_base64=False, vectors=VECTORS[:1], usage=None))
    body = {"model": openai_scene.model, "input": given}
    answer = exchange(f"{gateway.base_url}/embeddings", body, key=API_KEY)
    assert list(VECTORS[0]) == answer.json["data"][0]["embedding"]
    tokens = 3 if given == [1, 2, 3] else 1
    assert tokens == answer.json["usage"]["prompt_tokens"]
    assert openai_scene.model == answer.headers["x-one-api-deployment"]


@pytest.mark.parametrize(
    "scripted",
    [
        reply(is_base64=False, vectors=VECTORS),
        reply(is_base64=False, vectors=([],)),
        reply(is_base64=False, vectors=("not base64!",)),
        json_reply(200, {"data": [{}]}),
        json_reply(200, []),
    ],
    ids=["too many", "empty", "no base64", "no vector", "no object"],
)
def test_a_reply_without_the_vectors_is_a_502(
    gateway: GatewayProcess, openai_scene: Scene, scripted: Reply
) -> None:
    openai_scene.script(scripted)
    body = {"model": openai_scene.model, "input": "a", "encoding_format": "float"}
    answer = exchange(f"{gateway.base_url}/embeddings", body, key=API_KEY)
    assert (502, "upstream_invalid_response") == (answer.status, answer.error["code"])


def test_a_providers_refusal_is_told(client: openai.OpenAI, openai_scene: Scene) -> None:
    openai_scene.script(openai_error(400, "too long", code="context_length_exceeded"))
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=openai_scene.model, input="a")
    assert "context_length_exceeded" == caught.value.code


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [1, "a"]}, "input[1]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "model": None}, "model"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_request_names_its_field(
    gateway: GatewayProcess, fields: dict[str, object], param: str
) -> None:
    body = {"model": "openai/x", **fields}
    answer = exchange(f"{gateway.base_url}/embeddings", body, key=API_KEY)
    assert (400, param) == (answer.status, answer.error["param"])


@pytest.mark.parametrize("model", ["echo", CLAUDE_MODELS[0]])
def test_a_model_without_vectors_is_a_400(gateway: GatewayProcess, model: str) -> None:
    body = {"model": model, "input": "a"}
    answer = exchange(f"{gateway.base_url}/embeddings", body, key=API_KEY)
    assert (400, "model") == (answer.status, answer.error["param"])
    assert "embeddings" in answer.error["message"]
