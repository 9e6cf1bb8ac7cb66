"""What a request for a response cannot say: told to the client, or refused."""

from __future__ import annotations

from one_api.adapter import Call, UnsupportedParameter


def drop(call: Call, parameter: str) -> None:
    """Note that `parameter`, which only tunes the answer, has no effect.

    Raises: UnsupportedParameter where strictness is asked for.
    """
    if call.strict_params:
        raise unsupported(parameter)
    call.drop(parameter)


def unsupported(parameter: str) -> UnsupportedParameter:
    """The refusal of what would change the answer's meaning or shape."""
    return UnsupportedParameter(
        f"Unsupported parameter: '{parameter}' is not supported with function tools and reasoning "
        "on this model. Set 'reasoning_effort' to 'none' to use it.",
        param=parameter,
    )
