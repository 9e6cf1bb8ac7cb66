"""How a user asks, tried in a pytest of its own; and what it costs those who do not ask."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from one_api.adapter.testing import LAWS
from tests.e2e.gateways import clean_environment


def ask_pytest(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of pytest in `directory`, which has a test that fails if it is collected."""
    (directory / "test_other.py").write_text("def test_other():\n    assert False\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


MUTE = """
from one_api.adapter import (
    BaseModelAdapter, Finish, ModelInfo, TextDelta, Usage, UsageReport
)

class Mute(BaseModelAdapter):
    async def list_models(self):
        return [ModelInfo(id="mute", owned_by="nobody")]

    async def generate_completion(self, request, call):
        yield TextDelta("...")
        yield UsageReport(Usage(prompt_tokens=1, completion_tokens=1))
        yield Finish("stop")
"""


LOADED = """
import sys

def test_loaded(pytestconfig):
    assert pytestconfig.pluginmanager.has_plugin("one-api")
    ours = {name for name in sys.modules if name.split(".")[0] == "one_api"}
    assert ours == {"one_api", "one_api._version", "one_api.pytest_plugin"}
    assert not {"pydantic", "orjson", "aiohttp", "flask"} & set(sys.modules)
"""


def install_mute(directory: Path, module: str = "mute.py") -> None:
    """An adapter that forgets its Start, as installed as pip could make it."""
    (directory / module).parent.mkdir(exist_ok=True)
    (directory / module).write_text(MUTE)
    metadata = directory / "mute-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mute\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text("[one_api.adapters]\nmute = mute:Mute\n")


@pytest.mark.slow
class TestPlugin:
    def test_a_broken_law_is_told_by_name_and_with_its_reason(self, tmp_path: Path) -> None:
        install_mute(tmp_path)

        ran = ask_pytest(tmp_path, "--one-api-adapter=mute", "--one-api-report=out")

        assert 1 == ran.returncode
        assert "start-first: One Start comes, before everything else." in ran.stdout
        assert "number of Start events: expected 1, got 0" in ran.stdout
        told = json.loads((tmp_path / "out/mute.json").read_text())
        assert "mute 0.1" == told["distribution"]
        assert ["start-first"] == [e["id"] for e in told["laws"] if e["outcome"] == "broken"]
        badge = f"mute: conformance 1.0: {told['total'] - 1}/{told['total']}"
        assert badge == ran.stdout.splitlines()[-1]

    def test_the_badge_is_the_last_line_and_the_report_is_written(self, tmp_path: Path) -> None:
        ran = ask_pytest(tmp_path, "--one-api-adapter=openai", "--one-api-report=out")

        told = json.loads((tmp_path / "out/openai.json").read_text())
        assert [law.id for law in LAWS] == [law["id"] for law in told["laws"]]
        kept = {law["id"] for law in told["laws"] if law["outcome"] == "kept"}
        assert len(kept) == told["kept"] == told["total"]
        badge = f"openai: conformance 1.0: {len(kept)}/{len(kept)}"
        assert (0, badge) == (ran.returncode, ran.stdout.splitlines()[-1])
        table = (tmp_path / "out/openai.md").read_text()
        marks = {law.id: "yes" if law.id in kept else "-" for law in LAWS}
        for law in LAWS:
            assert f"| {law.number} | `{law.id}` | {law.title} | {marks[law.id]} |" in table

    def test_a_record_is_written_where_the_gateway_looks_for_it(self, tmp_path: Path) -> None:
        install_mute(tmp_path, "mute/__init__.py")

        ran = ask_pytest(tmp_path, "--one-api-adapter=mute", "--one-api-record", "-k", "text-whole")

        badge, _, path = ran.stdout.splitlines()[-1].partition(", recorded in ")
        assert [Path(path)] == list((tmp_path / "mute/conformance_report").iterdir())
        listed = subprocess.run(
            [sys.executable, "-m", "one_api", "adapters", "--no-probe"],
            cwd=tmp_path,
            env=clean_environment(tmp_path, {}),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        (row,) = [line for line in listed.stdout.splitlines() if line.startswith("mute ")]
        assert badge.removeprefix("mute: conformance ") in row
        assert "(of " not in row

    def test_a_module_alone_has_no_place_for_a_record(self, tmp_path: Path) -> None:
        install_mute(tmp_path)

        ran = ask_pytest(tmp_path, "--one-api-adapter=mute", "--one-api-record")

        assert 4 == ran.returncode
        assert "--one-api-record: the adapter 'mute' is in no package" in ran.stderr

    def test_laws_that_were_not_tried_do_not_count_as_kept(self, tmp_path: Path) -> None:
        ran = ask_pytest(tmp_path, "--one-api-adapter=openai", "-k", "start-first or text-whole")

        told = re.search(r"collected (\d+) items / (\d+) deselected / 2 selected", ran.stdout)
        assert told is not None, ran.stdout
        assert 2 + int(told[2]) == int(told[1])
        assert f"openai: conformance 1.0: 2/{told[1]}" == ran.stdout.splitlines()[-1]

    def test_other_plugins_do_not_change_the_result(self, tmp_path: Path) -> None:
        """Laws are tried by several processes, and in another order."""
        ran = ask_pytest(tmp_path, "--one-api-adapter=echo", "-n", "2", "-p", "randomly")

        assert 0 == ran.returncode
        kept, total = ran.stdout.splitlines()[-1].removeprefix("echo: conformance 1.0: ").split("/")
        assert kept == total

    def test_adapters_may_be_tried_together(self, tmp_path: Path) -> None:
        ran = ask_pytest(
            tmp_path, "--one-api-adapter=echo", "--one-api-adapter=openai", "-k", "api-version"
        )

        assert 0 == ran.returncode
        assert ["echo", "openai"] == [line.split(":")[0] for line in ran.stdout.splitlines()[-2:]]

    def test_a_name_that_is_not_installed_is_told_with_those_that_are(self, tmp_path: Path) -> None:
        ran = ask_pytest(tmp_path, "--one-api-adapter=nobody")

        assert 4 == ran.returncode
        assert "no adapter 'nobody' is installed (installed: " in ran.stderr

    def test_without_an_adapter_pytest_is_as_ever(self, tmp_path: Path) -> None:
        ran = ask_pytest(tmp_path)

        assert 1 == ran.returncode
        assert "1 failed" in ran.stdout
        assert "conformance" not in ran.stdout

    def test_what_is_not_asked_for_is_not_imported(self, tmp_path: Path) -> None:
        """Whoever has one_api installed has it loaded in every run of their own tests."""
        (tmp_path / "test_loaded.py").write_text(LOADED)

        ran = ask_pytest(tmp_path, "test_loaded.py")

        assert 0 == ran.returncode, ran.stdout
