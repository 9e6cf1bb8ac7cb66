"""The adapter keeps the laws of the contract."""

from __future__ import annotations

import json
from pathlib import Path

from one_api.adapter.testing import Subject, run
from one_api_claude import ClaudeAdapter
from one_api_claude.conformance import PROFILE

README = Path(__file__).parents[1] / "README.md"
#: What `pytest --one-api-adapter=claude --one-api-record` found of this version.
RECORD = Path(__file__).parents[1] / "one_api_claude/conformance_report/claude.json"


async def test_every_law_of_the_contract_is_kept() -> None:
    subject = Subject(
        name="claude", adapter=ClaudeAdapter, profile=PROFILE, readme=README.read_text()
    )
    report = await run(subject)

    assert {} == report.faults
    kept = {ruling.law.need for ruling in report.rulings if ruling.outcome == "kept"}
    assert {"conversion", "reasoning", "credential", "passthrough"} <= kept
    assert report.to_json() == json.loads(RECORD.read_bytes()), "record it anew"
