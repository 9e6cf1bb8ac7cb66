"""What the gateway shows: models, replies, health, and to whom."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from openai.types import Model

from one_api import __version__
from one_api.adapter import Finish, ModelInfo, ReasoningDelta, Start, TextDelta
from one_api.converter import DONE
from one_api.discovery import GROUP
from one_api.errors import UpstreamRateLimited
from one_api.registry import ModelRegistry
from tests.adapters_in_test import ScriptedAdapter, context, registry_of
from tests.converter.digest import digest, facts
from tests.web.conftest import KEY, MakeApp, keyed

CHAT = "/v1/chat/completions"
HI: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


class TestReplies:
    def test_complete_reply(self, client: FlaskClient) -> None:
        response = client.post(CHAT, json={**HI, "seed": 1})

        assert (200, "application/json") == (response.status_code, response.content_type)
        assert "Hello" == response.get_json()["choices"][0]["message"]["content"]
        assert "a/m" == response.headers["x-one-api-deployment"]
        assert "seed" == response.headers["x-one-api-dropped-params"]

    def test_streamed_reply(self, client: FlaskClient) -> None:
        """Asked for by the body: the SDK sends the same `Accept` either way."""
        body = {**HI, "stream": True, "seed": 1}

        response = client.post(CHAT, json=body, headers={"Accept": "application/json"})

        assert "text/event-stream; charset=utf-8" == response.content_type
        assert ("no-cache", "no") == (
            response.headers["Cache-Control"],
            response.headers["X-Accel-Buffering"],
        )
        assert "seed" == response.headers["x-one-api-dropped-params"]
        assert "Hello" == facts(digest(response.data))["choices"][0]["message"]["content"]

    def test_error_after_content_ends_the_stream(self, make_app: MakeApp) -> None:
        adapter = ScriptedAdapter([Start(), TextDelta("Hel"), UpstreamRateLimited("slow")])

        response = keyed(make_app(registry_of(a=adapter))).post(CHAT, json={**HI, "stream": True})

        assert 200 == response.status_code
        assert b"rate_limit_exceeded" in response.data.split(b"\n\n")[-2]
        assert DONE not in response.data

    def test_every_response_says_who_and_how_long(self, client: FlaskClient) -> None:
        for response in (client.post(CHAT, json=HI), client.get("/nothing"), client.get("/health")):
            assert "2020-10-01" == response.headers["openai-version"]
            assert response.headers["openai-processing-ms"].isdigit()
            assert "nosniff" == response.headers["X-Content-Type-Options"]
            assert "Set-Cookie" not in response.headers


class TestRequestIds:
    @pytest.mark.parametrize("given", ["a", "req_1", "A-z.0:9_", "x" * 64])
    def test_sound_id_is_kept(self, client: FlaskClient, given: str) -> None:
        response = client.get("/health", headers={"x-request-id": given})

        assert given == response.headers["x-request-id"]

    @pytest.mark.parametrize("given", ["", "a b", "x" * 65, "é", "a/b", "<script>", 'a"b'])
    def test_any_other_is_replaced(self, client: FlaskClient, given: str) -> None:
        response = client.get("/health", headers={"x-request-id": given})

        assert re.fullmatch(r"req_[A-Za-z0-9]{32}", response.headers["x-request-id"])

    def test_no_two_are_alike(self, client: FlaskClient) -> None:
        assert 20 == len({client.get("/health").headers["x-request-id"] for _ in range(20)})

    def test_adapter_is_told(self, make_app: MakeApp) -> None:
        adapter = ScriptedAdapter()

        keyed(make_app(registry_of(a=adapter))).post(CHAT, json=HI, headers={"x-request-id": "r"})

        assert ["r"] == [call.request_id for call in adapter.calls]


class TestModels:
    def registry(self) -> ModelRegistry:
        adapter = ScriptedAdapter()
        adapter.models = [
            ModelInfo(
                id="m",
                owned_by="test",
                created=1_790_000_000,
                context_window=8_192,
                details={"parameters": 7},
            ),
            ModelInfo(id="org/name:tag", owned_by="test", display_name="Name"),
        ]
        return registry_of(a=adapter)

    def test_list(self, make_app: MakeApp) -> None:
        body = keyed(make_app(self.registry())).get("/v1/models").get_json()

        assert {
            "id": "m",
            "object": "model",
            "created": 1_790_000_000,
            "owned_by": "test",
            "type": "model",
            "display_name": "m",
            "created_at": "2026-09-21T14:13:20Z",
            "adapter": "a",
            "context_window": 8_192,
            "details": {"parameters": 7},
        } == body.pop("data")[0]
        assert {
            "object": "list",
            "has_more": False,
            "first_id": "m",
            "last_id": "org/name:tag",
        } == body

    def test_list_of_nothing(self, make_app: MakeApp) -> None:
        body = keyed(make_app(registry_of())).get("/v1/models").get_json()

        assert ([], None, None) == (body["data"], body["first_id"], body["last_id"])

    @pytest.mark.parametrize(
        "path", ["m", "a/m", "a%2Fm", "org/name:tag", "org%2Fname:tag", "a/org/name:tag"]
    )
    def test_one(self, make_app: MakeApp, path: str) -> None:
        response = keyed(make_app(self.registry())).get(f"/v1/models/{path}")

        assert 200 == response.status_code
        model = Model.model_validate(response.get_json())
        assert path.replace("%2F", "/") == model.id

    def test_slash_at_the_end_does_not_matter(self, client: FlaskClient) -> None:
        assert 200 == client.get("/v1/models/").status_code


class TestHealth:
    def test_index_names_every_route(self, client: FlaskClient) -> None:
        body = client.get("/").get_json()

        assert ("one_api", __version__) == (body["name"], body["version"])
        assert {
            "GET /",
            "GET /health",
            "GET /health/ready",
            "GET /v1/models",
            "GET /v1/models/{id}",
            "POST /v1/chat/completions",
        } <= set(body["endpoints"])

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("path", ["/", "/health", "/health/ready"])
    def test_anybody_may_ask(self, make_app: MakeApp, path: str, method: str) -> None:
        assert 200 == make_app().test_client().open(path, method=method).status_code

    @pytest.mark.parametrize("path", ["/", "/health", "/health/ready"])
    def test_nothing_secret_is_told(self, make_app: MakeApp, path: str) -> None:
        text = make_app().test_client().get(path).text

        assert KEY not in text
        assert '"m"' not in text

    def test_health_asks_no_provider(self, make_app: MakeApp) -> None:
        adapter = ScriptedAdapter()
        client = make_app(registry_of(a=adapter)).test_client()

        for path in ("/", "/health", "/health/ready"):
            client.get(path)

        assert (0, []) == (adapter.listings, adapter.life)

    def test_missing_adapter_is_not_ready_but_alive(self, make_app: MakeApp) -> None:
        registry = ModelRegistry()
        registry.load(environment={}, context=context, found=(), allowed=["ghost"])
        client = make_app(registry).test_client()

        response = client.get("/health/ready")

        assert (503, "not ready") == (response.status_code, response.get_json()["status"])
        (told,) = response.get_json()["adapters"]
        assert ("ghost", "failed", True, 0) == (
            told["name"],
            told["state"],
            told["required"],
            told["models"],
        )
        assert 200 == client.get("/health").status_code

    def test_adapter_nobody_asked_for_does_not_matter(self, make_app: MakeApp) -> None:
        registry = ModelRegistry()
        broken = EntryPoint("broken", "no_such_module:Adapter", GROUP)
        registry.load(environment={}, context=context, found=(broken,))

        response = make_app(registry).test_client().get("/health/ready")

        assert 200 == response.status_code
        assert "failed" == response.get_json()["adapters"][0]["state"]


def test_default_model_and_reasoning_field_come_from_the_settings(make_app: MakeApp) -> None:
    steps = [Start(), ReasoningDelta("hm"), TextDelta("x"), Finish("stop")]
    client = keyed(
        make_app(
            registry_of(a=ScriptedAdapter(steps)), default_model="m", reasoning_field="reasoning"
        )
    )

    message = client.post(CHAT, json={"messages": HI["messages"]}).get_json()["choices"][0][
        "message"
    ]

    assert ("hm", None) == (message["reasoning"], message.get("reasoning_content"))


def test_bodies_are_not_echoed_by_the_gateway_itself(client: FlaskClient) -> None:
    """What is told of a wrong value is its place and type."""
    body = {**HI, "temperature": "my-private-words"}

    assert "my-private-words" not in client.post(CHAT, data=orjson.dumps(body)).text
