"""The journal: nothing that `append` returned for is lost, whoever dies, and nothing else waits."""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from one_api.schemas import JsonObject
from one_api.storage.journal import Journal, JournalLimits, Orphan

#: What a file may hold, as long as the disk is full.
FULL_BYTES = 4_000


def record(number: int, *, padding: int = 0) -> JsonObject:
    return {"state": "reserved", "request_id": f"req_{number}", "endpoint": "x" * padding}


def ids(records: list[JsonObject]) -> list[str]:
    return [found["request_id"] for found in records]


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("journal-*.jsonl"))


async def drain(journal: Journal, *, limit: int = 7) -> list[JsonObject]:
    found: list[JsonObject] = []
    while taken := await journal.take(limit):
        found += [pending.record for pending in taken]
        journal.done(taken)
    return found


def seize_all(journal: Journal) -> list[Orphan]:
    found = []
    while orphan := journal.seize_orphan():
        found.append(orphan)
    return found


def die(journal: Journal) -> None:
    """What the kernel does to the files of a process that is killed."""
    for segment in (*journal._sealed, journal._active):
        segment.close()


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond `FULL_BYTES`: write(2) is cut short there, and then fails."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


async def test_records_come_in_order_and_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(30):
        journal.append(record(number))

    assert 30 == journal.pending
    assert [f"req_{number}" for number in range(30)] == ids(await drain(journal))
    assert 0 == journal.pending
    journal.close()


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(JournalLimits(memory_records=3), id="few records in memory"),
        pytest.param(JournalLimits(memory_bytes=200), id="few bytes in memory"),
        pytest.param(JournalLimits(memory_records=3, segment_bytes=500), id="short segments"),
    ],
)
async def test_records_beyond_the_memory_are_read_from_the_file(
    tmp_path: Path, limits: JournalLimits
) -> None:
    journal = Journal(tmp_path, limits=limits)
    for number in range(40):
        journal.append(record(number))
    held = len(journal._head)
    first = await journal.take(5)
    for number in range(40, 60):
        journal.append(record(number))

    found = [pending.record for pending in first] + await drain(journal)

    assert held < 10
    assert [f"req_{number}" for number in range(60)] == ids(found)
    journal.done(first)
    assert 0 == journal.pending
    journal.close()
    assert [] == segments(tmp_path)


async def test_a_record_longer_than_a_read_comes_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path, limits=JournalLimits(memory_records=1))
    for number in range(3):
        journal.append(record(number, padding=3_000_000))

    found = await drain(journal)

    assert ["req_0", "req_1", "req_2"] == ids(found)
    assert 3_000_000 == len(found[2]["endpoint"])
    journal.close()


async def test_records_of_a_file_that_was_cut_hold_up_no_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path, limits=JournalLimits(memory_records=2))
    for number in range(10):
        journal.append(record(number))
    line_bytes = journal._active.size // 10
    os.truncate(segments(tmp_path)[0], line_bytes * 5)

    assert ["req_0", "req_1", "req_2", "req_3", "req_4"] == ids(await drain(journal))
    assert (0, 5) == (journal.pending, journal.lost)
    assert "shorter than it was" in caplog.text
    journal.close()


