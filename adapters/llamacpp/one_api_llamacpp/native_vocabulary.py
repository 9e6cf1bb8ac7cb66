"""A model's vocabulary in llama.cpp's hands: reading it is safe from several threads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from one_api_llamacpp.language_model import Tokeniser, Vocabulary
from one_api_llamacpp.markup import MARKERS


class NativeVocabulary(Tokeniser):
    """The vocabulary of the weights `model`, which must outlive it."""

    def __init__(self, model: Any, context_tokens: int) -> None:
        self._vocab = llama.llama_model_get_vocab(model)
        self._pieces: dict[int, bytes] = {}
        self.context_tokens = context_tokens
        self.vocabulary = self._read(model)
        self._ends = frozenset(
            token
            for token in range(self.vocabulary.size)
            if llama.llama_vocab_is_eog(self._vocab, token)
        )

    @override
    def tokenise(self, segments: Sequence[str]) -> list[int]:
        tokens = [
            token for segment in segments for token in self.tokens_of(segment, adds_ends=False)
        ]
        bos = llama.llama_vocab_bos(self._vocab)
        if llama.llama_vocab_get_add_bos(self._vocab) and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    @override
    def piece(self, token: int) -> bytes:
        known = self._pieces.get(token)
        if known is None:
            text = llama.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace")
            known = self._pieces[token] = self._piece(token, shows_control=text in MARKERS)
        return known

    @override
    def ends_turn(self, token: int) -> bool:
        return token in self._ends

    @cached_property
    def hidden_set(self) -> frozenset[int]:
        """Tokens that add nothing to an answer and do not end it.

        llama.cpp's grammars take a control token for its text, which the answer does not get: with
        one in it, an answer could be shorter than its grammar says.
        """
        every = range(self.vocabulary.size)
        return frozenset(one for one in every if one not in self._ends and not self.piece(one))

    @cached_property
    def hidden(self) -> NDArray[np.int64]:
        """`hidden_set` as indices into the logits of a step."""
        return np.array(sorted(self.hidden_set), np.int64)

    def tokens_of(self, text: str, *, adds_ends: bool) -> list[int]:
        """The tokens of `text`: control tokens among them, or those that the model wants around."""
        data = text.encode("utf-8", "replace")
        size = len(data) + 8
        while True:
            array = (llama.llama_token * size)()
            count = llama.llama_tokenize(
                self._vocab, data, len(data), array, size, adds_ends, not adds_ends
            )
            if count >= 0:
                return list(array[:count])
            size = -count

    def grammar(self, gbnf: str) -> Any:
        """A sampler that holds answers to `gbnf`, which the caller frees; null if it is wrong."""
        return llama.llama_sampler_init_grammar(self._vocab, gbnf.encode(), b"root")

    def _read(self, model: Any) -> Vocabulary:
        size = int(llama.llama_vocab_n_tokens(self._vocab))
        # The tokeniser reads the texts of both kinds only where control tokens are allowed.
        special = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_UNKNOWN
        template = llama.llama_model_chat_template(model, None)
        return Vocabulary(
            size=size,
            bos=self._text(llama.llama_vocab_bos(self._vocab)),
            eos=self._text(llama.llama_vocab_eos(self._vocab)),
            control_texts=[
                self._text(token)
                for token in range(size)
                if llama.llama_vocab_get_attr(self._vocab, token) & special
            ],
            chat_template=template.decode("utf-8", "replace") if template else None,
        )

    def _text(self, token: int) -> str:
        """The text that stands for `token`; empty for the token that a vocabulary lacks (-1)."""
        if token < 0:
            return ""
        text: bytes = llama.llama_vocab_get_text(self._vocab, token)
        return text.decode("utf-8", "replace")

    def _piece(self, token: int, *, shows_control: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = llama.llama_token_to_piece(self._vocab, token, buffer, size, 0, shows_control)
            if count >= 0:
                return buffer.raw[:count]
            size = -count
