"""What all counters do alike with windows and leases."""

from __future__ import annotations

import asyncio

import pytest

from one_api.counters import MAX_LIMIT, MAX_WINDOW_S, Ask
from tests.counters.worlds import World, remaining, requests, slot, tokens


async def test_a_grant_tells_what_remains_and_when_all_of_it_is_back(world: World) -> None:
    world.advance(15)
    grant = await world.counters.take([requests(), tokens(300), slot()])

    assert grant.is_granted
    assert [9, 700, 1] == remaining(grant)
    assert [105, 105, 0] == [round(standing.reset_s) for standing in grant.standings]
    assert (None, 0) == (grant.refused, grant.retry_after_s)


async def test_no_more_is_granted_than_the_limit(world: World) -> None:
    grants = await asyncio.gather(*(world.counters.take([requests()]) for _ in range(25)))

    assert 10 == sum(grant.is_granted for grant in grants)


@pytest.mark.parametrize("refused", [0, 1, 2], ids=["first", "second", "third"])
async def test_a_refused_take_costs_nothing(world: World, refused: int) -> None:
    asks = [requests(limit=1), tokens(10, limit=10), slot(limit=1)]
    peek = [requests(0, limit=1), tokens(0, limit=10)]
    await world.counters.take([asks[refused]])

    for _ in range(3):
        grant = await world.counters.take(asks)
        assert asks[refused] == grant.refused
        assert not grant.is_granted

    others = [ask for ask in asks if ask is not asks[refused]]
    assert (await world.counters.take(others)).is_granted
    looked = await world.counters.take(peek)
    assert [0, 0][: len(others)] == remaining(looked)


async def test_a_refused_grant_gives_nothing_back(world: World) -> None:
    held = await world.counters.take([requests(10), slot(limit=1)])
    refused = await world.counters.take([requests(), slot(limit=1)])
    await world.counters.settle(refused, {"alice:requests": 0})
    await world.counters.release(refused)

    assert held.is_granted
    assert not (await world.counters.take([requests()])).is_granted
    assert not (await world.counters.take([slot(limit=1)])).is_granted


async def test_what_was_taken_fades_over_the_next_window(world: World) -> None:
    await world.counters.take([tokens(1000)])
    told = []
    for seconds in (59, 1, 15, 15, 15, 14.999, 0.001):
        world.advance(seconds)
        told += remaining(await world.counters.take([tokens(0)]))

    assert [0, 0, 250, 500, 750, 999, 1000] == told


async def test_the_wait_that_is_told_is_long_enough_and_not_longer(world: World) -> None:
    world.advance(20)
    await world.counters.take([tokens(900)])
    for wanted in (tokens(101), tokens(400), tokens(1000)):
        refused = await world.counters.take([wanted])
        assert refused.retry_after_s is not None
        world.advance(refused.retry_after_s - 0.001)
        assert not (await world.counters.take([wanted])).is_granted
        world.advance(0.001)
        assert (await world.counters.take([wanted])).is_granted


async def test_no_wait_is_told_for_more_than_there_is(world: World) -> None:
    for ask in (tokens(1001), slot(limit=0)):
        grant = await world.counters.take([ask])
        assert (False, ask, None) == (grant.is_granted, grant.refused, grant.retry_after_s)


async def test_of_several_that_refuse_the_longest_wait_is_told(world: World) -> None:
    await world.counters.take([requests(10), tokens(500), slot(limit=1)])
    grant = await world.counters.take([slot(limit=1), tokens(501), requests()])
    hopeless = await world.counters.take([requests(), tokens(1001), slot(limit=1)])

    assert requests() == grant.refused
    assert (tokens(1001), None) == (hopeless.refused, hopeless.retry_after_s)


async def test_settling_counts_what_it_was_in_the_end(world: World) -> None:
    less, more = [await world.counters.take([requests(), tokens(400)]) for _ in range(2)]
    await world.counters.settle(less, {"alice:tokens": 100})
    await world.counters.settle(more, {"alice:tokens": 700})

    assert [8, 200] == remaining(await world.counters.take([requests(0), tokens(0)]))


async def test_only_the_first_settling_counts(world: World) -> None:
    grant = await world.counters.take([tokens(400)])
    for actual in (100, 0, 900):
        await world.counters.settle(grant, {"alice:tokens": actual})

    assert [900] == remaining(await world.counters.take([tokens(0)]))


async def test_settling_moves_the_window_that_was_taken_from(world: World) -> None:
    early = await world.counters.take([tokens(400)])
    world.advance(60)
    await world.counters.take([tokens(100)])
    world.advance(30)
    await world.counters.settle(early, {"alice:tokens": 200})

    # Half of the 200 is still within reach.
    assert [800] == remaining(await world.counters.take([tokens(0)]))


