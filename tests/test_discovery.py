"""Plugins that are right, wrong, slow, hostile, old and twice there: each is a state, no crash."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from one_api import discovery
from one_api.discovery import GROUP, AdapterEntry, AdapterState, catalogue
from tests.adapters_in_test import context

Plugin = Callable[..., EntryPoint]

GOOD = """
from one_api.adapter import AdapterSettings, BaseModelAdapter, Finish, ModelInfo, Start, TextDelta
from pydantic import Field

class Settings(AdapterSettings):
    hint = "set GREETING"
    greeting: str = Field(default="", validation_alias="GREETING")
    times: int = Field(default=1, validation_alias="GREETING_TIMES")

    def is_configured(self):
        return self.greeting != "off"

class Adapter(BaseModelAdapter):
    Settings = Settings

    async def list_models(self):
        return [ModelInfo(id="greeter", owned_by="test")]

    async def generate_completion(self, request, call):
        yield Start()
        yield TextDelta(self.settings.greeting)
        yield Finish("stop")
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    """Write a module that can be imported, and declare an attribute of it as an adapter."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def declare(name: str = "greeter", code: str = GOOD, attribute: str = "Adapter") -> EntryPoint:
        module = f"plugin_{tmp_path.name}_{len(list(tmp_path.iterdir()))}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        return EntryPoint(name, f"{module}:{attribute}", GROUP)

    return declare


def loaded(
    point: EntryPoint,
    environment: Mapping[str, str] | None = None,
    *,
    allowed: list[str] | None = None,
    timeout_s: float = 10,
) -> AdapterEntry:
    (entry,) = catalogue([point], allowed)
    discovery.load(entry, environment or {}, context, timeout_s)
    return entry


class TestCatalogue:
    def test_nothing_is_imported(self, plugin: Plugin) -> None:
        point = plugin(code="raise SystemExit('imported')")

        (entry,) = catalogue([point], None)

        assert ("greeter", "available", 0.0) == (entry.name, entry.state, entry.import_s)

    def test_without_a_list_names_decide_the_order(self, plugin: Plugin) -> None:
        points = [plugin(name) for name in ("zeta", "alpha", "mid")]

        assert ["alpha", "mid", "zeta"] == [entry.name for entry in catalogue(points, None)]

    def test_list_decides_the_order_and_who_is_in(self, plugin: Plugin) -> None:
        points = [plugin(name) for name in ("a", "b", "c", "d")]

        entries = catalogue(points, ["c", "a", "c"])

        assert [
            ("c", "available", True),
            ("a", "available", True),
            ("b", "disabled", False),
            ("d", "disabled", False),
        ] == [(entry.name, entry.state, entry.is_required) for entry in entries]

    def test_empty_list_allows_nobody(self, plugin: Plugin) -> None:
        assert ["disabled"] == [entry.state for entry in catalogue([plugin()], [])]

    def test_name_on_the_list_that_nobody_declares_is_a_failure(self) -> None:
        (entry,) = catalogue([], ["ghost"])

        assert ("ghost", "failed", True) == (entry.name, entry.state, entry.is_required)

    def test_second_of_a_name_is_shadowed(self, plugin: Plugin) -> None:
        first, second = catalogue([plugin("twin"), plugin("twin")], None)

        assert ("available", "shadowed") == (first.state, second.state)
        discovery.load(second, {}, context, 10)
        assert ("shadowed", {}) == (second.state, second.adapters)

    def test_installed_distributions_are_found(
        self, tmp_path: Path, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, version in (("dist-b", "2.0"), ("dist-a", "1.0")):
            info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
            (info / "entry_points.txt").write_text(f"[{GROUP}]\nmine = nowhere:Adapter\n")

        mine = [e for e in catalogue(discovery.installed_entry_points(), None) if e.name == "mine"]

        assert [("dist-a", "1.0", "available"), ("dist-b", "2.0", "shadowed")] == [
            (entry.distribution, entry.version, entry.state) for entry in mine
        ]


class TestLoading:
    def test_good_plugin_is_loaded(self, plugin: Plugin) -> None:
        entry = loaded(plugin(), {"GREETING": "Hi"})

        assert ("loaded", "", True) == (entry.state, entry.reason, entry.is_required)
        assert ["greeter"] == list(entry.adapters)
        assert "Hi" == getattr(entry.adapters["greeter"].settings, "greeting", None)
        assert entry.import_s > 0

    def test_plugin_that_is_not_switched_on_says_how(self, plugin: Plugin) -> None:
        entry = loaded(plugin(), {"GREETING": "off"})

        assert ("available", "set GREETING", False) == (
            entry.state,
            entry.reason,
            entry.is_required,
        )

    def test_wrong_setting_names_the_variable_and_not_its_value(self, plugin: Plugin) -> None:
        entry = loaded(plugin(), {"GREETING_TIMES": "sk-secret-value"})

        assert ("failed", True) == (entry.state, entry.is_required)
        assert entry.configuration_error is not None
        assert "GREETING_TIMES" == entry.configuration_error.variable
        assert "sk-secret-value" not in f"{entry.reason} {entry.configuration_error}"

    @pytest.mark.parametrize("state", ["disabled", "failed", "shadowed"])
    def test_only_what_is_available_is_loaded(self, plugin: Plugin, state: AdapterState) -> None:
        (entry,) = catalogue([plugin(code="raise SystemExit('imported')")], None)
        entry.state = state

        discovery.load(entry, {}, context, 10)

        assert state == entry.state

    @pytest.mark.parametrize(
        ("code", "state", "reason"),
        [
            (
                "raise RuntimeError('boom\\nsecond line')",
                "failed",
                "import raised RuntimeError: boom",
            ),
            ("raise SystemExit(3)", "failed", "import raised SystemExit: 3"),
            ("raise KeyboardInterrupt", "failed", "import raised KeyboardInterrupt"),
            ("this is no python", "failed", "SyntaxError"),
            ("import a_module_that_is_not_there", "failed", "ModuleNotFoundError"),
            ("", "failed", "AttributeError"),
            (GOOD + "    api_version = 2", "incompatible", "contract 2"),
            (GOOD + "    api_version = None", "incompatible", "contract None"),
            ("Adapter = 7", "incompatible", "not a subclass"),
            ("class Adapter: api_version = 1", "incompatible", "not a subclass"),
            (GOOD + "    def __init__(self, *a): raise ValueError('x')", "failed", "ValueError: x"),
            (GOOD + "    def __init__(self, *a): raise SystemExit", "failed", "SystemExit"),
            (GOOD + "    generate_completion = 1\n    list_models = None", "loaded", ""),
            (
                GOOD.replace("async def generate_completion", "async def other"),
                "failed",
                "TypeError",
            ),
            (GOOD + "    build = classmethod(lambda *a: None)", "failed", "TypeError"),
            (GOOD + "    build = classmethod(lambda *a: {'x': 7})", "incompatible", "build()"),
            (
                GOOD + "    build = classmethod(lambda c, n, *a: {'': c(None, None)})",
                "incompatible",
                "",
            ),
            (
                GOOD + "    build = classmethod(lambda c, n, *a: {3: c(None, None)})",
                "incompatible",
                "",
            ),
            (GOOD + "    build = classmethod(lambda *a: {})", "available", "set GREETING"),
        ],
    )
    def test_any_other_plugin_is_a_state_with_a_reason(
        self, plugin: Plugin, code: str, state: str, reason: str
    ) -> None:
        entry = loaded(plugin(code=code))

        assert state == entry.state
        assert reason in entry.reason
        assert "second line" not in entry.reason
        assert (state == "loaded") == bool(entry.adapters)

    @pytest.mark.parametrize(
        "code",
        [
            "import threading; threading.Event().wait()",
            GOOD + "    def __init__(self, *a): __import__('threading').Event().wait()",
        ],
        ids=["import", "construction"],
    )
    def test_plugin_that_does_not_end_is_left_behind(self, plugin: Plugin, code: str) -> None:
        entry = loaded(plugin(code=code), timeout_s=0.02)

        assert "failed" == entry.state
        assert "did not end within 0.02 s" in entry.reason

    @pytest.mark.parametrize("told", ["raise RuntimeError", "return None"])
    def test_plugin_that_cannot_even_say_how_is_available(self, plugin: Plugin, told: str) -> None:
        code = f"{GOOD}\n    @classmethod\n    def how_to_configure(cls): {told}"

        assert "available" == loaded(plugin(code=code), {"GREETING": "off"}).state

    def test_one_plugin_may_bring_several_adapters(self, plugin: Plugin) -> None:
        code = GOOD + (
            "    @classmethod\n"
            "    def build(cls, name, environment, context):\n"
            "        settings = cls.Settings.from_environment(environment)\n"
            "        return {'a': cls(settings, context), 'b': cls(settings, context)}\n"
        )

        entry = loaded(plugin(code=code))

        assert ["a", "b"] == list(entry.adapters)
