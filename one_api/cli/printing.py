"""How commands print: tables, times, money, and whatever users wrote."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import click

from one_api.web.admin_values import instant as to_instant

_MICROUSD = 1_000_000


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print `rows` below `head` in aligned columns."""
    table = [head, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def printable(text: str, *, keep: str = "") -> str:
    """`text` with everything that could steer a terminal spelled out, but for what is in `keep`."""
    return "".join(
        char if char in keep or not _is_control(char) else char.encode("unicode_escape").decode()
        for char in text
    )


def instant(time_ms: int | None) -> str:
    """UTC epoch milliseconds in ISO 8601; "-" for none."""
    return to_instant(time_ms) or "-"


def dollars(amount_microusd: int | None) -> str:
    """Micro-dollars as US dollars, exactly; "-" for none."""
    if amount_microusd is None:
        return "-"
    sign = "-" if amount_microusd < 0 else ""
    whole, rest = divmod(abs(amount_microusd), _MICROUSD)
    return f"{sign}{whole}.{rest:06d}"


def number(count: int | None) -> str:
    """`count` in digits; "-" for none."""
    return "-" if count is None else str(count)


def _is_control(char: str) -> bool:
    # Cc: control characters; Cf: among others, those that change the direction of text; Zl, Zp:
    # line breaks; Cs: halves of characters, which no terminal takes.
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
