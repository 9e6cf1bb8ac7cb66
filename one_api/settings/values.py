"""How the text of a variable becomes a value: lists, names, keys, networks and URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, SecretStr

Network: TypeAlias = IPv4Network | IPv6Network

#: The database URL of a gateway that stores nothing.
NO_DATABASE = "none"

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-]+(?::\d{1,5})?|\*")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._\-]+)+")
_REDIS = ("redis://", "rediss://", "unix://")
_DATABASE = re.compile(
    r"sqlite(?:\+aiosqlite)?:///(?!:memory:$).+|postgres(?:ql)?(?:\+asyncpg)?://.+"
)
_SECRET_CHARS = 32


def _comma_list(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def _aliases(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    aliases: dict[str, tuple[str, ...]] = {}
    for item in _comma_list(value):
        name, equals, targets = item.partition("=")
        models = tuple(model.strip() for model in targets.split("|"))
        if not (equals and name.strip() and all(models)) or name.strip() in aliases:
            raise ValueError("each alias is 'name=model' or 'name=model|model', each name once")
        aliases[name.strip()] = models
    return aliases


def _networks(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return tuple(ip_network(item, strict=False) for item in _comma_list(value))
    except ValueError:
        raise ValueError(
            "each proxy is an address or a network, such as '10.0.0.1' or '10.0.0.0/8'"
        ) from None


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(_ORIGIN.fullmatch(origin) for origin in value):
        raise ValueError("each origin is '*' or 'https://host' or 'https://host:port'")
    return value


def _url_path(value: str) -> str:
    path = "/" + value.strip("/")
    if _PREFIX.fullmatch(path) is None:
        raise ValueError("a path such as '/v1' or '/openai/v1' is needed")
    return path


def _client_keys(value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if not all(_is_sendable(key, at_least=8) for key in value):
        raise ValueError("each key needs 8 or more ASCII characters and no white space")
    return value


def _admin_key(value: SecretStr) -> SecretStr:
    if not _is_sendable(value, at_least=16):
        raise ValueError("the key needs 16 or more ASCII characters and no white space")
    return value


def _server_secret(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < _SECRET_CHARS:
        raise ValueError(f"the secret needs {_SECRET_CHARS} or more characters")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(_REDIS):
        raise ValueError("a URL such as 'redis://localhost:6379/0' is needed")
    return value


def _database_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text != NO_DATABASE and _DATABASE.fullmatch(text) is None:
        raise ValueError(
            "'sqlite:///FILE', 'postgresql://USER:PASSWORD@HOST/NAME' or 'none' is needed"
        )
    return value


def _is_sendable(key: SecretStr, *, at_least: int) -> bool:
    """Whether `key` is long enough, and can stand in a header as it is."""
    text = key.get_secret_value()
    return len(text) >= at_least and text.isascii() and not any(c.isspace() for c in text)


CommaList = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]
OptionalCommaList = Annotated[tuple[str, ...] | None, BeforeValidator(_comma_list)]
Origins = Annotated[CommaList, AfterValidator(_origins)]
Aliases = Annotated[Mapping[str, tuple[str, ...]], BeforeValidator(_aliases)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]
UrlPath = Annotated[str, AfterValidator(_url_path)]
ClientKeys = Annotated[
    tuple[SecretStr, ...], BeforeValidator(_comma_list), AfterValidator(_client_keys)
]
AdminSecret = Annotated[SecretStr, AfterValidator(_admin_key)]
ServerSecret = Annotated[SecretStr, AfterValidator(_server_secret)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
