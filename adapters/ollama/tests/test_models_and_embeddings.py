from __future__ import annotations

from typing import Any

import pytest

from adapters.ollama.tests.scripted import Scripted, as_json, connect
from one_api.adapter import (
    Call,
    ContextWindowExceeded,
    CredentialRejected,
    EmbeddingRequest,
    Embeddings,
    GatewayError,
    InvalidRequest,
    ModelInfo,
    ModelNotFound,
    SupportsEmbeddings,
    UnsupportedParameter,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamServerError,
)

LIST = as_json(
    {
        "models": [
            {
                "name": "qwen3:latest",
                "model": "qwen3:latest",
                "modified_at": "2025-10-03T23:34:03.409490317-07:00",
                "size": 5225388164,
                "details": {"family": "qwen3"},
            },
            {"name": "acme/coder:7b", "modified_at": "yesterday"},
            {"name": ""},
            "odd",
        ]
    }
)


class TestModels:
    async def test_list(self) -> None:
        adapter, script = connect(LIST, OLLAMA_KEEP_ALIVE="5m")

        assert [
            ModelInfo(id="qwen3:latest", owned_by="ollama", created=1759559643),
            ModelInfo(id="acme/coder:7b", owned_by="ollama"),
        ] == await adapter.list_models()
        assert [("/api/tags", None)] == script.asked

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ("qwen3:latest", "qwen3:latest"),
            ("qwen3", "qwen3:latest"),
            ("acme/coder:7b", "acme/coder:7b"),
        ],
    )
    async def test_a_name_without_a_tag_means_the_latest(self, asked: str, found: str) -> None:
        adapter, _ = connect(LIST, LIST)

        assert found == (await adapter.get_model_info(asked)).id

    @pytest.mark.parametrize("asked", ["qwen3:8b", "acme/coder", "gemma3"])
    async def test_a_model_that_was_not_pulled_is_not_there(self, asked: str) -> None:
        adapter, _ = connect(LIST, LIST)

        with pytest.raises(ModelNotFound, match=asked):
            await adapter.get_model_info(asked)

    @pytest.mark.parametrize("body", [[], {}, {"models": {}}, "odd"], ids=str)
    async def test_no_list_is_an_error(self, body: object) -> None:
        adapter, _ = connect(as_json(body))

        with pytest.raises(UpstreamInvalidResponse):
            await adapter.list_models()


def asked(**fields: Any) -> EmbeddingRequest:
    return EmbeddingRequest.from_wire({"model": "public", "input": ["a", "b"], **fields})


TWO = as_json({"embeddings": [[0.6, 0.8], [1, 0]], "prompt_eval_count": 4})


class TestEmbeddings:
    async def test_one_vector_for_each_text(self) -> None:
        adapter, script = connect(TWO)

        assert isinstance(adapter, SupportsEmbeddings)
        expected = Embeddings(vectors=[[0.6, 0.8], [1, 0]], prompt_tokens=4)
        assert expected == await adapter.embed(asked(), Call(model="nomic"))
        body = {"model": "nomic", "input": ["a", "b"], "truncate": False}
        assert [("/api/embed", body)] == script.asked

    async def test_all_that_may_be_asked(self) -> None:
        adapter, script = connect(as_json({"embeddings": [[1, 0]]}), OLLAMA_KEEP_ALIVE="60")
        told = await adapter.embed(asked(input="a", dimensions=2), Call(model="nomic"))

        assert Embeddings(vectors=[[1, 0]]) == told
        body = {
            "model": "nomic",
            "input": ["a"],
            "truncate": False,
            "dimensions": 2,
            "keep_alive": 60,
        }
        assert [("/api/embed", body)] == script.asked

    async def test_tokens_are_refused_unasked(self) -> None:
        adapter, script = connect()

        with pytest.raises(UnsupportedParameter) as caught:
            await adapter.embed(asked(input=[1, 2]), Call(model="nomic"))
        assert ("input", []) == (caught.value.param, script.asked)

    async def test_dimensions_in_vain_are_refused(self) -> None:
        adapter, _ = connect(TWO)

        with pytest.raises(UnsupportedParameter, match="have 2 dimensions") as caught:
            await adapter.embed(asked(dimensions=3), Call(model="nomic"))
        assert "dimensions" == caught.value.param

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            (as_json({"error": "the input length exceeds the context length"}, 400),
             ContextWindowExceeded),
            (as_json({"error": "model 'nomic' not found"}, 404), ModelNotFound),
            (as_json({"embeddings": [[1]]}), UpstreamInvalidResponse),
            (as_json({"embeddings": [[1], []]}), UpstreamInvalidResponse),
            (as_json({"embeddings": None}), UpstreamInvalidResponse),
            (as_json([]), UpstreamInvalidResponse),
            (Scripted(b"<html>"), UpstreamInvalidResponse),
        ],
        ids=["too long", "no model", "too few", "empty", "none", "array", "page"],
    )  # fmt: skip
    async def test_errors(self, reply: Scripted, error: type[GatewayError]) -> None:
        adapter, _ = connect(reply)

        with pytest.raises(error):
            await adapter.embed(asked(), Call(model="nomic"))


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (400, "registry.ollama.ai/library/gemma3:latest does not support tools", InvalidRequest),
        (400, "invalid format", InvalidRequest),
        (401, "unauthorized", CredentialRejected),
        (404, "model 'x' not found", ModelNotFound),
        (
            500,
            "model requires more system memory (18.2 GiB) than is available",
            UpstreamServerError,
        ),
        (
            503,
            "server busy, please try again.  maximum pending requests exceeded",
            UpstreamOverloaded,
        ),
    ],
)
def test_a_refusal_has_the_class_of_its_status(
    status: int, text: str, error: type[GatewayError]
) -> None:
    adapter, _ = connect()
    told = adapter.error_from_wire(status, {}, as_json({"error": text}).body)

    assert isinstance(told, error)
    assert (text in told.message) is (status != 401)
