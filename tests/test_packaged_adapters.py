"""Adapters as their users get them: wheels, beside a wheel of the core and nothing else of ours."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from one_api.adapter.testing import SUITE_VERSION
from tests.e2e.gateways import clean_environment

# Builds three packages.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PACKAGES = ("one-api-gateway", "one-api-gemini", "one-api-ollama")
OPTIONS = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
PROGRAM = """
import one_api, one_api_gemini, one_api_ollama
for module in (one_api, one_api_gemini, one_api_ollama):
    print(module.__file__)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheels, and with all that others have published.

    The path of this environment is added without its `.pth` files, which are what leads to our
    sources where they are installed in place.
    """
    home = tmp_path_factory.mktemp("packaged")
    venv.create(home / "venv", with_pip=False)
    variables = {"base": str(home / "venv"), "platbase": str(home / "venv")}
    site = Path(sysconfig.get_path("purelib", "venv", vars=variables))
    (site / "published.pth").write_text(sysconfig.get_path("purelib") + "\n")
    sources = [ROOT, ROOT / "adapters" / "gemini", ROOT / "adapters" / "ollama"]
    pip = (sys.executable, "-m", "pip")
    wheels = home / "wheels"
    commands: list[list[str | Path]] = [
        [*pip, "wheel", *OPTIONS, "--no-build-isolation", "--wheel-dir", wheels, *sources],
        [*pip, "install", *OPTIONS, "--target", site, "--find-links", wheels, *PACKAGES],
    ]
    for command in commands:
        subprocess.run(command, env=clean_environment(home, {}), check=True, timeout=120)
    return home / "venv" / "bin" / "python"


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `python` makes of `arguments`, in a directory without our sources."""
    return subprocess.run(
        [python, *arguments],
        cwd=python.parent,
        env=clean_environment(python.parent, {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_sources_are_out_of_sight(python: Path) -> None:
    found = run(python, "-c", PROGRAM)

    assert "" == found.stderr
    assert all("site-packages" in line for line in found.stdout.splitlines())
    assert str(ROOT) not in found.stdout
    assert "ModuleNotFoundError" in run(python, "-c", "import one_api_claude").stderr


def test_their_wheels_have_the_record_of_it(python: Path) -> None:
    listed = run(python, "-m", "one_api", "adapters", "--no-probe", "--json")

    rows = {row["name"]: row for row in map(json.loads, listed.stdout.splitlines())}
    for name in ("gemini", "ollama"):
        assert [] == rows[name]["conformance"]["doubts"]


def test_their_wheels_keep_the_contract_beside_the_cores_wheel(python: Path) -> None:
    names = ("gemini", "ollama")
    found = run(
        python,
        *("-m", "pytest", "-p", "no:cacheprovider"),
        *(f"--one-api-adapter={name}" for name in names),
    )

    assert 0 == found.returncode, found.stdout
    for name in names:
        (badge,) = [line for line in found.stdout.splitlines() if line.startswith(f"{name}: ")]
        assert badge.startswith(f"{name}: conformance {SUITE_VERSION}: ")
        kept, _, total = badge.rpartition(" ")[2].partition("/")
        assert int(kept) == int(total) > 40
