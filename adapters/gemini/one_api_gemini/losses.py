"""What a conversion loses: told to the client, or refused where nothing may be lost."""

from __future__ import annotations

from one_api.adapter import Call, UnsupportedParameter


def drop(call: Call, parameter: str, reason: str) -> None:
    """Note that `parameter` has no effect.

    Raises: UnsupportedParameter with `reason` where strictness is asked for.
    """
    if call.strict_params:
        raise UnsupportedParameter(reason, param=parameter)
    call.drop(parameter)


def degrade(call: Call, parameter: str, reason: str) -> None:
    """Note that `parameter` is honoured less strictly than it was asked for.

    Raises: UnsupportedParameter with `reason` where strictness is asked for.
    """
    if call.strict_params:
        raise UnsupportedParameter(reason, param=parameter)
    if parameter not in call.degraded:
        call.degraded.append(parameter)
