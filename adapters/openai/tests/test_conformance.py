"""Every provider of the table keeps the laws of the contract."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from one_api.adapter import CompatibleProvider
from one_api.adapter.testing import Subject, run
from one_api_openai import PROVIDERS, OpenAIAdapter
from one_api_openai.conformance import PROFILE, RowProfile

README = Path(__file__).parents[1] / "README.md"
#: What `pytest --one-api-adapter=openai --one-api-record` found of this version.
RECORD = Path(__file__).parents[1] / "one_api_openai/conformance_report/openai.json"
#: Like none of the others: tells usage unasked, and refuses to be asked; needs no key.
UNLIKE = {"mistral", "vllm"}
#: About the module, which is the same for all rows.
ABOUT_THE_MODULE = ("import-offline", "import-cost", "construction-offline")


async def test_every_law_of_the_contract_is_kept() -> None:
    subject = Subject(
        name="openai", adapter=OpenAIAdapter, profile=PROFILE, readme=README.read_text()
    )
    report = await run(subject)

    assert {} == report.faults
    kept = {ruling.law.need for ruling in report.rulings if ruling.outcome == "kept"}
    assert {"conversion", "reasoning", "credential", "passthrough", "completions"} <= kept
    assert report.to_json() == json.loads(RECORD.read_bytes()), "record it anew"


@pytest.mark.parametrize(
    "provider",
    [
        pytest.param(row, id=row.name, marks=() if row.name in UNLIKE else pytest.mark.slow)
        for row in PROVIDERS[1:]
    ],
)
async def test_every_row_keeps_the_laws(provider: CompatibleProvider) -> None:
    subject = Subject(
        name=provider.name,
        adapter=OpenAIAdapter,
        profile=RowProfile(provider),
        readme=README.read_text(),
    )
    report = await run(subject, without=ABOUT_THE_MODULE)

    assert dict.fromkeys(ABOUT_THE_MODULE, "unknown") == report.faults
    needs = {ruling.law.need for ruling in report.rulings if ruling.outcome == "kept"}
    assert provider.keyless != ("credential" in needs)
    assert provider.completions == ("completions" in needs)
