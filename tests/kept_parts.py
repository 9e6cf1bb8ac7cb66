"""What each application finds out anew though it never differs: in the tests it is kept.

An application is made for each of a thousand tests, which takes 32 ms of a processor without this
module and 12 ms with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
from werkzeug.routing import Rule

from one_api import discovery


def keep_parts(patch: pytest.MonkeyPatch) -> None:
    """Have applications share what is the same for all of them, until `patch` is undone."""
    _keep_entry_points(patch)
    _keep_distributions(patch)
    _keep_url_builders(patch)


def _keep_entry_points(patch: pytest.MonkeyPatch) -> None:
    """Read what is installed once: again when the path, or a directory on it, has changed."""
    found: dict[object, Any] = {}
    read = entry_points

    def kept(**wanted: str) -> Any:
        key = (tuple(wanted.items()), tuple((place, _changed_ns(place)) for place in sys.path))
        if key not in found:
            found[key] = read(**wanted)
        return found[key]

    patch.setattr(discovery, "entry_points", kept)


def _changed_ns(place: str) -> int | None:
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return None


def _keep_distributions(patch: pytest.MonkeyPatch) -> None:
    """Parse a distribution's metadata once. One that is found anew is another object."""
    told: dict[Distribution | None, tuple[str, str]] = {}
    parse = discovery._distribution

    def kept(point: EntryPoint) -> tuple[str, str]:
        if point.dist not in told:
            told[point.dist] = parse(point)
        return told[point.dist]

    patch.setattr(discovery, "_distribution", kept)


def _keep_url_builders(patch: pytest.MonkeyPatch) -> None:
    """Compile what builds a route's URL once: werkzeug makes a syntax tree for each, twice."""
    compiled: dict[object, Callable[..., Any]] = {}
    compile_builder = Rule._compile_builder

    def kept(self: Rule, append_unknown: bool = True) -> Callable[..., Any]:
        if self.defaults:
            return compile_builder(self, append_unknown)
        # All that goes into the function; it gets the rule that it builds for as an argument.
        key = (self.rule, tuple(self._trace), append_unknown)
        if key not in compiled:
            compiled[key] = compile_builder(self, append_unknown)
        return compiled[key]

    patch.setattr(Rule, "_compile_builder", kept)
