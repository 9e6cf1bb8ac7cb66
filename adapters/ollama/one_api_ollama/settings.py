"""The adapter's environment variables."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from pydantic import Field, SecretStr, field_validator
from typing_extensions import override

from one_api.adapter import AdapterSettings, normalise_base_url

DEFAULT_BASE_URL: Final = "http://127.0.0.1:11434"

_SECONDS: Final = re.compile(r"-?\d+(?:\.\d+)?")
#: What Go reads as a duration: `10m`, `1h30m`, `-1m`.
_DURATION: Final = re.compile(r"-?(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")


class OllamaSettings(AdapterSettings):
    """Where Ollama listens, our credential if it wants one, and how long models stay loaded."""

    hint: ClassVar[str] = f"set OLLAMA_BASE_URL, such as {DEFAULT_BASE_URL}"

    # OLLAMA_MODELS is not among these: it is the server's own, and names a directory.

    base_url: str = Field(default="", validation_alias="OLLAMA_BASE_URL")
    #: Needed for ollama.com itself, or where a proxy in front of Ollama asks for one.
    #: Source: docs.ollama.com/api/authentication, read 2026-11-21.
    api_key: SecretStr | None = Field(default=None, validation_alias="OLLAMA_API_KEY")
    #: How long a model stays in memory after a request: seconds, or a duration such as `10m`.
    keep_alive: str = Field(default="", validation_alias="OLLAMA_KEEP_ALIVE")

    @field_validator("base_url")
    @classmethod
    def _is_root(cls, value: str) -> str:
        """The address of the server itself, also where one of its APIs was meant."""
        if not value:
            return value
        return normalise_base_url(value).removesuffix("/v1").removesuffix("/api")

    @field_validator("keep_alive")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        if value and not (_SECONDS.fullmatch(value) or _DURATION.fullmatch(value)):
            raise ValueError("neither a number of seconds nor a duration such as 10m or 24h")
        return value

    @override
    def is_configured(self) -> bool:
        return bool(self.base_url) or self.api_key is not None

    @property
    def url(self) -> str:
        """The address of the server, without a slash at its end."""
        return self.base_url or DEFAULT_BASE_URL

    @property
    def keep_alive_on_wire(self) -> str | float | None:
        """What to send as `keep_alive`; a number without a unit must not be a string there.

        Source: github.com/ollama/ollama docs/faq.md, "How do I keep a model loaded in memory or
        make it unload immediately?", read 2026-11-21.
        """
        if not self.keep_alive:
            return None
        if not _SECONDS.fullmatch(self.keep_alive):
            return self.keep_alive
        seconds = float(self.keep_alive)
        return int(seconds) if seconds.is_integer() else seconds
