"""Which laws are about an adapter, and the trying of them."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Collection, Mapping
from importlib.metadata import Distribution, EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Final, cast

from one_api.adapter.base import BaseModelAdapter
from one_api.adapter.completions import SupportsCompletions
from one_api.adapter.credentials import SupportsCredentialFlow
from one_api.adapter.embeddings import SupportsEmbeddings
from one_api.adapter.health_probe import SupportsHealthProbe
from one_api.adapter.http import HTTPModelAdapter
from one_api.adapter.passthrough import SupportsPassthrough
from one_api.adapter.readings import SupportsReadings
from one_api.adapter.testing.bench import NOWHERE, Subject, idle_context, open_bench
from one_api.adapter.testing.law import Law, Need
from one_api.adapter.testing.laws import LAWS
from one_api.adapter.testing.profile import ConformanceProfile
from one_api.adapter.testing.record import record_path
from one_api.adapter.testing.report import Report, Ruling
from one_api.adapter.token_counting import SupportsTokenCounting

GROUP = "one_api.adapters"
#: The longest that one law may take, in seconds.
TRIAL_TIMEOUT_S = 60.0

#: The optional abilities: what an adapter with it is, and what of the profile shows it.
_SHOWN: Final[Mapping[Need, tuple[type, str]]] = {
    "completions": (SupportsCompletions, "completion"),
    "embeddings": (SupportsEmbeddings, "embeddings"),
    "counting": (SupportsTokenCounting, "token_count"),
    "flow": (SupportsCredentialFlow, "credential"),
}
#: Those that need nothing shown: the provider is asked nothing, or what it is always asked.
_SEEN: Final[Mapping[Need, type]] = {
    "passthrough": SupportsPassthrough,
    "probe": SupportsHealthProbe,
}


def find_subject(name: str, environment: dict[str, str] | None = None) -> Subject:
    """The installed adapter whose entry point is called `name`.

    Raises: LookupError that names those that are installed; what importing the adapter raises.
    """
    entry = _entry_of(name)
    if entry is None:
        known = ", ".join(sorted(entry_points(group=GROUP).names)) or "none"
        raise LookupError(f"no adapter '{name}' is installed (installed: {known})")
    adapter: type[BaseModelAdapter] = entry.load()
    return Subject(
        name=name,
        adapter=adapter,
        profile=profile_of(adapter),
        environment=environment or {},
        readme=_readme(entry.dist),
    )


def profile_of(adapter: type[BaseModelAdapter]) -> ConformanceProfile | None:
    """`PROFILE` in the module `conformance` nearest to the one that defines `adapter`, if any.

    Raises: what importing that module raises; TypeError for a PROFILE of another kind.
    """
    package = adapter.__module__
    while package:
        name = f"{package}.conformance"
        if _exists(name):
            profile = getattr(importlib.import_module(name), "PROFILE", None)
            if not isinstance(profile, ConformanceProfile):
                raise TypeError(f"{name}.PROFILE is no ConformanceProfile")
            return profile
        package = package.rpartition(".")[0]
    return None


def distribution_of(subject: Subject) -> str:
    """Name and version of the package that brings `subject`; empty where it is not installed."""
    entry = _entry_of(subject.name)
    if entry is None or entry.dist is None or entry.load() is not subject.adapter:
        return ""
    return f"{entry.dist.name} {entry.dist.version}"


def record_path_of(name: str) -> Path:
    """Where the package that brings the adapter `name` keeps its record.

    Raises: LookupError where no package does.
    """
    entry = _entry_of(name)
    path = record_path(entry) if entry else None
    if path is None:
        raise LookupError(f"the adapter '{name}' is in no package that could keep its record")
    return path


async def run(subject: Subject, *, without: Collection[str] = ()) -> Report:
    """Try every law that is about `subject` but those named in `without`."""
    wanted = await applicable(subject)
    rulings = []
    for law in LAWS:
        if law not in wanted:
            rulings.append(Ruling(law, "skipped"))
        elif law.id in without:
            rulings.append(Ruling(law, "unknown"))
        else:
            rulings.append(await try_law(law, subject))
    return Report(
        adapter=subject.name, distribution=distribution_of(subject), rulings=tuple(rulings)
    )


async def try_law(law: Law, subject: Subject) -> Ruling:
    """Try one law."""
    try:
        async with asyncio.timeout(TRIAL_TIMEOUT_S):
            await law.trial(subject)
    except Exception as exc:  # noqa: BLE001 - an adapter that raises breaks the law just as well
        return Ruling(law, "broken", f"{type(exc).__name__}: {exc}")
    return Ruling(law, "kept")


async def applicable(subject: Subject) -> list[Law]:
    """The laws that are about `subject`, in order."""
    has: set[Need] = {"nothing"}
    profile = subject.profile
    if profile is not None:
        has |= {"answers", "profile"}
        if issubclass(subject.adapter, HTTPModelAdapter):
            has.add("conversion")
        if profile.has_reasoning:
            has.add("reasoning")
        if subject.has_credential:
            has.add("credential")
        has |= _abilities(subject, profile)
    elif await _answers(subject):
        has.add("answers")
    if "answers" in has and issubclass(subject.adapter, SupportsReadings):
        has.add("readings")
    return [law for law in LAWS if law.need in has]


def _abilities(subject: Subject, profile: ConformanceProfile) -> set[Need]:
    shown = {
        need
        for need, (ability, method) in _SHOWN.items()
        if issubclass(subject.adapter, ability) and _overrides(profile, method)
    }
    if "completions" in shown:
        adapter = subject.build(subject.variables(NOWHERE), idle_context())
        if not cast("SupportsCompletions", adapter).completes(profile.model):
            shown.remove("completions")
    return shown | {need for need, ability in _SEEN.items() if issubclass(subject.adapter, ability)}


def _entry_of(name: str) -> EntryPoint | None:
    return next(iter(entry_points(group=GROUP, name=name)), None)


def _overrides(profile: ConformanceProfile, method: str) -> bool:
    return getattr(type(profile), method) is not getattr(ConformanceProfile, method)


async def _answers(subject: Subject) -> bool:
    """Whether the adapter has a model without anybody's help."""
    try:
        async with open_bench(subject) as bench:
            return bool(bench.model)
    except Exception:  # noqa: BLE001 - then it has none; the laws that need no model say why
        return False


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # what it would be in is a module itself
        return False


def _readme(dist: Distribution | None) -> str:
    """The long description of a package, in which its settings may be told."""
    if dist is None:
        return ""
    metadata = dist.metadata
    return metadata.get("Description") or str(metadata.get_payload() or "")  # type: ignore[attr-defined]  # a Message
