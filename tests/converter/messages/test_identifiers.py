"""Names and ids that both sides accept."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api.converter.messages.identifiers import (
    call_id_from_wire,
    call_id_to_wire,
    name_to_wire,
    names_from_wire,
)


@pytest.mark.parametrize("name", ["f", "get_weather", "a-B_9", "x" * 64])
def test_a_name_that_fits_is_left_alone(name: str) -> None:
    assert name == name_to_wire(name)


@given(st.text(min_size=1, max_size=200))
def test_any_name_fits_and_can_be_read_back(name: str) -> None:
    wire = name_to_wire(name)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", wire)
    assert name == names_from_wire([name]).get(wire, wire)


def test_long_names_with_one_beginning_stay_apart() -> None:
    first, second = "n" * 80 + "a", "n" * 80 + "b"
    assert name_to_wire(first) != name_to_wire(second)
    assert name_to_wire(first).startswith("n" * 55 + "_")


@given(st.text(min_size=1, max_size=100))
def test_any_id_fits_on_both_sides(call_id: str) -> None:
    assert 1 <= len(call_id_to_wire(call_id)) <= 40
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", call_id_from_wire(call_id))


@given(st.text(min_size=1, max_size=60))
def test_an_id_that_was_changed_is_not_changed_again(call_id: str) -> None:
    """It comes back with the next turn of the conversation."""
    for change in (call_id_to_wire, call_id_from_wire):
        assert change(call_id) == change(change(call_id))
