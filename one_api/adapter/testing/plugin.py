"""The suite under pytest: `pytest --one-api-adapter=NAME` tries the laws and nothing else.

Each law is one test, so that `-k`, `-x`, `--collect-only`, `-n` and JUnit reports work as ever. The
options are those of `one_api.pytest_plugin`, which imports this module when it is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from typing_extensions import override

from one_api.adapter.testing.bench import Subject
from one_api.adapter.testing.law import Law
from one_api.adapter.testing.laws import LAWS
from one_api.adapter.testing.report import Outcome, Report, Ruling
from one_api.adapter.testing.suite import (
    applicable,
    distribution_of,
    find_subject,
    record_path_of,
    try_law,
)
from one_api.adapter.testing.verdict import LawBroken

_PROPERTY: Final = "one_api_law"


class LawItem(pytest.Item):
    """One law, tried on one adapter."""

    def __init__(self, *, subject: Subject, law: Law, **rest: Any) -> None:
        super().__init__(**rest)
        self.subject = subject
        self.law = law
        self.user_properties.append((_PROPERTY, [subject.name, law.id]))

    @override
    def runtest(self) -> None:
        ruling = asyncio.run(try_law(self.law, self.subject))
        if ruling.outcome == "broken":
            raise LawBroken(f"{self.law.title}.\n{ruling.detail}")

    @override
    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, LawBroken):
            return f"{self.subject.name} breaks law {self.law.label}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    @override
    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.nodeid


class Conformance:
    """What a run of pytest with `--one-api-adapter` does instead of collecting files."""

    def __init__(
        self, subjects: list[Subject], directory: Path | None, records: Mapping[str, Path]
    ) -> None:
        self._directory = directory
        self._records = records
        self._subjects = subjects
        self._laws = {each.name: asyncio.run(applicable(each)) for each in subjects}
        self._outcomes: dict[tuple[str, str], Ruling] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        """The laws are the only tests."""
        session.items = [
            LawItem.from_parent(
                session,
                name=law.label,
                nodeid=f"{subject.name}::{law.label}",
                subject=subject,
                law=law,
            )
            for subject in self._subjects
            for law in self._laws[subject.name]
        ]
        hook = session.config.hook
        hook.pytest_collectreport(
            report=pytest.CollectReport("", "passed", longrepr=None, result=[*session.items])
        )
        hook.pytest_collection_modifyitems(
            session=session, config=session.config, items=session.items
        )
        hook.pytest_collection_finish(session=session)
        session.testscollected = len(session.items)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keeps what became of a law, wherever it was tried."""
        told: Any = dict(report.user_properties).get(_PROPERTY)
        if report.when != "call" or told is None:
            return
        name, law_id = told
        law = next(each for each in LAWS if each.id == law_id)
        outcome: Outcome = "kept" if report.passed else "broken"
        detail = "" if report.passed else str(report.longrepr)
        self._outcomes[name, law_id] = Ruling(law, outcome, detail)

    def reports(self) -> Iterator[Report]:
        """One report for each adapter."""
        for subject in self._subjects:
            rulings = [self._ruling(subject.name, law) for law in LAWS]
            yield Report(
                adapter=subject.name,
                distribution=distribution_of(subject),
                rulings=tuple(rulings),
            )

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """Writes the reports and records, and the badge as the last line."""
        if hasattr(config, "workerinput") or config.option.collectonly:
            return
        terminal = config.pluginmanager.get_plugin("terminalreporter")
        for report in self.reports():
            if self._directory is not None:
                report.write(self._directory)
            record = self._records.get(report.adapter)
            if record is not None:
                report.write_record(record)
            if terminal is not None:
                is_kept = report.kept == report.total
                told = f", recorded in {record}" if record is not None else ""
                line = f"{report.adapter}: {report.badge}{told}"
                terminal.write_line(line, green=is_kept, red=not is_kept)

    def _ruling(self, name: str, law: Law) -> Ruling:
        missing: Outcome = "unknown" if law in self._laws[name] else "skipped"
        return self._outcomes.get((name, law.id), Ruling(law, missing))


def take_over(config: pytest.Config) -> None:
    """Have `config`'s run try the laws on the adapters that it names, instead of its tests.

    Raises: UsageError for options that make no sense, and adapters that are not there.
    """
    environment = {}
    for setting in config.getoption("--one-api-set"):
        variable, is_set, value = setting.partition("=")
        if not is_set:
            raise pytest.UsageError(f"--one-api-set wants VARIABLE=VALUE, not '{setting}'")
        environment[variable] = value
    names: list[str] = config.getoption("--one-api-adapter")
    try:
        subjects = [find_subject(name, environment) for name in dict.fromkeys(names)]
    except LookupError as exc:
        raise pytest.UsageError(f"--one-api-adapter: {exc.args[0]}") from exc
    except Exception as exc:  # whatever importing an adapter raises, the author is to be told
        raise pytest.UsageError(f"the adapter cannot be imported: {exc!r}") from exc
    records = _records(subjects) if config.getoption("--one-api-record") else {}
    plugin = Conformance(subjects, config.getoption("--one-api-report"), records)
    config.pluginmanager.register(plugin, "one-api-conformance")


def _records(subjects: list[Subject]) -> dict[str, Path]:
    try:
        return {subject.name: record_path_of(subject.name) for subject in subjects}
    except LookupError as exc:
        raise pytest.UsageError(f"--one-api-record: {exc.args[0]}") from exc
