from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from one_api_llamacpp.admission import FairQueue


def in_turn(queue: FairQueue[str]) -> list[str]:
    """All jobs, each taken when it is the first whose turn it is."""
    taken = []
    while len(queue):
        caller, job = next(queue.heads())
        assert job == queue.take(caller)
        taken.append(job)
    return taken


def filled(*jobs: str) -> FairQueue[str]:
    """Jobs are named after their caller, and numbered: a1."""
    queue: FairQueue[str] = FairQueue()
    for job in jobs:
        queue.put(job[0], job)
    return queue


def test_callers_take_turns_and_each_keeps_its_order() -> None:
    queue = filled("a1", "a2", "a3", "b1", "c1", "c2")
    assert ["a1", "b1", "c1", "a2", "c2", "a3"] == in_turn(queue)


def test_a_new_caller_is_before_the_second_turn_of_others() -> None:
    queue = filled("a1", "a2", "a3")
    assert "a1" == queue.take("a")
    queue.put("b", "b1")
    assert ["a2", "b1", "a3"] == in_turn(queue)


def test_what_is_put_back_is_first() -> None:
    queue = filled("a1", "a2", "b1")
    assert "b1" == queue.take("b")
    queue.put_back("b", "b1")
    assert ["b1", "a1", "a2"] == in_turn(queue)
    queue = filled("a1", "b1", "b2")
    queue.put_back("b", "b0")
    assert ["b0", "a1", "b1", "b2"] == in_turn(queue)


def test_what_is_removed_is_gone_and_its_caller_keeps_its_turn() -> None:
    queue = filled("a1", "a2", "b1")
    assert queue.remove("a", "a1")
    assert not queue.remove("a", "a1")
    assert not queue.remove("c", "c1")
    assert ["a2", "b1"] == in_turn(queue)


@given(st.lists(st.sampled_from("abcd"), max_size=40))
def test_nobody_is_more_than_one_turn_ahead(callers: list[str]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, caller in enumerate(callers):
        queue.put(caller, (caller, number))
    left = {caller: callers.count(caller) for caller in callers}
    served = dict.fromkeys(left, 0)
    while len(queue):
        caller, _ = next(queue.heads())
        queue.take(caller)
        served[caller] += 1
        left[caller] -= 1
        waiting = [served[other] for other in left if left[other]]
        assert all(served[caller] <= turns + 1 for turns in waiting)
