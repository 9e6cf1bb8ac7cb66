"""The pages for authors: their code runs, their tables are true, and they name every promise."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from one_api import adapter
from one_api.adapter import GatewayError, ParameterPolicy
from one_api.adapter.parameters import QUALITY

PAGES = Path(__file__).parents[2] / "docs/adapters"
TEXTS = {path.name: path.read_text() for path in sorted(PAGES.glob("*.md"))}
#: The suite has a page and tests of its own.
OWN = {name: text for name, text in TEXTS.items() if name != "conformance.md"}


def blocks(language: str) -> dict[str, str]:
    """Every block of code in `language`, by its page and its place there."""
    return {
        f"{name.removesuffix('.md')}-{number}": block
        for name, text in OWN.items()
        for number, block in enumerate(re.findall(rf"```{language}\n(.+?)```", text, re.S), 1)
    }


PYTHON, TOML = blocks("python"), blocks("toml")
ABILITIES = tuple(name for name in adapter.__all__ if name.startswith("Supports"))


@pytest.fixture
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An empty module, known to whoever looks for it by its name."""
    made = ModuleType(f"page_{request.node.name}")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


@pytest.mark.parametrize("code", PYTHON.values(), ids=PYTHON)
def test_code_runs(code: str, module: ModuleType) -> None:
    exec(compile(code, module.__name__, "exec"), vars(module))  # noqa: S102 - our own pages


@pytest.mark.parametrize("code", PYTHON.values(), ids=PYTHON)
def test_code_uses_only_what_is_promised(code: str) -> None:
    named = set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.ImportFrom(module="one_api.adapter", names=names):
                named |= {name.name for name in names}
            case ast.ImportFrom(module="one_api", names=names):
                assert ["adapter"] == [name.name for name in names]
            case ast.ImportFrom(module=str(other)) if other.startswith("one_api"):
                assert "one_api.adapter.testing" == other
            case ast.Attribute(value=ast.Name(id="api"), attr=name):
                named.add(name)
    assert named <= set(adapter.__all__)


def test_code_has_no_name_that_is_not_there(tmp_path: Path) -> None:
    """Bodies of methods are not run, so their names are looked up without running them."""
    for name, code in PYTHON.items():
        (tmp_path / f"{name}.py").write_text(code)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=F,E501"]
    ran = subprocess.run(
        [*ruff, "--line-length=100", "--no-cache", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (0, "") == (ran.returncode, ran.stderr), ran.stdout


@pytest.mark.parametrize("code", PYTHON.values(), ids=PYTHON)
def test_overridden_methods_have_the_promised_parameters(code: str, module: ModuleType) -> None:
    exec(compile(code, module.__name__, "exec"), vars(module))  # noqa: S102 - our own pages
    for cls in vars(module).values():
        if not inspect.isclass(cls) or cls.__module__ != module.__name__:
            continue
        for base in cls.__mro__[1:]:
            promised = vars(base) if base.__module__.startswith("one_api.adapter") else {}
            for name in promised.keys() & vars(cls).keys():
                if inspect.isfunction(promised[name]) and name != "__init__":
                    expected = list(inspect.signature(promised[name]).parameters)
                    assert expected == list(inspect.signature(vars(cls)[name]).parameters), name


@pytest.mark.parametrize("data", TOML.values(), ids=TOML)
def test_toml_is_toml(data: str) -> None:
    assert tomllib.loads(data)["project"]["entry-points"]


def test_every_promised_name_is_on_a_page() -> None:
    written = set(re.findall(r"[A-Za-z_]+", " ".join(OWN.values())))
    assert [] == sorted(set(adapter.__all__) - written)


def test_every_ability_is_opened_from_the_overview() -> None:
    linked = set(re.findall(r"\]\(([a-z-]+\.md)", TEXTS["index.md"]))
    assert set(TEXTS) - {"index.md"} == linked
    explained = {name for name in ABILITIES for text in OWN.values() if f"`{name}`: an" in text}
    assert set(ABILITIES) == explained


def test_links_lead_somewhere() -> None:
    for name, text in OWN.items():
        for page, heading in re.findall(r"\]\(([a-z-]+\.md)?(?:#([a-z-]+))?\)", text):
            target = TEXTS[page or name]
            titles = {
                re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-")
                for title in re.findall(r"^#+ (.+)$", target, re.M)
            }
            assert not heading or heading in titles, f"{name}: #{heading}"


def test_the_table_of_errors_is_what_the_classes_say() -> None:
    told = re.findall(r"^\| `(\w+)` \| (\d+) \| (yes|no) \| (yes|no) \|$", TEXTS["errors.md"], re.M)
    promised = {name: getattr(adapter, name) for name in adapter.__all__}
    errors = {
        name: cls
        for name, cls in promised.items()
        if isinstance(cls, type) and issubclass(cls, GatewayError) and cls is not GatewayError
    }
    words = {True: "yes", False: "no"}
    expected = {
        (name, str(cls.status), words[cls.retryable], words[cls.is_outage])
        for name, cls in errors.items()
    }
    assert expected == set(told)


def test_the_parameters_that_are_dropped_are_those_on_the_page() -> None:
    paragraph = re.search(r"is \*\*dropped\*\*.+?\.\n- ", TEXTS["capabilities.md"], re.S)
    assert paragraph is not None
    named = set(re.findall(r"`([a-z_]+)`", paragraph[0])) - {"x-one-api-dropped-params"}
    assert QUALITY == named
    assert {"dropped"} == {ParameterPolicy().treatment(name) for name in named}


def test_the_table_of_a_row_has_every_field() -> None:
    rows = "\n".join(re.findall(r"^\| `.+$", TEXTS["openai-compatible.md"], re.M))
    for field in fields(adapter.CompatibleProvider):
        assert f"`{field.name}`" in rows
        if isinstance(field.default, bool):
            assert f"`{field.name}` | {field.default} |" in rows
