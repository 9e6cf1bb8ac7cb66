from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from gguf import GGUFReader
from gguf.constants import GGML_QUANT_SIZES, LlamaFileType
from hypothesis import given
from hypothesis import strategies as st

from adapters.llamacpp.tests.make_gguf import write_bert, write_scripted
from one_api_llamacpp.gguf_header import GGUFHeader, InvalidGGUF, Value, read_header
from one_api_llamacpp.gguf_types import BLOCKS, FILE_TYPES


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


def test_file_types_are_those_of_the_gguf_package() -> None:
    names = {
        int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in LlamaFileType
    }
    del names[int(LlamaFileType.GUESSED)]
    assert names == FILE_TYPES


def test_parameters_and_state_are_those_that_were_written(tmp_path: Path) -> None:
    path = tmp_path / "whole.gguf"
    write_scripted(path, "Hello there!")
    header = read_header(path)
    written = GGUFReader(path).tensors
    assert sum(int(tensor.n_elements) for tensor in written) == header.parameters
    (embedding,) = (tensor for tensor in written if tensor.name == "token_embd.weight")
    width, vocabulary = map(int, embedding.shape)
    assert (vocabulary, "F32", False) == (
        header.vocabulary,
        header.quantisation,
        header.is_embedding,
    )
    assert 2 * width == header.state_elements  # a key and a value of one layer with one head
    assert "<|im_start|>" in (header.chat_template or "")


def test_a_model_that_only_encodes_embeds_and_holds_no_state(tmp_path: Path) -> None:
    path = tmp_path / "bert.gguf"
    write_bert(path, ["red"])
    header = read_header(path)
    assert (True, 0) == (header.is_embedding, header.state_elements)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"head_count": 32, "head_count_kv": 8}, 4 * 8 * 2 * 2),
        ({"head_count": 32, "head_count_kv": [8, 0, 2, 0]}, 10 * 2 * 2),
        ({"head_count": [32, 16, 32, 32]}, 112 * 2 * 2),
        ({"head_count": 32, "key_length": 5, "value_length": 3}, 4 * 32 * 8),
        ({}, 0),
        ({"head_count": -32}, 0),
        ({"head_count": "many", "head_count_kv": [-4, 1, 0, 0]}, 128),
    ],
    ids=["grouped", "per layer", "heads per layer", "told lengths", "recurrent", "hostile", "odd"],
)
def test_the_state_of_a_token_is_told_by_the_header(
    metadata: dict[str, Value], expected: int
) -> None:
    told: dict[str, Value] = {"general.architecture": "llama"}
    told |= {"llama.embedding_length": 64, "llama.block_count": 4}
    told |= {f"llama.attention.{key}": value for key, value in metadata.items()}
    assert expected == GGUFHeader(told).state_elements


@pytest.mark.parametrize(("pooling", "expected"), [(0, False), (1, True), (3, True), (4, False)])
def test_a_kind_of_pooling_makes_a_model_for_vectors(pooling: int, expected: bool) -> None:
    header = GGUFHeader({"general.architecture": "qwen3", "qwen3.pooling_type": pooling})
    assert expected == header.is_embedding


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
