"""The adapter's environment variables."""

from __future__ import annotations

from typing import ClassVar

from pydantic import AliasChoices, Field, SecretStr, field_validator
from typing_extensions import override

from one_api.adapter import AdapterSettings, normalise_base_url

DEFAULT_BASE_URL = "https://api.anthropic.com/v1"


class ClaudeSettings(AdapterSettings):
    """Where Anthropic Messages are spoken, and our credential there."""

    hint: ClassVar[str] = "set CLAUDE_API_KEY (or ANTHROPIC_API_KEY)"

    api_key: SecretStr = Field(
        default=SecretStr(""),
        validation_alias=AliasChoices("CLAUDE_API_KEY", "ANTHROPIC_API_KEY"),
    )
    base_url: str = Field(
        default=DEFAULT_BASE_URL,
        validation_alias=AliasChoices("CLAUDE_BASE_URL", "ANTHROPIC_BASE_URL"),
    )
    #: Comma-separated names of the models to offer, for an endpoint that cannot list them.
    models: str = Field(default="", validation_alias="CLAUDE_MODELS")

    @field_validator("base_url")
    @classmethod
    def _ends_in_version(cls, value: str) -> str:
        # As Anthropic's SDKs read it: the version is not part of the base URL, but may be.
        base = normalise_base_url(value)
        return base if base.endswith("/v1") else f"{base}/v1"

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names in `models`."""
        return tuple(name.strip() for name in self.models.split(",") if name.strip())

    @override
    def is_configured(self) -> bool:
        return bool(self.api_key.get_secret_value())
