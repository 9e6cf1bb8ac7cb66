"""What an operator sees: facts of each request as it happens, and whoever is told of them."""

from __future__ import annotations

from one_api.observe.exchange import AttemptFacts, Exchange
from one_api.observe.observer import Observer, Observers

__all__ = ["AttemptFacts", "Exchange", "Observer", "Observers"]
