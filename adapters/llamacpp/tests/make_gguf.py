"""Makes tiny GGUF models whose answers are known: real files, real tokenisers, no training.

    python make_gguf.py OUT --text "Hello there 👋" [--template FILE] [--context 512] [--endless]

`scripted` weights have neither attention nor feed-forward output, so the next token depends on the
last one only: every token of the text has a direction of its own and the next one answers to it,
all other tokens share one direction and the text's first token answers to that. Whatever the
prompt, as long as its last token is not one of the text's, the answer is the text and then the end
of the turn. The first emoji is written as four byte tokens, as real vocabularies do with rare ones.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from gguf import TokenType

#: Renders roles and text, lists tools, refuses a conversation that begins with the assistant.
CHATML: Final = (
    "{%- if messages[0].role == 'assistant' %}{{ raise_exception('a user must begin') }}{% endif %}"
    "{%- if tools %}{{- '<|im_start|>system\n' + (tools | tojson) + '<|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
BOS: Final = 1
END_OF_TURN: Final = 4
_SPECIAL: Final = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
_EMOJI: Final = re.compile("[\U00010000-\U0010ffff]")
#: Difference between the right token's logit and all others: certain at any temperature.
_CERTAIN: Final = 60.0


def write_scripted(
    path: Path,
    text: str,
    *,
    template: str | None = CHATML,
    context: int = 512,
    endless: bool = False,
) -> None:
    """A model that answers `text`, again and again if `endless`."""
    chunks = _chunks(text)
    vocabulary = _vocabulary([chunk for chunk in chunks if not _is_bytes(chunk)])
    tokens = [token for chunk in chunks for token in _tokens(chunk, vocabulary)]
    if not tokens:
        raise ValueError("there is no text to answer")
    if len(set(tokens)) != len(tokens):
        raise ValueError("the first emoji has one byte twice, which needs one token twice")
    # Direction 0 is everybody's who is not in the text; the rest are the text's tokens in order.
    size = _padded(len(tokens) + 1)
    embedding = np.zeros((len(vocabulary), size), np.float32)
    embedding[:, 0] = 1
    output = np.zeros_like(embedding)
    for place, (token, following) in enumerate(
        zip(tokens, [*tokens[1:], tokens[0] if endless else END_OF_TURN], strict=True), start=1
    ):
        embedding[token] = np.eye(1, size, place)[0]
        output[following, place] = _CERTAIN / np.sqrt(size)
    output[tokens[0], 0] = _CERTAIN / np.sqrt(size)
    _write(path, vocabulary, embedding, output, template=template, context=context)


def write_noise(path: Path, *, template: str | None = CHATML, context: int = 512) -> None:
    """A model to which every token is equally likely next, bytes of no character included."""
    vocabulary = _vocabulary([chr(code) for code in range(ord("a"), ord("z") + 1)])
    embedding = np.ones((len(vocabulary), 32), np.float32)
    _write(
        path, vocabulary, embedding, np.zeros_like(embedding), template=template, context=context
    )


def write_bert(path: Path, words: Sequence[str], *, context: int = 512) -> None:
    """A model that only encodes, with a direction for each of `words`."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # As many as a scripted model has before its text's tokens: tests use the same ids for both.
    fillers = [f"[unused{number}]" for number in range(256)]
    texts = [*specials, *fillers, *(f"\u2581{word}" for word in words)]
    size, feed_forward = 32, 32
    embedding = np.zeros((len(texts), size), np.float32)
    embedding[np.arange(len(texts)), np.arange(len(texts)) % size] = 1
    writer: Any = gguf.GGUFWriter(path, "bert")
    writer.add_name(path.stem)
    writer.add_vocab_size(len(texts))
    writer.add_context_length(context)
    writer.add_embedding_length(size)
    writer.add_block_count(1)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(1)
    writer.add_layer_norm_eps(1e-6)
    writer.add_causal_attention(False)
    writer.add_file_type(0)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(2)
    writer.add_token_list([text.encode() for text in texts])
    writer.add_token_types(
        [int(TokenType.CONTROL if text in specials else TokenType.NORMAL) for text in texts]
    )
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("position_embd.weight", np.zeros((context, size), np.float32))
    writer.add_tensor("token_types.weight", np.zeros((2, size), np.float32))
    for name, shape in {
        "attn_q": (size, size),
        "attn_k": (size, size),
        "attn_v": (size, size),
        "attn_output": (size, size),
        "ffn_up": (feed_forward, size),
        "ffn_down": (size, feed_forward),
    }.items():
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float32))
        writer.add_tensor(f"blk.0.{name}.bias", np.zeros(shape[0], np.float32))
    for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(size, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(size, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _chunks(text: str) -> list[str]:
    """The text in pieces that differ from one another, the first emoji a piece by itself.

    Words, each joined with the next ones as long as the same piece was used before.
    """
    emoji = _EMOJI.search(text)
    at = emoji.start() if emoji else len(text)
    chunks: list[str] = []
    for part, is_emoji in ((text[:at], False), (text[at : at + 1], True), (text[at + 1 :], False)):
        chunk = ""
        for word in re.findall(r"\s*\S+|\s+$", part):
            chunk += word
            if chunk not in chunks and (is_emoji or not _is_bytes(chunk)):
                chunks.append(chunk)
                chunk = ""
        if chunk:
            chunks[-1] += chunk
    return chunks


def _is_bytes(chunk: str) -> bool:
    return len(chunk) == 1 and _EMOJI.match(chunk) is not None


def _vocabulary(pieces: Sequence[str]) -> dict[str, int]:
    texts = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *map(_as_piece, pieces)]
    return {text: token for token, text in enumerate(dict.fromkeys(texts))}


def _as_piece(text: str) -> str:
    return text.replace(" ", "\u2581")


def _tokens(chunk: str, vocabulary: dict[str, int]) -> list[int]:
    if _is_bytes(chunk):
        return [vocabulary[f"<0x{byte:02X}>"] for byte in chunk.encode()]
    return [vocabulary[_as_piece(chunk)]]


def _padded(size: int) -> int:
    return -(-size // 32) * 32


def _write(
    path: Path,
    vocabulary: dict[str, int],
    embedding: Any,
    output: Any,
    *,
    template: str | None,
    context: int,
) -> None:
    size, feed_forward = embedding.shape[1], 32
    writer: Any = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_vocab_size(len(vocabulary))
    writer.add_context_length(context)
    writer.add_embedding_length(size)
    writer.add_block_count(1)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(size)
    writer.add_file_type(0)
    if template is not None:
        writer.add_chat_template(template)
    _add_tokeniser(writer, vocabulary)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", np.ones(size, np.float32))
    for name, shape in {
        "attn_q": (size, size),
        "attn_k": (size, size),
        "attn_v": (size, size),
        "attn_output": (size, size),
        "ffn_gate": (feed_forward, size),
        "ffn_up": (feed_forward, size),
        "ffn_down": (size, feed_forward),
    }.items():
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float32))
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(size, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokeniser(writer: Any, vocabulary: dict[str, int]) -> None:
    kinds = [
        TokenType.UNKNOWN
        if token == 0
        else TokenType.CONTROL
        if token < len(_SPECIAL)
        else TokenType.BYTE
        if re.fullmatch("<0x[0-9A-F]{2}>", text)
        else TokenType.NORMAL
        for text, token in vocabulary.items()
    ]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text.encode() for text in vocabulary])
    writer.add_token_scores([-float(token) for token in vocabulary.values()])
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(END_OF_TURN)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def main() -> None:
    """Write the model that the command line describes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--text", required=True, help="what the model answers")
    parser.add_argument("--template", type=Path, help="file with a chat template; default: ChatML")
    parser.add_argument("--context", type=int, default=512, help="context length in tokens")
    parser.add_argument("--endless", action="store_true", help="repeat the text without end")
    options = parser.parse_args()
    template = options.template.read_text("utf-8") if options.template else CHATML
    write_scripted(
        options.out,
        options.text,
        template=template,
        context=options.context,
        endless=options.endless,
    )


if __name__ == "__main__":
    main()
