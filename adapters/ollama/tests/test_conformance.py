"""The adapter keeps the whole contract, with the abilities that it has."""

from __future__ import annotations

import json
from pathlib import Path

from one_api.adapter.testing import Subject, run
from one_api_ollama import OllamaAdapter
from one_api_ollama.conformance import PROFILE

README = Path(__file__).parents[1] / "README.md"
#: What `pytest --one-api-adapter=ollama --one-api-record` found of this version.
RECORD = Path(__file__).parents[1] / "one_api_ollama/conformance_report/ollama.json"
LACKS = {"completions", "counting", "flow", "passthrough", "readings"}


async def test_every_law_of_the_contract_is_kept() -> None:
    subject = Subject(
        name="ollama", adapter=OllamaAdapter, profile=PROFILE, readme=README.read_text()
    )
    report = await run(subject)

    assert {} == {
        ruling.law.id: (ruling.outcome, ruling.detail)
        for ruling in report.rulings
        if ruling.outcome != "kept" and ruling.law.need not in LACKS
    }
    assert LACKS == {ruling.law.need for ruling in report.rulings if ruling.outcome == "skipped"}
    assert report.to_json() == json.loads(RECORD.read_bytes()), "record it anew"
