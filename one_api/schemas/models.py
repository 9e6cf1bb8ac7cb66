"""What a model is, as adapters tell it and as `/v1/models` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """One model of one provider.

    `created` is a Unix time in seconds, 0 when the provider does not tell. `context_window` and
    `max_completion_tokens` are in tokens, None when unknown. `details` are what else there is to
    tell of the model, as a JSON object for people and dashboards to read: nothing depends on it.
    """

    id: str
    owned_by: str
    created: int = 0
    display_name: str | None = None
    context_window: int | None = None
    max_completion_tokens: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