async def test_text_that_is_no_utf8_is_kept_all_the_same(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append({"state": "reserved", "request_id": "req_1", "model": "a\ud800b"})

    die(journal)

    heir = Journal(tmp_path)
    (orphan,) = seize_all(heir)
    assert ["a?b"] == [found["model"] for found in orphan.records()]
    orphan.discard()
    heir.close()


async def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new" / "journal")

    assert 0o700 == stat.S_IMODE((tmp_path / "new" / "journal").stat().st_mode)
    (segment,) = segments(tmp_path / "new" / "journal")
    assert 0o600 == stat.S_IMODE(segment.stat().st_mode)
    journal.close()


async def test_a_segment_is_deleted_once_all_of_it_is_in_the_database(tmp_path: Path) -> None:
    now_s = 0.0
    journal = Journal(tmp_path, limits=JournalLimits(segment_age_s=60), clock=lambda: now_s)
    journal.append(record(1))
    taken = await journal.take(10)
    now_s = 61.0

    await journal.tidy()
    while_pending = len(segments(tmp_path))
    journal.done(taken)
    await journal.tidy()

    assert 2 == while_pending
    assert [journal._active.path] == segments(tmp_path)
    journal.close()


async def test_a_segment_without_records_is_not_replaced(tmp_path: Path) -> None:
    now_s = 0.0
    journal = Journal(tmp_path, clock=lambda: now_s)
    before = segments(tmp_path)
    now_s = 1_000.0

    await journal.tidy()

    assert before == segments(tmp_path)
    journal.close()


async def test_a_closed_journal_leaves_only_what_is_pending(tmp_path: Path) -> None:
    journal = Journal(tmp_path, limits=JournalLimits(segment_bytes=100))
    for number in range(6):
        journal.append(record(number))
    journal.done(await journal.take(3))
    journal.close()

    heir = Journal(tmp_path)
    (orphan,) = seize_all(heir)

    found = ids(list(orphan.records()))
    assert ["req_3", "req_4", "req_5"] == found[-3:]
    orphan.discard()
    heir.close()
    assert [] == segments(tmp_path)


async def test_a_torn_last_line_is_no_record(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(record(1))
    journal.append(record(2))
    os.truncate(segments(tmp_path)[0], segments(tmp_path)[0].stat().st_size - 3)
    die(journal)

    heir = Journal(tmp_path)
    (orphan,) = seize_all(heir)

    assert ["req_1"] == ids(list(orphan.records()))
    orphan.discard()
    heir.close()


@pytest.mark.parametrize(
    "line", [b"", b"\0\0\0", b"[1]", b"{}", b'{"state":"x","request_id":"a"}', b'{"state":']
)
async def test_a_damaged_line_costs_no_other(tmp_path: Path, line: bytes) -> None:
    journal = Journal(tmp_path)
    journal.append(record(1))
    with segments(tmp_path)[0].open("ab") as file:
        file.write(line + b"\n")
    journal.append(record(2))
    die(journal)

    heir = Journal(tmp_path)
    (orphan,) = seize_all(heir)

    assert ["req_1", "req_2"] == ids(list(orphan.records()))
    orphan.discard()
    heir.close()


async def test_two_journals_of_one_directory_do_not_meet(tmp_path: Path) -> None:
    first, second = Journal(tmp_path), Journal(tmp_path)
    first.append(record(1))
    second.append(record(2))

    assert first.directory_id == second.directory_id
    assert first.name != second.name
    assert None is first.seize_orphan()
    assert None is second.seize_orphan()
    assert {first.name, second.name} == first.owners()
    assert ["req_1"] == ids(await drain(first))
    assert ["req_2"] == ids(await drain(second))
    first.close()
    second.close()


async def test_directories_have_names_of_their_own(tmp_path: Path) -> None:
    journals = [Journal(tmp_path / name) for name in ("a", "b")]

    assert 2 == len({journal.directory_id for journal in journals})
    for journal in journals:
        journal.close()


async def test_an_orphan_is_seized_by_one_only(tmp_path: Path) -> None:
    dead = Journal(tmp_path, limits=JournalLimits(segment_bytes=60))
    for number in range(4):
        dead.append(record(number))
    die(dead)
    first, second = Journal(tmp_path), Journal(tmp_path)

    orphan = first.seize_orphan()
    assert orphan is not None
    assert None is second.seize_orphan()
    orphan.release()
    orphan = second.seize_orphan()
    assert orphan is not None
    assert [f"req_{number}" for number in range(4)] == ids(list(orphan.records()))
    orphan.discard()
    assert None is first.seize_orphan()
    first.close()
    second.close()


async def test_a_segment_deleted_while_its_lock_was_awaited_is_nobodys(tmp_path: Path) -> None:
    """Another process had opened the file before the first to replay it deleted it."""
    dead = Journal(tmp_path)
    dead.append(record(1))
    path = dead._active.path
    die(dead)
    heir = Journal(tmp_path)
    late = os.open(path, os.O_RDWR)
    (orphan,) = seize_all(heir)
    orphan.discard()

    fcntl.flock(late, fcntl.LOCK_EX | fcntl.LOCK_NB)

    assert None is heir.seize_orphan()
    os.close(late)
    heir.close()


WRITER = """
import sys
from pathlib import Path
from one_api.storage.journal import Journal

journal = Journal(Path(sys.argv[1]))
for number in range(1_000_000):
    journal.append({"state": "reserved", "request_id": f"req_{number}"})
    sys.stdout.write(f"req_{number}\\n")
    sys.stdout.flush()
"""


@pytest.mark.slow
def test_a_journal_is_an_orphan_only_when_its_process_is_dead(tmp_path: Path) -> None:
    heir = Journal(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().strip() for _ in range(500)]
    while_alive = heir.seize_orphan()
    child.kill()
    acknowledged += child.stdout.read().splitlines()
    child.wait()
    child.stdout.close()

    (orphan,) = seize_all(heir)
    found = ids(list(orphan.records()))

    assert None is while_alive
    assert acknowledged == found[: len(acknowledged)]
    # The kill may fall between the write to the journal and the word of it.
    assert len(found) <= len(acknowledged) + 1
    orphan.discard()
    heir.close()


async def test_a_full_disk_costs_no_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path)
    with full_disk():
        for number in range(200):
            journal.append(record(number))
        assert journal.is_degraded
        found = ids(await drain(journal))
    journal.append(record(200))

    assert not journal.is_degraded
    found += ids(await drain(journal))
    assert sorted(f"req_{number}" for number in range(201)) == sorted(found)
    assert (0, 0) == (journal.pending, journal.lost)
    assert ["ERROR", "WARNING"] == [entry.levelname for entry in caplog.records]
    journal.close()


async def test_what_a_full_disk_cut_is_no_record_for_an_heir(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with full_disk():
        for number in range(200):
            journal.append(record(number))
    journal.append(record(200))
    written = segments(tmp_path)[0].read_bytes().splitlines()
    die(journal)

    heir = Journal(tmp_path)
    (orphan,) = seize_all(heir)
    found = ids(list(orphan.records()))

    assert len(written) == len(found)
    assert "req_200" == found[-1]
    orphan.discard()
    heir.close()


async def test_a_full_disk_takes_no_more_memory_than_it_may(tmp_path: Path) -> None:
    """What is expendable goes first, and then the oldest: the request path never fails."""
    journal = Journal(tmp_path, limits=JournalLimits(ring_records=10))
    with full_disk():
        while not journal.is_degraded:
            journal.append(record(0))
        written = journal.pending - 1
        for number in range(1, 20):
            journal.append(record(number))
            journal.append(record(1_000 + number), is_expendable=True)

    assert 10 == len(journal._ring)
    assert 20 - 10 + 19 == journal.lost
    assert [f"req_{number}" for number in range(10, 20)] == ids(await drain(journal))[:10]
    assert 0 == journal.pending
    assert written > 10
    journal.close()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small file system; a limit of file sizes is tested anyway")
    with tempfile.TemporaryDirectory(prefix="one-api-full-") as directory:
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", directory], check=True)


async def test_a_full_file_system_costs_no_record(small_disk: Path) -> None:
    journal = Journal(small_disk)
    for number in range(3_000):
        journal.append(record(number))

    assert journal.is_degraded
    found = ids(await drain(journal, limit=500))
    assert sorted(f"req_{number}" for number in range(3_000)) == sorted(found)
    await journal.tidy()
    journal.close()


async def test_without_room_for_a_new_segment_the_old_one_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path, limits=JournalLimits(segment_bytes=500))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files = max(int(name) for name in os.listdir("/proc/self/fd"))
    blockers = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files + 1, files[1]))
    try:
        while True:
            blockers.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for number in range(50):
            journal.append(record(number))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
        for descriptor in blockers:
            os.close(descriptor)

    assert 1 == len(segments(tmp_path))
    assert "no new journal segment" in caplog.text
    assert 50 == len(await drain(journal))
    journal.append(record(50))
    journal.close()


async def test_a_journal_tells_nothing_when_all_is_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="one_api.storage.journal"):
        journal = Journal(tmp_path)
        journal.append(record(1))
        await drain(journal)
        await journal.tidy()
        journal.close()

    assert [] == caplog.records
    assert [] == segments(tmp_path)
