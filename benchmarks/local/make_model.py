"""Makes the model that is measured: random weights in the shape of a small real one, as GGUF.

    python -m benchmarks.local.make_model OUT [--size 110m]

What it says means nothing and never ends: special tokens and those of single bytes have a logit of
zero, which is never the greatest. So every answer is as long as it may be, every token is a text
of its own, and no contender has to be told to ignore the end.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from gguf import GGMLQuantizationType, LlamaFileType, TokenType
from gguf.quants import quantize
from numpy.typing import NDArray

VOCABULARY: Final = 32_000
BOS: Final = 1
END: Final = 2
#: The first token that is a text; those before it are special or single bytes.
FIRST_TEXT: Final = 259
_SPECIAL: Final = ("<unk>", "<s>", "</s>")
_CONTEXT: Final = 4096
_SPREAD: Final = 0.05

Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shape:
    """A model of llama's architecture."""

    width: int
    layers: int
    heads: int
    feed_forward: int


SHAPES: Final = {
    "110m": Shape(width=768, layers=12, heads=12, feed_forward=2048),
    #: For tests of the benchmark itself.
    "tiny": Shape(width=64, layers=1, heads=1, feed_forward=64),
}


def write_model(path: Path, shape: Shape) -> None:
    """Write a model with weights in Q8_0, the same ones each time."""
    writer: Any = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_vocab_size(VOCABULARY)
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    writer.add_chat_template("{% for message in messages %}{{ message.content }}{% endfor %}")
    _add_tokeniser(writer)
    for name, weights in _tensors(shape):
        if weights.ndim == 1:
            writer.add_tensor(name, weights)
        else:
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(name, quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def cached_model(directory: Path, size: str) -> Path:
    """The model of this size in `directory`, made if it is not there."""
    path = directory / f"bench-{size}-q8_0.gguf"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        write_model(unfinished, SHAPES[size])
        unfinished.replace(path)
    return path


def _add_tokeniser(writer: Any) -> None:
    pieces = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += itertools.islice(_words(), VOCABULARY - len(pieces))
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    kinds += [TokenType.BYTE] * 256
    kinds += [TokenType.NORMAL] * (VOCABULARY - len(kinds))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([piece.encode() for piece in pieces])
    writer.add_token_scores([-float(token) for token in range(VOCABULARY)])
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def _words() -> Iterator[str]:
    """Words of two or three syllables with a space before them, each once."""
    syllables = [f"{first}{second}" for first in "bdfghjklmnprstvwz" for second in "aeiou"]
    for count in (2, 3):
        for word in itertools.product(syllables, repeat=count):
            yield "\u2581" + "".join(word)


def _tensors(shape: Shape) -> Iterator[tuple[str, Weights]]:
    generator = np.random.default_rng(seed=0)
    width, inner = shape.width, shape.feed_forward
    # What a block adds is the smaller, the more blocks there are, as trained models have it.
    added = _SPREAD / np.sqrt(2 * shape.layers)

    def draw(rows: int, columns: int, spread: float = _SPREAD) -> Weights:
        weights = generator.standard_normal((rows, columns), dtype=np.float32)
        weights *= spread
        return weights

    yield "token_embd.weight", draw(VOCABULARY, width)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", np.ones(width, np.float32)
        for name in ("attn_q", "attn_k", "attn_v"):
            yield f"{block}.{name}.weight", draw(width, width)
        yield f"{block}.attn_output.weight", draw(width, width, added)
        yield f"{block}.ffn_norm.weight", np.ones(width, np.float32)
        yield f"{block}.ffn_gate.weight", draw(inner, width)
        yield f"{block}.ffn_up.weight", draw(inner, width)
        yield f"{block}.ffn_down.weight", draw(width, inner, added)
    yield "output_norm.weight", np.ones(width, np.float32)
    output = draw(VOCABULARY, width)
    output[:FIRST_TEXT] = 0
    yield "output.weight", output


def main() -> None:
    """Write the model that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=SHAPES, default="110m")
    options = parser.parse_args()
    write_model(options.out, SHAPES[options.size])


if __name__ == "__main__":
    main()
