"""The operator's page shows files that work, and errors as they are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from one_api.upstreams_file.entry import FIELDS
from tests.upstreams_file.files import error_of, read

PAGE = (Path(__file__).parents[2] / "docs/upstreams.md").read_text()
*EXAMPLES, WRONG = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_are_right(example: str, tmp_path: Path) -> None:
    keys = {"TEAM_KEY": "team-key", "BATCH_KEY": "batch-key", "EU_KEY": "eu-key"}
    assert 2 == len(read(example, tmp_path, keys).entries)


def test_the_error_is_what_is_told(tmp_path: Path) -> None:
    shown = re.findall(r"^```\n(UPSTREAMS_FILE.*?)\n```$", PAGE, re.M)
    assert [error_of(WRONG, tmp_path)] == shown


def test_every_field_of_an_entry_has_its_row() -> None:
    assert [] == [name for name in FIELDS if f"| `{name}`" not in PAGE]
