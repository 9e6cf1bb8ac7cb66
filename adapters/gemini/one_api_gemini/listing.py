"""Entries of Google's list of models.

Source: `models.list` of the API reference and `Model` of google-genai 3.4.0 (2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from one_api.adapter import ModelInfo, UpstreamInvalidResponse
from one_api_gemini.capabilities import model_name

OWNER: Final = "google"
PAGE_SIZE: Final = 1_000

#: What a model must be able to do to be of use here.
_METHODS: Final = frozenset({"generateContent", "embedContent"})


def models_of(page: Any) -> list[Mapping[str, Any]]:
    """The models of use on a page of the list; the others make images, videos or speech.

    Raises: UpstreamInvalidResponse.
    """
    # Google leaves out what is empty, in its lists too.
    models = page.get("models", []) if isinstance(page, Mapping) else None
    if not isinstance(models, list):
        raise UpstreamInvalidResponse("The provider's model list has no 'models' array.")
    return [model for model in models if is_model(model) and _is_of_use(model)]


def is_model(model: Any) -> bool:
    """Whether `model` describes a model."""
    name = model.get("name") if isinstance(model, Mapping) else None
    return isinstance(name, str) and bool(model_name(name))


def info_from_wire(model: Mapping[str, Any]) -> ModelInfo:
    """One entry of the list."""
    return ModelInfo(
        id=model_name(model["name"]),
        owned_by=OWNER,
        display_name=_text(model.get("displayName")),
        context_window=_count(model.get("inputTokenLimit")),
        max_completion_tokens=_count(model.get("outputTokenLimit")),
    )


def _is_of_use(model: Mapping[str, Any]) -> bool:
    methods = model.get("supportedGenerationMethods")
    return isinstance(methods, list) and any(method in _METHODS for method in methods)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
