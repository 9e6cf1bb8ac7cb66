"""What the gateway lends adapters and tells them of a call."""

from __future__ import annotations

import asyncio
import time

from one_api.adapter import Call, Notice, SystemClock
from tests.adapters_in_test import context


def test_the_clock_is_the_machines_unless_another_is_lent() -> None:
    clock = context().clock
    before = (time.time(), time.monotonic())
    assert before <= (clock.now_s(), clock.monotonic_s())
    assert before[0] <= clock.now_s() < before[0] + 60
    assert before[1] <= clock.monotonic_s() < before[1] + 60


async def test_sleeping_gives_others_their_turn() -> None:
    turns: list[str] = []
    other = asyncio.get_running_loop().call_soon
    other(turns.append, "another's")
    await SystemClock().sleep(0)
    assert ["another's"] == turns


def test_notices_go_nowhere_unless_somebody_listens() -> None:
    context().notify(Notice(kind="worker_crashed", subject="m", message="It ran out of memory."))


def test_nobody_is_known_to_ask_unless_said() -> None:
    assert "" == Call(model="m").caller
