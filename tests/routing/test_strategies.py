"""Each strategy as a table, and the laws of those that draw."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api.deployment import Price, StrategyName
from one_api.routing import STRATEGIES
from one_api.routing.strategies import Candidate, Draw, home_of
from tests.routing.worlds import deployment, seeded


def candidate(
    name: str, in_flight: int = 0, latency_s: float | None = None, **values: Any
) -> Candidate:
    return Candidate(deployment(name, **values), in_flight, latency_s)


def price(input_usd: str, output_usd: str) -> Price:
    return Price(input_usd=Decimal(input_usd), output_usd=Decimal(output_usd))


def run(
    strategy: StrategyName, candidates: list[Candidate], *, turn: int = 0, seed: int = 0
) -> str:
    """The adapters in the order that comes out, a letter each."""
    chosen = STRATEGIES[strategy](candidates, Draw(seeded(seed), turn))
    return "".join(one.deployment.adapter for one in chosen)


def firsts(strategy: StrategyName, candidates: list[Candidate], draws: int = 4_000) -> Counter[str]:
    """How often each comes first."""
    random = seeded(7)
    return Counter(
        STRATEGIES[strategy](candidates, Draw(random))[0].deployment.adapter for _ in range(draws)
    )


def test_every_name_has_its_strategy() -> None:
    assert set(get_args(StrategyName)) == set(STRATEGIES)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.none() | st.floats(0.01, 60), st.sampled_from([0, 0.5, 1, 9])
        ),
        max_size=8,
    ),
    st.sampled_from(get_args(StrategyName)),
    st.integers(0, 20),
    st.integers(),
)
def test_every_strategy_permutes(
    figures: list[tuple[int, float | None, float]], strategy: StrategyName, turn: int, seed: int
) -> None:
    candidates = [
        candidate(f"d{i}", in_flight, latency_s, weight=weight)
        for i, (in_flight, latency_s, weight) in enumerate(figures)
    ]

    result = STRATEGIES[strategy](candidates, Draw(seeded(seed), turn))

    assert {id(one) for one in candidates} == {id(one) for one in result}
    assert len(candidates) == len(result)


@pytest.mark.parametrize(("turn", "order"), [(0, "abc"), (1, "bca"), (2, "cab"), (3, "abc")])
def test_round_robin_takes_turns(turn: int, order: str) -> None:
    assert order == run("round_robin", [candidate(name) for name in "abc"], turn=turn)


@pytest.mark.parametrize(
    ("candidates", "order"),
    [
        ([candidate("a", 3), candidate("b", 1), candidate("c", 2)], "bca"),
        ([candidate("a", 3, weight=3), candidate("b", 2)], "ab"),
        ([candidate("a", 0, weight=0), candidate("b", 99)], "ba"),
    ],
    ids=["fewest in flight", "per weight", "weight 0 last"],
)
def test_least_busy(candidates: list[Candidate], order: str) -> None:
    assert order == run("least_busy", candidates)


def test_least_busy_settles_ties_at_random() -> None:
    counts = firsts("least_busy", [candidate("a"), candidate("b")])

    assert 1_800 <= counts["a"] <= 2_200


@pytest.mark.parametrize(
    ("prices", "order"),
    [
        ({"a": price("2", "2"), "b": price("1", "1")}, "ba"),
        ({"a": price("1", "6"), "b": price("2", "2")}, "ba"),
        ({"a": price("1", "5"), "b": price("2", "2")}, "ab"),
        ({"a": None, "b": price("100", "100")}, "ba"),
        ({"a": price("1", "1"), "b": price("1", "1"), "c": price("0", "0")}, "cab"),
    ],
    ids=["cheaper first", "prompts count thrice", "tie", "unknown last", "free"],
)
def test_lowest_cost(prices: dict[str, Price | None], order: str) -> None:
    assert order == run("lowest_cost", [candidate(n, price=p) for n, p in prices.items()])


def test_weights_are_shares() -> None:
    counts = firsts(
        "weighted", [candidate("a", weight=7), candidate("b", weight=2), candidate("c", weight=1)]
    )

    assert 2_650 <= counts["a"] <= 2_950
    assert 700 <= counts["b"] <= 900
    assert 320 <= counts["c"] <= 480


def test_weights_share_what_the_first_leaves() -> None:
    """Of the orders that begin with the heavy one, the rest follow by their own weights."""
    candidates = [candidate("a", weight=98), candidate("b", weight=3), candidate("c", weight=1)]
    random = seeded(3)
    orders = Counter(
        "".join(one.deployment.adapter for one in STRATEGIES["weighted"](candidates, Draw(random)))
        for _ in range(2_000)
    )

    assert 0.7 <= orders["abc"] / (orders["abc"] + orders["acb"]) <= 0.8


def test_weight_zero_is_last_and_never_first() -> None:
    candidates = [candidate("a", weight=0), candidate("b"), candidate("c", weight=0)]

    assert {"bac"} == {run("weighted", candidates, seed=seed) for seed in range(50)}


def test_lowest_latency_is_the_better_of_two() -> None:
    """Of four, the k-th best wins the 4 - k pairs in which it is the better one, of six."""
    candidates = [
        candidate(name, 0, latency_s) for name, latency_s in zip("abcd", (1, 2, 3, 4), strict=True)
    ]

    counts = firsts("lowest_latency", candidates, draws=6_000)

    assert 2_800 <= counts["a"] <= 3_200
    assert 1_800 <= counts["b"] <= 2_200
    assert 850 <= counts["c"] <= 1_150
    assert 0 == counts["d"]


@pytest.mark.parametrize(
    ("candidates", "order"),
    [
        ([candidate("a", 0, 2.0), candidate("b", 0, 1.0)], "ba"),
        ([candidate("a", 0, 2.0), candidate("b", 2, 1.0)], "ab"),
        ([candidate("a", 0, 0.1), candidate("b", 0, None)], "ba"),
        ([candidate("a", 0, 0.1), candidate("b", 1, None)], "ab"),
        ([candidate("a", 9, 0.1), candidate("b", 1, None)], "ba"),
    ],
    ids=["quicker", "waiting counts", "unknown is explored", "by one only", "unknown is quick"],
)
def test_lowest_latency_of_two(candidates: list[Candidate], order: str) -> None:
    assert {order} == {run("lowest_latency", candidates, seed=seed) for seed in range(20)}


@given(st.integers())
def test_lowest_latency_orders_the_rest_by_score(seed: int) -> None:
    candidates = [candidate(name, 0, ord(name) / 100) for name in "dbeac"]

    rest = run("lowest_latency", candidates, seed=seed)[1:]

    assert sorted(rest) == list(rest)


@given(st.text())
def test_conversation_moves_only_when_its_home_goes(affinity: str) -> None:
    deployments = [deployment(name) for name in "abcdef"]
    home = deployments[home_of(affinity, deployments)]
    for gone in deployments:
        rest = [one for one in deployments if one is not gone]
        if gone is not home:
            assert home is rest[home_of(affinity, rest)]
    assert home is deployments[::-1][home_of(affinity, deployments[::-1])]


def test_conversations_are_shared_by_weight() -> None:
    deployments = [deployment("a", weight=3), deployment("b"), deployment("c", weight=0)]
    counts = Counter(home_of(f"conversation {i}", deployments) for i in range(4_000))

    assert 2_850 <= counts[0] <= 3_150
    assert 0 == counts[2]


def test_conversations_have_a_home_without_weights() -> None:
    deployments = [deployment(name, weight=0) for name in "ab"]

    assert {0, 1} == {home_of(str(i), deployments) for i in range(50)}
