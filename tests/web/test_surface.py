"""What the gateway shows: models, replies, health, and to whom."""

from __future__ import annotations

import asyncio
import re
from importlib.metadata import EntryPoint
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from openai.types import Model
from werkzeug.routing import Rule

from one_api import __version__
from one_api.adapter import Finish, ModelInfo, ReasoningDelta, Start, TextDelta
from one_api.converter import DONE
from one_api.discovery import GROUP
from one_api.errors import UpstreamRateLimited
from one_api.registry import ModelRegistry
from one_api.runtime import GatewayFlask
from one_api.web.guard import PUBLIC
from tests.adapters_in_test import ScriptedAdapter, context, registry_of
from tests.converter.digest import digest, facts
from tests.web.conftest import AUTH, KEY, MakeApp, keyed

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
            ModelInfo(id="m", owned_by="test", created=1_790_000_000, context_window=8_192),
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


def requests_for(app: GatewayFlask) -> list[tuple[str, str, str]]:
    """Endpoint, method and path of everything that `app` routes."""

    def path(rule: Rule) -> str:
        return re.sub(r"<(?:\w+:)?\w+>", "x", rule.rule)

    return [
        (rule.endpoint, method, path(rule))
        for rule in app.url_map.iter_rules()
        for method in sorted(rule.methods or ())
    ]


class TestAccess:
    def test_every_route_needs_a_key_unless_it_is_public(self, make_app: MakeApp) -> None:
        """Deny by default: a route added tomorrow is closed until somebody opens it."""
        adapter = ScriptedAdapter()
        app = make_app(registry_of(a=adapter), passthrough_enabled=True)
        client = app.test_client()

        open_to_all = {
            endpoint
            for endpoint, method, path in requests_for(app)
            if method != "OPTIONS" and client.open(path, method=method).status_code != 401
        }

        assert PUBLIC == open_to_all
        assert (0, []) == (adapter.listings, adapter.calls)

    def test_options_tell_the_methods_and_nothing_else(self, make_app: MakeApp) -> None:
        app = make_app(passthrough_enabled=True)
        client = app.test_client()

        for _, method, path in requests_for(app):
            if method == "OPTIONS":
                response = client.options(path)
                assert (200, b"") == (response.status_code, response.data)
                assert "OPTIONS" in response.headers["Allow"]

    def test_public_endpoints_exist(self, make_app: MakeApp) -> None:
        assert PUBLIC <= make_app().view_functions.keys()

    def test_head_is_get_without_a_body(self, client: FlaskClient) -> None:
        head, get = client.head("/v1/models"), client.get("/v1/models")

        assert (200, b"") == (head.status_code, head.data)
        assert get.headers["Content-Length"] == head.headers["Content-Length"]

    def test_open_gateway_asks_for_no_key(self, make_app: MakeApp) -> None:
        app = make_app(api_keys=())

        assert 200 == app.test_client().get("/v1/models").status_code

    @pytest.mark.parametrize("key", ["sk-first-key", "sk-second-key"])
    def test_each_key_is_good(self, make_app: MakeApp, key: str) -> None:
        client = make_app(api_keys="sk-first-key,sk-second-key").test_client()

        response = client.get("/v1/models", headers={"Authorization": f"bearer {key}"})

        assert 200 == response.status_code


class TestPrefix:
    @pytest.mark.parametrize("prefix", ["/openai/v1", "v2", "/a.b-c_d/"])
    def test_routes_move_with_it(self, make_app: MakeApp, prefix: str) -> None:
        client = keyed(make_app(api_prefix=prefix))
        path = f"/{prefix.strip('/')}"

        assert 200 == client.get(f"{path}/models").status_code
        assert 200 == client.post(f"{path}/chat/completions", json=HI).status_code
        assert 200 == client.get("/health").status_code
        assert 404 == client.get("/v1/models").status_code


