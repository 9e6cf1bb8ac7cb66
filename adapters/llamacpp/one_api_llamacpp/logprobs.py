"""The logprobs of tokens, kept until the text they made is passed on, in OpenAI's two shapes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from one_api.adapter import JsonObject
from one_api_llamacpp.sampling import TokenLogprobs

#: What OpenAI tells for a token that is practically impossible; JSON has no infinity.
_LEAST: Final = -9999.0


class TokenLedger:
    """Which tokens the characters of an answer came from."""

    def __init__(self) -> None:
        self._tokens: deque[tuple[int, int, TokenLogprobs]] = deque()
        self._fragments: list[TokenLogprobs] = []

    def add(self, token: TokenLogprobs, start: int, end: int, *, is_fragment: bool) -> None:
        """Note that `token` made the characters from `start` to before `end`.

        A fragment belongs to the character that a later token completes; a token that is neither
        left no trace in the answer, and is not told.
        """
        if start < end:
            for made_by in (*self._fragments, token):
                self._tokens.append((start, end, made_by))
            self._fragments.clear()
        elif is_fragment:
            self._fragments.append(token)

    def take(self, start: int, end: int) -> list[TokenLogprobs]:
        """The tokens that the characters from `start` to before `end` came from, each told once.

        Those of characters before `start` are forgotten: they were left out of the text.
        """
        while self._tokens and self._tokens[0][1] <= start:
            self._tokens.popleft()
        taken = []
        while self._tokens and self._tokens[0][0] < end:
            taken.append(self._tokens.popleft()[2])
        return taken


def chat_logprobs(tokens: Sequence[TokenLogprobs]) -> JsonObject:
    """As chat completions have them."""
    content = [
        {
            **_entry(token.piece, token.logprob),
            "top_logprobs": [_entry(piece, logprob) for _, piece, logprob in token.top],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Sequence[TokenLogprobs], start: int) -> JsonObject:
    """As legacy text completions have them; the first token's text begins at `start`."""
    offsets = []
    for token in tokens:
        offsets.append(start)
        start += len(token.piece.decode("utf-8", "ignore"))
    return {
        "tokens": [_name(token.piece) for token in tokens],
        "token_logprobs": [_told(token.logprob) for token in tokens],
        "top_logprobs": [
            {_name(piece): _told(logprob) for _, piece, logprob in token.top} for token in tokens
        ],
        "text_offset": offsets,
    }


def _entry(piece: bytes, logprob: float) -> JsonObject:
    return {"token": _name(piece), "logprob": _told(logprob), "bytes": list(piece)}


def _told(logprob: float) -> float:
    return max(logprob, _LEAST)


def _name(piece: bytes) -> str:
    """The token's text; bytes that are no text of their own as `\\xf0`."""
    return piece.decode("utf-8", "backslashreplace")
