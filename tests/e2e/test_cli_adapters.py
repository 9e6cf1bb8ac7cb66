"""`one-api adapters` and its doctor: what is well is told, and what is not with what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from one_api.adapter.testing import SUITE_VERSION
from tests.e2e.conftest import CLAUDE_CREDENTIAL, OPENAI_CREDENTIAL, RunHere
from tests.e2e.distributions import install
from tests.e2e.scenes import Scene
from tests.scripted_upstream import openai_error, refusing_url

PAGE = (Path(__file__).parents[2] / "docs/adapters/doctor.md").read_text()
ACME = """
    from pydantic import Field, SecretStr
    from one_api.adapter import *
    from one_api.adapter import AdapterSettings, BaseModelAdapter

    class Settings(AdapterSettings):
        hint = "set ACME_KEY"
        key: SecretStr = Field(default=SecretStr(""), validation_alias="ACME_KEY")
        times: int = Field(default=1, validation_alias="ACME_TIMES")

        def is_configured(self):
            return bool(self.key.get_secret_value())

    class Adapter(BaseModelAdapter):
        Settings = Settings

        async def list_models(self):
            return [ModelInfo(id=f"m{at}", owned_by="acme") for at in range(5)]

        async def generate_completion(self, request, call):
            yield Start()
            yield TextDelta(f"{call.model} {request.completion_limit}")
            yield Finish("stop")
            yield UsageReport(Usage(prompt_tokens=3, completion_tokens=2))
"""
SECRET = "a-secret-of-acme"
ON = {"ACME_KEY": SECRET}
OURS = ("claude", "echo", "gemini", "llamacpp", "ollama", "openai")


class InstallAcme(Protocol):
    """Installs a package `one-api-acme` 1.0 with an adapter `acme`."""

    def __call__(
        self, *more: str, record: str | None = None, distribution: str = "one-api-acme"
    ) -> None:
        """`more` are lines of the class; `record` is its record of conformance."""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstallAcme:
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def add(*more: str, record: str | None = None, distribution: str = "one-api-acme") -> None:
        package = f"acme_{tmp_path.name}_{len(list(site.iterdir()))}"
        code = ACME + "".join(f"\n        {line}" for line in more)
        files = {f"{package}/__init__.py": code}
        if record is not None:
            files[f"{package}/conformance_report/acme.json"] = record
        install(site, distribution, adapters={"acme": f"{package}:Adapter"}, files=files)

    return add


def row_of(output: str, name: str) -> list[str]:
    """The cells of an adapter's row."""
    (line,) = [line for line in output.splitlines() if line.startswith(f"{name} ")]
    return re.split(r" {2,}", line)


class TestList:
    def test_models_are_shortened(self, run_here: RunHere, acme: InstallAcme) -> None:
        acme()

        result = run_here("adapters", **ON)

        assert 0 == result.exit_code
        assert [
            "ADAPTER",
            "DISTRIBUTION",
            "VERSION",
            "STATE",
            "IMPORT",
            "CONFORMANCE",
            "MODELS",
        ] == result.output.splitlines()[0].split()[:-1]
        cells = row_of(result.output, "acme")
        assert ["one-api-acme", "1.0", "loaded"] == cells[1:4]
        assert re.fullmatch(r"\d+ ms", cells[4])
        assert ["-", "m0, m1 +3", "acme"] == cells[5:]

    def test_all_providers_of_an_adapter_count(
        self, run_here: RunHere, providers: Mapping[str, str]
    ) -> None:
        result = run_here("adapters", **providers)

        cells = row_of(result.output, "openai")
        assert ["gpt-scripted, acme/coder +3", "openai, vllm"] == cells[6:]

    def test_one_that_cannot_list_says_why(self, run_here: RunHere) -> None:
        with refusing_url() as nobody:
            result = run_here("adapters", OPENAI_BASE_URL=nobody)

        assert 0 == result.exit_code
        told = "openai: upstream_unreachable: The provider cannot be reached."
        assert ["-", told] == row_of(result.output, "openai")[6:]
        assert "echo" == row_of(result.output, "echo")[6]

    def test_nobody_is_asked_with_no_probe(self, run_here: RunHere, acme: InstallAcme) -> None:
        acme("async def start(self): raise SystemExit('asked')")

        result = run_here("adapters", "--no-probe", **ON)

        assert (0, "-") == (result.exit_code, row_of(result.output, "acme")[6])

    def test_json_has_all_ids(self, run_here: RunHere, acme: InstallAcme) -> None:
        acme()

        result = run_here("adapters", "--json", **ON)

        rows = {row["name"]: row for row in map(json.loads, result.output.splitlines())}
        told = rows["acme"]
        assert told.pop("import_ms") >= 0
        assert told == {
            "name": "acme",
            "distribution": "one-api-acme",
            "version": "1.0",
            "state": "loaded",
            "reason": "",
            "conformance": None,
            "adapters": ["acme"],
            "models": ["m0", "m1", "m2", "m3", "m4"],
            "errors": [],
        }
        assert ("available", None) == (rows["claude"]["state"], rows["claude"]["models"])

    @pytest.mark.parametrize("option", ["--json", "--no-probe"])
    def test_its_options_are_no_others(self, run_here: RunHere, option: str) -> None:
        result = run_here("adapters", option, "doctor", "echo")

        assert (2, "") == (result.exit_code, result.stdout)

    def test_a_wrong_setting_is_told_after_the_list(
        self, run_here: RunHere, acme: InstallAcme
    ) -> None:
        acme()

        result = run_here("adapters", ACME_TIMES=SECRET)

        assert 2 == result.exit_code
        assert "failed" == row_of(result.stdout, "acme")[3]
        assert "Wrong setting ACME_TIMES: " in result.stderr
        assert SECRET not in result.output


