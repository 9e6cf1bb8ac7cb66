"""Who is told how requests go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from one_api.observe.exchange import AttemptFacts, Exchange

logger = logging.getLogger(__name__)


class Observer:
    """Someone who is told how requests go; overrides what is of interest.

    Called on the way of each request, so quick and never waiting. `ended` comes once for each
    exchange, on whatever thread ends it; all others before it. May raise: it is logged, and the
    request goes on.
    """

    def began(self, exchange: Exchange) -> None:
        """A request has come."""

    def asked(self, exchange: Exchange, attempt: AttemptFacts) -> None:
        """A deployment is asked; the provider is called in this task, after this."""

    def answered(self, exchange: Exchange, attempt: AttemptFacts) -> None:
        """A deployment has committed to an answer, or failed."""

    def streaming(self, exchange: Exchange) -> None:
        """The response goes on as a stream."""

    def ended(self, exchange: Exchange) -> None:
        """All is said and known."""


class Observers:
    """Tells several observers, each only of what it wants to know: see `Observer`."""

    __slots__ = ("answered", "asked", "began", "ended", "streaming")

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        everyone = list(observers)
        self.began: Callable[[Exchange], None] = _teller(everyone, "began")
        self.asked: Callable[[Exchange, AttemptFacts], None] = _teller(everyone, "asked")
        self.answered: Callable[[Exchange, AttemptFacts], None] = _teller(everyone, "answered")
        self.streaming: Callable[[Exchange], None] = _teller(everyone, "streaming")
        self.ended: Callable[[Exchange], None] = _teller(everyone, "ended")


def _teller(observers: Iterable[Observer], name: str) -> Callable[..., None]:
    """Calls the method `name` of those that have one of their own."""
    listeners = tuple(
        getattr(observer, name)
        for observer in observers
        if getattr(type(observer), name) is not getattr(Observer, name)
    )

    if not listeners:
        return _tell_nobody

    def tell(*what: Any) -> None:
        for listener in listeners:
            try:
                listener(*what)
            except Exception:  # a request must not fail because of who watches it
                logger.exception("an observer failed")

    return tell


def _tell_nobody(*what: Any) -> None:
    """Nobody wants to know."""


#: For whoever observes nothing.
NOBODY = Observers()
