"""What a request will use, before anybody knows what it uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

#: The code of an error about deployments that nobody put a price on, which budgets need.
MODEL_NOT_PRICED = "model_not_priced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a request may use, in tokens; `completion_tokens` None where nobody set a limit."""

    prompt_tokens: int
    completion_tokens: int | None = None


#: Measures a request; asked only where a limit depends on it.
Measure = Callable[[], Awaitable[Demand]]
