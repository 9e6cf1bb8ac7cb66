"""What a report says of laws that are kept, broken, skipped and not tried."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from one_api.adapter.testing import LAWS, Report, Ruling
from one_api.adapter.testing.bench import Subject, open_bench
from one_api.adapter.testing.suite import applicable, profile_of
from one_api.adapter.testing.verdict import LawBroken
from one_api_echo import EchoAdapter
from tests.adapter.testing.plain_adapter import PROFILE, PlainAdapter

REPORT = Report(
    adapter="acme",
    distribution="one-api-acme 0.3",
    rulings=(
        Ruling(LAWS[0], "kept"),
        Ruling(LAWS[1], "broken", "LawBroken: it dials"),
        Ruling(LAWS[2], "skipped"),
        Ruling(LAWS[3], "unknown"),
    ),
)


def test_the_badge_counts_what_is_about_the_adapter() -> None:
    assert "conformance 1.0: 1/3" == REPORT.badge
    assert [LAWS[1].id] == REPORT.broken


def test_json_and_table_tell_the_same(tmp_path: Path) -> None:
    REPORT.write(tmp_path / "deep" / "down")

    told = json.loads((tmp_path / "deep/down/acme.json").read_text())
    assert ["kept", "broken", "skipped", "unknown"] == [law["outcome"] for law in told["laws"]]
    assert "LawBroken: it dials" == told["laws"][1]["detail"]
    table = (tmp_path / "deep/down/acme.md").read_text()
    assert table.startswith("# acme (one-api-acme 0.3)\n\nconformance 1.0: 1/3\n")
    marks = [line.rsplit("|", 2)[1].strip() for line in table.splitlines()[-4:]]
    assert ["yes", "**no**", "-", "?"] == marks


def test_a_package_without_a_profile_has_none() -> None:
    assert profile_of(EchoAdapter) is None


async def test_an_adapter_that_answers_by_itself_needs_no_profile() -> None:
    laws = await applicable(Subject(name="echo", adapter=EchoAdapter))

    assert {"nothing", "answers"} == {law.need for law in laws}


async def test_an_adapter_that_nothing_configures_is_asked_what_needs_no_model() -> None:
    laws = await applicable(Subject(name="plain", adapter=PlainAdapter))

    assert {"nothing"} == {law.need for law in laws}


async def test_a_bench_says_that_no_instance_was_made() -> None:
    with pytest.raises(LawBroken, match="makes no instance"):
        async with open_bench(Subject(name="plain", adapter=PlainAdapter)):
            pass


@pytest.mark.parametrize("place", ["acme_in_test", "acme_in_test/chat"], ids=["package", "beside"])
def test_a_profile_is_found_near_the_adapter(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = _adapter_in("acme_in_test.chat.adapter")
    package = tmp_path / "acme_in_test" / "chat"
    package.mkdir(parents=True)
    (tmp_path / place / "conformance.py").write_text(
        "from tests.adapter.testing.plain_adapter import PROFILE\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    try:
        assert profile_of(adapter) is PROFILE
    finally:
        _forget("acme_in_test")


@pytest.mark.parametrize(
    ("source", "error"),
    [("PROFILE = 1\n", TypeError), ("", TypeError), ("import no_such_module\n", ImportError)],
    ids=["another kind", "none", "not importable"],
)
def test_a_profile_that_is_none_is_told(
    source: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme_in_test").mkdir()
    (tmp_path / "acme_in_test" / "conformance.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)

    try:
        with pytest.raises(error):
            profile_of(_adapter_in("acme_in_test"))
    finally:
        _forget("acme_in_test")


def _adapter_in(module: str) -> type[PlainAdapter]:
    return type("Acme", (PlainAdapter,), {"__module__": module})


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]
