"""A name into the package of a new adapter, which keeps the contract's laws as it is written.

The templates are files of this package, `scaffold/<kind>/`, beside what all kinds share in
`scaffold/common/`. Their directory `package` gets the name of the package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from string import Template
from typing import Final, Literal

from one_api.discovery import GROUP

Kind = Literal["http", "openai", "custom"]
KINDS: Final[tuple[Kind, ...]] = ("http", "openai", "custom")
#: Longer ones would not leave the lines of what is written as short as its linter wants them.
MAX_NAME_CHARS: Final = 24

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_SUFFIX: Final = ".tmpl"


class NameRefusedError(ValueError):
    """A name under which no adapter can be made; the text says why."""


@dataclass(frozen=True, slots=True)
class AdapterNames:
    """What a new adapter is called, wherever it is called something.

    Raises: NameRefusedError for what is not lower-case words joined by hyphens.
    """

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > MAX_NAME_CHARS:
            raise NameRefusedError(
                f"'{self.name}' is no name for an adapter: lower-case letters and digits, single "
                f"hyphens between them, a letter first, {MAX_NAME_CHARS} characters at most"
            )

    @property
    def distribution(self) -> str:
        """The name that pip knows."""
        return f"one-api-{self.name}"

    @property
    def package(self) -> str:
        """The name that is imported."""
        return self.distribution.replace("-", "_")

    @property
    def fields(self) -> dict[str, str]:
        """What the templates are filled with."""
        words = self.name.split("-")
        return {
            "name": self.name,
            "distribution": self.distribution,
            "package": self.package,
            "title": " ".join(word.capitalize() for word in words),
            "class_name": "".join(word.capitalize() for word in words),
            "prefix": self.name.replace("-", "_").upper(),
        }

    def require_free(self) -> None:
        """Nothing where nobody here has any of the names.

        Raises: NameRefusedError that says who has it.
        """
        for point in entry_points(group=GROUP, name=self.name):
            owner = point.dist.name if point.dist else "an installed package"
            raise NameRefusedError(f"{owner} has an adapter called '{self.name}' already")
        try:
            distribution(self.distribution)
        except PackageNotFoundError:
            pass
        else:
            raise NameRefusedError(f"a package {self.distribution} is installed already")
        if find_spec(self.package) is not None:
            raise NameRefusedError(f"a module {self.package} can be imported already")


def render(names: AdapterNames, kind: Kind) -> dict[PurePosixPath, str]:
    """The files of the new package by their paths, and what is in them."""
    templates = files("one_api.cli") / "scaffold"
    fields = names.fields
    rendered: dict[PurePosixPath, str] = {}
    for part in ("common", kind):
        for path, template in _templates(templates / part, PurePosixPath()):
            parts = (names.package if each == "package" else each for each in path.parts)
            text = Template(template.read_text(encoding="utf-8")).substitute(fields)
            rendered[PurePosixPath(*parts)] = text
    return rendered


def write(names: AdapterNames, kind: Kind, parent: Path) -> Path:
    """Write the new package into a directory of its own below `parent`, which is made if need be.

    Raises: FileExistsError when that directory is there already; OSError.
    """
    root = parent / names.distribution
    parent.mkdir(parents=True, exist_ok=True)
    root.mkdir()
    for path, text in render(names, kind).items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


def _templates(
    directory: Traversable, path: PurePosixPath
) -> Iterator[tuple[PurePosixPath, Traversable]]:
    """The templates in `directory`, each with the path of the file it is for."""
    for each in directory.iterdir():
        if each.is_dir():
            yield from _templates(each, path / each.name)
        elif each.name.endswith(_SUFFIX):
            yield path / each.name.removesuffix(_SUFFIX), each
