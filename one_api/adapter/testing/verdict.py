"""How a law says that it is broken."""

from __future__ import annotations


class LawBroken(AssertionError):
    """An adapter does not do what the law says; the text is for its author."""


def require(holds: bool, otherwise: str) -> None:
    """Nothing where the law holds.

    Raises: LawBroken that says `otherwise`.
    """
    if not holds:
        raise LawBroken(otherwise)


def require_equal(expected: object, actual: object, what: str) -> None:
    """Nothing where `what` is as expected.

    Raises: LawBroken that shows both.
    """
    require(expected == actual, f"{what}: expected {expected!r}, got {actual!r}")
