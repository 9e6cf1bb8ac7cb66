"""All laws, in the order of the report.

A law keeps its id for good; its number is its place in this version of the suite.
"""

from __future__ import annotations

from typing import Final

from one_api.adapter.testing import (
    ability_laws,
    connection_laws,
    contract_laws,
    credential_laws,
    event_laws,
    fault_laws,
    parameter_laws,
    wire_laws,
)
from one_api.adapter.testing.law import Law

_CHAPTERS: Final = (
    contract_laws.chapter,
    event_laws.chapter,
    wire_laws.chapter,
    parameter_laws.chapter,
    connection_laws.chapter,
    fault_laws.chapter,
    ability_laws.chapter,
    credential_laws.chapter,
)

LAWS: Final[tuple[Law, ...]] = tuple(
    Law(number=number, id=draft.id, title=draft.title, need=draft.need, trial=draft.trial)
    for number, draft in enumerate(
        (draft for chapter in _CHAPTERS for draft in chapter.drafts), start=1
    )
)
