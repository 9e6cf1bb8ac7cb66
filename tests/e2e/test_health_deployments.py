"""How deployments stand, for the operator; and what finds out without a client that one is back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typing_extensions import override

from one_api.adapter import UpstreamServerError
from one_api.adapter.clock import SystemClock
from one_api.app import create_app, new_upstream
from one_api.deployment import Deployment
from one_api.probing import Prober
from one_api.provision import load_registry
from one_api.registry import ModelRegistry
from one_api.routing import Router, RoutingEvent
from one_api.runtime import Drain
from one_api.settings import Settings
from tests.e2e.account_scenes import ADMIN_KEY, bearer
from tests.e2e.failover_scenes import ALONE, PAIR, chat, whole, world, written
from tests.routing.worlds import SetClock
from tests.scripted_upstream import (
    CHAT_PATH,
    MODELS_PATH,
    Reply,
    ScriptedUpstream,
    models_reply,
    openai_error,
)

ROOT = Path(__file__).parents[2]
PATH = "/health/deployments"
BROKEN = openai_error(500, "broken")


class TestReport:
    async def test_it_tells_what_is_out_since_when_and_why(self, tmp_path: Path) -> None:
        async with world(tmp_path, PAIR, admin_key=ADMIN_KEY) as gateway:
            gateway.script(a=BROKEN, b=whole())
            for _ in range(5):
                assert 200 == (await gateway.ask(chat())).status
            answer = await gateway.ask(b"", PATH, method="GET", **bearer(ADMIN_KEY))

        assert (200, "no-store") == (answer.status, answer.headers["cache-control"])
        report = answer.json
        assert ("degraded", "off", "off") == (
            report["status"], report["storage"], report["redis"],
        )  # fmt: skip
        a, b = sorted(report["deployments"], key=lambda row: str(row["name"]))
        assert ("a/m", False, "open", 5) == (a["name"], a["available"], a["breaker"], a["failures"])
        assert ("upstream_server_error", 0) == (a["last_error"]["code"], a["in_flight"])
        assert a["since"] >= a["last_error"]["at"][:19]
        assert ("b/m", True, "closed", 5) == (
            b["name"],
            b["available"],
            b["breaker"],
            b["requests"],
        )
        assert (None, None) == (b["last_error"], b["since"])
        assert b["whole_reply_ms"] >= 0

    async def test_it_is_down_when_nobody_is_left(self, tmp_path: Path) -> None:
        async with world(tmp_path, ALONE, admin_key=ADMIN_KEY) as gateway:
            before = await gateway.ask(b"", PATH, method="GET", **bearer(ADMIN_KEY))
            gateway.script(a=BROKEN)
            for _ in range(5):
                await gateway.ask(chat())
            after = await gateway.ask(b"", PATH, method="GET", **bearer(ADMIN_KEY))
        assert ("ok", []) == (before.json["status"], before.json["deployments"])
        assert "down" == after.json["status"]

    async def test_the_database_is_told(self, tmp_path: Path) -> None:
        settings = {"admin_key": ADMIN_KEY, "database_url": f"sqlite:///{tmp_path}/one.db"}
        async with world(tmp_path, ALONE, **settings) as gateway:
            answer = await gateway.ask(b"", PATH, method="GET", **bearer(ADMIN_KEY))
        assert "ok" == answer.json["storage"]

    @pytest.mark.parametrize("key", [None, "a-key-of-a-caller", "wrong"])
    async def test_it_is_for_the_operator_only(self, key: str | None, tmp_path: Path) -> None:
        async with world(tmp_path, ALONE, admin_key=ADMIN_KEY) as gateway:
            headers = {"authorization": ""} if key is None else bearer(key)
            answer = await gateway.ask(b"", PATH, method="GET", **headers)
        assert 401 == answer.status
        assert "deployments" not in answer.json


class HandClock(SystemClock):
    """A monotonic clock that stands still unless told otherwise."""

    def __init__(self, clock: SetClock) -> None:
        self._clock = clock

    @override
    def monotonic_s(self) -> float:
        return self._clock.now_s


class Probed:
    """A registry with one provider, a router, and a prober, by a clock that is set by hand."""

    def __init__(
        self, directory: Path, provider: ScriptedUpstream, interval_s: float, file: str = ALONE
    ) -> None:
        path = written(directory, file, {"a": provider.url})
        settings = Settings(upstreams_file=path, database_url="none", one_api_adapters="openai")
        self.upstream = new_upstream()
        self.registry: ModelRegistry = load_registry(settings, self.upstream)
        self.clock = SetClock()
        self.events: list[RoutingEvent] = []
        self.router = Router(clock=self.clock, observe=self.events.append)
        self.drain = Drain(1)
        self.prober = Prober(
            self.registry, self.router, interval_s, self.drain, clock=HandClock(self.clock)
        )

    async def __aenter__(self) -> Probed:
        await self.upstream.open()
        await self.registry.start()
        (self.deployment,) = await self.registry.deployments_for("m")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.registry.close()
        await self.upstream.close()

    deployment: Deployment

    def fail(self, times: int = 5) -> None:
        """Requests of clients that the provider fails to answer."""
        for _ in range(times):
            trial = self.router.begin(self.deployment)
            assert trial is not None
            trial.fail(UpstreamServerError("broken"))

    async def look_after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.prober.look()

    @property
    def state(self) -> Any:
        return self.router.states([self.deployment])[0]


def provider_with(*lists: Reply) -> ScriptedUpstream:
    provider = ScriptedUpstream()
    provider.script(*lists, path=MODELS_PATH, repeat_last=True)
    return provider


class TestProbes:
    async def test_a_breaker_closes_without_a_client(self, tmp_path: Path) -> None:
        with provider_with(models_reply(["m"])) as provider:
            async with Probed(tmp_path, provider, 40) as probed:
                probed.fail()
                await probed.look_after(0)
                assert "open" == probed.state.breaker
                await probed.look_after(41)
                assert "closed" == probed.state.breaker
        assert ["opened", "half_opened", "closed"] == [event.kind for event in probed.events]
        assert [MODELS_PATH] == [request.path for request in provider.requests]
        assert None is probed.state.whole_reply_latency_s

    async def test_a_breaker_stays_open_while_the_provider_fails(self, tmp_path: Path) -> None:
        with provider_with(openai_error(503, "not yet"), models_reply(["m"])) as provider:
            async with Probed(tmp_path, provider, 40) as probed:
                probed.fail()
                await probed.look_after(0)
                await probed.look_after(41)
                assert "open" == probed.state.breaker
                await probed.look_after(41)  # the cooldown has doubled: nobody is asked
                assert 1 == len(provider.requests)
                await probed.look_after(41)
                assert "closed" == probed.state.breaker

    async def test_who_is_asked_by_clients_is_left_alone(self, tmp_path: Path) -> None:
        with provider_with(models_reply(["m"])) as provider:
            async with Probed(tmp_path, provider, 40) as probed:
                for _ in range(5):
                    await probed.look_after(20)
                    trial = probed.router.begin(probed.deployment)
                    assert trial is not None
                    trial.succeed()
                assert [] == provider.requests
                trial = probed.router.begin(probed.deployment)
                assert trial is not None
                await probed.look_after(0)
                await probed.look_after(100)  # one is still being answered
                assert [] == provider.requests
                trial.succeed()
                await probed.look_after(0)
                assert 1 == len(provider.requests)

    async def test_an_outage_is_found_before_a_client_finds_it(self, tmp_path: Path) -> None:
        with provider_with(openai_error(503, "down")) as provider:
            async with Probed(tmp_path, provider, 40) as probed:
                await probed.look_after(0)
                for _ in range(5):
                    await probed.look_after(40)
                assert "open" == probed.state.breaker
        assert {MODELS_PATH} == {request.path for request in provider.requests}

    async def test_nobody_is_asked_while_the_gateway_drains(self, tmp_path: Path) -> None:
        with provider_with(models_reply(["m"])) as provider:
            async with Probed(tmp_path, provider, 40) as probed:
                await probed.look_after(0)
                probed.drain.is_draining = True
                await probed.look_after(100)
        assert [] == provider.requests

    @pytest.mark.parametrize("was_asked", [False, True], ids=["never asked", "asked before"])
    @pytest.mark.parametrize(
        ("group", "entry", "is_probed"),
        [
            ("", "", True),
            ("probe: false", "", False),
            ("probe: false", "probe: true", True),
            ("", "probe: false", False),
            ("probe: true", "probe: false", False),
        ],
    )
    async def test_the_file_says_who_is_left_alone(
        self, group: str, entry: str, is_probed: bool, was_asked: bool, tmp_path: Path
    ) -> None:
        file = f"groups: {{default: {{{group}}}}}\n" + ALONE.replace("[m]", f"[m], {entry}")
        with provider_with(models_reply(["m"])) as provider:
            async with Probed(tmp_path, provider, 40, file) as probed:
                if was_asked:
                    probed.fail(1)
                await probed.look_after(0)
                await probed.look_after(41)
        assert [MODELS_PATH] * is_probed == [request.path for request in provider.requests]

    async def test_a_gateway_probes_when_it_is_told_to(self, tmp_path: Path) -> None:
        async with world(tmp_path, ALONE, probe_interval_s=0.05) as gateway:
            await gateway["a"].until_requests(2)
        assert {MODELS_PATH} == {request.path for request in gateway["a"].requests}

    async def test_a_gateway_probes_nobody_by_itself(self, tmp_path: Path) -> None:
        async with world(tmp_path, ALONE) as gateway:
            gateway["a"].script(whole(), path=CHAT_PATH)
            await gateway.ask(chat())
        assert [CHAT_PATH] == [request.path for request in gateway["a"].requests]


class TestKubernetes:
    def documents(self) -> dict[str, Any]:
        text = (ROOT / "deploy/kubernetes.yml").read_text()
        return {document["kind"]: document for document in yaml.safe_load_all(text)}

    def container(self) -> Any:
        (container,) = self.documents()["Deployment"]["spec"]["template"]["spec"]["containers"]
        return container

    @pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
    def test_probes_ask_what_is_there_and_open(self, probe: str) -> None:
        asked = self.container()[probe]["httpGet"]
        app = create_app(Settings(database_url="none", one_api_adapters="echo"))
        adapter = app.url_map.bind("localhost")
        endpoint, _ = adapter.match(asked["path"], method="GET")
        wanted = "health.ready" if probe == "readinessProbe" else "health.alive"
        assert (wanted, "http") == (endpoint, asked["port"])

    def test_ports_and_labels_fit(self) -> None:
        documents, container = self.documents(), self.container()
        variables = {one["name"]: one["value"] for one in container["env"]}
        (port,) = container["ports"]
        assert int(variables["PORT"]) == port["containerPort"]
        assert port["name"] == documents["Service"]["spec"]["ports"][0]["targetPort"]
        labels = documents["Deployment"]["spec"]["template"]["metadata"]["labels"]
        assert labels == documents["Service"]["spec"]["selector"]
        assert labels == documents["Deployment"]["spec"]["selector"]["matchLabels"]

    def test_every_variable_is_a_setting_with_a_good_value(self) -> None:
        variables = {one["name"].lower(): one["value"] for one in self.container()["env"]}
        assert variables.keys() <= Settings.model_fields.keys()
        assert 30 == Settings(no_auth=True, **variables).drain_timeout_s

    def test_there_is_time_to_leave(self) -> None:
        pod = self.documents()["Deployment"]["spec"]["template"]["spec"]
        variables = {one["name"]: one["value"] for one in self.container()["env"]}
        sleep_s = int(self.container()["lifecycle"]["preStop"]["exec"]["command"][1])
        needed_s = sleep_s + float(variables["DRAIN_TIMEOUT_S"]) + 10
        assert pod["terminationGracePeriodSeconds"] >= needed_s

    def test_what_is_written_has_a_place(self) -> None:
        pod = self.documents()["Deployment"]["spec"]["template"]["spec"]
        mounted = {one["name"]: one["mountPath"] for one in self.container()["volumeMounts"]}
        assert {one["name"] for one in pod["volumes"]} == mounted.keys()
        assert {"/data", "/tmp"} == set(mounted.values())  # noqa: S108 - a mount, not a file
