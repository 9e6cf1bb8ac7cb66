"""Writes random texts that llama.cpp's own reading of a grammar lets through."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path
from typing import Any, Final

from adapters.llamacpp.tests.make_gguf import write_noise

#: Picked more often than others where they are allowed, so that texts come to an end.
_CLOSING: Final = (b'"', b"}", b"]", b">", b"e")


class GrammarWriter:
    """The vocabulary of a model to which every byte is a token, and llama.cpp's grammars over it.

    No weights are needed: what a grammar allows depends on the vocabulary only.
    """

    def __init__(self, path: Path) -> None:
        # Not before a test that needs it runs: llama.cpp is not installed everywhere.
        import llama_cpp.llama_cpp as llama

        write_noise(path)
        self._llama: Any = llama
        parameters = llama.llama_model_default_params()
        parameters.vocab_only = True
        self._model = llama.llama_model_load_from_file(str(path).encode(), parameters)
        self._vocab = llama.llama_model_get_vocab(self._model)
        self._pieces = {
            token: piece
            for token in range(llama.llama_vocab_n_tokens(self._vocab))
            if (piece := self._piece(token)) or llama.llama_vocab_is_eog(self._vocab, token)
        }

    def write(self, gbnf: str, seed: int, *, limit: int = 300) -> str | None:
        """A text of `gbnf`; None when it was not complete after `limit` tokens.

        Raises: ValueError when llama.cpp cannot read the grammar.
        """
        llama = self._llama
        choose = random.Random(seed)  # noqa: S311 - texts for a test
        grammar = llama.llama_sampler_init_grammar(self._vocab, gbnf.encode(), b"root")
        if not grammar:
            raise ValueError(f"llama.cpp cannot read this grammar:\n{gbnf}")
        text = bytearray()
        try:
            for _ in range(limit):
                allowed = self._allowed(grammar)
                can_end = any(llama.llama_vocab_is_eog(self._vocab, token) for token in allowed)
                pieces = {token: self._pieces[token] for token in allowed if self._pieces[token]}
                if can_end and (not pieces or choose.random() < 0.5):
                    return text.decode("utf-8", "ignore")
                closing = [token for token, piece in pieces.items() if piece in _CLOSING]
                among = closing if closing and choose.random() < 0.3 else list(pieces)
                token = choose.choice(among)
                llama.llama_sampler_accept(grammar, token)
                text += self._pieces[token]
        finally:
            llama.llama_sampler_free(grammar)
        return None

    def accepts(self, gbnf: str, text: str) -> bool:
        """Whether `text`, byte by byte, is all that `gbnf` asks for."""
        llama = self._llama
        grammar = llama.llama_sampler_init_grammar(self._vocab, gbnf.encode(), b"root")
        if not grammar:
            raise ValueError(f"llama.cpp cannot read this grammar:\n{gbnf}")
        token_of = {piece: token for token, piece in reversed(self._pieces.items())}
        try:
            for byte in text.encode():
                token = token_of[bytes([byte])]
                if token not in self._allowed(grammar):
                    return False
                llama.llama_sampler_accept(grammar, token)
            return any(
                llama.llama_vocab_is_eog(self._vocab, token) for token in self._allowed(grammar)
            )
        finally:
            llama.llama_sampler_free(grammar)

    def close(self) -> None:
        """Give back the memory."""
        self._llama.llama_model_free(self._model)

    def _allowed(self, grammar: Any) -> list[int]:
        llama, count = self._llama, len(self._pieces)
        data = (llama.llama_token_data * count)(*((token, 1.0, 0.0) for token in self._pieces))
        array = llama.llama_token_data_array(data, count, -1, False)
        llama.llama_sampler_apply(grammar, ctypes.byref(array))
        return [entry.id for entry in data if entry.logit == 1.0]

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(16)
        # Control tokens are hidden from answers, so they have no part in them.
        size = self._llama.llama_token_to_piece(self._vocab, token, buffer, 16, 0, False)
        return buffer.raw[: max(size, 0)]
