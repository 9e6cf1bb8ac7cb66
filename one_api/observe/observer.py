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
    """Tells several observers, each only of what it wants to know."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        everyone = list(observers)
        self._began = _overridden(everyone, "began")
        self._asked = _overridden(everyone, "asked")
        self._answered = _overridden(everyone, "answered")
        self._streaming = _overridden(everyone, "streaming")
        self._ended = _overridden(everyone, "ended")

    def began(self, exchange: Exchange) -> None:
        """See `Observer`."""
        _tell(self._began, exchange)

    def asked(self, exchange: Exchange, attempt: AttemptFacts) -> None:
        """See `Observer`."""
        _tell(self._asked, exchange, attempt)

    def answered(self, exchange: Exchange, attempt: AttemptFacts) -> None:
        """See `Observer`."""
        _tell(self._answered, exchange, attempt)

    def streaming(self, exchange: Exchange) -> None:
        """See `Observer`."""
        _tell(self._streaming, exchange)

    def ended(self, exchange: Exchange) -> None:
        """See `Observer`."""
        _tell(self._ended, exchange)


def _overridden(observers: Iterable[Observer], name: str) -> tuple[Callable[..., None], ...]:
    return tuple(
        getattr(observer, name)
        for observer in observers
        if getattr(type(observer), name) is not getattr(Observer, name)
    )


def _tell(listeners: tuple[Callable[..., None], ...], *what: Any) -> None:
    for listener in listeners:
        try:
            listener(*what)
        except Exception:  # a request must not fail because of who watches it
            logger.exception("an observer failed")


#: For whoever observes nothing.
NOBODY = Observers()
