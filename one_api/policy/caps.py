"""How long a completion an API key may ask for, in bodies of any format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from one_api.errors import InvalidRequest
from one_api.schemas import JsonObject

if TYPE_CHECKING:
    from one_api.policy.accounts import Account

#: The fields that limit a completion, in the formats of all endpoints.
_FIELDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


def capped(body: JsonObject, account: Account | None, *, default: str | None = None) -> JsonObject:
    """`body` within the completion limit of its API key; `default` is set where none is named.

    Raises: InvalidRequest when it asks for more.
    """
    cap = account.caller.limits.max_tokens if account is not None else None
    if cap is None:
        return body
    is_named = False
    for name in _FIELDS:
        value = body.get(name)
        if isinstance(value, int):
            is_named = True
            require_within(value, cap, name)
    return body if is_named or default is None else {**body, default: cap}


def require_within(limit: int, cap: int, field: str) -> None:
    """Raises: InvalidRequest when a completion of `limit` tokens is more than the key may have."""
    if limit > cap:
        raise InvalidRequest(
            f"Invalid value for '{field}': this API key may ask for at most {cap} tokens.",
            param=field,
            code="integer_above_max_value",
        )
