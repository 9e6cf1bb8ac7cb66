"""What is below `/admin`: who gets in, what is shown there, and what reloading tells."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_cors import CORS
from typing_extensions import override

from one_api.counters.memory import MemoryCounters
from one_api.deployment import Timeouts
from one_api.errors import ConfigurationError, UpstreamRateLimited, UpstreamServerError
from one_api.policy.accounts import AccountBook, Limits
from one_api.policy.auth import AdminKey, ApiKey, KeyLimits, KeyRing
from one_api.policy.prices import PriceTable
from one_api.registry import ModelRegistry
from one_api.routing import Router
from one_api.runtime import Drain, GatewayFlask, Services, UploadPolicy
from one_api.upstreams import Upstreams
from one_api.upstreams_file import read_upstreams
from one_api.web.admin import admin_blueprint
from one_api.web.guard import Guard
from one_api.web.health import health_blueprint
from tests.adapters_in_test import ScriptedAdapter, context, registry_of
from tests.web.conftest import AUTH, KEY, MakeApp

ADMIN_KEY = "the-key-of-the-operator"
PATHS = [
    ("GET", "/admin/deployments"),
    ("GET", "/admin/upstreams"),
    ("GET", "/admin/route?model=m"),
    ("POST", "/admin/reload"),
]
STORED_PATHS = [
    ("GET", "/admin/keys"),
    ("POST", "/admin/keys"),
    ("GET", "/admin/keys/key_1"),
    ("PATCH", "/admin/keys/key_1"),
    ("POST", "/admin/keys/key_1/revoke"),
    ("POST", "/admin/keys/key_1/rotate"),
    ("GET", "/admin/requests"),
    ("GET", "/admin/requests/req_1"),
    ("GET", "/admin/usage"),
]


class RegistryServices(Services):
    """A registry that lives as long as the application."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    @override
    async def start(self) -> None:
        await self._registry.start()

    @override
    async def stop(self) -> None:
        await self._registry.close()


class Reloads:
    """Tells what it is given, and counts."""

    def __init__(self, outcome: list[str] | ConfigurationError) -> None:
        self.outcome = outcome
        self.count = 0

    async def __call__(self) -> list[str]:
        self.count += 1
        if isinstance(self.outcome, ConfigurationError):
            raise self.outcome
        return self.outcome


MakeAdmin = Callable[..., FlaskClient]


@pytest.fixture
def make_admin() -> Iterator[MakeAdmin]:
    """A client that has the admin key, of an application with these parts."""
    made: list[GatewayFlask] = []

    def make(
        registry: ModelRegistry | None = None,
        router: Router | None = None,
        *,
        reload: Reloads | None = None,
        admin: AdminKey | None = AdminKey(ADMIN_KEY),  # noqa: B008 - it never changes
        keys: tuple[str, ...] = (KEY,),
        limits: Limits | None = None,
    ) -> FlaskClient:
        registry = registry_of(a=ScriptedAdapter()) if registry is None else registry
        drain = Drain(1)
        app = GatewayFlask(__name__, services=RegistryServices(registry), drain=drain)
        book = AccountBook(MemoryCounters(), None, PriceTable(), limits or Limits())
        Guard(KeyRing(keys), book, drain, UploadPolicy(), admin=admin).install(app)
        app.register_blueprint(health_blueprint(registry, drain, version="0"))
        app.register_blueprint(admin_blueprint(registry, router or Router(), reload or Reloads([])))
        app.add_url_rule("/work", "work", lambda: "done")
        CORS(app, origins="*")
        made.append(app)
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {ADMIN_KEY}"
        return client

    yield make
    for app in made:
        app.close()


def registry_with(directory: Path, text: str) -> ModelRegistry:
    """A registry of the installed adapters and the upstreams of the file `text`."""
    path = directory / "upstreams.yaml"
    path.write_text(text)
    path.chmod(0o600)
    registry = ModelRegistry()
    registry.load(environment={}, context=context, allowed=["echo", "openai"])
    upstreams: Upstreams = read_upstreams(path, {}, timeouts=Timeouts())
    registry.set_upstreams(upstreams, context)
    return registry


