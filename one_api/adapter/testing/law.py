"""A law: what every adapter promises, under a name that stays, with the trial that shows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from one_api.adapter.testing.bench import Subject

#: What an adapter must have for a law to be about it: nothing, a model that answers here and now,
#: or a profile; with the profile conversions (`HTTPModelAdapter`), reasoning, a credential; or one
#: of the abilities that are optional.
Need = Literal[
    "nothing",
    "answers",
    "profile",
    "conversion",
    "reasoning",
    "credential",
    "completions",
    "embeddings",
    "passthrough",
    "counting",
    "probe",
    "readings",
    "flow",
]
Trial = Callable[[Subject], Awaitable[None]]

#: Version of the set of laws; its first number is the contract's, its second counts changes.
SUITE_VERSION: Final = "1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """One promise; `id` is its name for good, `number` its place in this version of the suite."""

    number: int
    id: str
    title: str
    need: Need
    trial: Trial

    @property
    def label(self) -> str:
        """Number and name."""
        return f"{self.number:02d}-{self.id}"


@dataclass(frozen=True, slots=True)
class Draft:
    """A law before it has its number."""

    id: str
    title: str
    need: Need
    trial: Trial


class Chapter:
    """Laws of one kind, in the order they are written down."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []

    def law(self, law_id: str, *, need: Need) -> Callable[[Trial], Trial]:
        """Makes a trial a law of this chapter; the trial's docstring is what the law says."""

        def keep(trial: Trial) -> Trial:
            title = (trial.__doc__ or law_id).removesuffix(".")
            self.drafts.append(Draft(law_id, title, need, trial))
            return trial

        return keep
