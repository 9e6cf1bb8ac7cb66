"""Vectors by llama.cpp, through llama-cpp-python's bindings of its C functions.

Importing this module imports llama_cpp and loads its library. Everything here was checked against
llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import llama_cpp.llama_cpp as llama
from typing_extensions import override

from one_api.adapter import UpstreamError
from one_api_llamacpp.embedding_model import EmbeddingModel
from one_api_llamacpp.native import load_weights, route_log, trained_context

#: Inputs of one evaluation.
_MAX_INPUTS: Final = 16
#: Tokens of one evaluation. An input is pooled within one, whose working memory grows with it.
_MAX_TOKENS: Final = 2048


class NativeEmbeddingModel(EmbeddingModel):
    """One model with one context that pools.

    Chat models name no kind of pooling; the mean is taken whatever a file says.
    Raises: UpstreamError when it cannot be loaded; the reason is logged.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        context_limit: int,
        threads: int,
        gpu_layers: int,
        logger: logging.Logger,
    ) -> None:
        self._name = name
        log = route_log(logger)
        log.take_errors()  # of a thread that ended and had this one's number
        self._model = load_weights(path, gpu_layers)
        self._context: Any = None
        self.max_inputs = _MAX_INPUTS
        if self._model:
            trained = trained_context(self._model, context_limit)
            self.max_tokens = min(trained, context_limit, _MAX_TOKENS)
            self._context = self._make_context(threads)
        if not self._context:
            logger.error("Local model '%s' cannot embed: %s", name, log.take_errors())
            self.close()
            raise UpstreamError(
                f"The local model '{name}' cannot be loaded for embeddings: its file is damaged, "
                "it is of a kind that this version of llama.cpp does not run, or memory is short."
            )
        self._vocab = llama.llama_model_get_vocab(self._model)
        self._memory = llama.llama_get_memory(self._context)  # null for models that only encode
        self.vocabulary_size = int(llama.llama_vocab_n_tokens(self._vocab))
        self.dimensions = int(llama.llama_model_n_embd_out(self._model))

    @override
    def tokenise(self, text: str) -> list[int]:
        data = text.encode("utf-8", "replace")
        size = len(data) + 8
        while True:
            array = (llama.llama_token * size)()
            count = llama.llama_tokenize(self._vocab, data, len(data), array, size, True, False)
            if count >= 0:
                return list(array[:count])
            size = -count

    @override
    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        batch = llama.llama_batch_init(sum(map(len, inputs)), 0, 1)
        try:
            _fill(batch, inputs)
            if self._memory:
                llama.llama_memory_clear(self._memory, True)
                code = llama.llama_decode(self._context, batch)
            else:
                code = llama.llama_encode(self._context, batch)
        finally:
            llama.llama_batch_free(batch)
        if code != 0:
            raise UpstreamError(f"The local model '{self._name}' failed (llama.cpp gave {code}).")
        return [self._vector(sequence) for sequence in range(len(inputs))]

    @override
    def close(self) -> None:
        if self._context:
            llama.llama_free(self._context)
        if self._model:
            llama.llama_model_free(self._model)
        self._context = self._model = None

    def _vector(self, sequence: int) -> list[float]:
        pooled = llama.llama_get_embeddings_seq(self._context, sequence)
        if not pooled:
            raise UpstreamError(f"The local model '{self._name}' makes no embeddings.")
        return list(pooled[: self.dimensions])

    def _make_context(self, threads: int) -> Any:
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = self.max_tokens
        parameters.n_seq_max = _MAX_INPUTS
        parameters.kv_unified = True  # else every sequence would have its share of the context
        parameters.embeddings = True
        parameters.pooling_type = llama.LLAMA_POOLING_TYPE_MEAN
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.no_perf = True
        return llama.llama_init_from_model(self._model, parameters)


def _fill(batch: Any, inputs: Sequence[Sequence[int]]) -> None:
    """Put `inputs` into `batch`, each a sequence of its own."""
    at = 0
    for sequence, tokens in enumerate(inputs):
        for position, token in enumerate(tokens):
            batch.token[at] = token
            batch.pos[at] = position
            batch.n_seq_id[at] = 1
            batch.seq_id[at][0] = sequence
            batch.logits[at] = 1
            at += 1
    batch.n_tokens = at
