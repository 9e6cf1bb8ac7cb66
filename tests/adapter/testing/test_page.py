"""The page for authors says what the suite does, and its example works."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from one_api.adapter.testing import LAWS, ConformanceProfile, Subject, run
from one_api.pytest_plugin import pytest_addoption
from tests.adapter.testing.plain_adapter import PlainAdapter

PAGE = (Path(__file__).parents[3] / "docs/adapters/conformance.md").read_text()
PROBED = ("import-offline", "import-cost", "construction-offline")


def test_the_page_lists_the_laws() -> None:
    rows = re.findall(r"^\| (\d+) \| `([a-z0-9-]+)` \| (.+) \|$", PAGE, re.M)

    assert [(str(law.number), law.id, law.title) for law in LAWS] == rows


def test_the_page_has_every_option() -> None:
    parser = pytest.Parser(_ispytest=True)
    pytest_addoption(parser)
    (group,) = [group for group in parser._groups if group.name == "one-api"]

    assert [name for option in group.options for name in option.names()] == (
        re.findall(r"^\| `(--one-api-[a-z]+)[=`]", PAGE, re.M)
    )


def test_the_page_names_every_part_of_a_profile() -> None:
    parts = [name for name in vars(ConformanceProfile) if not name.startswith("_")]

    assert [] == [name for name in parts if not re.search(rf"\| `{name}[`(]", PAGE)]


async def test_the_example_is_a_profile_that_works(tmp_path: Path) -> None:
    (example, *_rest) = re.findall(r"```python\n(.+?)```", PAGE, re.S)
    (tmp_path / "conformance.py").write_text(example)
    spec = importlib.util.spec_from_file_location("page_example", tmp_path / "conformance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    subject = Subject(name="plain", adapter=PlainAdapter, profile=module.PROFILE)
    report = await run(subject, without=PROBED)

    assert dict.fromkeys(PROBED, "unknown") == report.faults
    skipped = {ruling.law.need for ruling in report.rulings if ruling.outcome == "skipped"}
    abilities = {"completions", "embeddings", "passthrough", "counting", "probe", "readings"}
    assert abilities | {"flow"} == skipped
