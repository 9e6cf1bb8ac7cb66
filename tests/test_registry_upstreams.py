"""The operator's upstreams in the registry: built, told, replaced while streams run."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from pydantic import Field, SecretStr
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    AdapterSettings,
    BaseModelAdapter,
    Call,
    ChatCompletionRequest,
    ConfigurationError,
    Event,
    ModelInfo,
    TextDelta,
    Timeouts,
    UpstreamSettings,
    UpstreamUnreachable,
)
from one_api.deployment import Group
from one_api.discovery import GROUP
from one_api.errors import ModelNotFound, NoDeploymentAvailable
from one_api.inventory import UpstreamsDiff, masked
from one_api.registry import ModelRegistry
from one_api.upstreams import UpstreamEntry, Upstreams
from tests.adapters_in_test import asked, context, running

KEY = "sk-credential-of-the-operator"


class PluginSettings(AdapterSettings):
    api_key: SecretStr | None = Field(default=None, validation_alias="PLUGIN_API_KEY")
    base_url: str = Field(default="https://plugin.example/v1", validation_alias="PLUGIN_BASE_URL")
    #: How the adapter behaves.
    mood: str = Field(default="good", pattern="^[a-z-]+$", validation_alias="PLUGIN_MOOD")

    @override
    def is_configured(self) -> bool:
        return self.api_key is not None


class Plugin(BaseModelAdapter):
    """An adapter of an installed package that nothing in the environment configures."""

    Settings = PluginSettings
    is_default_upstream = True
    #: Every instance, in the order of their making.
    made: ClassVar[list[Plugin]] = []
    settings: PluginSettings

    def __init__(self, settings: AdapterSettings, context: AdapterContext) -> None:
        super().__init__(settings, context)
        if self.settings.mood == "raising":
            raise RuntimeError(f"cannot use {self.settings.api_key}, which is {KEY}")
        self.life: list[str] = []
        self.listings = 0
        self.may_go_on = asyncio.Event()
        self.may_list = asyncio.Event()
        Plugin.made.append(self)

    @override
    @classmethod
    def providers(cls) -> Sequence[str]:
        return ("acme", "other")

    @override
    @classmethod
    def build_upstream(
        cls, name: str, upstream: UpstreamSettings, context: AdapterContext
    ) -> BaseModelAdapter:
        if upstream.options.get("mood") == "odd":
            return "no adapter"  # type: ignore[return-value]  # a plugin's mistake
        return super().build_upstream(name, upstream, context)

    @override
    async def start(self) -> None:
        self.life.append("start")
        if self.settings.mood == "unwilling":
            raise RuntimeError(f"no, {KEY}")

    @override
    async def close(self) -> None:
        self.life.append("close")

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        self.listings += 1
        if self.settings.mood == "silent":
            raise UpstreamUnreachable(f"no answer to {KEY}")
        if self.settings.mood == "slow":
            await self.may_list.wait()
        return [ModelInfo(id="listed", owned_by="maker")]

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        yield TextDelta("a")
        await self.may_go_on.wait()
        yield TextDelta("b")


@pytest.fixture(autouse=True)
def _no_instances() -> None:
    Plugin.made.clear()


def entry(name: str, *, mood: str = "", sk: str | None = KEY, **fields: Any) -> UpstreamEntry:
    settings = UpstreamSettings(
        provider="plugin",
        api_key=SecretStr(sk) if sk else None,
        base_url=fields.pop("endpoint", ""),
        options={"mood": mood} if mood else {},
    )
    return UpstreamEntry(name=name, settings=settings, **fields)


def upstreams(*entries: UpstreamEntry, **fields: Any) -> Upstreams:
    numbered = (replace(one, line=10 * i) for i, one in enumerate(entries, start=1))
    return Upstreams(entries=tuple(numbered), path=Path("upstreams.yaml"), **fields)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    module = ModuleType("plugin_in_this_test")
    module.Plugin = Plugin  # type: ignore[attr-defined]  # made here

    class Second(Plugin):
        """Neither the default nor configured, with names of its own."""

        is_default_upstream = False

        @override
        @classmethod
        def providers(cls) -> Sequence[str]:
            return ("acme", "third")

    module.Second = Second  # type: ignore[attr-defined]  # made here
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return [EntryPoint(name, f"{module.__name__}:{name.title()}", GROUP) for name in NAMES]


NAMES = ("plugin", "second")


@pytest.fixture
def make(plugins: list[EntryPoint]) -> Callable[..., ModelRegistry]:
    """A registry with the plugins and these upstreams."""

    def made(
        *entries: UpstreamEntry,
        environment: dict[str, str] | None = None,
        allowed: list[str] | None = None,
        **fields: Any,
    ) -> ModelRegistry:
        registry = ModelRegistry(timeouts=Timeouts(total_s=1))
        registry.load(
            environment=environment or {}, context=context, allowed=allowed, found=plugins
        )
        registry.set_upstreams(upstreams(*entries, **fields), context)
        return registry

    return made


Make = Callable[..., ModelRegistry]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)


def plugin(registry: ModelRegistry, name: str) -> Plugin:
    adapter = registry.adapter(name)
    assert isinstance(adapter, Plugin)
    return adapter


async def names(registry: ModelRegistry, model_id: str) -> list[str]:
    return [one.name for one in await registry.deployments_for(model_id)]


class TestBuilding:
    @pytest.mark.parametrize(
        ("adapter", "expected"),
        [
            pytest.param(None, "Plugin", id="default"),
            pytest.param("plugin", "Plugin", id="by the adapter's name"),
            pytest.param("second", "Second", id="by another adapter's name"),
            pytest.param("acme", "Plugin", id="by a provider's name, the first wins"),
            pytest.param("third", "Second", id="by a provider's name"),
        ],
    )
    def test_adapter_is_found_by_name(self, make: Make, adapter: str | None, expected: str) -> None:
        registry = make(entry("eu", adapter=adapter))

        assert expected == type(registry.adapter("eu")).__name__
        assert KEY == plugin(registry, "eu").settings.secrets()[0]

    @pytest.mark.parametrize(
        ("wrong", "field", "told"),
        [
            pytest.param({"adapter": "ghost"}, "adapter", "no installed adapter", id="adapter"),
            pytest.param({"mood": "BAD"}, "options.mood", "match", id="a setting's value"),
            pytest.param({"mood": "raising"}, "adapter", "RuntimeError", id="a plugin's bug"),
            pytest.param({"mood": "odd"}, "adapter", "did not return", id="a plugin's mistake"),
            pytest.param({"name": "eu"}, "name", "'eu' is taken", id="a name given twice"),
            pytest.param({"name": "plugin"}, "name", "'plugin' is taken", id="an adapter's name"),
        ],
    )
    def test_wrong_entry_is_told_with_its_place(
        self, make: Make, wrong: dict[str, Any], field: str, told: str
    ) -> None:
        environment = {"PLUGIN_API_KEY": "k"}

        with pytest.raises(ConfigurationError) as caught:
            make(entry("eu"), entry(**{"name": "us", **wrong}), environment=environment)

        assert "UPSTREAMS_FILE" == caught.value.variable
        assert f"UPSTREAMS_FILE: upstreams.yaml:20: upstreams[1].{field}: " in str(caught.value)
        assert told in str(caught.value)
        assert KEY not in str(caught.value)

    @pytest.mark.parametrize("adapter", [None, "second", "third"])
    def test_adapter_that_is_not_allowed_serves_no_upstream(
        self, make: Make, adapter: str | None
    ) -> None:
        with pytest.raises(ConfigurationError, match="ONE_API_ADAPTERS"):
            make(
                entry("eu", adapter=adapter),
                allowed=["plugin"] if adapter else ["second"],
            )

    def test_adapter_that_cannot_be_imported_serves_no_upstream(
        self, make: Make, plugins: list[EntryPoint]
    ) -> None:
        plugins.append(EntryPoint("broken", "no_module_of_this_name:Adapter", GROUP))

        with pytest.raises(ConfigurationError, match="'broken' is failed: its import raised"):
            make(entry("eu", adapter="broken"))

    def test_wrong_environment_keeps_no_upstream_from_its_adapter(self, make: Make) -> None:
        registry = make(entry("eu"), environment={"PLUGIN_MOOD": "BAD"})

        assert ["failed", "failed"] == [one.state for one in registry.entries]
        assert "good" == plugin(registry, "eu").settings.mood

    def test_environment_and_file_go_together(self, make: Make) -> None:
        registry = make(entry("eu"), environment={"PLUGIN_API_KEY": "k"})

        assert ["plugin", "second", "eu"] == [name for name, _, _ in registry.adapters()]
        assert registry.adapter("plugin") is not registry.adapter("eu")

    def test_upstreams_need_no_environment(self, make: Make) -> None:
        registry = make(entry("eu"))

        assert ["available", "available"] == [one.state for one in registry.entries]
        assert registry.is_ready()

    def test_name_of_an_upstream_is_taken(self, make: Make) -> None:
        registry = make(entry("eu"))

        with pytest.raises(ValueError, match="'eu'"):
            registry.register_adapter("eu", registry.adapter("eu"))


class TestServing:
    async def test_upstreams_answer_together_in_the_order_of_the_file(self, make: Make) -> None:
        async with running(make(entry("us", models=("m",)), entry("eu", models=("m",)))) as found:
            assert ["us/m", "eu/m"] == await names(found, "m")
            assert ["eu/m"] == await names(found, "eu/m")
            assert found.get_adapter_for_model("m") is found.adapter("us")

    async def test_groups_are_tried_in_the_order_in_which_they_are_listed(self, make: Make) -> None:
        near, spare = Group(name="near"), Group(name="spare")
        registry = make(
            entry("b", models=("m",), group=spare),
            entry("a", models=("m",), group=near),
            groups=(near, spare),
        )
        async with running(registry):
            assert ["a/m", "b/m"] == await names(registry, "m")

    async def test_same_deployments_are_given_to_each_request(self, make: Make) -> None:
        async with running(make(entry("eu", models=("m",)))) as registry:
            assert await registry.deployments_for("m") is await registry.deployments_for("m")

    async def test_upstream_that_names_its_models_is_not_asked_for_them(self, make: Make) -> None:
        registry = make(entry("named", models=("m",)), entry("listed"))
        async with running(registry):
            assert ["m", "listed"] == [model.id for model in await registry.list_all_models()]
            assert [0, 1] == [plugin(registry, name).listings for name in ("named", "listed")]
            assert "plugin" == (await registry.get_model_info("m")).info.owned_by

    async def test_unknown_model_waits_for_a_slow_list(self, make: Make) -> None:
        registry = make(entry("slow", mood="slow"), entry("named", models=("m",)))
        async with running(registry):
            assert ["slow/m", "named/m"] == await names(registry, "m")
            asking = asyncio.create_task(registry.deployments_for("unknown"))
            await asyncio.sleep(0)
            assert not asking.done()
            plugin(registry, "slow").may_list.set()
            with pytest.raises(ModelNotFound):
                await asking
            assert ["named/m"] == await names(registry, "m")

    async def test_upstream_that_is_down_keeps_its_place_and_harms_nobody(
        self, make: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        registry = make(entry("down", mood="silent"), entry("eu"))
        with caplog.at_level(logging.INFO):
            async with running(registry):
                await registry.list_all_models()
                first, second = await registry.deployments_for("listed")
                assert ("down", True) == (first.adapter, first.is_guess)
                assert ("eu", False) == (second.adapter, second.is_guess)
                assert ["down/q"] == await names(registry, "q")
                assert registry.is_ready()
                status, _ = registry.describe_upstreams()
        assert "no answer to [redacted]" == status.list_error
        assert KEY not in caplog.text

    async def test_upstream_that_does_not_start_is_left_out_and_told(self, make: Make) -> None:
        registry = make(entry("eu", mood="unwilling"), entry("us", models=("m",)))
        async with running(registry):
            assert ["us"] == [name for name, _, _ in registry.adapters()]
            assert "did not start" in str(registry.describe_upstreams()[0].list_error)
            assert registry.is_ready()

            await registry.reload(upstreams(entry("eu", models=("m",))))
            assert ["eu/m"] == await names(registry, "m")

    async def test_aliases_are_known_and_listed(self, make: Make) -> None:
        registry = make(
            entry("eu", models=("m",)), aliases={"fast": ("m",), "gpt-*": ("m",), "x": ("gone",)}
        )
        async with running(registry):
            for model_id in ("fast", "gpt-5"):
                assert ["eu/m"] == await names(registry, model_id)
            assert ["m", "fast"] == [model.id for model in await registry.list_all_models()]
            assert "eu" == (await registry.get_model_info("fast")).adapter
            with pytest.raises(ModelNotFound):
                await registry.deployments_for("x")


class TestStatus:
    async def test_everything_but_secrets_is_told(self, make: Make) -> None:
        registry = make(
            entry("eu", models=("m", "c-*"), model_map={"s": "t"}, weight=2.0, order=1),
            entry("us", endpoint="https://us.example/v1?key=abc", sk=None, group=Group(name="g")),
        )
        async with running(registry):
            await registry.list_all_models()
            eu, us = registry.describe_upstreams()

        assert ("eu", "plugin", "plugin", "https://plugin.example/v1", "sk-…ator") == (
            eu.name,
            eu.adapter,
            eu.provider,
            eu.endpoint,
            eu.credential,
        )
        assert (("m", "s", "c-*"), "default", 1, 2.0, None) == (
            eu.models,
            eu.group,
            eu.order,
            eu.weight,
            eu.list_error,
        )
        assert ("https://us.example/v1", "", "g", ("listed",)) == (
            us.endpoint,
            us.credential,
            us.group,
            us.models,
        )

    def test_without_a_file_there_is_nothing_to_tell(self) -> None:
        registry = ModelRegistry()

        assert ([], None) == (registry.describe_upstreams(), registry.upstreams)

    @pytest.mark.parametrize(
        ("key", "shown"),
        [
            (None, ""),
            ("", "…"),
            ("short-key12", "…"),
            ("twelve-chars", "…hars"),
            ("sk-123456789", "sk-…6789"),
            ("sk-ant-api03-abcdefgh", "sk-…efgh"),
        ],
    )
    def test_credential_is_told_apart_and_not_told(self, key: str | None, shown: str) -> None:
        assert shown == masked(None if key is None else SecretStr(key))


class TestReload:
    async def test_same_file_changes_nothing(self, make: Make) -> None:
        entries = entry("eu"), entry("us", models=("m",))
        registry = make(*entries)
        async with running(registry):
            await registry.list_all_models()
            before = [registry.adapter(name) for name in ("eu", "us")]

            diff = await registry.reload(upstreams(entry("eu"), replace(entries[1], line=99)))

            assert (UpstreamsDiff(), ["nothing changed"]) == (diff, diff.lines())
            assert before == [registry.adapter(name) for name in ("eu", "us")]
            assert 1 == plugin(registry, "eu").listings
            assert ["eu/listed"] == await names(registry, "listed")

    async def test_entries_are_added_removed_and_changed(self, make: Make) -> None:
        registry = make(
            entry("kept", models=("m",)),
            entry("moved", models=("m",)),
            entry("gone", models=("m",)),
            entry("other", models=("m",)),
        )
        async with running(registry):
            before = dict.fromkeys(("kept", "moved", "gone", "other"), "")
            adapters = {name: plugin(registry, name) for name in before}

            diff = await registry.reload(
                upstreams(
                    entry("kept", models=("m",)),
                    entry("new", models=("m",)),
                    entry("moved", models=("m",), weight=2.0),
                    entry("other", models=("m",), sk="sk-another-credential"),
                )
            )

            assert ["kept/m", "new/m", "moved/m", "other/m"] == await names(registry, "m")
            assert [1.0, 1.0, 2.0, 1.0] == [
                one.weight for one in await registry.deployments_for("m")
            ]
            assert [
                "upstream new: added",
                "upstream gone: removed",
                "upstream moved: changed weight",
                "upstream other: changed sk",
            ] == diff.lines()
            await until(lambda: len(adapters["other"].life) + len(adapters["gone"].life) == 4)
            assert {"kept": True, "moved": True, "other": False} == {
                name: registry.adapter(name) is adapters[name]
                for name in ("kept", "moved", "other")
            }
            assert {
                "kept": ["start"],
                "moved": ["start"],
                "gone": ["start", "close"],
                "other": ["start", "close"],
            } == {name: adapter.life for name, adapter in adapters.items()}
            with pytest.raises(ModelNotFound):
                registry.adapter("gone")
        assert all(["start", "close"] == adapter.life for adapter in Plugin.made)

    @pytest.mark.parametrize("mood", ["BAD", "raising", "odd", "unwilling"])
    async def test_wrong_entry_in_the_middle_changes_nothing(self, make: Make, mood: str) -> None:
        registry = make(entry("eu", models=("m",)), aliases={"fast": ("m",)})
        async with running(registry):
            before = plugin(registry, "eu")
            in_force = registry.upstreams

            with pytest.raises(ConfigurationError) as caught:
                await registry.reload(
                    upstreams(
                        entry("eu", models=("n",)),
                        entry("first", models=("m",)),
                        entry("wrong", mood=mood),
                        entry("last", models=("m",)),
                    )
                )

            assert "upstreams.yaml:30: upstreams[2]." in str(caught.value)
            assert KEY not in str(caught.value)
            assert in_force is registry.upstreams
            assert before is registry.adapter("eu")
            assert ["start"] == before.life
            assert ["eu/m"] == await names(registry, "m") == await names(registry, "fast")
            with pytest.raises(ModelNotFound):
                registry.adapter("first")
            assert {"close"} == {one.life[-1] for one in Plugin.made if one is not before}

    async def test_running_stream_of_a_removed_upstream_goes_on(self, make: Make) -> None:
        registry = make(entry("gone", models=("m",)), entry("kept", models=("n",)))
        async with running(registry):
            gone = plugin(registry, "gone")
            (deployment,) = await registry.deployments_for("m")
            events = registry.generate_completion(asked(), "req_1")
            assert TextDelta("a") == await anext(events)

            await registry.reload(upstreams(entry("kept", models=("n",))))

            with pytest.raises(NoDeploymentAvailable), registry.lease(deployment):
                pass
            with pytest.raises(ModelNotFound):
                await registry.deployments_for("m")
            assert ["start"] == gone.life
            gone.may_go_on.set()
            assert [TextDelta("b")] == [event async for event in events]
            await until(lambda: gone.life == ["start", "close"])

    async def test_adapter_is_closed_after_its_last_lease(self, make: Make) -> None:
        registry = make(entry("eu", models=("m",)))
        async with running(registry):
            old = plugin(registry, "eu")
            (deployment,) = await registry.deployments_for("m")
            with registry.lease(deployment) as first:
                with registry.lease(deployment) as second:
                    assert first is second is old
                    await registry.reload(upstreams(entry("eu", models=("m",), sk="sk-another")))
                    with registry.lease(deployment) as third:
                        assert third is plugin(registry, "eu") is not old
                for _ in range(5):
                    await asyncio.sleep(0)
                assert ["start"] == old.life
            await until(lambda: old.life == ["start", "close"])

    async def test_gateway_that_stops_waits_for_no_lease(self, make: Make) -> None:
        registry = make(entry("eu", models=("m",)))
        async with running(registry):
            old = plugin(registry, "eu")
            (deployment,) = await registry.deployments_for("m")
            lease = registry.lease(deployment)
            lease.__enter__()
            await registry.reload(upstreams())
            await asyncio.sleep(0)

        assert ["start", "close"] == old.life
        assert {asyncio.current_task()} == asyncio.all_tasks()

    async def test_lease_has_an_end(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("one_api.members.MAX_LEASE_S", 0.001)
        registry = make(entry("eu", models=("m",)))
        async with running(registry):
            old = plugin(registry, "eu")
            with registry.lease((await registry.deployments_for("m"))[0]):
                await registry.reload(upstreams())
                await until(lambda: old.life == ["start", "close"])

    async def test_whoever_waits_for_the_list_of_a_removed_upstream_is_answered(
        self, make: Make
    ) -> None:
        registry = make(entry("slow", mood="slow"))
        async with running(registry):
            asking = asyncio.create_task(registry.deployments_for("q"))
            await asyncio.sleep(0)
            await registry.reload(upstreams())
            with pytest.raises(ModelNotFound):
                await asking

    async def test_first_file_may_come_with_a_reload(self, plugins: list[EntryPoint]) -> None:
        registry = ModelRegistry()
        registry.load(environment={}, context=context, found=plugins)
        async with running(registry):
            diff = await registry.reload(upstreams(entry("eu")))
            assert ["upstream eu: added"] == diff.lines()
            assert ["listed"] == [model.id for model in await registry.list_all_models()]

    async def test_reload_before_the_start_starts_nothing(self, make: Make) -> None:
        registry = make(entry("eu"))
        await registry.reload(upstreams(entry("us")))
        assert [] == plugin(registry, "us").life
        async with running(registry):
            assert ["start"] == plugin(registry, "us").life

    async def test_reload_that_a_stop_overtakes_leaves_nothing_open(self, make: Make) -> None:
        async with running(make(entry("eu"))) as registry:
            reloading = asyncio.create_task(registry.reload(upstreams(entry("us"))))
            await asyncio.sleep(0)
        await reloading

        assert {"close"} == {one.life[-1] for one in Plugin.made}
        assert {asyncio.current_task()} == asyncio.all_tasks()

    async def test_groups_aliases_order_and_keys_are_told_by_name(self, make: Make) -> None:
        registry = make(
            entry("a", models=("m",)),
            entry("b", models=("m",)),
            groups=(Group(name="g"),),
            aliases={"fast": ("m",), "same": ("m",)},
        )
        async with running(registry):
            diff = await registry.reload(
                upstreams(
                    entry("b", models=("m",)),
                    entry("a", models=("m",)),
                    groups=(Group(name="g", sticky=True), Group(name="h")),
                    aliases={"slow": ("m",), "same": ("m",)},
                    authorization=(SecretStr(KEY),),
                )
            )
            assert ["b/m", "a/m"] == await names(registry, "slow")

        assert [
            "groups or upstreams: another order",
            "groups: changed g, h",
            "aliases: changed fast, slow",
            "authorization: changed",
        ] == diff.lines()
        assert KEY not in repr(diff)

    async def test_fields_are_told_as_the_file_calls_them(self, make: Make) -> None:
        registry = make(entry("a", models=("m",)))
        async with running(registry):
            diff = await registry.reload(
                upstreams(
                    entry(
                        "a",
                        sk=None,
                        endpoint="https://a.example/v1",
                        mood="fine",
                        adapter="second",
                        timeouts=Timeouts(total_s=1),
                        context_windows={"*": 5},
                    )
                )
            )

        assert {
            "a": ("sk", "endpoint", "options", "adapter", "timeouts", "models", "context_window")
        } == diff.changed
