import os

import pytest

from benchmarks.accounting import cpu_s, cpu_s_in, memory_bytes, memory_bytes_in, process_tree


def test_times_are_found_behind_a_name_with_parentheses() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 9 0 0 0 7 5 2 1 20 0 1 0 100 1 1"

    assert (7 + 5 + 2 + 1) / ticks == cpu_s_in(stat)


def test_memory_is_the_proportional_set() -> None:
    rollup = "0-1 ---p 0 0 [rollup]\nRss:   900 kB\nPss:   300 kB\nPss_Dirty:  100 kB\n"

    assert 300 * 1024 == memory_bytes_in(rollup)


def test_memory_that_is_not_told_is_an_error() -> None:
    with pytest.raises(ValueError, match="no proportional set size"):
        memory_bytes_in("Rss:  900 kB\n")


def test_this_process_has_memory_and_has_used_the_processor() -> None:
    pid = os.getpid()

    assert pid in process_tree(pid)
    assert memory_bytes(pid) > 1_000_000
    assert cpu_s(pid) > 0


def test_a_process_that_is_gone_has_nothing() -> None:
    gone = 2**22 + 1  # above the largest there can be

    assert 0 == cpu_s(gone)
    assert 0 == memory_bytes(gone)
