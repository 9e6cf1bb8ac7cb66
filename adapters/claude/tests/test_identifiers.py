from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from one_api_claude.identifiers import CallIds, name_to_wire


@settings(deadline=None)
@given(st.lists(st.text(max_size=70) | st.sampled_from(["call_0", "call_0_2", ""]), max_size=12))
def test_ids_are_valid_unique_and_append_only(given_ids: list[str]) -> None:
    ids = CallIds()
    wire = [ids.assign(given_id) for given_id in given_ids]
    assert len(set(wire)) == len(wire)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", wire_id) for wire_id in wire)
    again = CallIds()
    assert wire[:3] == [again.assign(given_id) for given_id in given_ids[:3]]


def test_a_valid_id_stays() -> None:
    assert CallIds().assign("call_abc-1") == "call_abc-1"


def test_function_ids_give_way_to_the_clients() -> None:
    ids = CallIds()
    ids.assign("call_fn_0")
    assert [ids.assign_function(), ids.assign_function()] == ["call_fn_0_2", "call_fn_1"]


@settings(deadline=None)
@given(st.text(min_size=1, max_size=256))
def test_names_are_valid_and_stable(name: str) -> None:
    wire = name_to_wire(name)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", wire)
    assert name_to_wire(wire) == wire


def test_different_long_names_stay_different() -> None:
    assert name_to_wire("a" * 65) != name_to_wire("a" * 66)