def record(
    suite: str = SUITE_VERSION,
    of: str = "one-api-acme 1.0",
    kept: int = 9,
    broken: Sequence[str] = (),
) -> str:
    laws = [{"id": id_, "outcome": "broken", "number": 1} for id_ in broken]
    return json.dumps(
        {
            "suite": suite,
            "distribution": of,
            "adapter": "acme",
            "kept": kept,
            "total": 9,
            "laws": laws,
        }
    )


class TestRecord:
    @pytest.mark.parametrize(
        ("shipped", "told"),
        [
            (record(), f"{SUITE_VERSION}: 9/9"),
            (record(kept=7), f"{SUITE_VERSION}: 7/9"),
            (record(of="one-api-acme 0.9"), f"{SUITE_VERSION}: 9/9 (of 0.9)"),
            (record(of="one-api-fork 1.0"), f"{SUITE_VERSION}: 9/9 (of another package)"),
            (record(of=""), f"{SUITE_VERSION}: 9/9 (of another package)"),
            (record(suite="0.1"), f"0.1: 9/9 (now {SUITE_VERSION})"),
            (
                record(suite="0.1", of="one-api-acme 0.9"),
                f"0.1: 9/9 (of 0.9, now {SUITE_VERSION})",
            ),
            (None, "-"),
            ("{", "-"),
            ('{"suite": "1.0"}', "-"),
        ],
    )
    def test_it_is_told_as_far_as_it_holds(
        self, run_here: RunHere, acme: InstallAcme, shipped: str | None, told: str
    ) -> None:
        acme(record=shipped)

        assert told == row_of(run_here("adapters", "--no-probe").output, "acme")[5]

    def test_it_is_read_without_an_import(self, run_here: RunHere, acme: InstallAcme) -> None:
        acme("raise SystemExit('imported')", record=record())

        result = run_here("adapters", "--no-probe", ONE_API_ADAPTERS="echo")

        assert ["disabled", "0 ms", f"{SUITE_VERSION}: 9/9"] == row_of(result.output, "acme")[3:6]

    def test_our_own_packages_ship_theirs(self, run_here: RunHere) -> None:
        printed = run_here("adapters", "--no-probe").output

        told = {name: row_of(printed, name)[5] for name in OURS}
        assert [] == [
            name
            for name, badge in told.items()
            if not re.fullmatch(rf"{re.escape(SUITE_VERSION)}: (\d+)/\1", badge)
        ]

    def test_json_has_it_in_parts(self, run_here: RunHere, acme: InstallAcme) -> None:
        acme(record=record(kept=8, of="one-api-acme 0.9", broken=["start-first"]))

        lines = run_here("adapters", "--no-probe", "--json").output.splitlines()

        (told,) = [row["conformance"] for row in map(json.loads, lines) if row["name"] == "acme"]
        assert told == {
            "suite": SUITE_VERSION,
            "distribution": "one-api-acme 0.9",
            "kept": 8,
            "total": 9,
            "broken": ["start-first"],
            "doubts": ["of 0.9"],
        }

    def test_the_doctor_fails_laws_that_are_not_kept(
        self, run_here: RunHere, acme: InstallAcme
    ) -> None:
        acme(record=record(kept=8, broken=["start-first"]))

        result = run_here("adapters", "doctor", "acme", **ON)

        assert 1 == result.exit_code
        told = f"failed   conformance  {SUITE_VERSION}: 8/9, not kept: start-first -> try: pytest"
        assert told in result.output


def checks(output: str) -> dict[str, tuple[str, str]]:
    """Outcome and detail of each check by its name."""
    rows = [re.split(r" +", line, maxsplit=2) for line in output.splitlines()]
    return {name: (outcome, detail) for outcome, name, detail in rows}


