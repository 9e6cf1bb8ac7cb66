"""Vectors by llama.cpp, through llama-cpp-python's bindings of its C functions.

Importing this module imports llama_cpp and loads its library. Everything here was checked against
llama-cpp-python 0.3.36.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import llama_cpp.llama_cpp as llama
from typing_extensions import override

from one_api.adapter import UpstreamServerError
from one_api_llamacpp.batch_model import Part
from one_api_llamacpp.embedding_model import EmbeddingModel
from one_api_llamacpp.native_batch import NativeBatch
from one_api_llamacpp.native_model import NativeWeights

#: Inputs of one evaluation.
_MAX_INPUTS: Final = 32
#: Tokens of one evaluation. An input is pooled within one, whose working memory grows with it.
_MAX_TOKENS: Final = 2048
_POOLINGS: Final = {
    "mean": llama.LLAMA_POOLING_TYPE_MEAN,
    "cls": llama.LLAMA_POOLING_TYPE_CLS,
    "last": llama.LLAMA_POOLING_TYPE_LAST,
}


class NativePooling(EmbeddingModel):
    """A context over `weights` that pools. Never freed: it ends with its process.

    Raises: CannotLoad.
    """

    def __init__(self, weights: NativeWeights) -> None:
        self._name = weights.settings.name
        self._vocabulary = weights.vocabulary
        self.vocabulary_size = weights.vocabulary.vocabulary.size
        self.dimensions = int(llama.llama_model_n_embd_out(weights.model))
        self.max_tokens = min(weights.context_tokens, _MAX_TOKENS)
        self.max_inputs = _MAX_INPUTS
        self._context = weights.context(
            n_ctx=self.max_tokens,
            n_batch=self.max_tokens,
            n_ubatch=self.max_tokens,
            n_seq_max=_MAX_INPUTS,
            embeddings=True,
            pooling_type=_pooling(weights),
        )
        self._memory = llama.llama_get_memory(self._context)  # null for models that only encode
        self._batch = NativeBatch(self.max_tokens)

    @override
    def tokenise(self, text: str) -> list[int]:
        return self._vocabulary.tokens_of(text, adds_ends=True)

    @override
    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        self._batch.fill(
            [Part(number, 0, tokens, wants_logits=True) for number, tokens in enumerate(inputs)],
            wants_all=True,
        )
        if self._memory:
            llama.llama_memory_clear(self._memory, True)
            code = llama.llama_decode(self._context, self._batch.batch)
        else:
            code = llama.llama_encode(self._context, self._batch.batch)
        if code != 0:
            raise UpstreamServerError(
                f"The local model '{self._name}' failed (llama.cpp gave {code})."
            )
        return [self._vector(sequence) for sequence in range(len(inputs))]

    def _vector(self, sequence: int) -> list[float]:
        pooled = llama.llama_get_embeddings_seq(self._context, sequence)
        if not pooled:
            raise UpstreamServerError(f"The local model '{self._name}' makes no embeddings.")
        return list(pooled[: self.dimensions])


def _pooling(weights: NativeWeights) -> int:
    """How states become one vector: as asked, or as the model was trained, or by their mean."""
    asked = weights.settings.pooling
    if asked != "model":
        return int(_POOLINGS[asked])
    architecture = weights.metadata("general.architecture")
    trained = weights.metadata(f"{architecture}.pooling_type")
    # Chat models name none, and without pooling there is no vector of an input.
    known = [str(kind) for kind in _POOLINGS.values()]
    return int(trained if trained in known else llama.LLAMA_POOLING_TYPE_MEAN)
