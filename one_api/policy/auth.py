"""Who is calling: API keys, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING

from one_api.errors import AuthenticationFailed

if TYPE_CHECKING:
    from one_api.policy.stored_keys import StoredKeys

#: What every caller without a valid key is told. The same for a missing and a wrong one.
_MESSAGE = (
    "Incorrect API key provided. Send one of this gateway's API keys as "
    "'Authorization: Bearer <key>' or 'x-api-key: <key>'."
)
_ADMIN_MESSAGE = (
    "Incorrect admin key provided. Send this gateway's ADMIN_KEY as "
    "'Authorization: Bearer <key>' or 'x-api-key: <key>'; API keys of clients open nothing here."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """What one API key, or all together, may use; None is no limit. Money is in micro-dollars.

    `max_tokens` bounds the completion of each request.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    budget_day_microusd: int | None = None
    budget_month_microusd: int | None = None
    budget_total_microusd: int | None = None
    max_tokens: int | None = None

    @property
    def has_budgets(self) -> bool:
        """Whether what may be spent is limited."""
        return not (
            self.budget_day_microusd is None
            and self.budget_month_microusd is None
            and self.budget_total_microusd is None
        )

    def over(self, default: KeyLimits) -> KeyLimits:
        """These limits, and those of `default` where there are none."""
        if self is NO_KEY_LIMITS:
            return default
        return self if default is NO_KEY_LIMITS else _joined(self, default)


NO_KEY_LIMITS = KeyLimits()


@lru_cache(maxsize=4096)
def _joined(own: KeyLimits, default: KeyLimits) -> KeyLimits:
    given = {name: value for name, value in asdict(own).items() if value is not None}
    return replace(default, **given)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A caller; `id` may be logged, it does not give the key away.

    `may_route` says that its requests may choose deployments; `is_admin` that it is the operator.
    `models` are the names or patterns it may ask for, None for all.
    """

    id: str
    may_route: bool = False
    is_admin: bool = False
    models: tuple[str, ...] | None = None
    limits: KeyLimits = NO_KEY_LIMITS

    def may_ask(self, model: str) -> bool:
        """Whether it may ask for `model`, by the name that the client uses."""
        models = self.models
        return models is None or any(fnmatchcase(model, _stars(name)) for name in models)


def _stars(pattern: str) -> str:
    """`pattern`, of whose characters only `*` stands for others."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


class KeyRing:
    """The API keys that may call: those of the settings, and those that are stored.

    With none at all everybody may, unless `is_public`: then nobody may until there is one.
    `may_route` is what callers with keys of the settings may do, also of an open gateway.
    """

    def __init__(
        self, keys: Iterable[str], *, may_route: bool = False, is_public: bool = False
    ) -> None:
        self._may_route = may_route
        self._is_public = is_public
        self._keys: tuple[tuple[bytes, ApiKey], ...] = ()
        #: Knows the stored keys; None until the gateway has started, or where nothing is stored.
        self.stored: StoredKeys | None = None
        self.replace(keys)

    def replace(self, keys: Iterable[str]) -> None:
        """Let these keys in from now on, and those that are stored, and no others."""
        # Digests have one length, so comparing them tells nothing about a key's.
        self._keys = tuple(
            (_digest(key), ApiKey(key_id(key), may_route=self._may_route))
            for key in dict.fromkeys(keys)
        )

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        has_stored = self.stored is not None and self.stored.has_any
        return not (self._keys or self._is_public or has_stored)

    def authenticate(self, presented: str | None, *, fallback_id: str) -> ApiKey | None:
        """The caller who presented this key; `fallback_id` names callers of an open gateway.

        None where only the database can tell: `look_up` asks it.
        Raises: AuthenticationFailed.
        """
        if not self._keys and self.is_open:
            return ApiKey(fallback_id, may_route=self._may_route)
        digest = _digest(presented or "")
        found: ApiKey | None = None
        for known, caller in self._keys:
            # No early exit: the time taken is the same whichever key matches.
            if hmac.compare_digest(known, digest):
                found = caller
        if found is not None and presented is not None:
            return found
        if presented is None or self.stored is None:
            raise AuthenticationFailed(_MESSAGE)
        is_known, caller_or_none = self.stored.remembered(digest)
        if not is_known:
            return None
        return _required(caller_or_none)

    async def look_up(self, presented: str) -> ApiKey:
        """The caller who presented a key that may be stored.

        Raises: AuthenticationFailed; StorageUnavailable when the database cannot be asked about a
        key that was not seen lately.
        """
        if self.stored is None:
            raise AuthenticationFailed(_MESSAGE)
        return _required(await self.stored.look_up(presented, _digest(presented)))


def _required(caller: ApiKey | None) -> ApiKey:
    if caller is None:
        raise AuthenticationFailed(_MESSAGE)
    return caller


class AdminKey:
    """The one key of the operator; no key of clients stands for it, and it for none of theirs."""

    def __init__(self, key: str) -> None:
        self._digest = _digest(key)
        self._caller = ApiKey(key_id(key), is_admin=True)

    def authenticate(self, presented: str | None) -> ApiKey:
        """The operator, who presented the key.

        Raises: AuthenticationFailed.
        """
        is_it = hmac.compare_digest(self._digest, _digest(presented or ""))
        if not is_it or presented is None:
            raise AuthenticationFailed(_ADMIN_MESSAGE)
        return self._caller


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
