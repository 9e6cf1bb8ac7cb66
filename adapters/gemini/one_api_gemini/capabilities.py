"""What each Gemini model accepts: a table by name, and what the provider's list of models tells.

Google refuses with 400 what a model does not take, or says that it is to be left out. An unknown
model is treated as having the newest restrictions. For no current model are documented as taken,
and therefore closed for all: several candidates (refused since 3.0, and for streams by 2.5),
penalties and log probabilities (both refused since 2.5).
Source: ai.google.dev, "Gemini thinking" and "What's new in Gemini 3.5" to 3.8, and
docs.cloud.google.com, "Thinking", stored copies of 2026-05 to 2026-09; for what is refused,
googleapis/js-genai issue 1609 (2026-05), mscraftsman/generative-ai issue 135 (2026-05) and
PublicAffairs/openai-gemini issue 63 (2025-07).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

Level = Literal["minimal", "low", "medium", "high"]

#: From least to most.
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

_LOW_TO_HIGH: Final[frozenset[Level]] = frozenset({"low", "medium", "high"})
_ALL_LEVELS: Final[frozenset[Level]] = frozenset(LEVELS)


@dataclass(frozen=True, slots=True)
class BudgetRange:
    """How many tokens a model may be told to think with, and whether also with 0."""

    least: int
    most: int
    can_be_off: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCapabilities:
    """What one model accepts; the defaults are those of the newest models.

    A model thinks by `levels`, or by a `budget` of tokens, or not at all: with neither.
    `max_tokens` is the most it may be asked to generate, in tokens; None when unknown.
    """

    levels: frozenset[Level] = _LOW_TO_HIGH
    budget: BudgetRange | None = None
    #: Takes `temperature` and `topP`.
    sampling: bool = False
    #: Refuses calls of the current turn that come back without their thought signature.
    needs_signatures: bool = True
    max_tokens: int | None = None

    @property
    def thinks(self) -> bool:
        """Whether thinking can be asked for."""
        return bool(self.levels) or self.budget is not None

    def nearest_level(self, wanted: Level) -> Level:
        """`wanted`, or the next lower level the model has, or its lowest."""
        known = [level for level in LEVELS if level in self.levels]
        lower = [level for level in known if LEVELS.index(level) <= LEVELS.index(wanted)]
        return lower[-1] if lower else known[0]


NEWEST: Final = ModelCapabilities()

_WITHOUT_THOUGHTS: Final = ModelCapabilities(
    levels=frozenset(), sampling=True, needs_signatures=False
)

#: By the beginning of the name; the longest that fits counts.
TABLE: Final[Mapping[str, ModelCapabilities]] = {
    "gemini-2.0": _WITHOUT_THOUGHTS,
    "gemini-2.5": _WITHOUT_THOUGHTS,
    "gemini-2.5-pro": replace(_WITHOUT_THOUGHTS, budget=BudgetRange(128, 32_768, False)),
    "gemini-2.5-flash": replace(_WITHOUT_THOUGHTS, budget=BudgetRange(1, 24_576, True)),
    "gemini-2.5-flash-lite": replace(_WITHOUT_THOUGHTS, budget=BudgetRange(512, 24_576, True)),
    "gemini-2.5-flash-image": _WITHOUT_THOUGHTS,
    "gemini-3-flash": ModelCapabilities(levels=_ALL_LEVELS, sampling=True),
    "gemini-3-pro": ModelCapabilities(levels=frozenset({"low", "high"}), sampling=True),
    "gemini-3.1-flash-lite": ModelCapabilities(levels=_ALL_LEVELS, sampling=True),
    "gemini-3.1-pro": ModelCapabilities(sampling=True),
    "gemini-3.5-flash": ModelCapabilities(levels=_ALL_LEVELS),
    "gemini-3.6-flash": ModelCapabilities(levels=_ALL_LEVELS),
    "gemma": _WITHOUT_THOUGHTS,
}


def model_name(model_id: str) -> str:
    """`models/gemini-3.8-flash` as `gemini-3.8-flash`."""
    return model_id.removeprefix("models/")


class KnownModels:
    """What is known of the models of one endpoint."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[str, Any]] = {}

    def capabilities(self, model_id: str) -> ModelCapabilities:
        """What `model_id` accepts, as far as is known now."""
        name = model_name(model_id)
        return replace(_from_table(name), **self._listed.get(name, {}))

    def take_listing(self, model: Mapping[str, Any]) -> None:
        """Keep what an entry of the provider's list tells of a model."""
        told: dict[str, Any] = {}
        limit = model.get("outputTokenLimit")
        if isinstance(limit, int) and limit > 0:
            told["max_tokens"] = limit
        if model.get("thinking") is False:
            told |= {"levels": frozenset(), "budget": None}
        self._listed[model_name(model["name"])] = told


def _from_table(name: str) -> ModelCapabilities:
    fitting = [known for known in TABLE if name == known or name.startswith(f"{known}-")]
    return TABLE[max(fitting, key=len)] if fitting else NEWEST
