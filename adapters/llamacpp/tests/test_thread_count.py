"""One thread fewer computes while something else wants the cores."""

from __future__ import annotations

import subprocess
import sys

import pytest

from one_api_llamacpp.thread_count import ThreadCount, can_tell_waiting, waited_s


class Machine:
    """A computer on which time passes as it is told."""

    def __init__(self, threads: int) -> None:
        self.now_s = 100.0
        self.waited_s = 5.0
        self.count = ThreadCount(threads, waited_s=lambda: self.waited_s, clock=lambda: self.now_s)

    def compute(self, seconds: float, waiting: float = 0.0) -> int:
        """Compute for so long, while so many threads wait on average; how many are left out."""
        for _ in range(round(seconds / 0.05)):
            self.now_s += 0.05
            self.waited_s += 0.05 * waiting
            self.count.note(0.05)
        return self.count.left_out


@pytest.mark.parametrize(
    ("threads", "waiting", "left_out"),
    [(2, 0.45, 0), (2, 0.55, 1), (4, 0.2, 0), (4, 0.3, 1), (8, 0.11, 0), (8, 0.14, 1), (1, 0.9, 0)],
)
def test_a_thread_is_left_out_when_waiting_costs_more_than_it_brings(
    threads: int, waiting: float, left_out: int
) -> None:
    assert left_out == Machine(threads).compute(0.25, waiting)


def test_one_goes_after_the_other_and_one_stays() -> None:
    machine = Machine(4)

    assert [1, 2, 3, 3, 3] == [machine.compute(0.2, 2.0) for _ in range(5)]


def test_they_come_back_when_the_cores_are_free() -> None:
    machine = Machine(2)
    machine.compute(0.2, 1.0)

    assert 1 == machine.compute(1.7)
    assert 0 == machine.compute(0.6)


def test_it_is_tried_ever_less_often_while_the_neighbour_stays() -> None:
    machine = Machine(2)

    tries = 0
    for _ in range(3_000):  # ten minutes
        before = machine.count.left_out
        machine.compute(0.2, waiting=0.0 if before else 1.0)
        tries += before > machine.count.left_out

    assert 10 <= tries <= 16


def test_the_next_neighbour_is_nobody_s_heir() -> None:
    machine = Machine(2)
    for _ in range(200):
        machine.compute(0.2, waiting=0.0 if machine.count.left_out else 1.0)
    machine.compute(120.0)

    assert 1 == machine.compute(0.2, 1.0)
    assert 0 == machine.compute(2.6)


def test_a_thread_that_ended_takes_its_waiting_along() -> None:
    machine = Machine(2)
    machine.waited_s = 1.0

    assert 0 == machine.compute(0.4)


def test_where_nobody_tells_nothing_changes() -> None:
    count = ThreadCount(2, waited_s=None)
    count.note(100.0)

    assert 0 == count.left_out


@pytest.mark.slow
@pytest.mark.skipif(not can_tell_waiting(), reason="Linux tells it")
def test_a_crowd_on_one_core_makes_threads_wait() -> None:
    crowd = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    spin = "import time; until = time.monotonic() + 1\nwhile time.monotonic() < until: pass"
    ask = (
        "from one_api_llamacpp.thread_count import waited_s; before = waited_s()\n"
        f"{spin}\nprint(waited_s() - before)"
    )
    other = subprocess.Popen([sys.executable, "-c", crowd + spin.replace("+ 1", "+ 3")])
    try:
        told = subprocess.run(
            [sys.executable, "-c", crowd + ask], capture_output=True, text=True, check=True
        ).stdout
    finally:
        other.kill()
        other.wait()

    assert float(told) > 0.05
    assert waited_s() >= 0
