"""One adapter instance for each provider of the table that is switched on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    BaseModelAdapter,
    ConfigurationError,
    OpenAICompatibleAdapter,
    OpenAICompatibleSettings,
)
from one_api_openai.providers import PROVIDERS

if TYPE_CHECKING:
    from one_api.adapter import CompatibleProvider


class OpenAIAdapter(OpenAICompatibleAdapter):
    """A provider of the table.

    Each row reads `<NAME>_API_KEY`, `<NAME>_BASE_URL` and `<NAME>_MODELS`. A key switches it on; a
    base URL alone does for rows that need no key, and for the first row (any other endpoint).
    """

    @override
    @classmethod
    def build(
        cls, name: str, environment: Mapping[str, str], context: AdapterContext
    ) -> Mapping[str, BaseModelAdapter]:
        adapters = {}
        for provider in PROVIDERS:
            settings = settings_of(provider, environment)
            if is_configured(provider, settings):
                adapters[provider.name] = cls(settings, context, provider)
        return adapters

    @override
    @classmethod
    def how_to_configure(cls) -> str:
        return "set OPENAI_API_KEY, or OPENAI_BASE_URL, or another provider's variable"


def settings_of(
    provider: CompatibleProvider, environment: Mapping[str, str]
) -> OpenAICompatibleSettings:
    """The settings of one row.

    Raises: ConfigurationError that names the row's variable.
    """
    prefix = variable_prefix(provider)
    given = {
        field: environment.get(f"{prefix}_{field.upper()}", "")
        for field in ("api_key", "base_url", "models")
    }
    try:
        return OpenAICompatibleSettings.from_environment(
            {field.upper(): value for field, value in given.items()}
        )
    except ConfigurationError as exc:
        raise ConfigurationError(
            f"{prefix}_{exc.variable}", exc.problem, f"a URL such as {provider.base_url}"
        ) from exc


def is_configured(provider: CompatibleProvider, settings: OpenAICompatibleSettings) -> bool:
    """Whether the operator switched the row on."""
    if settings.api_key is not None:
        return True
    is_first = provider is PROVIDERS[0]
    return bool(settings.base_url) and (provider.keyless or is_first)


def variable_prefix(provider: CompatibleProvider) -> str:
    """What the row's variables begin with."""
    return provider.name.upper().replace("-", "_")
