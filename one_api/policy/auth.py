"""Who is calling: API keys, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from one_api.errors import AuthenticationFailed

#: What every caller without a valid key is told. The same for a missing and a wrong one.
_MESSAGE = (
    "Incorrect API key provided. Send one of this gateway's API keys as "
    "'Authorization: Bearer <key>' or 'x-api-key: <key>'."
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A caller; `id` may be logged, it does not give the key away."""

    id: str


class KeyRing:
    """The API keys that may call; with none, everybody may."""

    def __init__(self, keys: Iterable[str]) -> None:
        # Digests have one length, so comparing them tells nothing about a key's.
        self._keys = tuple((_digest(key), ApiKey(key_id(key))) for key in dict.fromkeys(keys))

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return not self._keys

    def authenticate(self, presented: str | None, *, fallback_id: str) -> ApiKey:
        """The caller who presented this key; `fallback_id` names callers of an open gateway.

        Raises: AuthenticationFailed.
        """
        if self.is_open:
            return ApiKey(fallback_id)
        digest = _digest(presented or "")
        found: ApiKey | None = None
        for known, caller in self._keys:
            # No early exit: the time taken is the same whichever key matches.
            if hmac.compare_digest(known, digest):
                found = caller
        if found is None or presented is None:
            raise AuthenticationFailed(_MESSAGE)
        return found


def key_id(key: str) -> str:
    """A short name for `key` that is safe to log."""
    return f"key_{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def bearer_token(header: str | None) -> str | None:
    """The token in an `Authorization: Bearer` header."""
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
