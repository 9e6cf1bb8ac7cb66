from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from one_api_llamacpp.catalogue import ModelFile
from one_api_llamacpp.footprint import PROCESS_BYTES, footprint_bytes
from one_api_llamacpp.gguf_header import GGUFHeader
from one_api_llamacpp.settings import LocalSettings

#: The shape of an 8B model of today: 32 layers, 8 key-value heads of 128 numbers.
HEADER = GGUFHeader(
    {
        "general.architecture": "llama",
        "llama.block_count": 32,
        "llama.embedding_length": 4096,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
        "llama.context_length": 4096,
    },
    {"tokenizer.ggml.tokens": 128_000},
)
FILE = ModelFile(
    id="eight", path=Path("/models/eight.gguf"), header=HEADER, created=0, size_bytes=5 * 10**9
)
#: Keys and values of one token, in f16.
STATE = 32 * 8 * 128 * 2 * 2
LOGITS = 512 * 128_000 * 4


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({"context_tokens": 2048}, 2048 * STATE),
        ({"context_tokens": 65_536}, 8 * 4096 * STATE),
        ({"context_tokens": 65_536, "parallel": 2}, 2 * 4096 * STATE),
        ({"context_tokens": 2048, "kv_type": "q8_0"}, 2048 * STATE * 34 // 64),
    ],
    ids=["context", "no more than all answers can fill", "fewer answers", "q8_0"],
)
def test_a_model_takes_its_file_its_state_and_its_logits(
    settings: dict[str, Any], state: int
) -> None:
    expected = PROCESS_BYTES + FILE.size_bytes + state + LOGITS
    assert expected == footprint_bytes(FILE, LocalSettings(**settings))


def test_smaller_steps_need_less() -> None:
    whole = footprint_bytes(FILE, LocalSettings())
    for smaller in (LocalSettings(micro_batch_tokens=128), LocalSettings(batch_tokens=128)):
        assert LOGITS * 3 // 4 == whole - footprint_bytes(FILE, smaller)
