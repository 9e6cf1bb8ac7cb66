"""How one answer's tokens are chosen, with llama.cpp's samplers over the logits of a step."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from typing import Any, Final

import llama_cpp.llama_cpp as llama
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from one_api.adapter import InvalidRequest
from one_api_llamacpp.batch_model import Sampler
from one_api_llamacpp.native_vocabulary import NativeVocabulary
from one_api_llamacpp.sampling import Sampling, TokenLogprobs

#: Candidates that nucleus sampling sorts: sorting a whole vocabulary costs milliseconds a token.
_NUCLEUS_CANDIDATES: Final = 1000
#: llama.cpp's `llama_token_data`, as numpy writes it.
_CANDIDATE: Final = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])

Logits = NDArray[np.float32]


class NativeSampler(Sampler):
    """A chain of samplers for one answer.

    Raises: InvalidRequest when the grammar is none.
    """

    def __init__(
        self, context: Any, vocabulary: NativeVocabulary, memory_tokens: int, sampling: Sampling
    ) -> None:
        self._context = context
        self._vocabulary = vocabulary
        self._size = vocabulary.vocabulary.size
        self._logprobs = sampling.logprobs
        self._grammar: Any = None
        if sampling.grammar is not None:
            self._grammar = vocabulary.grammar(sampling.grammar)
            if not self._grammar:
                raise InvalidRequest("The grammar of the answer cannot be used.")
        self._chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        links = list(_links(sampling, self._size, memory_tokens))
        for link in links:
            llama.llama_sampler_chain_add(self._chain, link)
        #: Nothing but the likeliest token counts, and numpy finds it faster than a chain.
        self._is_plain = sampling.temperature == 0 and len(links) == 1 and self._grammar is None

    @override
    def sample(self, row: int) -> tuple[int, TokenLogprobs | None]:
        if self._is_plain and self._logprobs is None:
            return int(self._logits(row).argmax()), None
        if self._grammar is None:
            token = int(llama.llama_sampler_sample(self._chain, self._context, row))
        else:
            token = self._sample_by_grammar(row)
        if self._logprobs is None:
            return token, None
        return token, self._told(token, self._logits(row), self._logprobs)

    @override
    def close(self) -> None:
        llama.llama_sampler_free(self._chain)
        if self._grammar:
            llama.llama_sampler_free(self._grammar)
        self._chain = self._grammar = None

    def _logits(self, row: int) -> Logits:
        # Owned by the context and only good until the next evaluation.
        pointer = llama.llama_get_logits_ith(self._context, row)
        logits: Logits = np.ctypeslib.as_array(pointer, (self._size,))
        return logits

    def _sample_by_grammar(self, row: int) -> int:
        """First freely: to look one token up in the grammar is quick, a whole vocabulary is not."""
        logits = self._logits(row)
        token = self._chosen(logits)
        if not self._is_allowed(token):
            token = self._chosen(logits, self._grammar)
        llama.llama_sampler_accept(self._grammar, token)
        llama.llama_sampler_accept(self._chain, token)
        return token

    def _chosen(self, logits: Logits, first: Any = None) -> int:
        """What the chain chooses, after the sampler `first` if there is one."""
        candidates = np.empty(self._size, _CANDIDATE)
        candidates["id"] = np.arange(self._size, dtype=np.int32)
        candidates["logit"] = logits
        candidates["p"] = 0
        if first is not None:
            candidates["logit"][self._vocabulary.hidden] = -np.inf
        data = candidates.ctypes.data_as(ctypes.POINTER(llama.llama_token_data))
        array = llama.llama_token_data_array(data, self._size, -1, False)
        if first is not None:
            llama.llama_sampler_apply(first, ctypes.byref(array))
        llama.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def _is_allowed(self, token: int) -> bool:
        if token in self._vocabulary.hidden_set:
            return False
        one = llama.llama_token_data(token, 1.0, 0.0)
        array = llama.llama_token_data_array(ctypes.pointer(one), 1, -1, False)
        llama.llama_sampler_apply(self._grammar, ctypes.byref(array))
        return bool(array.data[0].logit != -math.inf)

    def _told(self, token: int, logits: Logits, count: int) -> TokenLogprobs:
        peak = float(logits.max())
        total = peak + math.log(float(np.exp(logits - peak).sum()))
        piece = self._vocabulary.piece
        likeliest: list[int] = []
        if count:
            some = np.argpartition(logits, -count)[-count:]
            likeliest = [int(id_) for id_ in some[np.argsort(-logits[some], kind="stable")]]
        return TokenLogprobs(
            token=token,
            piece=piece(token),
            logprob=float(logits[token]) - total,
            top=[(id_, piece(id_), float(logits[id_]) - total) for id_ in likeliest],
        )


def _links(sampling: Sampling, vocabulary_size: int, memory_tokens: int) -> Iterator[Any]:
    if sampling.logit_bias:
        pairs = [llama.llama_logit_bias(*pair) for pair in sampling.logit_bias.items()]
        array = (llama.llama_logit_bias * len(pairs))(*pairs)
        yield llama.llama_sampler_init_logit_bias(vocabulary_size, len(pairs), array)
    if sampling.frequency_penalty or sampling.presence_penalty:
        yield llama.llama_sampler_init_penalties(
            vocabulary_size,
            memory_tokens,
            1.0,
            sampling.frequency_penalty,
            sampling.presence_penalty,
        )
    if sampling.temperature == 0:
        yield llama.llama_sampler_init_greedy()
        return
    top_k = sampling.top_k or (_NUCLEUS_CANDIDATES if sampling.top_p < 1 else 0)
    if top_k:
        yield llama.llama_sampler_init_top_k(top_k)
    if sampling.top_p < 1:
        yield llama.llama_sampler_init_top_p(sampling.top_p, 1)
    if sampling.min_p > 0:
        yield llama.llama_sampler_init_min_p(sampling.min_p, 1)
    yield llama.llama_sampler_init_temp(sampling.temperature)
    yield llama.llama_sampler_init_dist(sampling.seed)
