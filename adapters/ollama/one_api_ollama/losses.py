"""What a request to Ollama cannot say: told to the client, or refused."""

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
        f"Unsupported parameter: '{parameter}' is not supported with this model.", param=parameter
    )
