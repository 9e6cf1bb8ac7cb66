"""Who may ask what, how often, and from where."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from one_api.converter import DONE
from one_api.runtime import GatewayFlask
from one_api.web.guard import PUBLIC
from tests.adapters_in_test import ScriptedAdapter, registry_of
from tests.web.conftest import AUTH, MakeApp, keyed

CHAT = "/v1/chat/completions"
HI: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


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
            if method != "OPTIONS"
            and client.open(path, method=method).status_code not in (401, 403)
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

    @pytest.mark.parametrize("kind", ["read", "preflight", "refused"])
    def test_pages_of_other_origins_cannot_administrate(self, make_app: MakeApp, kind: str) -> None:
        client = make_app(cors_origins="*", admin_key="admin-0123456789abcdef").test_client()
        key = "wrong" if kind == "refused" else "admin-0123456789abcdef"
        headers = {"Origin": APP, "Authorization": f"Bearer {key}"}
        if kind == "preflight":
            asked = {"Access-Control-Request-Method": "GET"}
            response = client.options("/admin/deployments", headers={**headers, **asked})
        else:
            response = client.get("/admin/deployments", headers=headers)

        assert (401 if kind == "refused" else 200) == response.status_code
        assert [] == [name for name, _ in response.headers if "access-control" in name.lower()]

    def test_browser_apps_may_read_the_request_id(self, make_app: MakeApp) -> None:
        response = keyed(make_app(cors_origins=APP)).get("/v1/models", headers={"Origin": APP})

        exposed = response.headers["Access-Control-Expose-Headers"].lower().split(", ")
        assert {"x-request-id", "retry-after"} <= set(exposed)
