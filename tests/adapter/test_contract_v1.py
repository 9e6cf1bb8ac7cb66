"""Version 1 of the contract is frozen: packages that this project never sees are built on it."""

from __future__ import annotations

from difflib import ndiff

from one_api import adapter
from one_api.adapter import CompatibleProvider, ParameterPolicy
from tests.adapter.contract_text import SNAPSHOT, contract_text

RULES = """
The promise of one_api.adapter is another one than in {path}:

{changes}

Lines with `+` alone may be fine. Version 1 may get
  - new names, and new methods of base classes that are not abstract;
  - new fields, and new parameters of what adapters call, at the end and with a default.
Then run `python -m tests.adapter.contract_text --write`, and tell authors in docs/adapters and in
the changelog.

A line with `-` breaks adapters that are published: a name or a parameter that goes, moves or is
called otherwise, another default, one more parameter of what adapters override, one more method of
an optional protocol. That is for a version 2, beside which version 1 is still loaded.
"""


def test_version_1_is_as_it_was_promised() -> None:
    expected, told = SNAPSHOT.read_text(), contract_text()
    changes = "\n".join(
        line
        for line in ndiff(expected.splitlines(), told.splitlines())
        if line.startswith(("+ ", "- "))
    )
    assert expected == told, RULES.format(path=SNAPSHOT.name, changes=changes)


def test_every_promised_name_is_in_the_snapshot() -> None:
    """What the text leaves out could change unseen."""
    lines = [line for line in SNAPSHOT.read_text().splitlines() if not line.startswith(" ")]
    words = [line.removeprefix("class ").removeprefix("def ") for line in lines]
    named = [word.split("(")[0].split(" ")[0] for word in words]
    assert sorted(adapter.__all__) == named


def test_capabilities_start_closed() -> None:
    """An adapter that says nothing of a parameter is not sent it; a row of data has to opt in."""
    policy = ParameterPolicy()
    assert (frozenset(), frozenset(), False) == (
        policy.honoured,
        policy.emulated,
        policy.forwards_unknown,
    )
    row = CompatibleProvider(name="any", base_url="https://api.example.com/v1")
    told = {name: getattr(row, name) for name in CompatibleProvider.__slots__}
    open_by_default = [name for name, value in told.items() if value is True]
    # Usage in streams is part of OpenAI's format itself: without it every count is a guess.
    assert ["stream_usage"] == open_by_default