async def test_settling_after_the_window_is_over_changes_nothing(world: World) -> None:
    early = await world.counters.take([tokens(400)])
    world.advance(60)
    await world.counters.take([tokens(300)])
    world.advance(60)
    await world.counters.take([tokens(0)])
    await world.counters.settle(early, {"alice:tokens": 0})

    assert [700] == remaining(await world.counters.take([tokens(0)]))


async def test_no_settling_goes_below_nothing(world: World) -> None:
    grant = await world.counters.take([tokens(400)])
    await world.counters.settle(grant, {"alice:tokens": -5000})

    assert [1000] == remaining(await world.counters.take([tokens(0)]))


async def test_a_name_is_settled_in_all_its_windows(world: World) -> None:
    asks = [Ask("alice", 10, 100), Ask("alice", 10, 1000, window_s=MAX_WINDOW_S)]
    grant = await world.counters.take(asks)
    await world.counters.settle(grant, {"alice": 60})
    looks = [Ask("alice", 0, 100), Ask("alice", 0, 1000, window_s=MAX_WINDOW_S)]

    assert [40, 940] == remaining(await world.counters.take(looks))


async def test_leases_are_given_back_once_whatever_is_said(world: World) -> None:
    one, other = [await world.counters.take([slot()]) for _ in range(2)]
    assert (await world.counters.take([slot()])).retry_after_s == 1.0
    for _ in range(3):
        await world.counters.release(one)

    third = await world.counters.take([slot()])
    assert third.is_granted
    assert not (await world.counters.take([slot()])).is_granted
    for grant in (other, third):
        await world.counters.release(grant)
    assert [1] == remaining(await world.counters.take([slot()]))


async def test_leases_of_the_crashed_end_by_themselves(world: World) -> None:
    await world.counters.take([slot()])
    world.advance(899)
    late = await world.counters.take([slot()])
    assert not (await world.counters.take([slot()])).is_granted
    world.advance(1)

    assert [0] == remaining(await world.counters.take([slot()]))
    await world.counters.release(late)
    assert (await world.counters.take([slot()])).is_granted


async def test_names_do_not_touch_each_other(world: World) -> None:
    names = ["a", "b", "a:b", "", "ключ", "a b\r\nFLUSHALL\r\n", "x" * 5000]
    for name in names:
        asks = [requests(10, name=name), slot(name=name, limit=1)]
        assert (await world.counters.take(asks)).is_granted
        assert not (await world.counters.take(asks)).is_granted


async def test_the_largest_numbers_are_counted_exactly(world: World) -> None:
    def ask(amount: int) -> Ask:
        return Ask("alice", amount, MAX_LIMIT, window_s=MAX_WINDOW_S)

    await world.counters.take([ask(MAX_LIMIT - 1)])
    world.advance(MAX_WINDOW_S + 0.001)
    # (10^9 - 1) * 3,599,999 / 3,600,000, rounded up, is 999,999,722.
    assert [278] == remaining(await world.counters.take([ask(0)]))
    assert not (await world.counters.take([ask(279)])).is_granted
    assert (await world.counters.take([ask(278)])).is_granted


async def test_nothing_can_be_asked_for_twice_at_once(world: World) -> None:
    with pytest.raises(ValueError, match="same counter"):
        await world.counters.take([requests(1), requests(2)])
    assert (await world.counters.take([])).is_granted


@pytest.mark.parametrize(
    ("amount", "limit", "kind", "window_s"),
    [
        (-1, 10, "window", 60),
        (1, -1, "window", 60),
        (1, MAX_LIMIT + 1, "window", 60),
        (1, 10, "window", 0),
        (1, 10, "window", MAX_WINDOW_S + 1),
        (2, 10, "concurrency", 60),
        (0, 10, "concurrency", 60),
    ],
)
def test_what_cannot_be_counted_cannot_be_asked_for(
    amount: int, limit: int, kind: str, window_s: int
) -> None:
    with pytest.raises(ValueError, match="alice"):
        Ask("alice", amount, limit, kind, window_s)  # type: ignore[arg-type]  # from a table


def test_the_same_is_asked_for_another_amount() -> None:
    asked = Ask("alice", 1, 10, window_s=5)

    assert Ask("alice", 3, 10, window_s=5) == asked.of(3)
    with pytest.raises(ValueError, match="alice"):
        asked.of(-1)
    with pytest.raises(ValueError, match="alice"):
        Ask("alice", 1, 10, "concurrency").of(1)


async def test_a_window_and_a_concurrency_of_one_name_are_two_counters(world: World) -> None:
    asks = [Ask("alice", 1, 1), Ask("alice", 1, 1, "concurrency")]

    grant = await world.counters.take(asks)

    assert [0, 0] == remaining(grant)
