"""The command line, `one-api`: to serve, to look around, and to manage keys and the log."""

from __future__ import annotations

import os
import sys

from one_api.cli.keeper import Keeper


def main() -> None:
    """Do what the command line says, and end this process."""
    if sys.argv[1:2] == ["serve"] and hasattr(os, "fork"):
        sys.exit(Keeper().keep(_run))
    _run()


def _run() -> None:
    # With whatever the command takes, of which a keeper is to have nothing.
    from one_api.cli.garbage import collector_paused

    with collector_paused():
        from one_api.cli.commands import main as run
    run()
