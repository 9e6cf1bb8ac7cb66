"""The documentation says what the code does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from one_api.settings import Settings

ROOT = Path(__file__).parent.parent


def protocol_table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("protocol_table", ROOT / "docs/protocol_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_protocol_table_is_what_the_adapters_say() -> None:
    """`python docs/protocol_table.py --write` brings the page up to date."""
    module = protocol_table()
    expected = module.page_with(module.table())
    assert expected == (ROOT / "docs/protocol.md").read_text()


def test_the_readme_names_every_core_setting() -> None:
    readme = (ROOT / "README.md").read_text()
    unnamed = [name for name in Settings.model_fields if f"`{name.upper()}`" not in readme]
    assert unnamed == []