POOL = """
aliases: {fast: m, "gpt-4*": [m, c-1]}
groups: {cheap: {strategy: lowest_cost}}
upstreams:
  - {name: eu, adapter: echo, models: [m], weight: 2, group: cheap, price: {input: 0.25, output: 2,
     tiers: [{above_input_tokens: 1000, input: 0.5, output: 3}]}}
  - {name: us, adapter: echo, models: [m, "c-*"], order: 1, context_window: 8192,
     timeouts: {first_content: 7}}
"""


class TestAccess:
    @pytest.mark.parametrize(("method", "path"), PATHS)
    @pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
    def test_admin_key_opens(
        self, make_admin: MakeAdmin, method: str, path: str, header: str
    ) -> None:
        client = make_admin()
        del client.environ_base["HTTP_AUTHORIZATION"]
        value = ADMIN_KEY if header == "x-api-key" else f"Bearer {ADMIN_KEY}"

        assert 200 == client.open(path, method=method, headers={header: value}).status_code

    @pytest.mark.parametrize(("method", "path"), STORED_PATHS)
    def test_without_a_database_it_says_so(
        self, make_admin: MakeAdmin, method: str, path: str
    ) -> None:
        response = make_admin().open(path, method=method)

        told = (response.status_code, response.get_json()["error"]["code"])
        assert (400, "nothing_is_stored") == told

    @pytest.mark.parametrize(("method", "path"), [*PATHS, *STORED_PATHS])
    def test_nothing_of_it_stays_in_caches(
        self, make_admin: MakeAdmin, method: str, path: str
    ) -> None:
        client = make_admin()

        admitted = client.open(path, method=method)
        refused = client.open(path, method=method, headers={"Authorization": ""})

        assert "no-store" == admitted.headers["Cache-Control"]
        assert "no-store" == refused.headers["Cache-Control"]

    @pytest.mark.parametrize(("method", "path"), [*PATHS, *STORED_PATHS])
    @pytest.mark.parametrize(
        "headers",
        [
            {"Authorization": ""},
            {"Authorization": f"Bearer {KEY}"},
            {"Authorization": f"Bearer {KEY}", "x-api-key": KEY},
            {"Authorization": f"Bearer {ADMIN_KEY[:-1]}"},
            {"Authorization": f"Bearer {ADMIN_KEY}x"},
            {"Authorization": f"Bearer {ADMIN_KEY.upper()}"},
            {"Authorization": ADMIN_KEY},
        ],
        ids=["none", "client's", "client's twice", "short", "long", "upper case", "no scheme"],
    )
    def test_nothing_else_does(
        self, make_admin: MakeAdmin, method: str, path: str, headers: dict[str, str]
    ) -> None:
        reload = Reloads([])

        response = make_admin(reload=reload).open(path, method=method, headers=headers)

        assert 401 == response.status_code
        assert "invalid_api_key" == response.get_json()["error"]["code"]
        assert ADMIN_KEY not in response.text
        assert 0 == reload.count

    @pytest.mark.parametrize(("method", "path"), [*PATHS, *STORED_PATHS])
    @pytest.mark.parametrize("keys", [(), (KEY,)], ids=["open gateway", "with keys"])
    def test_without_admin_key_nobody_administrates(
        self, make_admin: MakeAdmin, method: str, path: str, keys: tuple[str, ...]
    ) -> None:
        """Also from this machine: whoever may call an open gateway may not change it."""
        client = make_admin(admin=None, keys=keys)

        response = client.open(path, method=method, headers={"Authorization": f"Bearer {KEY}"})

        error = response.get_json()["error"]
        assert (403, "permission_denied") == (response.status_code, error["code"])
        assert "ADMIN_KEY" in error["message"]

    def test_admin_key_is_no_key_of_clients(self, make_admin: MakeAdmin) -> None:
        client = make_admin()

        assert 401 == client.get("/work").status_code
        assert 200 == client.get("/work", headers={"x-api-key": KEY}).status_code

    def test_admin_is_not_limited(self, make_admin: MakeAdmin) -> None:
        client = make_admin(limits=Limits(per_key=KeyLimits(requests_per_minute=1)))

        told = [client.get("/admin/upstreams") for _ in range(3)]

        assert [200, 200, 200] == [response.status_code for response in told]
        assert "x-ratelimit-limit-requests" not in told[0].headers
        work = [client.get("/work", headers={"x-api-key": KEY}).status_code for _ in range(2)]
        assert [200, 429] == work

    @pytest.mark.parametrize("method", ["GET", "OPTIONS"])
    def test_pages_of_other_origins_see_nothing(self, make_admin: MakeAdmin, method: str) -> None:
        client = make_admin()
        headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}

        shared = client.open("/work", method=method, headers={**headers, "x-api-key": KEY})
        told = client.open("/admin/deployments", method=method, headers=headers)

        assert "Access-Control-Allow-Origin" in shared.headers
        assert [] == [name for name, _ in told.headers if name.startswith("Access-Control-")]

    def test_key_is_compared_whole(self) -> None:
        key = AdminKey(ADMIN_KEY)

        caller = key.authenticate(ADMIN_KEY)

        assert (True, False) == (caller.is_admin, caller.may_route)
        assert ADMIN_KEY not in f"{key!r} {vars(key)!r} {caller!r}"


