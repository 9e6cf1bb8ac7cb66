"""The echo keeps the laws that are about adapters without a provider."""

from __future__ import annotations

import json
from pathlib import Path

from one_api.adapter.testing import Subject, run
from one_api_echo import EchoAdapter

README = Path(__file__).parents[1] / "README.md"
#: What `pytest --one-api-adapter=echo --one-api-record` found of this version.
RECORD = Path(__file__).parents[1] / "one_api_echo/conformance_report/echo.json"


async def test_every_law_about_an_adapter_without_a_provider_is_kept() -> None:
    report = await run(Subject(name="echo", adapter=EchoAdapter, readme=README.read_text()))

    assert {} == report.faults
    kept = {ruling.law.need for ruling in report.rulings if ruling.outcome == "kept"}
    assert {"nothing", "answers"} == kept
    assert report.to_json() == json.loads(RECORD.read_bytes()), "record it anew"