class TestDoctor:
    def test_what_is_well_is_ok_and_the_status_is_0(
        self, run_here: RunHere, acme: InstallAcme
    ) -> None:
        acme(record=record())

        result = run_here("adapters", "doctor", "acme", "--live", **ON)

        assert 0 == result.exit_code, result.output
        told = checks(result.output)
        assert [
            *("installed", "import", "contract", "settings", "conformance", "models", "health"),
            "live",
        ] == list(told)
        assert ("ok", "set: ACME_KEY; not set: ACME_TIMES") == told["settings"]
        assert ("ok", f"{SUITE_VERSION}: 9/9") == told["conformance"]
        assert re.fullmatch(r"5 in \d+ ms: m0, m1, m2 \+2", told["models"][1])
        assert "skipped" == told["health"][0]
        assert re.fullmatch(r"acme/m0: 'm0 None', 3 \+ 2 tokens, \d+ ms", told["live"][1]), (
            "a model that takes no limit is given none"
        )

    def test_nothing_is_asked_without_live(self, run_here: RunHere, acme: InstallAcme) -> None:
        acme("generate_completion = None")

        result = run_here("adapters", "doctor", "acme", **ON)

        assert 0 == result.exit_code
        assert ("skipped", "nothing was asked -> --live asks a model for a few words") == (
            checks(result.output)["live"]
        )

    @pytest.mark.parametrize("parameter", ["max_tokens", "max_completion_tokens"])
    def test_the_answer_is_limited_by_what_the_model_takes(
        self, run_here: RunHere, acme: InstallAcme, parameter: str
    ) -> None:
        acme(f"def parameters(self, model): return ParameterPolicy(frozenset({{'{parameter}'}}))")

        result = run_here("adapters", "doctor", "acme", "--live", "--model", "m3", **ON)

        assert checks(result.output)["live"][1].startswith("acme/m3: 'm3 16', ")

    @pytest.mark.parametrize(
        ("environment", "more", "check", "told"),
        [
            ({}, "", "settings", "not set: ACME_KEY, ACME_TIMES -> set ACME_KEY"),
            (
                {**ON, "ACME_TIMES": SECRET},
                "",
                "settings",
                "ACME_TIMES: Input should be a valid integer",
            ),
            (
                {**ON, "ONE_API_ADAPTERS": "echo"},
                "raise SystemExit('imported')",
                "allowed",
                "not named in ONE_API_ADAPTERS -> name it there",
            ),
            (ON, "raise RuntimeError('no libexample')", "import", "RuntimeError: no libexample"),
            (ON, "api_version = 999", "contract", "contract 999, this gateway has 1 -> install"),
            (
                ON,
                "def __init__(self, *given): raise KeyError('table')",
                "built",
                "KeyError: 'table' -> tell the authors of one-api-acme",
            ),
            (
                ON,
                "async def start(self): raise PermissionError('no /dev/accelerator')",
                "started",
                "PermissionError: no /dev/accelerator -> give it",
            ),
            (
                ON,
                "async def list_models(self): raise CredentialRejected('refused')",
                "models",
                "refused -> check its settings and the network",
            ),
            (ON, "async def list_models(self): return [7]", "models", "did not return ModelInfo"),
            (
                ON,
                f"async def probe(self, model, s): raise UpstreamError(f'no {{model}} {SECRET}')",
                "health",
                "acme/m0: no m0 [redacted] -> check its settings",
            ),
            (
                ON,
                "async def generate_completion(self, *_): raise CredentialRejected('no'); yield",
                "live",
                "acme/m0: upstream_authentication_error: ",
            ),
            (ON, "async def list_models(self): return []", "live", "no model is known -> name one"),
        ],
        ids=lambda value: value.split("(")[0] if isinstance(value, str) else None,
    )
    def test_what_is_not_well_fails_with_what_to_do(
        self,
        run_here: RunHere,
        acme: InstallAcme,
        environment: Mapping[str, str],
        more: str,
        check: str,
        told: str,
    ) -> None:
        acme(more)

        result = run_here("adapters", "doctor", "acme", "--live", **environment)

        found = checks(result.stdout)
        assert 1 == result.exit_code
        assert "failed" == found[check][0]
        assert told in found[check][1]
        assert [check] == [name for name, (outcome, _) in found.items() if outcome == "failed"][:1]
        assert SECRET not in result.output
        assert "Traceback" not in result.output

    def test_a_probe_of_its_own_is_asked(self, run_here: RunHere, acme: InstallAcme) -> None:
        acme("async def probe(self, model_id, timeout_s): assert model_id == 'm2'")

        result = run_here("adapters", "doctor", "acme", "--model", "m2", **ON)

        assert "ok" == checks(result.output)["health"][0]

    def test_a_name_that_is_taken_twice_is_told(self, run_here: RunHere, acme: InstallAcme) -> None:
        acme()
        acme(distribution="other-acme")

        result = run_here("adapters", "doctor", "acme", **ON)

        assert 1 == result.exit_code
        outcome, detail = checks(result.stdout)["installed"]
        assert "failed" == outcome
        assert "of the same name: other-acme -> uninstall one-api-acme or other-acme" in detail

    def test_one_that_is_not_installed_is_told_with_those_that_are(self, run_here: RunHere) -> None:
        result = run_here("adapters", "doctor", "nobody")

        outcome, detail = checks(result.stdout)["installed"]
        assert (1, "failed") == (result.exit_code, outcome)
        assert re.search(r"installed are: .*claude, .*echo", detail)

    def test_variables_are_those_that_were_read_of_all_providers(
        self, run_here: RunHere, providers: Mapping[str, str]
    ) -> None:
        result = run_here("adapters", "doctor", "openai", **providers)

        outcome, detail = checks(result.stdout)["settings"]
        present, missing = re.fullmatch(r"set: (.+); not set: (.+)", detail).groups()  # type: ignore[union-attr]  # told by the failure
        assert "ok" == outcome
        assert {"OPENAI_API_KEY", "OPENAI_BASE_URL", "VLLM_BASE_URL", "VLLM_MODELS"} == set(
            present.split(", ")
        )
        assert {"OPENAI_MODELS", "VLLM_API_KEY", "GROQ_API_KEY"} <= set(missing.split(", "))
        assert not {OPENAI_CREDENTIAL, CLAUDE_CREDENTIAL} & set(result.output.split())

    def test_a_provider_is_asked_live(
        self, run_here: RunHere, providers: Mapping[str, str], scene: Scene
    ) -> None:
        scene.script(scene.whole())
        adapter = scene.model.partition("/")[0]

        result = run_here(
            *("adapters", "doctor", adapter, "--live", "--model", scene.model), **providers
        )

        outcome, detail = checks(result.stdout)["live"]
        assert ("ok", f"{scene.model}: 'Hello, world'") == (outcome, detail.partition(", 1")[0])
        asked = scene.request.json
        assert 16 in (asked.get("max_tokens"), asked.get("max_completion_tokens"))

    def test_a_model_is_asked_where_no_list_came(
        self, run_here: RunHere, acme: InstallAcme
    ) -> None:
        acme("async def list_models(self): raise UpstreamError('no list')")

        result = run_here("adapters", "doctor", "acme", "--live", "--model", "hidden", **ON)

        told = checks(result.stdout)
        assert (1, "failed") == (result.exit_code, told["models"][0])
        assert told["live"][1].startswith("acme/hidden: 'hidden None', ")

    def test_a_refused_credential_is_told_and_not_shown(
        self, run_here: RunHere, providers: Mapping[str, str], openai_scene: Scene
    ) -> None:
        openai_scene.script(openai_error(401, f"Incorrect API key: {OPENAI_CREDENTIAL}"))

        result = run_here(
            *("adapters", "doctor", "openai", "--live", "--model", openai_scene.model), **providers
        )

        assert 1 == result.exit_code
        assert "upstream_authentication_error" in checks(result.stdout)["live"][1]
        assert OPENAI_CREDENTIAL not in result.output

    def test_json_is_one_object_a_check(self, run_here: RunHere, acme: InstallAcme) -> None:
        acme()

        result = run_here("adapters", "doctor", "acme", "--json")

        told = [json.loads(line) for line in result.stdout.splitlines()]
        assert ["installed", "import", "contract", "settings", "conformance"] == [
            check["name"] for check in told
        ]
        assert {
            "name": "settings",
            "outcome": "failed",
            "detail": "not set: ACME_KEY, ACME_TIMES",
            "advice": "set ACME_KEY",
        } == told[3]


def untimed(text: str) -> list[str]:
    return [re.sub(r"\d+ ms", "N ms", " ".join(line.split())) for line in text.splitlines()]


@pytest.mark.parametrize("at", [0, 1], ids=["adapters", "doctor"])
def test_the_consoles_of_the_page_are_what_is_printed(run_here: RunHere, at: int) -> None:
    found = re.findall(r"```console\n\$ one-api (.+?)\n(.+?)```", PAGE, re.S)
    command, shown = found[at]

    result = run_here(*command.split())

    printed = untimed(result.output)
    assert 0 == result.exit_code
    assert [] == [line for line in untimed(shown) if line not in printed]


def test_the_page_names_every_check() -> None:
    code = (Path(__file__).parents[2] / "one_api/cli/doctoring.py").read_text()
    names = set(re.findall(r"Check\(\s*\"(\w+)\"", code))

    assert names == set(re.findall(r"^\| `(\w+)` \| ", PAGE.partition("## The doctor")[2], re.M))
