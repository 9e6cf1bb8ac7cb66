"""Trains tiny-chat on one processor core and writes its GGUF file.

    python train.py tiny-chat.gguf [--tokens 9000000] [--seed 1] [--threads 1]

The same seed and number of tokens give the same model on the same machine.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import torch
from corpus import converse
from export import write_gguf
from network import Network, Shape
from rendering import TURN_END, Renderer
from tokeniser import learn_tokeniser
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

_VOCABULARY: Final = 1024
_TOKENISER_SAMPLES: Final = 6000
_TOKENS_PER_STEP: Final = 2048
#: Conversations that are sorted by length at once, so that little of a batch is padding.
_POOL: Final = 1500
_LEARNING_RATE: Final = 3e-3
_LAST_RATE: Final = 0.02
_WARM_UP_STEPS: Final = 100
#: What users and templates say is learnt too, but counts little: it is given, not made.
_WEIGHT_OF_GIVEN: Final = 0.1
#: A conversation's tokens, and how much each of them counts.
Example = tuple[list[int], list[float]]
_ANSWER: Final = re.compile(r"<\|im_start\|>assistant\n(.*?<\|im_end\|>)", re.DOTALL)


def examples(
    renderer: Renderer, tokeniser: Tokenizer, draw: Random
) -> Iterator[tuple[list[int], list[float]]]:
    """Conversations without end."""
    while True:
        text = renderer.render(converse(draw))
        encoded = tokeniser.encode(text)
        weights = [_WEIGHT_OF_GIVEN] * len(encoded.ids)
        answers = [match.span(1) for match in _ANSWER.finditer(text)]
        for place, (start, end) in enumerate(encoded.offsets):
            if any(first <= start and end <= last for first, last in answers):
                weights[place] = 1.0
        yield encoded.ids, weights


def batches(
    source: Iterator[Example], padding: int, draw: Random
) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens and weights of conversations of like length, without end."""
    while True:
        pool = sorted(islice(source, _POOL), key=lambda example: len(example[0]))
        grouped: list[list[Example]] = [[]]
        for example in pool:
            if grouped[-1] and len(example[0]) * (len(grouped[-1]) + 1) > _TOKENS_PER_STEP:
                grouped.append([])
            grouped[-1].append(example)
        draw.shuffle(grouped)
        for group in grouped:
            length = len(group[-1][0])
            tokens = np.full((len(group), length), padding, np.int64)
            weights = np.zeros((len(group), length), np.float32)
            for row, (ids, weight) in enumerate(group):
                tokens[row, : len(ids)], weights[row, : len(ids)] = ids, weight
            yield torch.from_numpy(tokens), torch.from_numpy(weights)


def train(network: Network, source: Iterator[tuple[Tensor, Tensor]], budget: int) -> None:
    """Train on `budget` tokens; the learning rate falls along a cosine."""
    matrices = [weights for weights in network.parameters() if weights.dim() > 1]
    scales = [weights for weights in network.parameters() if weights.dim() == 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": scales, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        fused=True,
    )
    used, recent, started = 0, 0.0, time.monotonic()
    for step in count(1):
        progress = used / budget
        if progress >= 1:
            return
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        rate = _LEARNING_RATE * (_LAST_RATE + (1 - _LAST_RATE) * cosine)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, step / _WARM_UP_STEPS)
        tokens, weights = next(source)
        logits = network(tokens[:, :-1])
        losses = functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
        )
        weights = weights[:, 1:].flatten()
        loss = (losses * weights).sum() / weights.sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        used += tokens.numel()
        answers = weights == 1
        of_answers = losses.detach()[answers].mean().item() if answers.any() else recent
        recent = of_answers if step == 1 else 0.98 * recent + 0.02 * of_answers
        if step % 100 == 0:
            took = time.monotonic() - started
            sys.stdout.write(f"{took:6.0f} s  {used / 1e6:6.2f} M tokens  loss {recent:.4f}\n")
            sys.stdout.flush()


def main() -> None:
    """Train and write the file that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--tokens", type=int, default=9_000_000, help="tokens to train on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="threads that compute")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    draw = Random(options.seed)  # noqa: S311 - a corpus, not a secret

    renderer = Renderer()
    texts = (renderer.render(converse(draw)) for _ in range(_TOKENISER_SAMPLES))
    tokeniser = learn_tokeniser(texts, _VOCABULARY)
    shape = Shape(vocabulary=tokeniser.get_vocab_size())
    network = Network(shape)
    source = examples(renderer, tokeniser, draw)
    train(network, batches(source, tokeniser.token_to_id(TURN_END), draw), options.tokens)
    write_gguf(options.out, network, shape, tokeniser, renderer.source)
    sys.stdout.write(f"{options.out}: {options.out.stat().st_size} bytes\n")
    sys.stdout.write(f"{time.process_time():.0f} seconds of processor time\n")


if __name__ == "__main__":
    main()
