"""The network: a small Llama, as llama.cpp's architecture `llama` computes it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a network. One head has `width / heads` numbers."""

    vocabulary: int
    width: int = 128
    layers: int = 5
    heads: int = 4
    key_value_heads: int = 2
    feed_forward: int = 352
    context_tokens: int = 1024
    rope_base: float = 10_000.0
    epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        """Numbers of one head's query, key and value."""
        return self.width // self.heads


class Norm(nn.Module):
    """Divides by the root of the mean square."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.width))
        self._epsilon = shape.epsilon

    def forward(self, states: Tensor) -> Tensor:
        """The states at the scale that was learnt."""
        return functional.rms_norm(states, (states.shape[-1],), self.weight, self._epsilon)


class Block(nn.Module):
    """Attention, then the feed-forward network; both add to the states."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._shape = shape
        keys = shape.key_value_heads * shape.head_width
        self.attn_norm, self.ffn_norm = Norm(shape), Norm(shape)
        self.attn_q = _linear(shape.width, shape.width)
        self.attn_k, self.attn_v = _linear(shape.width, keys), _linear(shape.width, keys)
        self.attn_output = _linear(shape.width, shape.width)
        self.ffn_gate = _linear(shape.width, shape.feed_forward)
        self.ffn_up = _linear(shape.width, shape.feed_forward)
        self.ffn_down = _linear(shape.feed_forward, shape.width)

    def forward(self, states: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """The states after this block; `turns` are the cosines and sines of each position."""
        states = states + self._attend(self.attn_norm(states), turns)
        normed = self.ffn_norm(states)
        gated = functional.silu(self.ffn_gate(normed)) * self.ffn_up(normed)
        return states + self.ffn_down(gated)

    def _attend(self, states: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        shape = self._shape
        batch, length, width = states.shape
        queries = _turned(self.attn_q(states), shape.head_width, turns)
        keys = _turned(self.attn_k(states), shape.head_width, turns)
        values = self.attn_v(states).view(batch, length, -1, shape.head_width).transpose(1, 2)
        shared = shape.heads // shape.key_value_heads
        seen = functional.scaled_dot_product_attention(
            queries,
            keys.repeat_interleave(shared, 1),
            values.repeat_interleave(shared, 1),
            is_causal=True,
        )
        attended: Tensor = self.attn_output(seen.transpose(1, 2).reshape(batch, length, width))
        return attended


class Network(nn.Module):
    """Predicts each next token. The embedding is the output matrix too."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                # What adds to the states starts smaller the more layers there are.
                adds = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * shape.layers) if adds else 0.02)
        powers = torch.arange(0, shape.head_width, 2).float() / shape.head_width
        angles = torch.arange(shape.context_tokens).float()[:, None] * shape.rope_base**-powers
        self.register_buffer("_cosines", angles.cos()[:, None])
        self.register_buffer("_sines", angles.sin()[:, None])

    def forward(self, tokens: Tensor) -> Tensor:
        """The logits of every token after each of `tokens` (batch, length)."""
        length = tokens.shape[1]
        turns = (self._cosines[:length], self._sines[:length])
        states = self.token_embd(tokens)
        for block in self.blk:
            states = block(states, turns)
        return functional.linear(self.output_norm(states), self.token_embd.weight)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def _turned(states: Tensor, head_width: int, turns: tuple[Tensor, Tensor]) -> Tensor:
    """The heads of `states` turned by their positions, (batch, heads, length, head width).

    Neighbouring numbers are a pair, as llama.cpp has it, so nothing is permuted on export.
    """
    cosines, sines = turns
    batch, length, _ = states.shape
    pairs = states.view(batch, length, -1, head_width // 2, 2)
    left, right = pairs[..., 0], pairs[..., 1]
    turned = torch.stack((left * cosines - right * sines, left * sines + right * cosines), dim=-1)
    return turned.flatten(3).transpose(1, 2)
