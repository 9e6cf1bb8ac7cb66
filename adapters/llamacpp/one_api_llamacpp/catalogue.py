"""Which models lie in the directory: file names become model ids, headers tell the rest.

A model is only ever looked up here by id; no path is built from anything a caller sent.
"""

from __future__ import annotations

import logging
import re
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from one_api.adapter import ModelInfo
from one_api_llamacpp.gguf_header import GGUFHeader, InvalidGGUF, read_header

_SHARD = re.compile(r"-(\d{5})-of-\d{5}$")
_MAX_ID_CHARS = 256
#: What a file looked like when its header was read: inode, size, time of change.
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One usable file; `created` is its modification time (Unix, seconds)."""

    id: str
    path: Path
    header: GGUFHeader
    created: int

    def to_info(self, context_limit: int) -> ModelInfo:
        """The model as clients see it, with no more context than `context_limit` tokens."""
        trained = self.header.context_tokens
        return ModelInfo(
            id=self.id,
            owned_by="local",
            created=self.created,
            display_name=self.header.name,
            context_window=min(trained or context_limit, context_limit),
        )


class Catalogue:
    """The models of one directory. Blocking, for use in worker threads; safe from several.

    A header is read again only when its file changed, and each refusal is logged once.
    """

    def __init__(self, directory: Path, logger: logging.Logger) -> None:
        self._directory = directory
        self._logger = logger
        self._lock = threading.Lock()
        self._headers: dict[Path, tuple[_Stamp, GGUFHeader | None]] = {}
        self._told: set[str] = set()

    def scan(self) -> Sequence[ModelFile]:
        """The models there are now, by id; a missing directory has none."""
        with self._lock:
            try:
                paths = sorted(self._directory.iterdir())
                root = self._directory.resolve(strict=True)
            except OSError as exc:
                self._tell_once(
                    f"LOCAL_MODELS_DIR '{self._directory}' cannot be read "
                    f"({exc.strerror}): there are no local models until it can"
                )
                return ()
            found = [self._open(path, root) for path in paths if _is_candidate(path)]
            self._forget_all_but(paths)
            return [model for model in found if model is not None]

    def find(self, model_id: str) -> ModelFile | None:
        """The model of this id, if the directory has it now."""
        return next((model for model in self.scan() if model.id == model_id), None)

    def _open(self, path: Path, root: Path) -> ModelFile | None:
        try:
            target = path.resolve(strict=True)
            if not target.is_relative_to(root):
                self._refuse(path, "it is a link that leads out of the directory")
                return None
            status = target.stat()
            if not stat.S_ISREG(status.st_mode):
                self._refuse(path, "it is not a regular file")
                return None
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            header = self._read(path, target, stamp)
        except OSError as exc:
            self._refuse(path, exc.strerror or "it cannot be read")
            return None
        if header is None or header.kind != "model" or header.architecture == "clip":
            return None  # an image encoder, a LoRA or an importance matrix is no model by itself
        return ModelFile(id=path.stem, path=target, header=header, created=int(status.st_mtime))

    def _read(self, path: Path, target: Path, stamp: _Stamp) -> GGUFHeader | None:
        known = self._headers.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            header = read_header(target)
        except InvalidGGUF as exc:
            self._logger.warning("Ignoring local model file '%s': %s", path.name, exc)
            header = None
        self._headers[path] = (stamp, header)
        return header

    def _refuse(self, path: Path, reason: str) -> None:
        self._tell_once(f"Ignoring local model file '{path.name}': {reason}")

    def _tell_once(self, warning: str) -> None:
        if warning not in self._told:
            self._told.add(warning)
            self._logger.warning("%s", warning)

    def _forget_all_but(self, paths: Sequence[Path]) -> None:
        for path in self._headers.keys() - set(paths):
            del self._headers[path]


def _is_candidate(path: Path) -> bool:
    """Whether the name is a model's: no hidden file, image encoder or later part of a split one."""
    if path.suffix != ".gguf" or path.name.startswith((".", "mmproj")):
        return False
    shard = _SHARD.search(path.stem)
    return len(path.stem) <= _MAX_ID_CHARS and (shard is None or int(shard[1]) == 1)
