"""What the settings are, where each comes from and what each takes, told to the operator."""

from __future__ import annotations

from one_api.settings.forms import form_of, shown
from one_api.settings.gateway import Settings
from one_api.settings.sources import sources_of


def explain(settings: Settings) -> list[tuple[str, str, str]]:
    """Name, value and source (`environment`, `.env` or `default`) of every setting.

    Secrets are masked.
    """
    fields = Settings.model_fields
    sources = sources_of(field.upper() for field in fields)
    return [
        (field.upper(), shown(getattr(settings, field), info), sources[field.upper()])
        for field, info in fields.items()
    ]


def expected_form(field: str) -> str:
    """What a good value of the setting `field` looks like; "" when there is none."""
    info = Settings.model_fields.get(field)
    return "" if info is None else form_of(info)