class TestKeyRing:
    @pytest.mark.parametrize("may_route", [False, True])
    @pytest.mark.parametrize("keys", [(), (KEY,)], ids=["open gateway", "with keys"])
    def test_callers_route_where_the_operator_lets_them(
        self, keys: tuple[str, ...], may_route: bool
    ) -> None:
        caller = KeyRing(keys, may_route=may_route).authenticate(KEY, fallback_id="address")

        assert caller is not None
        assert (may_route, False) == (caller.may_route, caller.is_admin)

    def test_replaced_keys_open_no_more(self, make_admin: MakeAdmin) -> None:
        ring = KeyRing(["sk-first-key"], may_route=True)
        ring.replace(["sk-second-key"])

        caller = ring.authenticate("sk-second-key", fallback_id="")

        assert caller is not None
        assert caller.may_route
        with pytest.raises(Exception, match="Incorrect API key"):
            ring.authenticate("sk-first-key", fallback_id="")

    def test_caller_may_nothing_by_default(self) -> None:
        caller = ApiKey("id")

        assert (False, False) == (caller.may_route, caller.is_admin)


def rows(response: Any) -> list[dict[str, Any]]:
    body = response.get_json()
    assert (200, "list") == (response.status_code, body["object"])
    data: list[dict[str, Any]] = body["data"]
    return data


class TestDeployments:
    def test_each_is_listed_once_with_its_models(
        self, make_admin: MakeAdmin, tmp_path: Path
    ) -> None:
        client = make_admin(registry_with(tmp_path, POOL))

        told = rows(client.get("/admin/deployments"))

        assert [
            ("eu/m", "cheap", 0, 2, ["m", "fast"]),
            ("us/m", "default", 1, 1, ["m", "fast"]),
            ("echo/echo", "default", 0, 1, ["echo"]),
        ] == [
            (row["name"], row["group"], row["order"], row["weight"], row["models"]) for row in told
        ]

    async def test_standing_and_waits_are_told(self, make_admin: MakeAdmin, tmp_path: Path) -> None:
        registry = registry_with(tmp_path, POOL)
        router = Router()
        for _ in range(5):
            trial = router.begin((await registry.deployments_for("us/m"))[0])
            assert trial is not None
            trial.fail(UpstreamServerError("no room"))

        healthy, broken, _ = rows(make_admin(registry, router).get("/admin/deployments"))

        assert ("closed", 0, None) == tuple(
            healthy[name] for name in ("breaker", "requests", "last_error_code")
        )
        assert ("open", 5, "upstream_server_error", "no room") == tuple(
            broken[name]
            for name in ("breaker", "failures", "last_error_code", "last_error_message")
        )
        assert (5, 120) == (
            healthy["timeouts"]["first_content_s"],
            healthy["last_timeouts"]["first_content_s"],
        )
        assert 7 == broken["timeouts"]["first_content_s"]


