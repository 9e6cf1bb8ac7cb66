"""All settings of the core, and what they must be together."""

from __future__ import annotations

from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError, model_validator

from one_api.errors import ConfigurationError
from one_api.settings.access import AccessSection
from one_api.settings.alerts import AlertSection
from one_api.settings.forms import form_of
from one_api.settings.models import (
    BreakerSection,
    ModelsSection,
    PatienceSection,
    RoutingSection,
)
from one_api.settings.observation import ObservationSection
from one_api.settings.server import ServerSection
from one_api.settings.storage import SharedSection, StorageSection
from one_api.settings.telemetry import TelemetrySection


class Settings(
    # Fields are listed from the last base to the first.
    AlertSection,
    TelemetrySection,
    ObservationSection,
    SharedSection,
    StorageSection,
    PatienceSection,
    BreakerSection,
    RoutingSection,
    ModelsSection,
    AccessSection,
    ServerSection,
):
    """Every setting of the core; adapters have their own, read from the same places."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.workers > 1 and self.has_limits and self.redis_url is None:
            raise ConfigurationError(
                "WORKERS",
                "with several processes each would count its own share of the limits",
                "REDIS_URL=redis://..., or WORKERS=1, or no limits (RATE_LIMIT_ENABLED=false, ...)",
            )
        if self.cache == "redis" and self.redis_url is None:
            raise ConfigurationError(
                "CACHE", "there is no Redis to keep replies in", "REDIS_URL=redis://..., or memory"
            )
        self.require_admin_apart(self.api_keys)
        admin = (self.admin_key,) if self.admin_key is not None else ()
        self.require_metrics_apart((*self.api_keys, *admin))
        if self.metrics_address == (self.host, self.port):
            raise ConfigurationError(
                "METRICS_BIND", "the gateway itself listens there", "another port"
            )
        return self

    def require_keys_in_public(self, extra_keys: bool = False) -> None:
        """Whoever serves calls this first; `extra_keys` says that there are API keys elsewhere too.

        Raises: ConfigurationError when anybody could call from elsewhere without being asked.
        """
        has_keys = bool(self.api_keys) or extra_keys
        if not has_keys and not self.no_auth and not self.is_loopback:
            raise ConfigurationError(
                "API_KEYS",
                f"no API keys are configured, and HOST={self.host} is reachable from elsewhere",
                "API_KEYS=key1,key2, or HOST=127.0.0.1, or --no-auth to let everybody in",
            )

    def secrets(self) -> list[str]:
        """Every secret in these settings, the passwords of URLs apart, too."""
        values = [getattr(self, name) for name in type(self).model_fields]
        flat = [one for value in values for one in (value if type(value) is tuple else (value,))]
        told = [one.get_secret_value() for one in flat if isinstance(one, SecretStr)]
        passwords = [urlsplit(text).password for text in told if "://" in text]
        return [*(text for text in told if "://" not in text), *filter(None, passwords)]

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """The settings of this process; `overrides` win (None is no override).

        Raises: ConfigurationError that names the variable, the problem and the expected form.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as exc:
            error = exc.errors(include_url=False, include_input=False)[0]
            field = str(error["loc"][0]) if error["loc"] else "settings"
            cause = error.get("ctx", {}).get("error")
            problem = str(cause) if cause is not None else _lower_first(error["msg"])
            info = cls.model_fields.get(field)
            expected = "" if info is None else form_of(info)
            raise ConfigurationError(field.upper(), problem, expected) from None


def _lower_first(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"
