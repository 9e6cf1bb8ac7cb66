"""`one-api adapters new`: what it writes keeps the contract at once, and passes every check."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from one_api.adapter.testing import (
    Answer,
    ConformanceProfile,
    ScriptedUpstream,
    UpstreamReply,
    UpstreamRequest,
    run,
)
from one_api.adapter.testing.suite import find_subject
from one_api.cli.scaffolding import KINDS, MAX_NAME_CHARS, AdapterNames, Kind, render
from tests.e2e.conftest import RunHere, StartGateway
from tests.e2e.distributions import install
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import BIN, clean_environment, run_to_end

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/adapters/scaffold.md").read_text()
#: The shortest name, and the longest: no line may come out too long, or too short to be broken.
NAMES = ("a", "abcdefghijkl-mnopqrstuvw")
KEY = "a-credential-of-the-test"


def lint(directory: Path) -> str:
    """What ruff has to say of a package, by the package's own settings."""
    told = ""
    for command in (("check", "--no-cache"), ("format", "--no-cache", "--check")):
        ran = subprocess.run(
            [f"{BIN}/ruff", *command, "--quiet", "."],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        told += ran.stdout + ran.stderr
    return told


class TestWriting:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("name", NAMES)
    def test_what_is_written_is_clean_whatever_its_name(
        self, run_here: RunHere, tmp_path: Path, name: str, kind: Kind
    ) -> None:
        result = run_here("adapters", "new", name, "--kind", kind)

        assert 0 == result.exit_code, result.output
        assert "" == lint(tmp_path / f"one-api-{name}")

    def test_the_longest_name_is_as_long_as_may_be(self) -> None:
        assert MAX_NAME_CHARS == max(map(len, NAMES))

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_readme_says_where_to_type(self, kind: Kind) -> None:
        names = AdapterNames("my-llm")
        files = {str(path): text for path, text in render(names, kind).items()}

        told = set(re.findall(r"^\| `(one_api_my_llm/\w+\.py)` \|", files["README.md"], re.M))

        assert told == {path for path in files if path.endswith(".py") and "tests/" not in path} - {
            "one_api_my_llm/__init__.py"
        }
        assert [] == [path for path in told if "Here: " not in files[path]]

    def test_every_form_of_the_name_is_used(self) -> None:
        text = "".join(render(AdapterNames("my-llm"), "http").values())

        for form in (
            "my-llm",
            "one-api-my-llm",
            "one_api_my_llm",
            "MyLlmAdapter",
            "MY_LLM_API_KEY",
        ):
            assert form in text
        assert "$" not in re.sub(r"^\$ ", "", text, flags=re.M)

    def test_the_page_is_what_is_printed_and_written(
        self, run_here: RunHere, tmp_path: Path
    ) -> None:
        ((command, printed),) = re.findall(r"```console\n\$ one-api (.+?)\n(.+?)```", PAGE, re.S)
        (listed,) = re.findall(r"```\n(one-api-acme/.+?)```", PAGE, re.S)

        result = run_here(*command.split())

        found = sorted(path for path in tmp_path.rglob("*") if path.is_file())
        assert (0, printed) == (result.exit_code, result.output)
        assert sorted(listed.split()) == [str(path.relative_to(tmp_path)) for path in found]

    def test_it_may_be_written_elsewhere(self, run_here: RunHere, tmp_path: Path) -> None:
        result = run_here("adapters", "new", "acme", "--directory", "else/where")

        assert 0 == result.exit_code
        assert (tmp_path / "else/where/one-api-acme/pyproject.toml").exists()
        assert "  cd else/where/one-api-acme\n" in result.output


class TestRefusals:
    @pytest.mark.parametrize(
        "name",
        [
            *("", "Acme", "my_llm", "my--llm", "-acme", "acme-", "3d", "my llm", "a/b", "..", "é"),
            "a" * (MAX_NAME_CHARS + 1),
        ],
    )
    def test_a_name_that_is_none(self, run_here: RunHere, tmp_path: Path, name: str) -> None:
        result = run_here("adapters", "new", "--", name)

        assert (1, []) == (result.exit_code, list(tmp_path.iterdir()))
        assert f"Error: '{name}' is no name for an adapter: " in result.stderr

    def test_the_name_of_an_installed_adapter(self, run_here: RunHere) -> None:
        result = run_here("adapters", "new", "echo")

        assert (1, "Error: one-api-echo has an adapter called 'echo' already.\n") == (
            result.exit_code,
            result.stderr,
        )

    def test_the_name_of_an_installed_package(self, run_here: RunHere) -> None:
        """It has no adapter: it is the gateway."""
        result = run_here("adapters", "new", "gateway")

        assert (1, "Error: a package one-api-gateway is installed already.\n") == (
            result.exit_code,
            result.stderr,
        )

    def test_the_name_of_a_module(
        self, run_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "one_api_taken.py").write_text("raise SystemExit('imported')")
        monkeypatch.syspath_prepend(str(tmp_path))

        result = run_here("adapters", "new", "taken")

        assert (1, "Error: a module one_api_taken can be imported already.\n") == (
            result.exit_code,
            result.stderr,
        )

    def test_a_directory_that_is_there(self, run_here: RunHere, tmp_path: Path) -> None:
        kept = tmp_path / "one-api-acme/kept.txt"
        kept.parent.mkdir()
        kept.write_text("mine")

        result = run_here("adapters", "new", "acme")

        assert (1, "Error: one-api-acme is there already.\n") == (result.exit_code, result.stderr)
        assert [kept] == list(kept.parent.iterdir())

    def test_a_place_that_cannot_be_written_to(self, run_here: RunHere, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")

        result = run_here("adapters", "new", "acme", "--directory", "file/below")

        assert 1 == result.exit_code
        assert "Error: file/below cannot be written: Not a directory.\n" == result.stderr


@pytest.mark.slow
async def test_what_is_written_keeps_the_contract(
    run_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quickest kind here; all kinds, as users have them, in the slow tests."""
    run_here("adapters", "new", "fresh", "--kind", "custom")
    site = tmp_path / "one-api-fresh"
    install(site, "one-api-fresh", adapters={"fresh": "one_api_fresh:FreshAdapter"})
    monkeypatch.syspath_prepend(str(site))

    report = await run(find_subject("fresh"))

    assert [] == report.broken
    assert report.kept == report.total > 10


# -- as users have them: built, installed by pip, in programs of their own


@dataclass(frozen=True, slots=True)
class Written:
    """A package as `new` wrote it, and where pip has installed it."""

    kind: Kind
    name: str
    source: Path
    site: str


def pip(directory: Path, *arguments: str) -> None:
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", *arguments[:1], "--quiet", *options, *arguments[1:]],
        env=clean_environment(directory, {}),
        check=True,
        timeout=60,
    )


@pytest.fixture(scope="module", params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    kind: Kind = request.param
    directory = tmp_path_factory.mktemp(kind)
    name = f"new-{kind}"
    ended = run_to_end(["adapters", "new", name, "--kind", kind], directory)
    assert 0 == ended.returncode, ended.stderr
    source, site = directory / f"one-api-{name}", directory / "site"
    pip(directory, "install", "--target", str(site), str(source))
    return Written(kind, name, source, str(site))


def run_program(
    directory: Path, environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=directory,
        env=clean_environment(directory, environment),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@asynccontextmanager
async def provider(written: Written) -> AsyncIterator[tuple[Mapping[str, str], list[str]]]:
    """What switches the adapter on for a provider that says hello, and what it is asked."""
    if written.kind == "custom":
        yield {}, []
        return
    module = import_module(f"one_api_new_{written.kind}.conformance")
    profile: ConformanceProfile = module.PROFILE
    asked: list[str] = []

    def answer(request: UpstreamRequest) -> UpstreamReply:
        asked.append(request.headers.get("authorization", ""))
        if request.method == "GET":
            return profile.models(("m",), request)
        return profile.answer(Answer(("Good ", "day")), request)

    upstream = ScriptedUpstream(answer)
    await upstream.open()
    try:
        yield profile.environment(upstream.url, KEY), asked
    finally:
        await upstream.close()


@pytest.mark.slow
class TestInstalled:
    def test_it_keeps_every_law(self, written: Written, tmp_path: Path) -> None:
        options = ["-p", "no:cacheprovider", f"--one-api-adapter={written.name}"]

        ran = run_program(
            tmp_path, {"PYTHONPATH": written.site}, "pytest", "--one-api-report=out", *options
        )

        assert 0 == ran.returncode, ran.stdout
        badge = re.fullmatch(
            rf"{written.name}: conformance [\d.]+: (\d+)/(\d+)", ran.stdout.splitlines()[-1]
        )
        assert badge is not None
        assert badge[1] == badge[2]
        told = json.loads((tmp_path / f"out/{written.name}.json").read_text())
        assert f"one-api-{written.name} 0.1.0" == told["distribution"]
        outcomes = {law["id"]: law["outcome"] for law in told["laws"]}
        assert "kept" == outcomes["start-first"]
        # Where there is no provider that could be played.
        of_a_wire = "skipped" if written.kind == "custom" else "kept"
        for law_id in ("stream-cut", "unicode-splits", "tools-parallel", "credential-silent"):
            assert of_a_wire == outcomes[law_id]

    def test_its_own_tests_pass(self, written: Written) -> None:
        ran = run_program(
            written.source, {"PYTHONPATH": written.site}, "pytest", "-p", "no:cacheprovider"
        )

        assert 0 == ran.returncode, ran.stdout

    def test_its_types_are_right(
        self, written: Written, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        # The core's modules are the same for all kinds: they are looked at once.
        cache = str(tmp_path_factory.getbasetemp() / "mypy-of-scaffolds")

        ran = run_program(
            written.source,
            {"MYPYPATH": "."},
            *("mypy", "--cache-dir", cache, f"one_api_new_{written.kind}", "tests"),
        )

        assert 0 == ran.returncode, ran.stdout

    async def test_the_gateway_serves_it(
        self, written: Written, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(written.site)
        async with provider(written) as (environment, asked):
            variables = {**environment, "PYTHONPATH": written.site}
            gateway = await asyncio.to_thread(start_gateway, variables)
            model = "new-custom" if written.kind == "custom" else "m"
            body = {"model": model, "messages": [{"role": "user", "content": "Good day"}]}
            url = f"{gateway.base_url}/chat/completions"
            whole = await asyncio.to_thread(exchange, url, body)
            streamed = await asyncio.to_thread(exchange, url, {**body, "stream": True})

        assert "Good day" == whole.json["choices"][0]["message"]["content"].strip()
        told = [event["choices"][0]["delta"] for event in streamed.events[:-1] if event["choices"]]
        assert "Good day" == "".join(delta.get("content") or "" for delta in told).strip()
        assert {f"Bearer {KEY}"} >= set(asked)

    async def test_the_doctor_is_content(
        self, written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(written.site)
        async with provider(written) as (environment, _):
            arguments = ["adapters", "doctor", written.name, "--live"]
            variables = {**environment, "PYTHONPATH": written.site}
            ended = await asyncio.to_thread(run_to_end, arguments, tmp_path, variables)

        assert 0 == ended.returncode, ended.stdout
        assert KEY not in ended.stdout + ended.stderr
        said = "Say hello." if written.kind == "custom" else "Good day"
        assert re.search(rf"^ok +live .+'{re.escape(said)}'", ended.stdout, re.M)


@pytest.mark.slow
def test_the_templates_are_in_the_wheel(tmp_path: Path) -> None:
    pip(tmp_path, "wheel", "--wheel-dir", str(tmp_path), str(ROOT))

    (wheel,) = tmp_path.glob("one_api_gateway-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    kept = sorted((ROOT / "one_api/cli/scaffold").rglob("*.tmpl"))
    assert kept
    assert [] == [path for path in kept if str(path.relative_to(ROOT)) not in packed]