class TestUpstreams:
    def test_credentials_are_masked(self, make_admin: MakeAdmin, tmp_path: Path) -> None:
        text = """
upstreams:
  - {name: eu, adapter: openai, sk: sk-a-very-secret-key, endpoint: "http://127.0.0.1:9/v1",
     models: [m]}
"""
        registry = registry_with(tmp_path, text)

        response = make_admin(registry).get("/admin/upstreams")

        (row,) = rows(response)
        assert ("eu", "openai", "http://127.0.0.1:9/v1", "sk-…-key", ["m"]) == tuple(
            row[name] for name in ("name", "adapter", "endpoint", "credential", "models")
        )
        assert "very-secret" not in response.text

    def test_there_may_be_none(self, make_admin: MakeAdmin) -> None:
        assert [] == rows(make_admin().get("/admin/upstreams"))


class TestRoute:
    @pytest.mark.parametrize(
        ("model", "steps"),
        [
            ("m", [("eu/m", "offers the model"), ("us/m", "offers the model")]),
            (
                "fast",
                [
                    ("eu/m", "alias 'fast' leads to 'm'"),
                    ("us/m", "alias 'fast' leads to 'm'"),
                ],
            ),
            (
                "gpt-4.1",
                [
                    ("eu/m", "alias 'gpt-4*' leads to 'm'"),
                    ("us/m", "alias 'gpt-4*' leads to 'm'"),
                    ("us/c-1", "alias 'gpt-4*' leads to 'c-1'"),
                ],
            ),
            ("c-7", [("us/c-7", "pattern 'c-*'")]),
            ("us/anything", [("us/anything", "named with its upstream")]),
            ("echo", [("echo/echo", "offers the model")]),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_order_and_reasons(
        self, make_admin: MakeAdmin, tmp_path: Path, model: str, steps: list[tuple[str, str]]
    ) -> None:
        client = make_admin(registry_with(tmp_path, POOL))

        told = rows(client.get("/admin/route", query_string={"model": model}))

        assert steps == [(row["deployment"], row["because"]) for row in told]
        assert list(range(1, len(steps) + 1)) == [row["position"] for row in told]

    def test_each_step_tells_what_it_is_chosen_by(
        self, make_admin: MakeAdmin, tmp_path: Path
    ) -> None:
        client = make_admin(registry_with(tmp_path, POOL))

        first, second = rows(client.get("/admin/route?model=m"))

        assert ("cheap", "lowest_cost", 0, 2, None) == tuple(
            first[name] for name in ("group", "strategy", "order", "weight", "context_window")
        )
        assert ("0.25", "2", None) == tuple(
            first["price"][name] for name in ("input_usd", "output_usd", "reasoning_usd")
        )
        (tier,) = first["price"]["tiers"]
        assert (1_000, "0.5", "3", None) == tuple(
            tier[name]
            for name in ("above_input_tokens", "input_usd", "output_usd", "cached_input_usd")
        )
        assert (None, 8192) == (second["price"], second["context_window"])
        assert (7, 7) == (
            second["timeouts"]["first_content_s"],
            second["last_timeouts"]["first_content_s"],
        )

    async def test_skipped_ones_come_last_with_the_reason(
        self, make_admin: MakeAdmin, tmp_path: Path
    ) -> None:
        registry = registry_with(tmp_path, POOL)
        router = Router()
        trial = router.begin((await registry.deployments_for("m"))[0])
        assert trial is not None
        trial.fail(UpstreamRateLimited("slow down", retry_after_s=50))

        told = rows(make_admin(registry, router).get("/admin/route?model=m"))

        assert [("us/m", 1), ("eu/m", None)] == [
            (row["deployment"], row["position"]) for row in told
        ]
        assert told[0]["obstacle"] is None
        assert told[1]["obstacle"]
        assert 40 < told[1]["until_s"] <= 50

    async def test_last_resort_says_why_it_is_one(
        self, make_admin: MakeAdmin, tmp_path: Path
    ) -> None:
        registry = registry_with(tmp_path, POOL)
        router = Router()
        for _ in range(5):
            trial = router.begin((await registry.deployments_for("c-7"))[0])
            assert trial is not None
            trial.fail(UpstreamServerError("no room"))

        (only,) = rows(make_admin(registry, router).get("/admin/route?model=c-7"))

        assert ("us/c-7", 1) == (only["deployment"], only["position"])
        assert "last resort" in only["because"]
        assert only["obstacle"]
        assert only["until_s"] > 0

    @pytest.mark.parametrize(
        ("query", "status", "code"),
        [
            ("?model=no-such", 404, "model_not_found"),
            ("?model=", 400, "missing_required_parameter"),
            ("", 400, "missing_required_parameter"),
        ],
    )
    def test_model_must_be_known(
        self, make_admin: MakeAdmin, query: str, status: int, code: str
    ) -> None:
        response = make_admin().get(f"/admin/route{query}")

        assert (status, code) == (response.status_code, response.get_json()["error"]["code"])


class TestReload:
    def test_changes_are_told(self, make_admin: MakeAdmin) -> None:
        reload = Reloads(["upstream eu: removed", "aliases: changed fast"])

        response = make_admin(reload=reload).post("/admin/reload")

        assert (200, {"changes": reload.outcome}) == (response.status_code, response.get_json())
        assert 1 == reload.count

    def test_wrong_file_is_told_by_line_and_field(self, make_admin: MakeAdmin) -> None:
        wrong = ConfigurationError(
            "UPSTREAMS_FILE", "up.yaml:3: upstreams[1].weight: a number is expected"
        )

        response = make_admin(reload=Reloads(wrong)).post("/admin/reload")

        assert 400 == response.status_code
        error = response.get_json()["error"]
        assert "up.yaml:3: upstreams[1].weight" in error["message"]
        assert "invalid_configuration" == error["code"]

    def test_looking_does_not_reload(self, make_admin: MakeAdmin) -> None:
        reload = Reloads([])

        assert 405 == make_admin(reload=reload).get("/admin/reload").status_code
        assert 0 == reload.count


class ChangingServices(Services):
    """Reloads to what it is given."""

    def __init__(self, outcome: list[str] | ConfigurationError) -> None:
        self.reload_once = Reloads(outcome)

    @override
    async def start(self) -> None:
        """Nothing to start."""

    @override
    async def stop(self) -> None:
        """Nothing to stop."""

    @override
    async def reload(self) -> list[str]:
        return await self.reload_once()


class TestReloadOfTheApplication:
    def app(self, outcome: list[str] | ConfigurationError) -> GatewayFlask:
        return GatewayFlask(__name__, services=ChangingServices(outcome), drain=Drain(1))

    async def test_every_change_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")

        assert ["a: added", "b: removed"] == await self.app(["a: added", "b: removed"]).reload()

        assert [("INFO", "reloaded: a: added"), ("INFO", "reloaded: b: removed")] == [
            (record.levelname, record.message) for record in caplog.records
        ]

    async def test_failure_is_logged_and_raised(self, caplog: pytest.LogCaptureFixture) -> None:
        wrong = ConfigurationError("UPSTREAMS_FILE", "up.yaml:3: name: is taken")

        with pytest.raises(ConfigurationError):
            await self.app(wrong).reload_all()

        assert [("ERROR", f"nothing is reloaded: {wrong}")] == [
            (record.levelname, record.message) for record in caplog.records
        ]

    async def test_orphan_signals_no_stranger(self) -> None:
        """The number of a supervisor that ended may be that of any other program."""
        app = self.app([])
        app.supervisor_pid = os.getpid()  # a process that is there, and is not the parent
        caught: list[int] = []
        previous = signal.signal(signal.SIGHUP, lambda number, frame: caught.append(number))
        try:
            await app.reload_all()
        finally:
            signal.signal(signal.SIGHUP, previous)

        assert [] == caught


def test_deployments_that_no_list_tells_of_are_shown_once_asked(make_app: MakeApp) -> None:
    client = make_app(admin_key=ADMIN_KEY).test_client()
    body = {"model": "a/unlisted", "messages": [{"role": "user", "content": "Hi"}]}
    assert 200 == client.post("/v1/chat/completions", json=body, headers=AUTH).status_code

    told = client.get("/admin/deployments", headers={"x-api-key": ADMIN_KEY}).get_json()["data"]

    assert ["a/m", "a/unlisted"] == [one["name"] for one in told]
    assert ["a/unlisted"] == told[1]["models"]
