from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from gguf.constants import GGML_QUANT_SIZES
from hypothesis import given
from hypothesis import strategies as st

from adapters.llamacpp.tests.make_gguf import write_scripted
from one_api_llamacpp.gguf_header import BLOCKS, InvalidGGUF, read_header


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "whole.gguf"
    write_scripted(path, "Hello there!", context=777)
    return path.read_bytes()


def test_header_tells_what_the_model_is(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "whole.gguf"
    path.write_bytes(whole)
    header = read_header(path)
    assert (
        header.architecture,
        header.kind,
        header.name,
        header.context_tokens,
    ) == ("llama", "model", "whole", 777)


def test_block_sizes_are_those_of_the_gguf_package() -> None:
    assert {int(kind): size for kind, size in GGML_QUANT_SIZES.items()} == BLOCKS


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-1], "it is cut off: "),
        (lambda data: data[: len(data) // 2], "cut off"),
        (lambda data: data[:100], "cut off inside its header"),
        (lambda data: data[:3], "cut off inside its header"),
        (lambda data: b"", "cut off inside its header"),
        (lambda data: b"PK\3\4" + data[4:], "does not begin with GGUF"),
        (lambda data: data[:4] + struct.pack("<I", 1) + data[8:], "GGUF version 1"),
        (lambda data: data[:4] + struct.pack(">I", 3) + data[8:], "GGUF version"),
        (lambda data: data[:8] + b"\xff" * 16 + data[24:], "cut off|unknown|bytes in its header"),
        (lambda data: data[:24] + b"\xff" * 8 + data[32:], "bytes in its header"),
    ],
    ids=[
        "last byte missing",
        "half",
        "in the metadata",
        "in the magic",
        "empty",
        "not a GGUF file",
        "old version",
        "big-endian",
        "absurd counts",
        "absurd string",
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(
    tmp_path: Path, whole: bytes, damage: Callable[[bytes], bytes], reason: str
) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damage(whole))
    with pytest.raises(InvalidGGUF, match=reason):
        read_header(path)


@given(at=st.integers(4, 1500), value=st.integers(0, 255))
def test_no_byte_of_the_header_can_cause_anything_but_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, at: int, value: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.gguf"
    path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
    with suppress(InvalidGGUF):
        assert isinstance(read_header(path).metadata, dict)


def test_arrays_nested_without_end_are_refused(tmp_path: Path) -> None:
    pair = struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9)
    nested = struct.pack("<IQ", 9, 1) * 5000
    path = tmp_path / "nested.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair + nested)
    with pytest.raises(InvalidGGUF, match="nested too deeply"):
        read_header(path)
