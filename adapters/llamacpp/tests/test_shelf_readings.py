from __future__ import annotations

from one_api.adapter import Reading
from one_api_llamacpp.shelf_readings import PastCounts


def counted(value: float, model: str = "a") -> Reading:
    return Reading(
        name="tokens_total", value=value, help="Tokens", kind="counter", labels={"model": model}
    )


def current(value: float) -> Reading:
    return Reading(name="active", value=value, help="Active", labels={"model": "a"})


def test_a_counter_goes_on_when_its_model_is_loaded_again() -> None:
    past = PastCounts()
    past.keep([counted(5)])
    assert [counted(8)] == list(past.added_to([counted(3)]))
    past.keep([counted(3)])
    assert [counted(8)] == list(past.added_to([counted(0)]))


def test_a_counter_is_told_while_its_model_is_not_loaded() -> None:
    past = PastCounts()
    past.keep([counted(5), current(2)])
    assert [counted(1, "b"), counted(5)] == list(past.added_to([counted(1, "b")]))


def test_what_is_no_counter_ends_with_its_model() -> None:
    past = PastCounts()
    past.keep([current(2)])
    assert [current(1)] == list(past.added_to([current(1)]))
    assert [] == list(past.added_to([]))
