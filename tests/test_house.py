"""Laws of the house that no linter knows."""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import one_api
import one_api.adapter
from one_api_openai.providers import PROVIDERS

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "one_api").rglob("*.py"))
CODE = [*CORE, *sorted(ROOT.glob("adapters/*/one_api_*/**/*.py"))]
ADAPTERS = sorted(path for path in ROOT.glob("adapters/*/one_api_*") if path.is_dir())
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 50


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def declared_adapters() -> set[str]:
    """The names under which our own packages declare adapters."""
    names: set[str] = set()
    for path in ROOT.glob("adapters/*/pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        names |= project["entry-points"]["one_api.adapters"].keys()
    return names


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """A module, to be looked at by each law."""
    return ast.parse(path.read_text())


def literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Strings in the code, without its docstrings, and their lines."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in docstrings:
            continue
        if isinstance(node.value, str):
            yield node.lineno, node.value


def test_there_are_adapters_to_be_named() -> None:
    assert {"echo", "openai", "claude", "gemini", "llamacpp", "ollama"} <= declared_adapters()


def test_core_names_no_provider() -> None:
    """The core asks adapters what they can do; it never asks who they are.

    Exempt are the names that mean something else as well: the format that the gateway speaks, and
    the `echo` of OpenAI's completions.
    """
    providers = declared_adapters() | {provider.name for provider in PROVIDERS}
    names = "|".join(sorted(providers - {"openai", "echo"}))
    told_apart = re.compile(rf"(?:{names})(?:[-/:_*.].*)?", re.I)

    found = [
        f"{name_of(path)}:{line}: {text!r}"
        for path in CORE
        for line, text in literals(tree_of(path))
        if told_apart.fullmatch(text)
    ]

    assert [] == found


def test_core_has_no_word_about_the_adapters_made_outside_of_it() -> None:
    """Gemini and Ollama prove that the contract is enough: nothing here was made for them."""
    theirs = re.compile("gemini|google|ollama", re.I)

    assert [] == [
        f"{name_of(path)}:{number}"
        for path in CORE
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if theirs.search(line)
    ]


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules that are imported, wherever in the code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module or "."
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("package", ADAPTERS, ids=lambda package: package.name)
def test_adapters_import_the_contract_and_nothing_else_of_ours(package: Path) -> None:
    allowed = {package.name: {"one_api.adapter"}, "conformance": {"one_api.adapter.testing"}}
    found = {
        f"{name_of(path)}: {module}"
        for path in package.rglob("*.py")
        for module in imported(tree_of(path))
        if module.partition(".")[0].startswith("one_api")
        and module.partition(".")[0] != package.name
        and module not in allowed[package.name] | allowed.get(path.stem, set())
    }

    assert set() == found


def test_every_module_says_what_it_is_for() -> None:
    silent = [name_of(path) for path in CODE if not ast.get_docstring(tree_of(path))]

    assert [] == silent


def test_no_module_is_longer_than_a_head_holds() -> None:
    lengths = {name_of(path): path.read_text().count("\n") for path in CODE}

    assert {} == {name: lines for name, lines in lengths.items() if lines > MAX_MODULE_LINES}


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{name_of(path)}: {node.name}"
        for path in CODE
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
    ]

    assert [] == long


def test_groups_are_not_repeated_possessively() -> None:
    """Python before 3.11.5, such as Debian 12's, loses its way in them (gh-106052)."""
    sets, possessive = r"\[(?:\\.|[^\]\\])*\]", re.compile(r"\)[*+?}]\+|\(\?>")
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in CODE
        if "re.compile" in path.read_text()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "re.compile"
        for part in ast.walk(node)
        if isinstance(part, ast.Constant)
        if possessive.search(re.sub(sets, "", str(part.value)))
    ]

    assert [] == found


def test_contract_is_exactly_what_it_lists() -> None:
    """What an author can import by accident becomes a promise by accident."""
    bound = {
        name
        for name, value in vars(one_api.adapter).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }

    assert sorted(bound) == sorted(one_api.adapter.__all__)
    assert len(set(one_api.adapter.__all__)) == len(one_api.adapter.__all__)


def test_package_gives_what_it_lists_and_nothing_else() -> None:
    assert all(getattr(one_api, name) for name in one_api.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(one_api, "no_such_name")  # noqa: B009 - mypy knows that it is not there


def core_modules() -> list[str]:
    found = pkgutil.walk_packages(one_api.__path__, "one_api.")
    return ["one_api", *(module.name for module in found if not module.name.endswith("__main__"))]


def test_listed_names_exist() -> None:
    modules = [importlib.import_module(name) for name in core_modules()]

    assert [] == [
        f"{module.__name__}.{name}"
        for module in modules
        for name in getattr(module, "__all__", ())
        if not hasattr(module, name)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["one_api.adapter", "one_api.gateway"])
def test_import_brings_no_server_along(module: str) -> None:
    """Authors test their adapters without a web framework, and pay for none."""
    heavy = ["flask", "werkzeug", "aiohttp", "greenlet", "uvloop", "limits", "tiktoken"]
    program = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"

    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )

    assert "[]" == child.stdout.strip()


def test_types_are_published() -> None:
    packages = [ROOT / "one_api", *ROOT.glob("adapters/*/one_api_*")]

    assert [] == [str(package) for package in packages if not (package / "py.typed").exists()]
