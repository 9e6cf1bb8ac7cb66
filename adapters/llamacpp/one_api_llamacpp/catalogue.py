"""Which models lie in the directory: file names become model ids, headers tell the rest.

A model is only ever looked up here by id; no path is built from anything a caller sent.
"""

from __future__ import annotations

import logging
import re
import stat
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from one_api.adapter import ModelInfo, ModelNotFound, UpstreamError
from one_api_llamacpp.gguf_header import GGUFHeader, InvalidGGUF, read_header

#: The model that is served while there is no other: so small that it lies in this package.
DEMO: Final = Path(__file__).with_name("demo") / "tiny-chat.gguf"

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
_MAX_ID_CHARS = 256
#: What a file looked like when its header was read: inode, size, time of change.
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One usable file; `created` is its modification time (Unix, seconds).

    `size_bytes` and `parameters` are those of all parts of a model in several files.
    """

    id: str
    path: Path
    header: GGUFHeader
    created: int
    size_bytes: int = 0
    parameters: int = 0

    def to_info(self, context_limit: int) -> ModelInfo:
        """The model as clients see it, with no more context than `context_limit` tokens."""
        trained = self.header.context_tokens
        return ModelInfo(
            id=self.id,
            owned_by="local",
            created=self.created,
            display_name=self.header.name,
            context_window=min(trained or context_limit, context_limit),
            details={
                "kind": "embedding" if self.header.is_embedding else "chat",
                "architecture": self.header.architecture,
                "parameters": self.parameters,
                "quantization": self.header.quantisation,
                "trained_context": trained,
                "size_bytes": self.size_bytes,
                "has_chat_template": self.header.chat_template is not None,
            },
        )


@dataclass(frozen=True, slots=True)
class Inventory:
    """The models there are, by id, and why other files with the name of a model are none."""

    models: Sequence[ModelFile] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


class Unusable(Exception):
    """A file cannot be served; the text says why."""


class Catalogue:
    """The models of one directory. Blocking, for use in worker threads; safe from several.

    A header is read again only when its file changed, and each refusal is logged once. While the
    directory has no model, the only one is `demo`. `is_needed` says that somebody chose the
    directory: its absence is then worth a warning.
    """

    def __init__(
        self,
        directory: Path,
        logger: logging.Logger,
        *,
        demo: Path | None = None,
        is_needed: bool = True,
    ) -> None:
        self._directory = directory
        self._demo = demo
        self._is_needed = is_needed
        self._logger = logger
        self._lock = threading.Lock()
        self._headers: dict[Path, tuple[_Stamp, GGUFHeader | InvalidGGUF]] = {}
        self._told: set[str] = set()

    def scan(self) -> Inventory:
        """What there is now; a missing directory has nothing."""
        with self._lock:
            found = self._scan(self._directory)
            if found.models or self._demo is None:
                return found
            self._tell_once(
                logging.INFO,
                f"There is no model in '{self._directory}': '{self._demo.stem}' is served, to try "
                "things out",
            )
            return Inventory(self._scan(self._demo.parent).models, found.refused)

    def find(self, model_id: str) -> ModelFile:
        """The model of this id.

        Raises: ModelNotFound; UpstreamError when there is a file that cannot be used.
        """
        inventory = self.scan()
        for model in inventory.models:
            if model.id == model_id:
                return model
        reason = inventory.refused.get(model_id)
        if reason is not None:
            raise UpstreamError(f"The local model '{model_id}' cannot be used: {reason}.")
        raise ModelNotFound(f"The model '{model_id}' does not exist.", param="model")

    def _scan(self, directory: Path) -> Inventory:
        try:
            paths = sorted(directory.iterdir())
            root = directory.resolve(strict=True)
        except OSError as exc:
            self._tell_once(
                logging.WARNING if self._is_needed else logging.DEBUG,
                f"LOCAL_MODELS_DIR '{directory}' cannot be read ({exc.strerror}): it has no models "
                "until it can",
            )
            return Inventory()
        models: list[ModelFile] = []
        refused: dict[str, str] = {}
        for path in filter(_is_candidate, paths):
            try:
                model = self._open(path, root)
            except (Unusable, InvalidGGUF) as exc:
                refused[path.stem] = str(exc)
            except OSError as exc:
                refused[path.stem] = exc.strerror or "it cannot be read"
            else:
                models += [] if model is None else [model]
        for name, reason in refused.items():
            self._tell_once(logging.WARNING, f"Ignoring local model file '{name}.gguf': {reason}")
        self._forget_all_but(directory, paths)
        return Inventory(models, refused)

    def _open(self, path: Path, root: Path) -> ModelFile | None:
        """The model whose first or only file this is; None for what is no model by itself.

        Raises: Unusable, InvalidGGUF, OSError.
        """
        shard = _SHARD.search(path.stem)
        parts = 1 if shard is None else int(shard[2])
        if shard is not None and parts > 1:
            paths = [_sibling(path, shard, number) for number in range(1, parts + 1)]
        else:
            paths = [path]
        targets = [_target(part, root) for part in paths]
        headers = [self._read(part, target) for part, target in zip(paths, targets, strict=True)]
        header, status = headers[0], targets[0].stat()
        if header.kind != "model" or header.architecture == "clip":
            return None  # an image encoder, a LoRA or an importance matrix is no model by itself
        return ModelFile(
            id=path.stem,
            path=targets[0],
            header=header,
            created=int(status.st_mtime),
            size_bytes=sum(target.stat().st_size for target in targets),
            parameters=sum(part.parameters for part in headers),
        )

    def _read(self, path: Path, target: Path) -> GGUFHeader:
        status = target.stat()
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._headers.get(path)
        if known is None or known[0] != stamp:
            try:
                known = (stamp, read_header(target))
            except InvalidGGUF as exc:
                known = (stamp, InvalidGGUF(str(exc)))
            self._headers[path] = known
        if isinstance(known[1], InvalidGGUF):
            raise InvalidGGUF(str(known[1]))
        return known[1]

    def _tell_once(self, level: int, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._logger.log(level, "%s", text)

    def _forget_all_but(self, directory: Path, paths: Sequence[Path]) -> None:
        gone = {path for path in self._headers if path.parent == directory} - set(paths)
        for path in gone:
            del self._headers[path]


def _target(path: Path, root: Path) -> Path:
    """The file behind `path`, which lies in `root`.

    Raises: Unusable, OSError.
    """
    target = path.resolve(strict=True)
    if not target.is_relative_to(root):
        raise Unusable("it is a link that leads out of the directory")
    if not stat.S_ISREG(target.stat().st_mode):
        raise Unusable("it is not a regular file")
    return target


def _sibling(path: Path, shard: re.Match[str], number: int) -> Path:
    """Part `number` of the model whose first part is `path`.

    Raises: Unusable when it is not there.
    """
    part = path.with_name(f"{path.stem[: shard.start()]}-{number:05d}-of-{shard[2]}.gguf")
    if not part.is_file():
        raise Unusable(f"its part {number} of {int(shard[2])} is missing")
    return part


def _is_candidate(path: Path) -> bool:
    """Whether the name is a model's: no hidden file, image encoder or later part of a split one."""
    if path.suffix != ".gguf" or path.name.startswith((".", "mmproj")):
        return False
    shard = _SHARD.search(path.stem)
    return len(path.stem) <= _MAX_ID_CHARS and (shard is None or int(shard[1]) == 1)
