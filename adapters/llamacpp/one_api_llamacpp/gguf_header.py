"""Reads the header of a GGUF file: what the model is, and whether its tensors are all there.

Scalars, strings and short lists of integers are kept; of longer arrays (the vocabulary) only the
length is. Nothing is mapped into memory: a file that shrinks while it is read gives an error, not
a SIGBUS.
Source: ggml/docs/gguf.md and ggml.h of llama.cpp as shipped with llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import BinaryIO, Final

from one_api_llamacpp.gguf_types import BLOCKS, FILE_TYPES

Value = int | float | bool | str | list[int]

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_MAX_STRING_BYTES: Final = 4 * 1024 * 1024
_MAX_DIMENSIONS: Final = 4
_MAX_NESTED_ARRAYS: Final = 4
#: Longer lists of integers are not kept; one number for each layer is.
_MAX_KEPT: Final = 1024
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
_INTEGERS: Final = frozenset({0, 1, 2, 3, 4, 5, 10, 11})
_STRING: Final = 8
_ARRAY: Final = 9

#: Kinds of `pooling_type` that make one vector of a text: mean, first token, last token.
_POOLING: Final = frozenset({1, 2, 3})


class InvalidGGUF(Exception):
    """The file is not a GGUF file, or not all of it is there; the text says why."""


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """What a file's header tells: its metadata by key, and of all its tensors how many numbers.

    `lengths` are those of the arrays that are not kept.
    """

    metadata: Mapping[str, Value]
    lengths: Mapping[str, int] = field(default_factory=dict)
    #: The numbers that were learnt, of this file.
    parameters: int = 0

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
        return self._count("context_length") or None

    @property
    def quantisation(self) -> str | None:
        """How most of its tensors are stored (`Q4_K_M`); None when the file does not tell."""
        value = self.metadata.get("general.file_type")
        return FILE_TYPES.get(value) if isinstance(value, int) else None

    @property
    def chat_template(self) -> str | None:
        """The template that makes a prompt of a conversation."""
        return self._text("tokenizer.chat_template") or None

    @property
    def is_embedding(self) -> bool:
        """Whether it was made for vectors: it only encodes, or says how to pool what it makes."""
        reads_all = self._of_architecture("attention.causal") is False
        return reads_all or self._of_architecture("pooling_type") in _POOLING

    @property
    def vocabulary(self) -> int:
        """How many tokens it knows; 0 when the file does not tell."""
        return self._count("vocab_size") or self.lengths.get("tokenizer.ggml.tokens", 0)

    @property
    def state_elements(self) -> int:
        """Numbers that a token held in memory takes: keys and values of all layers."""
        if self._of_architecture("attention.causal") is False:
            return 0  # it holds nothing from one evaluation to the next
        heads = self._of_architecture("attention.head_count")
        most = max(heads, default=1) if isinstance(heads, list) else heads
        width = self._count("embedding_length") // max(1, most if isinstance(most, int) else 1)
        keys = self._count("attention.key_length") or width
        values = self._count("attention.value_length") or width
        shared = self._of_all_layers("attention.head_count_kv")
        return (shared or self._of_all_layers("attention.head_count")) * (keys + values)

    def _of_all_layers(self, key: str) -> int:
        """The sum of a count that is told once, or for each layer."""
        value = self._of_architecture(key)
        if isinstance(value, list):
            return sum(max(0, count) for count in value)
        return self._count(key) * self._count("block_count")

    def _count(self, key: str) -> int:
        value = self._of_architecture(key)
        return value if isinstance(value, int) and value > 0 else 0

    def _of_architecture(self, key: str) -> Value | None:
        return self.metadata.get(f"{self.architecture}.{key}")

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
        metadata, lengths = _read_metadata(reader, pairs)
        end, parameters = _measure_tensors(reader, tensors)
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise InvalidGGUF("general.alignment is not a positive integer")
        start = -(-reader.position // alignment) * alignment
        if start + end > reader.size:
            raise InvalidGGUF(f"it is cut off: {reader.size} bytes of {start + end}")
    return GGUFHeader(metadata, lengths, parameters)


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


def _read_metadata(reader: _Reader, pairs: int) -> tuple[dict[str, Value], dict[str, int]]:
    """The values that are kept, and the lengths of the arrays that are not."""
    metadata: dict[str, Value] = {}
    lengths: dict[str, int] = {}
    for _ in range(pairs):
        key, kind = reader.string(), reader.uint32()
        if kind == _STRING:
            metadata[key] = reader.string()
        elif kind == _ARRAY:
            kept, length = _read_array(reader, depth=1)
            if kept is None:
                lengths[key] = length
            else:
                metadata[key] = kept
        elif kind in _SCALARS:
            metadata[key] = reader.scalar(_SCALARS[kind])
        else:
            raise InvalidGGUF(f"unknown type {kind} of value '{key[:64]}'")
    return metadata, lengths


def _read_array(reader: _Reader, depth: int) -> tuple[list[int] | None, int]:
    """A short list of integers, or None for any other array; and how long it is."""
    if depth > _MAX_NESTED_ARRAYS:
        raise InvalidGGUF("arrays nested too deeply")
    kind, length = reader.uint32(), reader.uint64()
    if kind in _INTEGERS and length <= _MAX_KEPT:
        return [int(reader.scalar(_SCALARS[kind])) for _ in range(length)], length
    if kind in _SCALARS:
        reader.skip(_SCALARS[kind].size * length)
    elif kind == _STRING:
        for _ in range(length):
            reader.skip(reader.uint64())
    elif kind == _ARRAY:
        for _ in range(length):
            _read_array(reader, depth + 1)
    else:
        raise InvalidGGUF(f"unknown type {kind} of an array")
    return None, length


def _measure_tensors(reader: _Reader, tensors: int) -> tuple[int, int]:
    """Where the last tensor ends, in bytes from the beginning of the data, and all elements."""
    end = parameters = 0
    for _ in range(tensors):
        name, dimensions = reader.string(), reader.uint32()
        if dimensions > _MAX_DIMENSIONS:
            raise InvalidGGUF(f"tensor '{name[:64]}' has {dimensions} dimensions")
        elements = prod(reader.uint64() for _ in range(dimensions))
        kind, offset = reader.uint32(), reader.uint64()
        per_block, block_bytes = BLOCKS.get(kind, (1, 0))
        end = max(end, offset + elements // per_block * block_bytes)
        parameters += elements
    return end, parameters
