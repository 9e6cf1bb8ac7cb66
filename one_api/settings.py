"""The gateway's settings, and the only reader of the environment.

Precedence: command line > environment > `.env` file > default. Each field says what it means in
its description; `.env.example` documents every one of them, and a test compares the two.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from one_api.deployment import Timeouts
from one_api.errors import ConfigurationError

#: The file that adds to the environment, in the directory the gateway is started from.
ENV_FILE = ".env"

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-]+(?::\d{1,5})?|\*")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._\-]+)+")

CommaList = Annotated[tuple[str, ...], NoDecode]
SecretList = Annotated[tuple[SecretStr, ...], NoDecode]
Aliases = Annotated[Mapping[str, tuple[str, ...]], NoDecode]


class Settings(BaseSettings):
    """Every setting of the core; adapters have their own, read from the same places."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    # Server
    host: Annotated[str, Field(description="Address to listen on.", min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(description="Port to listen on.", ge=1, le=65535)] = 8000
    workers: Annotated[int, Field(description="Server processes.", ge=1, le=256)] = 1
    debug: Annotated[bool, Field(description="Log in detail.")] = False
    api_prefix: Annotated[str, Field(description="Path before the OpenAI routes.")] = "/v1"
    cors_origins: Annotated[
        CommaList, Field(description="Origins of browser apps that may call, comma-separated.")
    ] = ()
    max_body_mb: Annotated[
        float, Field(description="Largest request body, in MB (10^6 bytes).", gt=0, le=1024)
    ] = 32
    body_timeout_s: Annotated[
        float, Field(description="Seconds until a request body must be complete.", gt=0)
    ] = 30
    drain_timeout_s: Annotated[
        float, Field(description="Seconds running requests get to end on SIGTERM.", ge=0)
    ] = 30

    # Access
    api_keys: Annotated[
        SecretList, Field(description="API keys that may call, comma-separated.")
    ] = ()
    no_auth: Annotated[bool, Field(description="Serve without API keys on a public address.")] = (
        False
    )
    rate_limit_enabled: Annotated[bool, Field(description="Limit requests per API key.")] = False
    rate_limit_requests: Annotated[
        int, Field(description="Requests per minute and API key.", ge=1)
    ] = 60
    admin_key: Annotated[
        SecretStr | None, Field(description="Key of /admin; without one, nobody gets in there.")
    ] = None

    # Endpoints of providers that are passed on
    passthrough_enabled: Annotated[
        bool, Field(description="Pass requests for paths of the providers' own on to them.")
    ] = True
    passthrough_adapter: Annotated[
        str | None, Field(description="Adapter for passed-on requests that name no model.")
    ] = None
    max_upload_mb: Annotated[
        float,
        Field(description="Largest upload that is passed on, in MB (10^6 bytes).", gt=0),
    ] = 512

    # Models
    one_api_adapters: Annotated[
        CommaList | None,
        Field(description="Adapters to load, comma-separated, first wins a model id. Unset: all."),
    ] = None
    default_model: Annotated[
        str | None, Field(description="Model for requests that name none.")
    ] = None
    max_tokens: Annotated[
        int,
        Field(
            description="Completion limit where a provider demands one and the client gives none.",
            ge=1,
        ),
    ] = 16_384
    strict_params: Annotated[
        bool, Field(description="Refuse a parameter instead of dropping it.")
    ] = False
    emulate_n: Annotated[
        bool,
        Field(description="Answer n > 1 by asking n times where a provider gives one choice."),
    ] = False
    reasoning_field: Annotated[
        Literal["both", "reasoning", "reasoning_content"],
        Field(description="Message field for reasoning text."),
    ] = "both"
    models_refresh_s: Annotated[
        float, Field(description="Seconds between two listings of a provider's models.", ge=1)
    ] = 300
    tiktoken_cache_dir: Annotated[
        Path | None, Field(description="Directory of tiktoken's rank files, to count tokens.")
    ] = None

    # Routing
    upstreams_file: Annotated[
        Path | None, Field(description="File of upstreams (YAML), tried beside the adapters' own.")
    ] = None
    model_aliases: Annotated[
        Aliases, Field(description="Other names for models: fast=small-model,gpt-4*=one|two.")
    ] = {}
    max_attempts: Annotated[
        int, Field(description="Deployments asked for one request at most.", ge=1, le=10)
    ] = 3
    routing_headers: Annotated[
        bool, Field(description="Let API keys steer routing with x-one-api-* request headers.")
    ] = False
    hold_back_tokens: Annotated[
        int, Field(description="Tokens of a stream to have before it begins.", ge=0, le=10_000)
    ] = 0
    hold_back_ms: Annotated[
        int, Field(description="Milliseconds to hold a stream's beginning.", ge=0, le=60_000)
    ] = 0

    # Patience with providers
    connect_timeout_s: Annotated[
        float, Field(description="Seconds to connect to a provider.", gt=0)
    ] = 5
    first_content_timeout_s: Annotated[
        float, Field(description="Seconds until a stream's first content.", gt=0)
    ] = 120
    idle_timeout_s: Annotated[
        float, Field(description="Seconds a provider may be silent within a reply.", gt=0)
    ] = 60
    total_timeout_s: Annotated[
        float, Field(description="Seconds a whole reply may take.", gt=0)
    ] = 600
    failover_first_content_timeout_s: Annotated[
        float, Field(description="Until first content while another deployment is left.", gt=0)
    ] = 5
    failover_total_timeout_s: Annotated[
        float, Field(description="For a whole reply while another deployment is left.", gt=0)
    ] = 60
    keep_alive_s: Annotated[
        float, Field(description="Seconds of silence after which a stream gets a comment.", gt=0)
    ] = 15
    stream_open_after_s: Annotated[
        float,
        Field(
            description="Seconds after which a stream without content yet is opened with "
            "keep-alives, errors then told in-band; 0: never.",
            ge=0,
        ),
    ] = 45

    # Shared state
    redis_url: Annotated[
        SecretStr | None, Field(description="Redis that shares rate limits between processes.")
    ] = None
    database_url: Annotated[
        SecretStr | None, Field(description="Database; nothing is stored by this version yet.")
    ] = None

    @field_validator("cors_origins", "one_api_adapters", "api_keys", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return _comma_list(value)

    @field_validator("model_aliases", mode="before")
    @classmethod
    def _read_aliases(cls, value: Any) -> Any:
        return _aliases(value) if isinstance(value, str) else value

    @field_validator("api_keys")
    @classmethod
    def _keys_are_sendable(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(_is_sendable(key, at_least=8) for key in value):
            raise ValueError("each key needs 8 or more ASCII characters and no white space")
        return value

    @field_validator("admin_key")
    @classmethod
    def _admin_key_is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_sendable(value, at_least=16):
            raise ValueError("the key needs 16 or more ASCII characters and no white space")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if _ORIGIN.fullmatch(origin) is None:
                raise ValueError("each origin is '*' or 'https://host' or 'https://host:port'")
        return value

    @field_validator("api_prefix")
    @classmethod
    def _prefix_is_path(cls, value: str) -> str:
        path = "/" + value.strip("/")
        if _PREFIX.fullmatch(path) is None:
            raise ValueError("a path such as '/v1' or '/openai/v1' is needed")
        return path

    @field_validator("redis_url")
    @classmethod
    def _is_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(
            ("redis://", "rediss://", "unix://")
        ):
            raise ValueError("a URL such as 'redis://localhost:6379/0' is needed")
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.workers > 1 and self.rate_limit_enabled and self.redis_url is None:
            raise ConfigurationError(
                "WORKERS",
                "with several processes each would count its own share of the rate limit",
                "REDIS_URL=redis://..., or WORKERS=1, or RATE_LIMIT_ENABLED=false",
            )
        self.require_admin_apart(self.api_keys)
        return self

    def require_admin_apart(self, keys: Iterable[SecretStr]) -> None:
        """Raises: ConfigurationError when one of `keys`, which clients have, is the admin key."""
        if self.admin_key is not None and self.admin_key in tuple(keys):
            raise ConfigurationError("ADMIN_KEY", "clients have it as an API key", "another key")

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

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the gateway."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def max_body_bytes(self) -> int:
        """The largest request body, in bytes."""
        return int(self.max_body_mb * 1_000_000)

    @property
    def max_upload_bytes(self) -> int:
        """The largest upload that is passed on, in bytes."""
        return int(self.max_upload_mb * 1_000_000)

    @property
    def timeouts(self) -> Timeouts:
        """Patience with every provider that has none of its own."""
        return Timeouts(
            connect_s=self.connect_timeout_s,
            first_content_s=self.first_content_timeout_s,
            idle_s=self.idle_timeout_s,
            total_s=self.total_timeout_s,
            failover_first_content_s=min(
                self.failover_first_content_timeout_s, self.first_content_timeout_s
            ),
            failover_total_s=min(self.failover_total_timeout_s, self.total_timeout_s),
        )

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
            raise ConfigurationError(field.upper(), problem, expected_form(field)) from None


def environment() -> dict[str, str]:
    """The variables that adapters read their settings from: the environment over `.env`."""
    file = {key: value for key, value in dotenv_values(ENV_FILE).items() if value is not None}
    # An empty variable is an absent one, as it is for `Settings`.
    return {**file, **{name: value for name, value in os.environ.items() if value}}


def export_tiktoken_cache_dir(directory: Path) -> None:
    """Let tiktoken, which reads the environment itself, look in `directory` too."""
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(directory))


def explain(settings: Settings) -> list[tuple[str, str, str]]:
    """Name, value and source (`environment`, `.env` or `default`) of every setting.

    Secrets are masked.
    """
    file = dotenv_values(ENV_FILE)
    rows = []
    for field in Settings.model_fields:
        name = field.upper()
        source = "environment" if os.environ.get(name) else ".env" if file.get(name) else "default"
        rows.append((name, _shown(getattr(settings, field)), source))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        value = tuple(f"{name}={'|'.join(targets)}" for name, targets in value.items())
    if value is None or value == ():
        return "-"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def expected_form(field: str) -> str:
    """What a good value of the setting `field` looks like."""
    info = Settings.model_fields.get(field)
    if info is None:
        return ""
    kind = str(info.annotation)
    default = info.default
    if "Literal" in kind:
        form = "one of " + ", ".join(re.findall(r"'([^']*)'", kind))
    elif isinstance(default, bool):
        form = "true or false"
    elif info.annotation is int:
        form = "a whole number"
    elif info.annotation is float:
        form = "a number"
    elif isinstance(default, Mapping):
        form = "a comma-separated list of name=model"
    elif isinstance(default, tuple):
        form = "a comma-separated list"
    else:
        form = "text"
    shown = "" if default is None or default in ((), {}) else f" (default {default})"
    return f"{form}{shown}. {info.description}"


def _comma_list(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def _aliases(text: str) -> dict[str, tuple[str, ...]]:
    aliases: dict[str, tuple[str, ...]] = {}
    for item in _comma_list(text):
        name, equals, targets = item.partition("=")
        models = tuple(model.strip() for model in targets.split("|"))
        if not (equals and name.strip() and all(models)) or name.strip() in aliases:
            raise ValueError("each alias is 'name=model' or 'name=model|model', each name once")
        aliases[name.strip()] = models
    return aliases


def _is_sendable(key: SecretStr, *, at_least: int) -> bool:
    """Whether `key` is long enough, and can stand in a header as it is."""
    text = key.get_secret_value()
    return len(text) >= at_least and text.isascii() and not any(c.isspace() for c in text)


def _lower_first(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"
