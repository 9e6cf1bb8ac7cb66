"""The retry budget against a plain model: never more retries than the share of what is active."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from one_api.routing import RetryBudget


class BudgetLaws(RuleBasedStateMachine):
    """Requests come and go, and ask for retries."""

    @initialize(percent=st.integers(0, 100), least=st.integers(0, 4))
    def prepare(self, percent: int, least: int) -> None:
        self.ratio, self.least = Fraction(percent, 100), least
        self.budget = RetryBudget(ratio=percent / 100, min_retries=least)
        self.active = self.retrying = 0

    def may_retry(self) -> bool:
        wanted = self.retrying + 1
        return wanted <= self.least or wanted <= self.ratio * self.active

    @rule(requests=st.integers(1, 60))
    def enter(self, requests: int) -> None:
        for _ in range(requests):
            self.budget.enter()
        self.active += requests

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        requests = data.draw(st.integers(1, self.active))
        for _ in range(requests):
            self.budget.leave()
        self.active -= requests

    @rule()
    def retry(self) -> None:
        expected = self.may_retry()

        assert expected == self.budget.try_retry()

        self.retrying += expected

    @precondition(lambda self: self.retrying)
    @rule()
    def end(self) -> None:
        self.budget.end_retry()
        self.retrying -= 1

    @invariant()
    def agrees(self) -> None:
        assert (self.active, self.retrying) == (self.budget.active, self.budget.retrying)


BudgetLaws.TestCase.settings = settings(stateful_step_count=40, deadline=None)
test_retry_budget_agrees_with_its_model = BudgetLaws.TestCase


@pytest.mark.parametrize(
    ("active", "retries"), [(0, 3), (1, 3), (30, 3), (39, 3), (40, 4), (70, 7), (1_000, 100)]
)
def test_so_many_retries_at_once_and_no_more(active: int, retries: int) -> None:
    budget = RetryBudget()
    for _ in range(active):
        budget.enter()

    assert retries == sum(budget.try_retry() for _ in range(active + 10))


def test_what_never_began_cannot_end() -> None:
    budget = RetryBudget()
    budget.leave()
    budget.end_retry()

    assert (0, 0) == (budget.active, budget.retrying)


def test_share_that_floats_fall_short_of_is_still_whole() -> None:
    budget = RetryBudget(ratio=0.29)
    for _ in range(100):
        budget.enter()

    assert 0.29 * 100 < 29 == budget.limit