class TestLimits:
    def test_so_many_requests_then_429(self, make_app: MakeApp) -> None:
        client = keyed(make_app(rate_limit_enabled=True, rate_limit_requests=2))

        responses = [client.get("/v1/models") for _ in range(4)]

        assert [200, 200, 429, 429] == [response.status_code for response in responses]
        assert ["1", "0", "0", "0"] == [
            response.headers["x-ratelimit-remaining-requests"] for response in responses
        ]
        refused = responses[-1]
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert "rate_limit_exceeded" == refused.get_json()["error"]["code"]

    def test_keys_have_limits_of_their_own(self, make_app: MakeApp) -> None:
        keys = ("sk-first-key", "sk-second-key")
        client = make_app(
            api_keys=",".join(keys), rate_limit_enabled=True, rate_limit_requests=1
        ).test_client()

        told = [
            client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code
            for key in keys * 2
        ]

        assert [200, 200, 429, 429] == told

    def test_what_never_reaches_a_view_is_not_counted(self, make_app: MakeApp) -> None:
        client = make_app(rate_limit_enabled=True, rate_limit_requests=1).test_client()
        for _ in range(3):
            client.get("/health")
            client.get("/v1/models")
            client.get("/nothing")
            client.options("/v1/models")

        assert 200 == client.get("/v1/models", headers=AUTH).status_code

    def test_streams_tell_the_limit_too(self, make_app: MakeApp) -> None:
        client = keyed(make_app(rate_limit_enabled=True, rate_limit_requests=2))

        response = client.post(CHAT, json={**HI, "stream": True})

        assert "1" == response.headers["x-ratelimit-remaining-requests"]
        assert response.data.endswith(DONE)


class TestDrain:
    @pytest.fixture
    def leaving(self, make_app: MakeApp) -> FlaskClient:
        app = make_app(drain_timeout_s=30)
        loop = asyncio.new_event_loop()
        app.drain.begin(loop)
        loop.close()
        return keyed(app)

    def test_new_work_is_refused(self, leaving: FlaskClient) -> None:
        response = leaving.post(CHAT, json=HI)

        assert (503, "1") == (response.status_code, response.headers["Retry-After"])
        assert "server_is_shutting_down" == response.get_json()["error"]["code"]
        assert "close" == response.headers["Connection"]

    def test_it_is_alive_but_not_ready(self, leaving: FlaskClient) -> None:
        ready = leaving.get("/health/ready")

        assert (503, "draining") == (ready.status_code, ready.get_json()["status"])
        assert 200 == leaving.get("/health").status_code


APP, OTHER = "https://app.example", "https://other.example"


class TestCORS:
    @pytest.mark.parametrize(
        ("allowed", "origin", "told"),
        [
            ("", APP, None),
            (APP, APP, APP),
            (APP, OTHER, None),
            (APP, f"{APP}.evil.example", None),
            (APP, "http://app.example", None),
            (APP, "https://xapp.example", None),
            (APP, "null", None),
            (f"{APP},{OTHER}", OTHER, OTHER),
            ("*", APP, APP),
            ("https://a.example", "https://a-example", None),
        ],
    )
    @pytest.mark.parametrize("kind", ["plain", "preflight", "error", "stream"])
    def test_origin_is_allowed_by_name_only(
        self, make_app: MakeApp, allowed: str, origin: str, told: str | None, kind: str
    ) -> None:
        client = keyed(make_app(cors_origins=allowed))
        headers = {"Origin": origin}
        if kind == "preflight":
            asked = {"Access-Control-Request-Method": "POST"}
            response = client.options(CHAT, headers={**headers, **asked})
        elif kind == "stream":
            response = client.post(CHAT, json={**HI, "stream": True}, headers=headers)
            assert response.data.endswith(DONE)
        else:
            response = client.get("/v1/models" if kind == "plain" else CHAT, headers=headers)

        assert told == response.headers.get("Access-Control-Allow-Origin")
        assert "Access-Control-Allow-Credentials" not in response.headers

    def test_preflight_needs_no_key_and_allows_what_clients_send(self, make_app: MakeApp) -> None:
        client = make_app(cors_origins=APP).test_client()

        response = client.options(
            CHAT,
            headers={
                "Origin": APP,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization, content-type, x-stainless-os",
            },
        )

        assert 200 == response.status_code
        allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
        assert {"authorization", "content-type", "x-stainless-os"} == set(allowed)
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert "600" == response.headers["Access-Control-Max-Age"]

    def test_browser_apps_may_read_the_request_id(self, make_app: MakeApp) -> None:
        response = keyed(make_app(cors_origins=APP)).get("/v1/models", headers={"Origin": APP})

        exposed = response.headers["Access-Control-Expose-Headers"].lower().split(", ")
        assert {"x-request-id", "retry-after"} <= set(exposed)


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
