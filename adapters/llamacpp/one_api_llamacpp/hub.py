"""Fetches model files from the Hugging Face hub; its package is only imported when it is asked."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

from one_api_llamacpp.gguf_header import InvalidGGUF, read_header

#: Fetches a file of a repository, in some revision, into a directory, and says where it is there.
Download = Callable[[str, str, str | None, Path], Path]

_FIRST_SHARD: Final = re.compile(r"-00001-of-(\d{5})\.gguf$")


class CannotFetch(Exception):
    """A file did not come; the text says why, and what to do about it."""


def fetch_model(
    repository: str, file: str, directory: Path, *, revision: str | None, download: Download
) -> Path:
    """The model's file in `directory`, all its parts beside it; in place only when it is whole.

    Raises: CannotFetch.
    """
    if not file.endswith(".gguf"):
        raise CannotFetch(f"'{file}' is no .gguf file")
    files = _parts(file)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # In the same file system as where the files go, and under a name that is no model's.
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=directory) as waiting:
            fetched = [download(repository, part, revision, Path(waiting)) for part in files]
            for path in fetched:
                read_header(path)
            # The first part last: with it, the model is there.
            for path in reversed(fetched):
                target = directory / path.name
                path.replace(target)
    except InvalidGGUF as exc:
        raise CannotFetch(f"what came is no usable GGUF file: {exc}") from exc
    except OSError as exc:
        raise CannotFetch(f"it cannot be written: {exc.strerror or exc}") from exc
    return directory / fetched[0].name


def download_from_hub(repository: str, file: str, revision: str | None, directory: Path) -> Path:
    """`Download` with the package `huggingface_hub`, which shows its progress.

    Raises: CannotFetch.
    """
    try:
        hub = import_module("huggingface_hub")
        errors = import_module("huggingface_hub.errors")
    except ImportError as exc:
        raise CannotFetch(
            "the package huggingface_hub is missing: pip install 'one-api-llamacpp[hub]'"
        ) from exc
    try:
        path = hub.hf_hub_download(
            repo_id=repository, filename=file, revision=revision, local_dir=directory
        )
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as exc:
        raise CannotFetch(
            f"there is no repository '{repository}', or it is private: HF_TOKEN may open it"
        ) from exc
    except errors.RevisionNotFoundError as exc:
        raise CannotFetch(f"'{repository}' has no revision '{revision}'") from exc
    except errors.LocalEntryNotFoundError as exc:
        raise CannotFetch("the hub cannot be reached: is there a network?") from exc
    except errors.EntryNotFoundError as exc:
        raise CannotFetch(f"'{repository}' has no file '{file}'") from exc
    # Whatever its HTTP client raises, which is another one from version to version.
    except Exception as exc:
        raise CannotFetch(f"the hub did not answer as it should: {exc}") from exc
    return Path(os.fspath(path))


def _parts(file: str) -> list[str]:
    """All files of the model whose first or only one is `file`."""
    shard = _FIRST_SHARD.search(file)
    if shard is None:
        return [file]
    stem = file[: shard.start()]
    return [f"{stem}-{n:05d}-of-{shard[1]}.gguf" for n in range(1, int(shard[1]) + 1)]
