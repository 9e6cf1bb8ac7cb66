"""What an adapter has to tell the operator, besides its log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that an operator may want to be woken for, or the end of it.

    `kind` is a name in snake case (`worker_crashed`) and `subject` what it befell, such as a
    model: a notice that `is_recovery` ends the trouble of the same kind and subject. `message` is
    for people, one sentence, without secrets.
    """

    kind: str
    subject: str
    message: str
    is_recovery: bool = False


def ignore_notice(notice: Notice) -> None:
    """Tell nobody."""
