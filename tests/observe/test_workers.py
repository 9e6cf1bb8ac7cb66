"""Processes of one gateway add up: counters for ever, gauges as long as their process lives."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from one_api.observe.families import Family, Snapshot
from one_api.observe.workers import WorkerDirectory

COUNTER = Family(name="c_total", kind="counter", help="", labels=("model",))
GAUGE = Family(name="g", kind="gauge", help="")
LEAST = Family(name="least", kind="gauge", help="", merge="min")
HISTOGRAM = Family(name="h_seconds", kind="histogram", help="", bounds=(0.1, 1.0))

Values = dict[tuple[str, tuple[str, ...]], float | list[float]]


def counted(number: int) -> Snapshot:
    snapshot = Snapshot()
    snapshot.add(COUNTER, ("m",), number)
    snapshot.add(GAUGE, (), number)
    snapshot.add(LEAST, (), number)
    snapshot.add(HISTOGRAM, (), [number, 0.0, 1.0, 0.5])
    return snapshot


def values(snapshot: Snapshot) -> Values:
    return {
        (family.name, labels): value
        for family, samples in snapshot
        for labels, value in samples.items()
    }


def test_a_snapshot_survives_its_file() -> None:
    snapshot = counted(3)

    assert values(snapshot) == values(Snapshot.from_bytes(snapshot.to_bytes()))


def test_living_processes_add_up(tmp_path: Path) -> None:
    asked, *others = (WorkerDirectory(tmp_path) for _ in range(3))
    for number, worker in enumerate(others, 1):
        worker.write(counted(number))

    total = counted(4)
    total.merge(asked.others())

    assert {
        ("c_total", ("m",)): 7,
        ("g", ()): 7,
        ("least", ()): 1,
        ("h_seconds", ()): [7.0, 0.0, 3.0, 1.5],
    } == values(total)
    for worker in (asked, *others):
        worker.close()


def test_the_dead_leave_their_counters_and_no_gauges(tmp_path: Path) -> None:
    asked, dead = WorkerDirectory(tmp_path), WorkerDirectory(tmp_path)
    dead.write(counted(5))
    dead.close()

    expected: Values = {("c_total", ("m",)): 5, ("h_seconds", ()): [5.0, 0.0, 1.0, 0.5]}
    assert expected == values(asked.others())
    asked.close()


def test_many_deaths_leave_few_files_and_no_count_behind(tmp_path: Path) -> None:
    for _ in range(20):
        worker = WorkerDirectory(tmp_path)
        worker.write(counted(2))
        worker.close()

    asked = WorkerDirectory(tmp_path)

    assert {"departed.json", "departed.lock", f"{asked.owner}.lock"} == set(os.listdir(tmp_path))
    assert 40 == values(asked.others())[("c_total", ("m",))]
    asked.close()


def test_what_was_moved_is_not_counted_again(tmp_path: Path) -> None:
    """Whoever moves the counts of the dead may be killed before their files are deleted."""
    dead = WorkerDirectory(tmp_path)
    dead.write(counted(2))
    dead.close()
    left = {path: path.read_bytes() for path in tmp_path.glob("worker-*")}
    WorkerDirectory(tmp_path).close()
    for path, data in left.items():
        path.write_bytes(data)

    asked = WorkerDirectory(tmp_path)

    assert 2 == values(asked.others())[("c_total", ("m",))]
    asked.close()


def test_a_file_that_cannot_be_read_spoils_no_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked, broken, sound = (WorkerDirectory(tmp_path) for _ in range(3))
    (tmp_path / f"{broken.owner}.json").write_bytes(b"[[1, 2")
    sound.write(counted(1))

    assert 1 == values(asked.others())[("c_total", ("m",))]
    assert broken.owner in caplog.text
    for worker in (asked, broken, sound):
        worker.close()


def write_and_wait(directory: Path, written: multiprocessing.synchronize.Event) -> None:
    worker = WorkerDirectory(directory)
    worker.write(counted(3))
    written.set()
    signal.pause()


@pytest.mark.slow
def test_a_process_that_is_killed_is_seen_to_be_dead(tmp_path: Path) -> None:
    asked = WorkerDirectory(tmp_path)
    context = multiprocessing.get_context("spawn")
    written = context.Event()
    process = context.Process(target=write_and_wait, args=(tmp_path, written))
    process.start()
    try:
        assert written.wait(20)
        assert 3 == values(asked.others())[("g", ())]
    finally:
        process.kill()
        process.join()

    assert ("g", ()) not in values(asked.others())
    assert 3 == values(asked.others())[("c_total", ("m",))]
    asked.close()


def test_a_name_means_one_thing() -> None:
    """Two adapters that tell different numbers under one name: the first is heard."""
    snapshot = counted(1)

    snapshot.add(Family(name="g", kind="gauge", help="", labels=("model",)), ("m",), 9)

    assert 1 == values(snapshot)[("g", ())]
    assert ("g", ("m",)) not in values(snapshot)
