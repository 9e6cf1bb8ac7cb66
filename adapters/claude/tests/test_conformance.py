"""The adapter keeps the laws of the contract."""

from __future__ import annotations

from pathlib import Path

from one_api.adapter.testing import Subject, run
from one_api_claude import ClaudeAdapter
from one_api_claude.conformance import PROFILE

README = Path(__file__).parents[1] / "README.md"


async def test_every_law_of_the_contract_is_kept() -> None:
    subject = Subject(
        name="claude", adapter=ClaudeAdapter, profile=PROFILE, readme=README.read_text()
    )
    report = await run(subject)

    assert {} == report.faults
    kept = {ruling.law.need for ruling in report.rulings if ruling.outcome == "kept"}
    assert {"conversion", "reasoning", "credential", "passthrough"} <= kept
