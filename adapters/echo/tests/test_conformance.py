"""The echo keeps the laws that are about adapters without a provider."""

from __future__ import annotations

from pathlib import Path

from one_api.adapter.testing import Subject, run
from one_api_echo import EchoAdapter

README = Path(__file__).parents[1] / "README.md"


async def test_every_law_about_an_adapter_without_a_provider_is_kept() -> None:
    report = await run(Subject(name="echo", adapter=EchoAdapter, readme=README.read_text()))

    assert {} == report.faults
    kept = {ruling.law.need for ruling in report.rulings if ruling.outcome == "kept"}
    assert {"nothing", "answers"} == kept
