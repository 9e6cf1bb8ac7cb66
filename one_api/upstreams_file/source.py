"""A path in, YAML nodes out: with bounds on size, depth and number."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import yaml
from typing_extensions import override
from yaml.composer import ComposerError
from yaml.reader import ReaderError

from one_api.errors import ConfigurationError

#: Far more than people write, and little enough to be read in seconds.
MAX_BYTES = 1_000_000
MAX_NODES = 50_000
MAX_DEPTH = 20

#: What PyYAML quotes in its messages: one character, the kind of a token, or text of the file.
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_HARMLESS = re.compile(r"'(?:\\?.|\\x..|<[a-z ]+>)'|\".\"")


@dataclass(frozen=True, slots=True)
class Source:
    """A file's content as YAML nodes.

    `is_open` says that other accounts of this machine can read the file.
    """

    path: Path
    root: yaml.Node
    is_open: bool


def wrong(path: Path, line: int | None, field: str, problem: str) -> ConfigurationError:
    """The error that tells an operator where to look; `line` counts from 1."""
    place = str(path) if line is None else f"{path}:{line}"
    return ConfigurationError(
        "UPSTREAMS_FILE", ": ".join(part for part in (place, field, problem) if part)
    )


def read_source(path: Path) -> Source:
    """The content of the file at `path`.

    Raises: ConfigurationError that names the file, and the line where there is one.
    """
    content, is_open = _read(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise wrong(path, line, "", "is not UTF-8 text") from None
    root = _compose(path, text)
    if root is None or root.tag == "tag:yaml.org,2002:null":
        raise wrong(path, None, "", "is empty; a list of 'upstreams' is expected")
    return Source(path, root, is_open)


def _read(path: Path) -> tuple[bytes, bool]:
    try:
        with path.open("rb") as file:
            # One more than allowed: a device may have no end.
            content = file.read(MAX_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        raise wrong(path, None, "", "there is no such file") from None
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise wrong(path, None, "", f"cannot be read: {reason}") from None
    except ValueError:
        raise wrong(path, None, "", "is not a path") from None
    if len(content) > MAX_BYTES:
        raise wrong(path, None, "", f"is larger than {MAX_BYTES:,} bytes")
    return content, os.name == "posix" and bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def _compose(path: Path, text: str) -> yaml.Node | None:
    try:
        loader = _BoundedLoader(text)
    except ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        raise wrong(path, line, "", "holds a control character") from None
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = mark.line + 1 if mark else None
        raise wrong(path, place, "", f"is not valid YAML: {_explain(exc, text)}") from None
    except (ValueError, OverflowError):
        # PyYAML leaves these to its caller: an escape such as "\U00110000" that is no character,
        # a version in %YAML that is no number.
        problem = "is not valid YAML: an escape or a number is out of range"
        raise wrong(path, loader.line + 1, "", problem) from None
    finally:
        loader.dispose()


def _explain(error: yaml.MarkedYAMLError, text: str) -> str:
    said = ", ".join(part for part in (error.context, error.problem) if part)
    problem = _QUOTED.sub(lambda quoted: _shown(quoted[0]), said)
    mark = error.problem_mark
    if "undefined alias" in said:
        return f"{problem} (text that begins with * needs quotes)"
    if mark is not None and "flow" in said and text[: mark.index].endswith("$"):
        return f'{problem} (between brackets, "${{VARIABLE}}" needs quotes)'
    return problem


def _shown(quoted: str) -> str:
    return quoted if _HARMLESS.fullmatch(quoted) else "'...'"


class _BoundedLoader(yaml.SafeLoader):
    """Composes nodes, and stops before a file has cost too much."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = 0
        self._depth = 0

    @override
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._nodes += 1
        self._depth += 1
        if self._nodes > MAX_NODES:
            raise ComposerError(None, None, "more values than allowed", self.get_mark())
        if self._depth > MAX_DEPTH:
            raise ComposerError(None, None, "nested deeper than allowed", self.get_mark())
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node
