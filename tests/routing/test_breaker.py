"""The breaker against a plain model of it: whatever happens in whatever order, they agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from one_api.deployment import NO_TERMS, BreakerTerms
from one_api.routing.breaker import Breaker, BreakerRule

RULE = BreakerRule(
    failures=3,
    cooldown_s=30,
    max_cooldown_s=100,
    ratio=0.5,
    min_requests=6,
    window_s=30,
)


#: The breaker's ticket and the model's: the period it began in, and whether it is the probe.
Attempt = tuple[int, tuple[int, bool]]


class Model:
    """A breaker as one would tell it: a history, and a few facts. Tries are (period, is probe)."""

    def __init__(self) -> None:
        self.state = "closed"
        self.period = 0
        self.history: list[tuple[float, bool]] = []
        self.opened_at_s = self.closed_at_s = self.cooldown_s = 0.0
        self.opened_without_rest = 0
        self.is_probed = False

    def admits(self, now_s: float) -> bool:
        due = now_s >= self.opened_at_s + self.cooldown_s
        return {"closed": True, "open": due, "half_open": not self.is_probed}[self.state]

    def begin(self, now_s: float) -> tuple[int, bool]:
        is_probe = self.state != "closed" and self.admits(now_s)
        if is_probe:
            self.state, self.is_probed = "half_open", True
        return self.period, is_probe

    def report(self, attempt: tuple[int, bool], went_well: bool, now_s: float) -> None:
        period, is_probe = attempt
        if period != self.period:
            return
        if self.state != "closed":
            if went_well:
                self.state, self.closed_at_s, self.history = "closed", now_s, []
                self._turn()
            elif is_probe:
                self._open(now_s)
            return
        self.history.append((now_s, went_well))
        if went_well:
            if now_s - self.closed_at_s >= self.cooldown_s:
                self.opened_without_rest = 0
        elif self._is_too_bad(now_s):
            self._open(now_s)

    def abandon(self, attempt: tuple[int, bool]) -> None:
        if attempt == (self.period, True):
            self.is_probed = False

    def _is_too_bad(self, now_s: float) -> bool:
        last = [went_well for _, went_well in self.history[-3:]]
        recent = [went_well for at_s, went_well in self.history if at_s // 3 >= now_s // 3 - 10]
        return last == [False] * 3 or (len(recent) >= 6 and 2 * recent.count(False) >= len(recent))

    def _open(self, now_s: float) -> None:
        self.state, self.opened_at_s = "open", now_s
        self.cooldown_s = min(30 * 2**self.opened_without_rest, 100)
        self.opened_without_rest += 1
        self._turn()

    def _turn(self) -> None:
        self.period += 1
        self.is_probed = False


class BreakerLaws(RuleBasedStateMachine):
    """Attempts begin, in spite of the breaker too, and end in any order at any time."""

    attempts: Bundle[Attempt] = Bundle("attempts")

    @initialize()
    def prepare(self) -> None:
        self.now_s = 0.0
        self.breaker = Breaker(RULE)
        self.model = Model()
        self.changes: list[str] = []

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 29.0, 30.0, 60.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(target=attempts, in_spite=st.booleans())
    def begin(self, in_spite: bool) -> MultipleResults[Attempt]:
        if not in_spite and not self.breaker.admits(self.now_s):
            return multiple()
        return multiple((self.breaker.begin(self.now_s), self.model.begin(self.now_s)))

    @rule(attempt=consumes(attempts), went_well=st.booleans())
    def report(self, attempt: Attempt, went_well: bool) -> None:
        ticket, modelled = attempt
        before = self.breaker.state
        report = self.breaker.succeed if went_well else self.breaker.fail
        has_changed = report(ticket, self.now_s)
        self.model.report(modelled, went_well, self.now_s)

        assert has_changed == (before != self.breaker.state)

    @rule(times=st.integers(1, 8), went_well=st.booleans())
    def ask(self, times: int, went_well: bool) -> None:
        for _ in range(times):
            if self.breaker.admits(self.now_s):
                self.report(
                    (self.breaker.begin(self.now_s), self.model.begin(self.now_s)), went_well
                )

    @rule(attempt=consumes(attempts))
    def abandon(self, attempt: Attempt) -> None:
        ticket, modelled = attempt
        self.breaker.abandon(ticket)
        self.model.abandon(modelled)

    @invariant()
    def agrees(self) -> None:
        model, breaker = self.model, self.breaker
        left_s = max(model.opened_at_s + model.cooldown_s - self.now_s, 0.0)
        assert model.state == breaker.state
        assert model.admits(self.now_s) == breaker.admits(self.now_s)
        assert (left_s if model.state == "open" else 0.0) == breaker.reopens_in_s(self.now_s)


BreakerLaws.TestCase.settings = settings(stateful_step_count=40, deadline=None)
test_breaker_agrees_with_its_model = BreakerLaws.TestCase


def tripped(now_s: float) -> Breaker:
    breaker = Breaker(RULE)
    for _ in range(3):
        breaker.fail(breaker.begin(now_s), now_s)
    return breaker


def test_probe_is_permitted_at_the_very_end_of_the_cooldown() -> None:
    breaker = tripped(10.0)

    assert [False, True] == [breaker.admits(now_s) for now_s in (39.999, 40.0)]


def test_cooldown_doubles_to_its_bound_while_probes_fail() -> None:
    breaker = tripped(0.0)
    now_s, cooldowns = 0.0, [breaker.cooldown_s]
    for _ in range(40):
        now_s += breaker.cooldown_s
        breaker.fail(breaker.begin(now_s), now_s)
        cooldowns.append(breaker.cooldown_s)

    assert [30, 60, 100, 100] == cooldowns[:4]
    assert {100} == set(cooldowns[2:])


@pytest.mark.parametrize(
    ("growth", "longest_s", "expected"),
    [
        (1, 100, [30, 30, 30, 30]),
        (1.5, 100, [30, 45, 67.5, 100]),
        (10, 1_000, [30, 300, 1_000, 1_000]),
        (2, 10, [30, 30, 30, 30]),
    ],
    ids=["constant", "slow", "fast", "bound below the first"],
)
def test_cooldown_grows_as_it_is_told(
    growth: float, longest_s: float, expected: list[float]
) -> None:
    breaker = Breaker(replace(RULE, growth=growth, max_cooldown_s=longest_s))
    now_s, cooldowns = 0.0, []
    for _ in range(3):
        breaker.fail(breaker.begin(now_s), now_s)
    for _ in expected:
        cooldowns.append(breaker.cooldown_s)
        now_s += breaker.cooldown_s
        breaker.fail(breaker.begin(now_s), now_s)

    assert expected == cooldowns


def test_terms_win_one_by_one_and_the_last_ones_most() -> None:
    group = BreakerTerms(failures=7, ratio=0.25, window_s=60)
    own = BreakerTerms(failures=1, growth=3)

    assert replace(RULE, failures=1, ratio=0.25, window_s=60, growth=3) == RULE.under((group, own))
    assert RULE == RULE.under((NO_TERMS, BreakerTerms()))


@pytest.mark.parametrize(("rest_s", "cooldown_s"), [(29.9, 60), (30.0, 30)])
def test_rest_as_long_as_the_cooldown_makes_it_short_again(
    rest_s: float, cooldown_s: float
) -> None:
    breaker = tripped(0.0)
    breaker.succeed(breaker.begin(30.0), 30.0)
    now_s = 30.0 + rest_s
    breaker.succeed(breaker.begin(now_s), now_s)
    for _ in range(3):
        breaker.fail(breaker.begin(now_s), now_s)

    assert cooldown_s == breaker.cooldown_s


def test_reason_says_which_law_opened_it() -> None:
    mixed = Breaker(RULE)
    for went_well in (True, False, True, False, True, False):
        ticket = mixed.begin(0.0)
        (mixed.succeed if went_well else mixed.fail)(ticket, 0.0)

    assert "3 of 6 requests failed" == mixed.opened_because
    assert "3 failures in a row" == tripped(0.0).opened_because


def test_ratio_is_not_asked_where_there_is_none() -> None:
    breaker = Breaker(BreakerRule(failures=3, cooldown_s=30, max_cooldown_s=300))
    for _ in range(50):
        breaker.fail(breaker.begin(0.0), 0.0)
        breaker.fail(breaker.begin(0.0), 0.0)
        breaker.succeed(breaker.begin(0.0), 0.0)

    assert "closed" == breaker.state
