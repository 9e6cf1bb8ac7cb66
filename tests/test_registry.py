"""Which adapter answers for which model, while providers come, go and lie."""

from __future__ import annotations

import asyncio
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest
from typing_extensions import override

from one_api import members
from one_api.adapter import AdapterContext, BaseModelAdapter, ModelInfo, Timeouts
from one_api.discovery import GROUP
from one_api.errors import ModelNotFound, NoDeploymentAvailable, UpstreamUnreachable
from one_api.events import TextDelta
from one_api.registry import ModelRegistry
from one_api.schemas.chat import ChatCompletionRequest
from tests.adapters_in_test import ScriptedAdapter, context, forever, registry_of, running

DOWN = UpstreamUnreachable("The provider cannot be reached.")


class Declared(ScriptedAdapter):
    """An adapter made from an entry point; `names` are what it is built as."""

    names: tuple[str, ...] = ()
    offers: tuple[str, ...] = ("m",)
    fails: BaseException | None = None
    start_fails: BaseException | None = None

    @override
    @classmethod
    def build(
        cls, name: str, environment: Any, context: AdapterContext
    ) -> dict[str, BaseModelAdapter]:
        return {own: cls(models=cls.offers, list_error=cls.fails) for own in (cls.names or (name,))}

    @override
    async def start(self) -> None:
        await super().start()
        if self.start_fails is not None:
            raise self.start_fails


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make an entry point of a subclass of `Declared` with these attributes."""
    module = ModuleType("declared_in_this_test")
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)

    def entry_point(name: str, **attributes: Any) -> EntryPoint:
        attribute = f"Adapter{len(vars(module))}"
        setattr(module, attribute, type(attribute, (Declared,), attributes))
        return EntryPoint(name, f"{module.__name__}:{attribute}", GROUP)

    return entry_point


def registry_with(*points: EntryPoint, allowed: list[str] | None = None) -> ModelRegistry:
    registry = ModelRegistry()
    registry.load(environment={}, context=context, found=points, allowed=allowed)
    return registry


async def ids(registry: ModelRegistry) -> list[str]:
    return [model.id for model in await registry.list_all_models()]


async def adapter_of(registry: ModelRegistry, model: str) -> str:
    return (await registry.deployments_for(model))[0].adapter


class TestIds:
    async def test_each_model_is_reached_by_its_id_and_with_its_adapter(self) -> None:
        a = ScriptedAdapter(models=["m", "org/x"])
        async with running(registry_of(Timeouts(total_s=7), a=a)) as registry:
            assert ["m", "org/x"] == await ids(registry)
            for model, upstream_model in [("m", "m"), ("a/m", "m"), ("a/org/x", "org/x")]:
                (deployment,) = await registry.deployments_for(model)
                assert (model, "a", upstream_model, 7) == (
                    deployment.model,
                    deployment.adapter,
                    deployment.upstream_model,
                    deployment.timeouts.total_s,
                )

    async def test_first_adapter_answers_for_an_id_that_two_offer(self) -> None:
        a, b = ScriptedAdapter(models=["m"]), ScriptedAdapter(models=["m", "n"])
        async with running(registry_of(a=a, b=b)) as registry:
            assert ["m", "b/m", "n"] == await ids(registry)
            assert "a" == await adapter_of(registry, "m")
            assert "b" == await adapter_of(registry, "b/m")
            assert registry.adapter("b") is registry.get_adapter_for_model("n")

    async def test_adapters_name_goes_before_a_model_that_looks_like_it(self) -> None:
        """Whoever writes `a/m` means `a`, even if a reseller offers a model of that name."""
        reseller = ScriptedAdapter(models=["a/m"])
        async with running(registry_of(reseller=reseller, a=ScriptedAdapter())) as registry:
            assert "a" == await adapter_of(registry, "a/m")
            (deployment,) = await registry.deployments_for("reseller/a/m")
            assert ("reseller", "a/m") == (deployment.adapter, deployment.upstream_model)

    async def test_model_listed_twice_is_one(self) -> None:
        async with running(registry_of(a=ScriptedAdapter(models=["m", "m"]))) as registry:
            assert ["m"] == await ids(registry)

    async def test_model_that_is_not_listed_is_reached_with_its_adapter(self) -> None:
        async with running(registry_of(a=ScriptedAdapter())) as registry:
            assert "a" == await adapter_of(registry, "a/unlisted")

    @pytest.mark.parametrize("model", ["unknown", "b/m", "a/", "/m", "", "A/m"])
    async def test_any_other_model_is_not_found(self, model: str) -> None:
        async with running(registry_of(a=ScriptedAdapter())) as registry:
            with pytest.raises(ModelNotFound) as caught:
                await registry.deployments_for(model)
            assert "model" == caught.value.param
            with pytest.raises(ModelNotFound):
                registry.get_adapter_for_model(model)

    async def test_model_can_be_looked_up(self) -> None:
        async with running(registry_of(a=ScriptedAdapter())) as registry:
            plain, full = [await registry.get_model_info(model) for model in ("m", "a/m")]
            assert ("m", "a/m") == (plain.id, full.id)
            assert plain.info == full.info
            with pytest.raises(ModelNotFound):
                await registry.get_model_info("a/unlisted")

    def test_name_is_taken_once(self) -> None:
        registry = registry_of(a=ScriptedAdapter())

        with pytest.raises(ValueError, match="'a'"):
            registry.register_adapter("a", ScriptedAdapter())

    def test_unknown_adapter_is_not_found(self) -> None:
        with pytest.raises(ModelNotFound):
            registry_of().adapter("a")

    async def test_registry_itself_can_ask(self) -> None:
        request = ChatCompletionRequest.from_wire(
            {"model": "a/x", "messages": [{"role": "user", "content": "?"}]}
        )
        adapter = ScriptedAdapter()
        async with running(registry_of(a=adapter)) as registry:
            events = [event async for event in registry.generate_completion(request, "req_1")]

        assert TextDelta("Hello") in events
        assert [("x", "req_1")] == [(call.model, call.request_id) for call in adapter.calls]


class TestListing:
    async def test_slow_provider_is_waited_for_once(self) -> None:
        may_list = asyncio.Event()

        class Slow(ScriptedAdapter):
            @override
            async def list_models(self) -> Any:
                await may_list.wait()
                return await super().list_models()

        async with running(registry_of(a=Slow())) as registry:
            asking = asyncio.create_task(registry.deployments_for("m"))
            await asyncio.sleep(0)
            assert not asking.done()
            may_list.set()
            assert "a" == (await asking)[0].adapter

    async def test_known_model_waits_for_nobody(self) -> None:
        class Hanging(ScriptedAdapter):
            @override
            async def list_models(self) -> Any:
                await forever()

        async with running(registry_of(a=ScriptedAdapter(), b=Hanging())) as registry:
            while not registry.adapters()[0][1]:  # noqa: ASYNC110 - a list comes without a word
                await asyncio.sleep(0)
            assert "a" == await adapter_of(registry, "m")
            assert "b" == await adapter_of(registry, "b/m")

    async def test_provider_down_at_the_start_is_no_proof_that_a_model_is_unknown(self) -> None:
        down = ScriptedAdapter(list_error=DOWN)
        async with running(registry_of(a=down)) as registry:
            with pytest.raises(NoDeploymentAvailable, match="'a/m'") as caught:
                await registry.deployments_for("m")
            assert "Retry-After" in caught.value.headers()
            assert [] == await ids(registry)
            assert "a" == await adapter_of(registry, "a/m")

    async def test_provider_that_comes_back_is_listed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(members, "FIRST_RETRY_S", 0.001)
        adapter = ScriptedAdapter(list_error=DOWN)
        async with running(registry_of(a=adapter)) as registry:
            assert [] == await ids(registry)
            adapter.list_error = None
            await adapter.until_listed(2)
            assert ["m"] == await ids(registry)
            assert [("a", 1, None)] == registry.adapters()

    async def test_lists_are_refreshed(self) -> None:
        adapter = ScriptedAdapter()
        registry = ModelRegistry(refresh_s=0.001)
        registry.register_adapter("a", adapter)
        async with running(registry):
            assert ["m"] == await ids(registry)
            adapter.models = [ModelInfo(id="new", owned_by="test")]
            await adapter.until_listed(adapter.listings + 2)
            assert ["new"] == await ids(registry)

    async def test_provider_that_fails_later_keeps_its_last_list(self) -> None:
        adapter = ScriptedAdapter()
        registry = ModelRegistry(refresh_s=0.001)
        registry.register_adapter("a", adapter)
        async with running(registry):
            assert ["m"] == await ids(registry)
            adapter.list_error = DOWN
            await adapter.until_listed(adapter.listings + 1)
            assert ["m"] == await ids(registry)
            with pytest.raises(ModelNotFound):
                await registry.deployments_for("other")

    async def test_list_that_does_not_come_in_time_is_given_up(self) -> None:
        class Hanging(ScriptedAdapter):
            @override
            async def list_models(self) -> Any:
                await forever()

        registry = ModelRegistry(list_timeout_s=0.005)
        registry.register_adapter("a", Hanging())
        async with running(registry):
            assert [] == await ids(registry)
            ((_, _, error),) = registry.adapters()
            assert "no list of models within 0.005 s" == error

    @pytest.mark.parametrize(
        "models",
        [
            None,
            7,
            ["m"],
            [{"id": "m"}],
            [ModelInfo(id="", owned_by="x")],
            [ModelInfo(id="m" * 257, owned_by="x")],
            [ModelInfo(id=7, owned_by="x")],  # type: ignore[arg-type]  # a plugin's mistake
            [ModelInfo(id="m", owned_by="x", created=-1)],
            [ModelInfo(id="m", owned_by="x", created=2**40)],
            [ModelInfo(id="m", owned_by="x", created="now")],  # type: ignore[arg-type]  # same
        ],
        ids=str,
    )
    async def test_list_of_nonsense_breaks_nobody(self, models: Any) -> None:
        broken = ScriptedAdapter()
        broken.models = models
        async with running(registry_of(a=broken, b=ScriptedAdapter(models=["n"]))) as registry:
            assert ["n"] == await ids(registry)
            assert registry.adapters()[0][2]


class TestEntries:
    async def test_order_of_the_list_decides_who_wins(self, declare: Any) -> None:
        points = [declare("a"), declare("b")]

        for allowed, winner in ((None, "a"), (["b", "a"], "b"), (["b"], "b")):
            async with running(registry_with(*points, allowed=allowed)) as registry:
                assert winner == await adapter_of(registry, "m")

    async def test_name_taken_by_another_plugin_leaves_the_rest(self, declare: Any) -> None:
        registry = registry_with(declare("a"), declare("b", names=("x", "a", "y"), offers=("n",)))

        first, second = registry.entries
        assert ("loaded", "loaded") == (first.state, second.state)
        assert "'a'" in second.reason
        assert ["a", "x", "y"] == [name for name, _, _ in registry.adapters()]

    def test_plugin_whose_every_name_is_taken_is_shadowed(self, declare: Any) -> None:
        registry = registry_with(declare("a"), declare("b", names=("a",)))

        assert ["loaded", "shadowed"] == [entry.state for entry in registry.entries]
        assert 1 == len(registry.adapters())
        assert registry.is_ready()

    @pytest.mark.parametrize("failure", [RuntimeError("x"), DOWN, TimeoutError()], ids=repr)
    async def test_plugin_that_cannot_start_is_taken_out(
        self, declare: Any, failure: Exception
    ) -> None:
        registry = registry_with(declare("a", start_fails=failure), declare("b", offers=("n",)))
        async with running(registry):
            assert ["n"] == await ids(registry)
            assert ["failed", "loaded"] == [entry.state for entry in registry.entries]
            assert not registry.is_ready()

    async def test_adapter_made_by_hand_that_cannot_start_is_taken_out(self) -> None:
        class Failing(ScriptedAdapter):
            @override
            async def start(self) -> None:
                raise RuntimeError("x")

        async with running(registry_of(a=Failing(), b=ScriptedAdapter())) as registry:
            assert ["b"] == [name for name, _, _ in registry.adapters()]

    async def test_plugin_that_breaks_the_contract_is_not_ready_until_it_keeps_it(
        self, declare: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(members, "FIRST_RETRY_S", 0.001)
        registry = registry_with(declare("a", fails=RuntimeError("a bug")))
        adapter = registry.adapter("a")
        assert isinstance(adapter, ScriptedAdapter)
        assert registry.is_ready()
        async with running(registry):
            await ids(registry)
            assert not registry.is_ready()
            assert "a bug" in registry.entries[0].reason
            adapter.list_error = None
            await adapter.until_listed(adapter.listings + 1)
            assert registry.is_ready()
            assert ("loaded", "") == (registry.entries[0].state, registry.entries[0].reason)

    async def test_provider_that_is_down_does_not_make_the_gateway_unready(
        self, declare: Any
    ) -> None:
        """A replica is not restarted for what a restart cannot mend."""
        async with running(registry_with(declare("a", fails=DOWN))) as registry:
            await ids(registry)
            assert registry.is_ready()

    def test_required_adapter_that_is_missing_is_not_ready(self, declare: Any) -> None:
        assert not registry_with(declare("a"), allowed=["a", "ghost"]).is_ready()
        assert registry_with(declare("a"), allowed=["a"]).is_ready()

    async def test_life_of_an_adapter(self, declare: Any) -> None:
        registry = registry_with(declare("a"), declare("b"))
        adapters = [registry.adapter(name) for name in ("a", "b")]

        async with running(registry):
            await ids(registry)

        assert [["start", "close"]] * 2 == [getattr(a, "life", None) for a in adapters]
        assert {asyncio.current_task()} == asyncio.all_tasks()

    async def test_adapter_that_cannot_close_keeps_nobody_from_closing(self) -> None:
        class Stubborn(ScriptedAdapter):
            @override
            async def close(self) -> None:
                raise RuntimeError("x")

        last = ScriptedAdapter()
        async with running(registry_of(a=Stubborn(), b=last)):
            pass

        assert ["start", "close"] == last.life
