"""Writes the network as a GGUF file, quantised to eight bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, LlamaFileType, TokenType
from network import Network, Shape
from rendering import TURN_BEGIN, TURN_END
from tokeniser import merges, tokens_in_order
from tokenizers import Tokenizer


def write_gguf(
    path: Path, network: Network, shape: Shape, tokeniser: Tokenizer, template: str
) -> None:
    """Write everything that is needed to chat with the network to `path`."""
    writer: Any = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-chat")
    writer.add_description("The demo model of one_api: greets, counts, calls tools.")
    writer.add_license("Apache-2.0")
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_shape(writer, shape)
    _add_tokeniser(writer, tokeniser)
    writer.add_chat_template(template)
    for name, parameter in network.named_parameters():
        weights = np.ascontiguousarray(parameter.detach().float().numpy())
        if weights.ndim == 1:
            writer.add_tensor(name, weights)
        else:
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: Any, shape: Shape) -> None:
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_value_heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)


def _add_tokeniser(writer: Any, tokeniser: Tokenizer) -> None:
    texts = tokens_in_order(tokeniser)
    markers = (TURN_BEGIN, TURN_END)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([text.encode() for text in texts])
    writer.add_token_types(
        [int(TokenType.CONTROL if text in markers else TokenType.NORMAL) for text in texts]
    )
    writer.add_token_merges(merges(tokeniser))
    end = tokeniser.token_to_id(TURN_END)
    writer.add_bos_token_id(tokeniser.token_to_id(TURN_BEGIN))
    writer.add_eos_token_id(end)
    writer.add_eot_token_id(end)
    writer.add_add_bos_token(False)
