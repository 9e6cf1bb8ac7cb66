"""What those who make prompts and read answers need of a loaded model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Facts about a model's tokens.

    `control_texts` are the texts that become control tokens when found in a prompt. `chat_template`
    is None when the file has none.
    """

    size: int
    bos: str
    eos: str
    control_texts: Sequence[str]
    chat_template: str | None


class Tokeniser(Protocol):
    """The vocabulary of a model with its limits. Every method is for any thread."""

    #: Most tokens of one sequence.
    context_tokens: int
    vocabulary: Vocabulary

    def tokenise(self, segments: Sequence[str]) -> list[int]:
        """The tokens of a prompt, begun as the model wants it.

        Texts of control tokens become these tokens, unless they lie across two segments.
        """

    def piece(self, token: int) -> bytes:
        """What `token` adds to an answer; not always whole UTF-8 characters."""

    def ends_turn(self, token: int) -> bool:
        """Whether `token` says that the answer is complete."""
