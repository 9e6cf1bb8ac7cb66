"""The tokeniser of tiny-chat: byte-level BPE, learnt from the corpus itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from rendering import TURN_BEGIN, TURN_END
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

#: What llama.cpp calls `qwen2`: every digit is a token of its own, which makes sums learnable.
_PIECES: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def learn_tokeniser(texts: Iterable[str], size: int) -> Tokenizer:
    """A tokeniser of `size` tokens that has a token for every byte and for both turn markers."""
    tokeniser = Tokenizer(models.BPE())
    tokeniser.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokeniser.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[TURN_BEGIN, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokeniser.train_from_iterator(texts, trainer)
    return tokeniser


def tokens_in_order(tokeniser: Tokenizer) -> list[str]:
    """The text of every token, by id."""
    vocabulary: dict[str, int] = tokeniser.get_vocab()
    return sorted(vocabulary, key=lambda text: vocabulary[text])


def merges(tokeniser: Tokenizer) -> list[str]:
    """The pairs that are joined, in the order of their rank, as GGUF writes them."""
    return [" ".join(pair) for pair in json.loads(tokeniser.to_str())["model"]["merges"]]
