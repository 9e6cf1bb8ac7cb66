"""Where settings come from: the environment, and the file that adds to it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

#: The file that adds to the environment, in the directory the gateway is started from.
ENV_FILE = ".env"

Source = Literal["environment", ".env", "default"]


class Section(BaseModel):
    """Settings that belong together; each field is read from the variable of its name.

    What is given by keyword wins. pydantic-settings would do the same, and take 30 ms of each
    start for all the other places that it can read from.
    """

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        # Nothing is validated by a section, only by all of them together: 20 ms of each start.
        defer_build=True,
    )

    def __init__(self, **given: Any) -> None:
        # A variable may be written in small letters, too.
        found = {name.lower(): value for name, value in environment().items() if value}
        super().__init__(**{**found, **given})


def environment() -> dict[str, str]:
    """The variables that adapters read their settings from: the environment over `.env`."""
    file = {key: value for key, value in _file().items() if value is not None}
    # An empty variable is an absent one, as it is for `Settings`.
    return {**file, **{name: value for name, value in os.environ.items() if value}}


def sources_of(names: Iterable[str]) -> dict[str, Source]:
    """Where the variable of each of `names` has its value from."""
    file = _file()

    def source(name: str) -> Source:
        if os.environ.get(name):
            return "environment"
        return ".env" if file.get(name) else "default"

    return {name: source(name) for name in names}


def export_tiktoken_cache_dir(directory: Path) -> None:
    """Let tiktoken, which reads the environment itself, look in `directory` too."""
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(directory))


def export_otel_variables() -> None:
    """Let OpenTelemetry's SDK, which reads the environment itself, see those of `.env` too."""
    for name, value in environment().items():
        if name.startswith("OTEL_"):
            os.environ.setdefault(name, value)


def _file() -> dict[str, str | None]:
    if not os.path.exists(ENV_FILE):
        return {}
    from dotenv import dotenv_values  # 4 ms of a start, for those that have such a file

    return dotenv_values(ENV_FILE)
