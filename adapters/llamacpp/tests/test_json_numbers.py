from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api_llamacpp.json_numbers import bounded_integer, bounded_number

BOUND = st.none() | st.integers(-3000, 3000)


def matches(body: str, text: str) -> bool:
    """Whether `text` is all of `body`, in which all is as in regular expressions but quotes."""
    pattern = re.sub(r'"([^"]*)"| ', lambda found: re.escape(found[1] or ""), body)
    return re.fullmatch(pattern, text) is not None


def is_within(value: float, low: int | None, high: int | None) -> bool:
    return (low is None or low <= value) and (high is None or value <= high)


@given(low=BOUND, high=BOUND, values=st.lists(st.integers(-4000, 4000), max_size=20))
def test_integers_are_those_within_the_bounds(
    low: int | None, high: int | None, values: list[int]
) -> None:
    body = bounded_integer(low, high)
    edges = [bound + step for bound in (low, high) if bound is not None for step in (-1, 0, 1)]
    for value in [*values, *edges, 0]:
        assert is_within(value, low, high) == (body != "" and matches(body, str(value)))


@given(
    low=BOUND,
    high=BOUND,
    excludes_low=st.booleans(),
    excludes_high=st.booleans(),
    numerators=st.lists(st.integers(-12_000, 12_000), max_size=20),
)
def test_decimals_are_those_within_the_bounds(
    low: int | None,
    high: int | None,
    excludes_low: bool,
    excludes_high: bool,
    numerators: list[int],
) -> None:
    body = bounded_number(low, high, excludes_low=excludes_low, excludes_high=excludes_high)
    edges = [4 * bound + step for bound in (low, high) if bound is not None for step in (-1, 0, 1)]
    for numerator in [*numerators, *edges, 0]:
        value = numerator / 4
        is_right = is_within(value, low, high) and not (
            (excludes_low and value == low) or (excludes_high and value == high)
        )
        text = str(int(value)) if value.is_integer() else str(value)
        assert is_right == (body != "" and matches(body, text)), text


@pytest.mark.parametrize("text", ["01", "-0", "1.0", "1.", ".5", "+1", "1e3"])
def test_numbers_are_written_in_one_way(text: str) -> None:
    body = bounded_number(-5, 5, excludes_low=False, excludes_high=False)
    assert not matches(body, text)


@pytest.mark.parametrize(
    ("low", "high", "value"),
    [(10**17, None, 10**17 + 5), (None, -(10**17), -(10**17) - 5), (2**53, 2**53, 2**53)],
)
def test_bounds_may_be_larger_than_what_is_written_without_them(
    low: int | None, high: int | None, value: int
) -> None:
    assert matches(bounded_integer(low, high), str(value))
