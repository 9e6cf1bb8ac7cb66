"""Settings of who may call, and how much."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, SecretStr

from one_api.errors import ConfigurationError
from one_api.settings.sources import Section
from one_api.settings.values import AdminSecret, ClientKeys, ServerSecret

Limit = Annotated[int, Field(ge=1)]


class AccessSection(Section):
    """Keys, and limits per key and of the whole gateway; a limit that is None does not limit."""

    api_keys: Annotated[
        ClientKeys, Field(description="API keys that may call, comma-separated.")
    ] = ()
    no_auth: Annotated[bool, Field(description="Serve without API keys on a public address.")] = (
        False
    )
    admin_key: Annotated[
        AdminSecret | None, Field(description="Key of /admin; without one, nobody gets in there.")
    ] = None
    key_secret: Annotated[
        ServerSecret | None,
        Field(
            description="Secret that stored keys are hashed with. "
            "Unset: in a file beside the SQLite database."
        ),
    ] = None
    rate_limit_enabled: Annotated[bool, Field(description="Limit requests per API key.")] = False
    rate_limit_requests: Annotated[
        int, Field(description="Requests per minute and API key.", ge=1)
    ] = 60
    rate_limit_tokens: Annotated[
        Limit | None, Field(description="Tokens per minute and API key. Unset: any number.")
    ] = None
    max_concurrent_requests: Annotated[
        Limit | None, Field(description="Requests at once per API key. Unset: any number.")
    ] = None
    global_rate_limit_requests: Annotated[
        Limit | None, Field(description="Requests per minute of all keys. Unset: any number.")
    ] = None
    global_rate_limit_tokens: Annotated[
        Limit | None, Field(description="Tokens per minute of all keys. Unset: any number.")
    ] = None
    global_max_concurrent_requests: Annotated[
        Limit | None, Field(description="Requests at once of all keys. Unset: any number.")
    ] = None

    @property
    def has_limits(self) -> bool:
        """Whether requests are counted against anything but the limits of stored keys."""
        return self.rate_limit_enabled or any(
            limit is not None
            for limit in (
                self.rate_limit_tokens,
                self.max_concurrent_requests,
                self.global_rate_limit_requests,
                self.global_rate_limit_tokens,
                self.global_max_concurrent_requests,
            )
        )

    def require_admin_apart(self, keys: Iterable[SecretStr]) -> None:
        """Raises: ConfigurationError when one of `keys`, which clients have, is the admin key."""
        if self.admin_key is not None and self.admin_key in tuple(keys):
            raise ConfigurationError("ADMIN_KEY", "clients have it as an API key", "another key")
