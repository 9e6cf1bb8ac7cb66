"""GBNF for numbers within bounds, digit by digit.

Only bounds that are whole numbers can be told apart by digits; fractions lie between two of them.
"""

from __future__ import annotations

from typing import Final

#: Digits of numbers without a bound: what a double holds exactly.
_DIGITS: Final = 15
#: A fraction that is not zero, so that a number with it never equals a bound.
_FRACTION: Final = '"." [0-9]{0,14} [1-9]'


def bounded_integer(low: int | None, high: int | None) -> str:
    """An expression for the integers from `low` to `high`; empty when there are none."""
    return _either(*_signed(*_filled(low, high)))


def bounded_number(
    low: int | None, high: int | None, *, excludes_low: bool, excludes_high: bool
) -> str:
    """An expression for the decimals from `low` to `high`, these perhaps excluded.

    Empty when there are none.
    """
    first, last = _filled(low, high)
    whole = _signed(first + excludes_low, last - excludes_high)
    # A number with this whole part and a fraction lies strictly between it and the next one.
    positive = _unsigned(max(first, 0), last - 1)
    negative = _unsigned(max(-last, 0), -first - 1)
    return _either(
        *whole,
        *(f"({positive}) {_FRACTION}",) * bool(positive),
        *(f'"-" ({negative}) {_FRACTION}',) * bool(negative),
    )


def _filled(low: int | None, high: int | None) -> tuple[int, int]:
    """Both bounds; one that is missing leaves room for so many digits and the other bound's."""
    first = -(10**_DIGITS) + 1 if low is None else low
    last = 10**_DIGITS - 1 if high is None else high
    if low is None and first > last:
        first = last * 10
    if high is None and first > last:
        last = first * 10
    return first, last


def _signed(low: int, high: int) -> list[str]:
    """Alternatives for the integers from `low` to `high`."""
    positive = _unsigned(max(low, 0), high)
    negative = _unsigned(max(-high, 1), -low)
    return [positive] * bool(positive) + [f'"-" ({negative})'] * bool(negative)


def _unsigned(low: int, high: int) -> str:
    """Alternatives for the integers from `low`, at least 0, to `high`; empty when none."""
    found = []
    while low <= high:
        # As many as have the same number of digits.
        end = min(high, 10 ** len(str(low)) - 1)
        found.append(_same_length(str(low), str(end)))
        low = end + 1
    return _either(*found)


def _same_length(low: str, high: str) -> str:
    """The digits from `low` to `high`, which have the same number of them."""
    if not low:
        return ""
    if low == high:
        return f'"{low}"'
    rest = len(low) - 1
    if set(low[1:]) <= {"0"} and set(high[1:]) <= {"9"}:
        return _digit(low[0], high[0]) + _any_digits(rest)
    if low[0] == high[0]:
        return f'"{low[0]}" ({_same_length(low[1:], high[1:])})'
    alternatives = [
        f'"{low[0]}" ({_same_length(low[1:], "9" * rest)})',
        f'"{high[0]}" ({_same_length("0" * rest, high[1:])})',
    ]
    if int(high[0]) - int(low[0]) > 1:
        between = _digit(str(int(low[0]) + 1), str(int(high[0]) - 1))
        alternatives.append(between + _any_digits(rest))
    return _either(*alternatives)


def _digit(low: str, high: str) -> str:
    return f'"{low}"' if low == high else f"[{low}-{high}]"


def _any_digits(count: int) -> str:
    return f" [0-9]{{{count}}}" if count else ""


def _either(*alternatives: str) -> str:
    return " | ".join(alternatives)
