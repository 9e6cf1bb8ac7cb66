"""What the engine needs of a loaded model; `native.py` gives it with llama.cpp.

Tokens are the model's own ids. Unless a method says otherwise it may only be called on the one
thread that owns the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from one_api_llamacpp.sampling import Sampling


class Interrupted(Exception):
    """`LanguageModel.interrupt` ended an evaluation; what was evaluated before is still held."""


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


class Sampler(Protocol):
    """Chooses the tokens of one answer and remembers them for its penalties."""

    def sample(self) -> int:
        """The next token, from the result of the model's last evaluation."""

    def close(self) -> None:
        """Give back its memory."""


class LanguageModel(Protocol):
    """One model with the state of one conversation: the tokens it has evaluated so far."""

    #: Most tokens the state can hold.
    context_tokens: int
    #: Most tokens of one call of `evaluate`.
    batch_tokens: int
    vocabulary: Vocabulary

    def tokenise(self, segments: Sequence[str]) -> list[int]:
        """The tokens of a prompt, begun as the model wants it. From any thread.

        Texts of control tokens become these tokens, unless they lie across two segments.
        Raises: UpstreamError after `close`.
        """

    def piece(self, token: int) -> bytes:
        """What `token` adds to the answer; not always whole UTF-8 characters."""

    def ends_turn(self, token: int) -> bool:
        """Whether `token` says that the answer is complete."""

    def rewind(self, tokens: Sequence[int]) -> int:
        """Forget everything after the part of the state that begins `tokens`; its length.

        The last of `tokens` is always forgotten, since sampling needs it evaluated anew.
        """

    def evaluate(self, tokens: Sequence[int]) -> None:
        """Add `tokens` to the state, ready to sample what follows.

        Raises: Interrupted, UpstreamError; the state is then as before the call.
        """

    def sampler(self, sampling: Sampling) -> Sampler:
        """A sampler for one answer, to be closed by the caller."""

    def interrupt(self) -> None:
        """Have the current and all later evaluations end early. From any thread."""

    def allow(self) -> None:
        """Take back `interrupt`. From any thread."""

    def close(self) -> None:
        """Give back the model's memory; nothing but `close` may be called afterwards."""
