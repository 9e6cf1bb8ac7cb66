"""The command line, `one-api`: to serve, to look around, and to manage keys and the log."""

from __future__ import annotations

from one_api.cli.commands import main

__all__ = ["main"]
