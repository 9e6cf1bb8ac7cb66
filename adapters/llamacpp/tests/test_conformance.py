"""Local models keep the laws that are about adapters without a provider."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.llamacpp.tests.make_gguf import write_scripted
from one_api.adapter.testing import Subject, run
from one_api_llamacpp.adapter import LlamaCppAdapter

README = Path(__file__).parents[1] / "README.md"
#: What `pytest --one-api-adapter=llamacpp --one-api-record` found of this version.
RECORD = Path(__file__).parents[1] / "one_api_llamacpp/conformance_report/llamacpp.json"


@pytest.mark.llamacpp
async def test_every_law_about_an_adapter_without_a_provider_is_kept(models: Path) -> None:
    write_scripted(models / "hello.gguf", "Hello there, the world is the world")
    subject = Subject(
        name="llamacpp",
        adapter=LlamaCppAdapter,
        environment={
            "LOCAL_MODELS_ENABLED": "true",
            "LOCAL_MODELS_DIR": str(models),
            "LOCAL_THREADS": "1",
        },
        readme=README.read_text(),
    )
    report = await run(subject)

    assert {} == report.faults
    kept = {ruling.law.need for ruling in report.rulings if ruling.outcome == "kept"}
    assert {"nothing", "answers"} <= kept
    assert report.to_json() == json.loads(RECORD.read_bytes()), "record it anew"
