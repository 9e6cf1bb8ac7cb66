"""What pytest loads of one_api in every run, whosever tests it runs: options, and nothing more.

The suite behind them is imported when an adapter is named; until then it costs no one anything.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds options under names of our own: two plugins with the same one stop every run."""
    group = parser.getgroup("one-api", "conformance of one_api adapters")
    group.addoption(
        "--one-api-adapter",
        action="append",
        default=[],
        metavar="NAME",
        help="try the laws of the contract on this installed adapter (may be given again)",
    )
    group.addoption(
        "--one-api-report",
        type=Path,
        metavar="DIR",
        help="write what was found to DIR, as NAME.json and NAME.md",
    )
    group.addoption(
        "--one-api-record",
        action="store_true",
        help="write what was found into the adapter's package, for `one-api adapters` to show",
    )
    group.addoption(
        "--one-api-set",
        action="append",
        default=[],
        metavar="VARIABLE=VALUE",
        help="a variable that the adapter needs on this machine (may be given again)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Takes the run over where an adapter is named."""
    if config.getoption("--one-api-adapter"):
        from one_api.adapter.testing.plugin import take_over

        take_over(config)
