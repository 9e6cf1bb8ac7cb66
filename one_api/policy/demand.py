"""What a request will use, before anybody knows what it uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

#: The code of an error about deployments that nobody put a price on, which budgets need.
MODEL_NOT_PRICED = "model_not_priced"


class Demand(NamedTuple):
    """What a request may use, in tokens; `completion_tokens` None where nobody set a limit."""

    prompt_tokens: int
    completion_tokens: int | None = None


#: Measures a request; asked only where a limit depends on it. It tells at once, or gives what is
#: to be awaited where that takes long.
Measure = Callable[[], Demand | Awaitable[Demand]]
