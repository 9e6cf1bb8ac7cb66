"""How much of the machine a model takes, told from its header: before it is loaded, not after."""

from __future__ import annotations

from typing import Final

from one_api_llamacpp.catalogue import ModelFile
from one_api_llamacpp.settings import LocalSettings

#: What a worker holds besides its model: Python, llama.cpp's library, small buffers.
PROCESS_BYTES: Final = 96 * 1024 * 1024
#: Bytes of one number of a token's state. Of `q8_0`, 32 take 34.
_STATE_BYTES: Final = {"f16": 2.0, "q8_0": 34 / 32}
_LOGIT_BYTES: Final = 4


def footprint_bytes(file: ModelFile, settings: LocalSettings) -> int:
    """The memory of `file` when it is loaded, in bytes.

    The file, the state of every token that may be held, and the logits of one evaluation. Of a
    file that is mapped, what was not read for long may leave memory again: this is the most.
    """
    trained = file.header.context_tokens or settings.context_tokens
    cells = min(settings.context_tokens, trained * settings.parallel)
    state = cells * file.header.state_elements * _STATE_BYTES[settings.kv_type]
    evaluated = min(settings.micro_batch_tokens, settings.batch_tokens)
    logits = evaluated * file.header.vocabulary * _LOGIT_BYTES
    return PROCESS_BYTES + file.size_bytes + int(state) + logits
