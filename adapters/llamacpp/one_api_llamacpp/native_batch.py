"""Tokens on their way to llama.cpp."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp.llama_cpp as llama
import numpy as np

from one_api_llamacpp.batch_model import Part


class NativeBatch:
    """A `llama_batch` over arrays of numpy's, which are written in slices instead of one by one."""

    def __init__(self, size: int) -> None:
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._counts = np.ones(size, np.int32)
        self._sequences = np.zeros(size, np.int32)
        self._wanted = np.zeros(size, np.int8)
        # Each token has a list of sequences; all lists have one item and lie side by side.
        first = self._sequences.ctypes.data
        self._lists = first + 4 * np.arange(size, dtype=np.uint64)
        int32 = ctypes.POINTER(ctypes.c_int32)
        self.batch = llama.llama_batch(
            0,
            self._tokens.ctypes.data_as(int32),
            None,
            self._positions.ctypes.data_as(int32),
            self._counts.ctypes.data_as(int32),
            self._lists.ctypes.data_as(ctypes.POINTER(int32)),
            self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, parts: Sequence[Part], *, wants_all: bool = False) -> list[int]:
        """Make the batch of `parts`; the rows of the logits they want.

        With `wants_all` every token has a result, which pooling needs.
        """
        at = 0
        rows = []
        for part in parts:
            count = len(part.tokens)
            end = at + count
            self._tokens[at:end] = part.tokens
            self._positions[at:end] = np.arange(part.position, part.position + count)
            self._sequences[at:end] = part.sequence
            self._wanted[at:end] = wants_all
            if part.wants_logits:
                self._wanted[end - 1] = 1
                rows.append(end - 1)
            at = end
        self.batch.n_tokens = at
        return rows
