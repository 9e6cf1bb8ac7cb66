"""The shared converter: an adapter's events in, OpenAI's reply out.

One stream of events feeds both reply forms: `ChunkWriter` maps it to server-sent chunks,
`CompletionFold` folds it into one `chat.completion`. Both write OpenAI's format strictly, whatever
the adapter's habits: roles once, tool calls introduced once and in order, valid JSON arguments,
usage last.
"""

from __future__ import annotations

from one_api.converter.chunks import ChunkWriter
from one_api.converter.dialect import CHAT, Dialect, Fold, StreamWriter
from one_api.converter.fold import CompletionFold
from one_api.converter.form import (
    DONE,
    PING,
    ReasoningField,
    ReplyForm,
    error_frame,
    frame,
    random_id,
    usage_from_wire,
    usage_to_wire,
)

__all__ = [
    "CHAT",
    "DONE",
    "PING",
    "ChunkWriter",
    "CompletionFold",
    "Dialect",
    "Fold",
    "ReasoningField",
    "ReplyForm",
    "StreamWriter",
    "error_frame",
    "frame",
    "random_id",
    "usage_from_wire",
    "usage_to_wire",
]
