"""What legacy text completions may ask of a local model."""

from __future__ import annotations

from typing import Final

from one_api.adapter import Call, CompletionRequest, UnsupportedParameter

#: Fields without effect here that only tune an answer.
_DROPPED: Final = ("user",)
_KNOWN_EXTRAS: Final = frozenset({"min_p", "top_k"})


def check(request: CompletionRequest, call: Call) -> None:
    """Note in `call` what will have no effect.

    Raises: UnsupportedParameter for what would change the reply.
    """
    for name, is_asked in (
        ("prompt", not request.prompts),
        ("suffix", bool(request.suffix)),
        # Only the answer's tokens have logprobs: a prompt's would need all of it evaluated anew.
        ("echo", bool(request.echo) and request.logprobs is not None),
        ("best_of", (request.best_of or 1) > (request.n or 1)),
        ("max_tokens", request.max_tokens == 0),
    ):
        if is_asked:
            raise _unsupported(name)
    unknown = sorted((request.model_extra or {}).keys() - _KNOWN_EXTRAS)
    for name in (*_DROPPED, *unknown):
        if name in request.model_fields_set or name in unknown:
            if call.strict_params:
                raise _unsupported(name)
            call.drop(name)


def _unsupported(name: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"Unsupported parameter: '{name}' is not supported with local models.", param=name
    )
