"""The adapter's environment variables."""

from __future__ import annotations

import re
from typing import ClassVar, Final
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator
from typing_extensions import override

from one_api.adapter import AdapterSettings, normalise_base_url

DEFAULT_BASE_URL: Final = "https://generativelanguage.googleapis.com/v1beta"

_ENDS_IN_VERSION = re.compile(r"/v\d\w*$")


class GeminiSettings(AdapterSettings):
    """Where Google's generateContent is spoken, and our credential there."""

    hint: ClassVar[str] = "set GEMINI_API_KEY (or GOOGLE_API_KEY)"

    api_key: SecretStr = Field(
        default=SecretStr(""), validation_alias=AliasChoices("GEMINI_API_KEY", "GOOGLE_API_KEY")
    )
    base_url: str = Field(default=DEFAULT_BASE_URL, validation_alias="GEMINI_BASE_URL")
    #: Comma-separated names of the models to offer, for an endpoint that cannot list them.
    models: str = Field(default="", validation_alias="GEMINI_MODELS")

    @field_validator("base_url")
    @classmethod
    def _ends_in_version(cls, value: str) -> str:
        base = normalise_base_url(value)
        if not urlsplit(value.strip()).path.strip("/"):
            # Of a URL without a path `normalise_base_url` makes OpenAI's version, not Google's.
            base = base.removesuffix("/v1")
        return base if _ENDS_IN_VERSION.search(base) else f"{base}/v1beta"

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names in `models`."""
        return tuple(name.strip() for name in self.models.split(",") if name.strip())

    @override
    def is_configured(self) -> bool:
        return bool(self.api_key.get_secret_value())
