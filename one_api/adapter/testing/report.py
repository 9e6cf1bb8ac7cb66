"""What a run of the suite found, as a line, as JSON and as a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from one_api.adapter.testing.law import SUITE_VERSION, Law
from one_api.schemas import JsonObject

#: A law is `skipped` where the adapter has not what it is about, `unknown` where it was not tried.
Outcome = Literal["kept", "broken", "skipped", "unknown"]
_MARKS: dict[Outcome, str] = {"kept": "yes", "broken": "**no**", "skipped": "-", "unknown": "?"}


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of one law; `detail` tells the adapter's author why it is broken."""

    law: Law
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All laws in their order, and whose they are."""

    adapter: str
    distribution: str
    rulings: tuple[Ruling, ...]

    @property
    def kept(self) -> int:
        """How many laws the adapter keeps."""
        return sum(ruling.outcome == "kept" for ruling in self.rulings)

    @property
    def total(self) -> int:
        """How many laws are about such an adapter."""
        return sum(ruling.outcome != "skipped" for ruling in self.rulings)

    @property
    def broken(self) -> list[str]:
        """The ids of the laws that are broken."""
        return [ruling.law.id for ruling in self.rulings if ruling.outcome == "broken"]

    @property
    def faults(self) -> dict[str, str]:
        """Why laws about the adapter are not kept, or that they were not tried, by their ids."""
        return {
            ruling.law.id: ruling.detail or ruling.outcome
            for ruling in self.rulings
            if ruling.outcome in ("broken", "unknown")
        }

    @property
    def badge(self) -> str:
        """The result in one line."""
        return f"conformance {SUITE_VERSION}: {self.kept}/{self.total}"

    def to_json(self) -> JsonObject:
        """The report for machines."""
        return {
            "suite": SUITE_VERSION,
            "adapter": self.adapter,
            "distribution": self.distribution,
            "kept": self.kept,
            "total": self.total,
            "laws": [
                {
                    "number": ruling.law.number,
                    "id": ruling.law.id,
                    "title": ruling.law.title,
                    "outcome": ruling.outcome,
                    "detail": ruling.detail,
                }
                for ruling in self.rulings
            ],
        }

    def to_markdown(self) -> str:
        """The report for people: a table."""
        rows = [
            f"| {ruling.law.number} | `{ruling.law.id}` | {ruling.law.title} "
            f"| {_MARKS[ruling.outcome]} |"
            for ruling in self.rulings
        ]
        told = f" ({self.distribution})" if self.distribution else ""
        head = [f"# {self.adapter}{told}", "", self.badge, "", "| | law | | kept |"]
        return "\n".join([*head, "| --- | --- | --- | --- |", *rows, ""])

    def write(self, directory: Path) -> None:
        """Write `<adapter>.json` and `<adapter>.md` into `directory`, which is made if need be.

        Raises: OSError.
        """
        self.write_record(directory / f"{self.adapter}.json")
        (directory / f"{self.adapter}.md").write_text(self.to_markdown(), encoding="utf-8")

    def write_record(self, path: Path) -> None:
        """Write the JSON to `path`, whose directory is made if need be.

        Raises: OSError.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        path.write_bytes(orjson.dumps(self.to_json(), option=options))
