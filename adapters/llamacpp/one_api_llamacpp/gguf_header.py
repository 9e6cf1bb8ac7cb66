"""Reads the header of a GGUF file: what the model is, and whether its tensors are all there.

Only scalars and strings are kept; arrays (the vocabulary) are skipped unread. Nothing is mapped
into memory: a file that shrinks while it is read gives an error, not a SIGBUS.
Source: ggml/docs/gguf.md and ggml.h of llama.cpp as shipped with llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, Final

Scalar = int | float | bool | str

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_MAX_STRING_BYTES: Final = 4 * 1024 * 1024
_MAX_DIMENSIONS: Final = 4
_MAX_NESTED_ARRAYS: Final = 4
_DEFAULT_ALIGNMENT: Final = 32
_SCALARS: Final = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_STRING: Final = 8
_ARRAY: Final = 9

#: Elements and bytes of one block, by tensor type. A type that is not here is not measured.
BLOCKS: Final[Mapping[int, tuple[int, int]]] = {
    0: (1, 4),  # F32
    1: (1, 2),  # F16
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    9: (32, 40),  # Q8_1
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    15: (256, 292),  # Q8_K
    16: (256, 66),  # IQ2_XXS
    17: (256, 74),  # IQ2_XS
    18: (256, 98),  # IQ3_XXS
    19: (256, 50),  # IQ1_S
    20: (32, 18),  # IQ4_NL
    21: (256, 110),  # IQ3_S
    22: (256, 82),  # IQ2_S
    23: (256, 136),  # IQ4_XS
    24: (1, 1),  # I8
    25: (1, 2),  # I16
    26: (1, 4),  # I32
    27: (1, 8),  # I64
    28: (1, 8),  # F64
    29: (256, 56),  # IQ1_M
    30: (1, 2),  # BF16
    34: (256, 54),  # TQ1_0
    35: (256, 66),  # TQ2_0
    39: (32, 17),  # MXFP4
    40: (64, 36),  # NVFP4
    41: (128, 18),  # Q1_0
}


class InvalidGGUF(Exception):
    """The file is not a GGUF file, or not all of it is there; the text says why."""


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """The scalars and strings of a file's metadata, by key."""

    metadata: Mapping[str, Scalar]

    @property
    def architecture(self) -> str:
        """What kind of network it is (`llama`, `qwen3`); empty when the file does not tell."""
        return self._text("general.architecture")

    @property
    def kind(self) -> str:
        """`model` unless the file says otherwise (`adapter`, `mmproj`, `imatrix`)."""
        return self._text("general.type") or "model"

    @property
    def name(self) -> str | None:
        """The name its maker gave it."""
        return self._text("general.name") or None

    @property
    def context_tokens(self) -> int | None:
        """The context length it was trained for, in tokens."""
        value = self.metadata.get(f"{self.architecture}.context_length")
        return value if isinstance(value, int) and value > 0 else None

    def _text(self, key: str) -> str:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""


def read_header(path: Path) -> GGUFHeader:
    """The header of the file at `path`, after measuring that every tensor lies in the file.

    Raises: InvalidGGUF; OSError when the file cannot be read.
    """
    with path.open("rb") as file:
        reader = _Reader(file, os.fstat(file.fileno()).st_size)
        if reader.take(4) != _MAGIC:
            raise InvalidGGUF("it does not begin with GGUF")
        version = reader.uint32()
        if version not in _VERSIONS:
            raise InvalidGGUF(f"GGUF version {version} is not one of {_VERSIONS}")
        tensors, pairs = reader.uint64(), reader.uint64()
        metadata = _read_metadata(reader, pairs)
        end = _end_of_tensors(reader, tensors)
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise InvalidGGUF("general.alignment is not a positive integer")
        start = -(-reader.position // alignment) * alignment
        if start + end > reader.size:
            raise InvalidGGUF(f"it is cut off: {reader.size} bytes of {start + end}")
    return GGUFHeader(metadata)


class _Reader:
    """Little-endian values in the order of the file, never past its end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size
        self.position = 0

    def take(self, count: int) -> bytes:
        self._advance(count)
        data = self._file.read(count)
        if len(data) != count:
            raise InvalidGGUF("it shrank while it was read")
        return data

    def skip(self, count: int) -> None:
        self._advance(count)
        self._file.seek(count, os.SEEK_CUR)

    def _advance(self, count: int) -> None:
        self.position += count
        if self.position > self.size:
            raise InvalidGGUF("it is cut off inside its header")

    def scalar(self, form: struct.Struct) -> int | float | bool:
        value: int | float | bool = form.unpack(self.take(form.size))[0]
        return value

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def uint64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def string(self) -> str:
        length = self.uint64()
        if length > _MAX_STRING_BYTES:
            raise InvalidGGUF(f"a string of {length} bytes in its header")
        return self.take(length).decode("utf-8", "replace")


def _read_metadata(reader: _Reader, pairs: int) -> dict[str, Scalar]:
    metadata: dict[str, Scalar] = {}
    for _ in range(pairs):
        key, kind = reader.string(), reader.uint32()
        if kind == _STRING:
            metadata[key] = reader.string()
        elif kind == _ARRAY:
            _skip_array(reader, depth=1)
        elif kind in _SCALARS:
            metadata[key] = reader.scalar(_SCALARS[kind])
        else:
            raise InvalidGGUF(f"unknown type {kind} of value '{key[:64]}'")
    return metadata


def _skip_array(reader: _Reader, depth: int) -> None:
    if depth > _MAX_NESTED_ARRAYS:
        raise InvalidGGUF("arrays nested too deeply")
    kind, length = reader.uint32(), reader.uint64()
    if kind in _SCALARS:
        reader.skip(_SCALARS[kind].size * length)
    elif kind == _STRING:
        for _ in range(length):
            reader.skip(reader.uint64())
    elif kind == _ARRAY:
        for _ in range(length):
            _skip_array(reader, depth + 1)
    else:
        raise InvalidGGUF(f"unknown type {kind} of an array")


def _end_of_tensors(reader: _Reader, tensors: int) -> int:
    """Where the last tensor ends, in bytes from the beginning of the data."""
    end = 0
    for _ in range(tensors):
        name, dimensions = reader.string(), reader.uint32()
        if dimensions > _MAX_DIMENSIONS:
            raise InvalidGGUF(f"tensor '{name[:64]}' has {dimensions} dimensions")
        elements = prod(reader.uint64() for _ in range(dimensions))
        kind, offset = reader.uint32(), reader.uint64()
        per_block, block_bytes = BLOCKS.get(kind, (1, 0))
        end = max(end, offset + elements // per_block * block_bytes)
    return end
