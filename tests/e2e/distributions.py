"""Packages as pip would have installed them, written by hand in no time."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path


def install(
    site: Path,
    name: str,
    *,
    version: str = "1.0",
    adapters: Mapping[str, str] | None = None,
    commands: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> None:
    """Put a distribution into the directory `site`, with entry points and `files` of code."""
    metadata = site / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = {"one_api.adapters": adapters, "one_api.commands": commands}
    lines = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
        for group, points in groups.items()
        if points
    ]
    (metadata / "entry_points.txt").write_text("".join(lines))
    for path, text in (files or {}).items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(textwrap.dedent(text))
