"""Commands that packages add to `one-api`: theirs are theirs, and ours stay ours."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import RunHere
from tests.e2e.distributions import install

PAGE = (Path(__file__).parents[2] / "docs/adapters/commands.md").read_text()
TOOLS = """
    import click

    @click.group()
    def tools():
        \"\"\"Look after the tools.\"\"\"

    @tools.command()
    @click.argument("name")
    def sharpen(name):
        \"\"\"Sharpen NAME.\"\"\"
        click.echo(f"{name} is sharp.")
"""

#: Declares commands of a package of this name whose module has this code.
Declare = Callable[..., str]


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Install a package with one command; the value is the name of its module."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def add(
        command: str = "tools",
        code: str = TOOLS,
        *,
        distribution: str = "one-api-tools",
        attribute: str = "tools",
        adapters: tuple[str, ...] = (),
    ) -> str:
        module = f"tools_{tmp_path.name}_{len(list(site.iterdir()))}"
        install(
            site,
            distribution,
            adapters=dict.fromkeys(adapters, "nowhere:Adapter"),
            commands={command: f"{module}:{attribute}"},
            files={f"{module}.py": code},
        )
        return module

    return add


def test_they_are_listed_with_their_package_and_not_imported(
    run_here: RunHere, declare: Declare
) -> None:
    module = declare(code="raise SystemExit('imported')")

    result = run_here("--help")

    assert 0 == result.exit_code
    assert re.search(r"^  tools +From one-api-tools\.$", result.output, re.M)
    assert re.search(r"^  serve +Serve the gateway", result.output, re.M)
    assert module not in sys.modules


def test_they_run_with_their_arguments(run_here: RunHere, declare: Declare) -> None:
    declare()

    result = run_here("tools", "sharpen", "axe")

    assert (0, "axe is sharp.\n") == (result.exit_code, result.output)


def test_their_help_is_their_own(run_here: RunHere, declare: Declare) -> None:
    declare()

    result = run_here("tools", "--help")

    assert 0 == result.exit_code
    assert "Usage: main tools [OPTIONS] COMMAND" in result.output
    assert "Look after the tools." in result.output


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import libexample_that_is_not_there", "ModuleNotFoundError: No module named"),
        ("raise RuntimeError('no device')", "its import raised RuntimeError: no device"),
        ("raise SystemExit('needs a licence')", "its import raised SystemExit: needs a licence"),
        ("this is no python", "its import raised SyntaxError"),
        ("", "AttributeError"),
        ("tools = 7", "is no click command"),
        ("def tools(): pass", "is no click command"),
    ],
)
def test_a_broken_one_is_a_message_that_names_its_package(
    run_here: RunHere, declare: Declare, code: str, reason: str
) -> None:
    declare(code=code)

    result = run_here("tools", "sharpen", "axe")

    assert (1, "") == (result.exit_code, result.stdout)
    assert "Error: the command 'tools' of one-api-tools cannot be run: " in result.stderr
    assert reason in result.stderr
    assert "Traceback" not in result.stderr
    assert 0 == run_here("adapters", "--no-probe").exit_code


def test_ours_cannot_be_replaced(run_here: RunHere, declare: Declare) -> None:
    declare("config", code="raise SystemExit('imported')")

    result = run_here("config", "check", ONE_API_ADAPTERS="echo")

    assert (0, "The settings are right. Adapters: echo.\n") == (result.exit_code, result.output)
    assert "one-api-tools" not in run_here("--help").output


def test_of_two_with_one_name_the_first_package_has_it(run_here: RunHere, declare: Declare) -> None:
    declare(distribution="b-tools", code="raise SystemExit('imported')")
    declare(distribution="a-tools")

    assert 0 == run_here("tools", "sharpen", "axe").exit_code


def test_those_of_adapters_off_the_list_are_not_imported(
    run_here: RunHere, declare: Declare
) -> None:
    module = declare(adapters=("acme", "other"))

    refused = run_here("tools", "sharpen", "axe", ONE_API_ADAPTERS="echo")
    allowed = run_here("tools", "sharpen", "axe", ONE_API_ADAPTERS="echo,other")

    assert (1, 0) == (refused.exit_code, allowed.exit_code)
    assert "ONE_API_ADAPTERS does not name its adapter: acme, other" in refused.stderr
    assert module not in refused.stderr


def test_the_list_is_of_adapters_alone(run_here: RunHere, declare: Declare) -> None:
    declare(adapters=())

    assert 0 == run_here("tools", "sharpen", "axe", ONE_API_ADAPTERS="echo").exit_code


def test_a_wrong_setting_is_told_as_ours_is(run_here: RunHere, declare: Declare) -> None:
    declare(
        code="""
            import click
            from one_api.adapter import ConfigurationError

            @click.command()
            def tools():
                raise ConfigurationError("TOOLS_DIR", "is no directory")
        """
    )

    result = run_here("tools")

    assert (2, "Wrong setting TOOLS_DIR: is no directory\n") == (result.exit_code, result.stderr)


def test_they_get_the_variables_that_adapters_get(
    run_here: RunHere, declare: Declare, tmp_path: Path
) -> None:
    declare(
        code="""
            import click

            @click.command()
            @click.pass_obj
            def tools(variables):
                click.echo(f"{variables['TOOLS_DIR']} {variables['TOOLS_KIND']}")
        """
    )
    (tmp_path / ".env").write_text("TOOLS_DIR=of-the-file\nTOOLS_KIND=of-the-file\n")

    result = run_here("tools", TOOLS_KIND="of-the-environment")

    assert (0, "of-the-file of-the-environment\n") == (result.exit_code, result.output)


def test_an_unknown_command_is_told_as_ever(run_here: RunHere, declare: Declare) -> None:
    declare()

    result = run_here("no-such-command")

    assert 2 == result.exit_code
    assert "No such command 'no-such-command'" in result.stderr


def test_the_example_of_the_page_works(
    run_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (points,) = re.findall(r"```toml\n(.+?)```", PAGE, re.S)
    (code,) = re.findall(r"```python\n(.+?)```", PAGE, re.S)
    (told,) = re.findall(r"```console\n\$ one-api (.+?)\n(.+?)```", PAGE, re.S)
    ((command, value),) = re.findall(r'^(\w+) = "one_api_acme\.(.+)"$', points, re.M)
    package = f"acme_{tmp_path.name}"  # what one test imports is imported for all
    install(
        tmp_path / "site",
        "one-api-acme",
        commands={command: f"{package}.{value}"},
        files={f"{package}/__init__.py": "", f"{package}/commands.py": code},
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    result = run_here(*told[0].split())

    assert (0, told[1]) == (result.exit_code, result.output)
