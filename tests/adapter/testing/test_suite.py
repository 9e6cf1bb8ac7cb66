"""The suite is tried itself: a good adapter keeps every law, and each law finds its mutant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module

import pytest

from one_api.adapter.testing import LAWS, Subject, run
from tests.adapter.testing.ability_mutants import ABLE, FLOWING
from tests.adapter.testing.able_adapter import AbleAdapter, AbleProfile, FlowAdapter, FlowProfile
from tests.adapter.testing.mutants import FURTHER, MUTANTS, KeepsASocket
from tests.adapter.testing.plain_adapter import PROFILE, PlainAdapter

#: These ask an interpreter of their own: none of the mutants that are not about them can matter.
PROBED = frozenset({"import-offline", "import-cost", "construction-offline"})
#: Modules that break a law when they are imported, and the adapters in them.
ON_IMPORT = {
    "import-offline": ("dials_on_import", "DialsOnImport"),
    "import-cost": ("slow_import", "SlowImport"),
}

ALL: dict[str, type[PlainAdapter]] = {**MUTANTS, **ABLE, **FLOWING}


@pytest.fixture(autouse=True)
def _sockets_of_mutants() -> Iterator[None]:
    yield
    while KeepsASocket.kept:
        KeepsASocket.kept.pop().close()


def subject_of(adapter: type[PlainAdapter]) -> Subject:
    profile = PROFILE
    if issubclass(adapter, AbleAdapter):
        profile = AbleProfile()
    elif issubclass(adapter, FlowAdapter):
        profile = FlowProfile()
    return Subject(name="plain", adapter=adapter, profile=profile)


@pytest.mark.slow
async def test_good_adapters_keep_every_law() -> None:
    report = await run(subject_of(PlainAdapter))
    kept = {ruling.law.id for ruling in report.rulings if ruling.outcome == "kept"}
    assert {} == report.faults
    for adapter in (AbleAdapter, FlowAdapter):
        report = await run(subject_of(adapter), without=PROBED)
        kept |= {ruling.law.id for ruling in report.rulings if ruling.outcome == "kept"}
        assert dict.fromkeys(PROBED, "unknown") == report.faults

    assert {law.id for law in LAWS} == kept


def test_every_law_has_a_mutant() -> None:
    tried = [*MUTANTS, *ABLE, *FLOWING, *ON_IMPORT]
    assert sorted(law.id for law in LAWS) == sorted(tried)


def test_laws_are_numbered_named_and_described() -> None:
    assert list(range(1, len(LAWS) + 1)) == [law.number for law in LAWS]
    assert len({law.id for law in LAWS}) == len(LAWS)
    assert all(re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*", law.id) for law in LAWS)
    assert all(law.title and not law.title.endswith(".") for law in LAWS)


@pytest.mark.slow  # each of them has a server for each of the laws
@pytest.mark.parametrize(
    ("law", "adapter"),
    [*ALL.items(), *FURTHER],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
async def test_a_mutant_breaks_its_law_and_no_other(law: str, adapter: type[PlainAdapter]) -> None:
    report = await run(subject_of(adapter), without=PROBED - {law})

    assert [law] == report.broken


@pytest.mark.slow
@pytest.mark.parametrize("law", sorted(ON_IMPORT))
async def test_a_module_breaks_its_law_when_it_is_imported(law: str) -> None:
    module, name = ON_IMPORT[law]
    adapter = getattr(import_module(f"tests.adapter.testing.{module}"), name)

    report = await run(subject_of(adapter), without={each.id for each in LAWS} - PROBED)

    assert [law] == report.broken
