"""Accounts: what a request takes, what it gives back, and the one row that is left of it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from typing_extensions import override

from one_api.counters import MAX_LIMIT, Ask
from one_api.counters.memory import MemoryCounters
from one_api.deployment import Deployment, Price
from one_api.errors import (
    BudgetExceeded,
    GatewayError,
    PermissionDenied,
    RateLimitExceeded,
    StorageUnavailable,
    TokenLimitExceeded,
)
from one_api.events import Usage
from one_api.observe import Exchange
from one_api.observe.observer import NOBODY
from one_api.policy.accounts import Account, AccountBook, Limits
from one_api.policy.auth import NO_KEY_LIMITS, ApiKey, KeyLimits
from one_api.policy.demand import Demand
from one_api.policy.prices import PriceTable
from one_api.storage import Database, Journal, Ledger, upgrade
from one_api.storage.tables import budgets, requests


def deployment(name: str, input_usd: int | None, output_usd: int = 0) -> Deployment:
    price = None
    if input_usd is not None:
        price = Price(input_usd=Decimal(input_usd), output_usd=Decimal(output_usd))
    return Deployment(model="m", adapter=name, upstream_model="m", price=price)


CHEAP, DEAR, UNPRICED = (
    deployment("cheap", 1, 2),
    deployment("dear", 10, 20),
    deployment("unpriced", None),
)
PRICES = {CHEAP.name: (1, 2), DEAR.name: (10, 20)}
#: What a completion is expected to be where nobody says.
COMPLETION = 1_024


class Clock:
    now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Books:
    """A book over counters whose time stands still and, with `ledger`, a real database."""

    limits: Limits = field(default_factory=Limits)
    ledger: Ledger | None = None
    max_body_chars: int = 0

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.counters = MemoryCounters(clock=self.clock)
        self.book = AccountBook(
            self.counters,
            self.ledger,
            PriceTable(),
            self.limits,
            max_body_chars=self.max_body_chars,
        )
        self.opened = 0

    def open(self, caller: ApiKey, request_id: str | None = None) -> Account:
        self.opened += 1
        exchange = Exchange(NOBODY, endpoint="/v1/x")
        return self.book.open(caller, request_id or f"req_{self.opened}", exchange)

    def used(self, name: str) -> int:
        """What counts in a window, or how many leases are held."""
        if name.endswith(":running"):
            grant = self.counters.take_nowait([Ask(name, 1, MAX_LIMIT, "concurrency")])
            self.counters.give_back_nowait(grant, {})
            return MAX_LIMIT - grant.standings[0].remaining - 1
        (standing,) = self.counters.take_nowait([Ask(name, 0, MAX_LIMIT)]).standings
        return MAX_LIMIT - standing.remaining


async def admit(
    account: Account,
    deployments: Sequence[Deployment] = (CHEAP,),
    *,
    prompt: int = 10,
    completion: int | None = 5,
) -> Sequence[Deployment]:
    async def measure() -> Demand:
        return Demand(prompt_tokens=prompt, completion_tokens=completion)

    return await account.admit(deployments, measure)


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables, to be copied."""
    path = tmp_path_factory.mktemp("accounts") / "one_api.db"

    async def make() -> None:
        database = await Database.open(str(path))
        await upgrade(database)
        await database.close()

    asyncio.run(make())
    return path


@dataclass
class Stored:
    """A ledger over a file of its own."""

    database: Database
    ledger: Ledger

    @classmethod
    async def open(cls, directory: Path, template: Path) -> Stored:
        shutil.copy(template, directory / "one_api.db")
        database = await Database.open(str(directory / "one_api.db"))
        return cls(database, Ledger(database, Journal(directory / "journal")))

    async def close(self) -> None:
        await self.ledger.close()
        await self.database.close()

    async def rows(self) -> dict[str, Any]:
        await self.ledger.flush()
        async with self.database.read() as connection:
            found = await connection.execute(select(requests))
            return {row.request_id: row for row in found}

    async def money(self) -> dict[tuple[str, str], tuple[int, int]]:
        """What is spent and reserved, by key and kind of period."""
        await self.ledger.flush()
        async with self.database.read() as connection:
            found = await connection.execute(select(budgets))
            return {
                (row.key_id, row.period.partition(":")[0]): (
                    row.spent_microusd,
                    row.reserved_microusd,
                )
                for row in found
            }


@pytest.fixture
async def stored(tmp_path: Path, upgraded: Path) -> AsyncIterator[Stored]:
    made = await Stored.open(tmp_path, upgraded)
    yield made
    await made.close()


# -- one thing at a time


@pytest.mark.parametrize(
    ("models", "model", "is_allowed"),
    [
        (None, "anything", True),
        ((), "anything", False),
        (("gpt-5",), "gpt-5", True),
        (("gpt-5",), "gpt-5-mini", False),
        (("gpt-5",), "GPT-5", False),
        (("gpt-5*",), "gpt-5-mini", True),
        (("*",), "a/b\nc", True),
        (("openai/*", "claude-*"), "claude-4", True),
        (("openai/*", "claude-*"), "my-claude-4", False),
        (("*-mini",), "gpt-5-mini", True),
        (("llama[q4]",), "llama[q4]", True),
        (("llama[q4]",), "llamaq", False),
        (("gpt-?",), "gpt-5", False),
        (("gpt-?",), "gpt-?", True),
    ],
)
def test_a_key_may_ask_for_its_models(
    models: tuple[str, ...] | None, model: str, is_allowed: bool
) -> None:
    account = Books().open(ApiKey("k", models=models))

    assert is_allowed == account.allows(model)


LIMITED = KeyLimits(requests_per_minute=2, tokens_per_minute=100, concurrent_requests=1)


@pytest.mark.parametrize(
    ("limits", "earlier", "tokens", "error", "said"),
    [
        (KeyLimits(requests_per_minute=2), 2, 1, RateLimitExceeded, "2 requests per minute"),
        (KeyLimits(tokens_per_minute=40), 2, 15, TokenLimitExceeded, "40 tokens per minute"),
        (KeyLimits(tokens_per_minute=40), 0, 41, TokenLimitExceeded, "make it smaller"),
        (KeyLimits(concurrent_requests=2), 2, 1, RateLimitExceeded, "2 requests at the same"),
    ],
)
@pytest.mark.parametrize("scope", ["key", "all"])
async def test_what_a_limit_refuses_takes_nothing(
    limits: KeyLimits,
    earlier: int,
    tokens: int,
    error: type[GatewayError],
    said: str,
    scope: str,
) -> None:
    # The other one's limits are wide: it could be taken from before the refusal.
    wide = KeyLimits(requests_per_minute=99, tokens_per_minute=999, concurrent_requests=9)
    made = Limits(per_key=limits, overall=wide)
    if scope == "all":
        made = Limits(per_key=wide, overall=limits)
    books = Books(limits=made)
    for _ in range(earlier):
        await admit(books.open(ApiKey("k")), prompt=15, completion=0)
    names = [
        f"{who}:{what}" for who in ("key:k", "all") for what in ("requests", "tokens", "running")
    ]
    before = [books.used(name) for name in names]
    refused = books.open(ApiKey("k"))

    with pytest.raises(error, match=said) as caught:
        await admit(refused, prompt=tokens, completion=0)
    refused.close(429)
    await books.book.close()

    assert before == [books.used(name) for name in names]
    whose = "this gateway" if scope == "all" else "this API key"
    assert whose in caught.value.message
    assert 429 == caught.value.status


@pytest.mark.parametrize(
    ("own", "allowed"),
    [(NO_KEY_LIMITS, 2), (KeyLimits(max_tokens=1), 2), (KeyLimits(requests_per_minute=3), 3)],
)
async def test_a_key_s_own_limit_comes_before_the_default(own: KeyLimits, allowed: int) -> None:
    books = Books(limits=Limits(per_key=KeyLimits(requests_per_minute=2)))
    for _ in range(allowed):
        await admit(books.open(ApiKey("k", limits=own)))

    with pytest.raises(RateLimitExceeded):
        await admit(books.open(ApiKey("k", limits=own)))
    await admit(books.open(ApiKey("other", limits=own)))


async def test_the_limit_of_all_counts_all_keys() -> None:
    overall = KeyLimits(requests_per_minute=2)
    books = Books(limits=Limits(per_key=KeyLimits(requests_per_minute=2), overall=overall))
    await admit(books.open(ApiKey("a")))
    await admit(books.open(ApiKey("b", limits=KeyLimits(requests_per_minute=99))))

    with pytest.raises(RateLimitExceeded, match="this gateway"):
        await admit(books.open(ApiKey("c", limits=KeyLimits(requests_per_minute=99))))


async def test_headers_tell_where_the_key_stands_and_never_all_together() -> None:
    overall = KeyLimits(requests_per_minute=50, tokens_per_minute=500, concurrent_requests=1)
    books = Books(limits=Limits(per_key=LIMITED, overall=overall))
    account = books.open(ApiKey("2001:db8::all"))

    await admit(account, prompt=10, completion=20)

    assert {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "2m0s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "70",
        "x-ratelimit-reset-tokens": "2m0s",
    } == account.headers
    with pytest.raises(RateLimitExceeded) as caught:
        await admit(books.open(ApiKey("other")))
    assert "50" not in caught.value.headers().values()
    assert "2" == caught.value.headers()["x-ratelimit-limit-requests"]


async def test_without_a_limit_of_the_key_no_header_tells_anything() -> None:
    books = Books(limits=Limits(overall=KeyLimits(requests_per_minute=50)))
    account = books.open(ApiKey("k"))

    await admit(account)

    assert {} == account.headers


async def test_a_measure_may_tell_at_once() -> None:
    books = Books(limits=Limits(per_key=KeyLimits(tokens_per_minute=9_999)))

    await books.open(ApiKey("k")).admit((CHEAP,), lambda: Demand(10, 5))

    assert 15 == books.used("key:k:tokens")


async def test_nothing_is_measured_where_no_limit_depends_on_it() -> None:
    async def measure() -> Demand:
        raise AssertionError("measured")

    limits = KeyLimits(requests_per_minute=9, concurrent_requests=9)
    account = Books(limits=Limits(per_key=limits, overall=limits)).open(ApiKey("k"))

    assert (UNPRICED,) == await account.admit((UNPRICED,), measure)


@pytest.mark.parametrize(("completion", "expected"), [(None, 10 + COMPLETION), (0, 10), (7, 17)])
async def test_tokens_are_promised_and_then_settled_to_the_truth(
    completion: int | None, expected: int
) -> None:
    books = Books(limits=Limits(per_key=KeyLimits(tokens_per_minute=9_999)))
    account = books.open(ApiKey("k"))
    await admit(account, prompt=10, completion=completion)
    assert expected == books.used("key:k:tokens")

    account.note_usage(Usage(prompt_tokens=300, completion_tokens=33))
    account.close(200)
    await books.book.close()

    assert 333 == books.used("key:k:tokens")


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, 0),
        (Usage(prompt_tokens=-50, completion_tokens=3), 3),
        (Usage(prompt_tokens=10**12, completion_tokens=0), 100_000_000),
    ],
)
async def test_nonsense_of_a_provider_s_counts_is_bounded(usage: Usage | None, tokens: int) -> None:
    books = Books(limits=Limits(per_key=KeyLimits(tokens_per_minute=9_999)))
    account = books.open(ApiKey("k"))
    await admit(account)

    account.note_usage(usage)
    account.close(200)
    await books.book.close()

    assert tokens == books.used("key:k:tokens")


BUDGET = KeyLimits(budget_total_microusd=1_000)


async def test_a_key_with_a_budget_uses_what_has_a_price(stored: Stored) -> None:
    books = Books(ledger=stored.ledger)

    with_budget = await admit(books.open(ApiKey("k", limits=BUDGET)), (UNPRICED, CHEAP, DEAR))
    without = await admit(books.open(ApiKey("k")), (UNPRICED, CHEAP))

    assert [CHEAP, DEAR] == with_budget
    assert (UNPRICED, CHEAP) == without


async def test_a_key_with_a_budget_cannot_use_what_has_none(stored: Stored) -> None:
    limits = KeyLimits(requests_per_minute=9, concurrent_requests=9, budget_day_microusd=10**9)
    books = Books(ledger=stored.ledger)
    account = books.open(ApiKey("k", limits=limits))

    with pytest.raises(PermissionDenied) as caught:
        await admit(account, (UNPRICED,))
    account.close(403)
    await books.book.close()

    assert (403, "model_not_priced") == (caught.value.status, caught.value.code)
    assert [0, 0] == [books.used("key:k:requests"), books.used("key:k:running")]
    assert {} == await stored.money()
    assert {} == await stored.rows()


async def test_a_second_door_may_ask_others_and_takes_nothing_more(stored: Stored) -> None:
    """A provider's own format is tried first; what fails there may be answered in another."""
    limits = KeyLimits(requests_per_minute=9, tokens_per_minute=999, budget_total_microusd=1_000)
    books = Books(ledger=stored.ledger)
    account = books.open(ApiKey("k", limits=limits))

    assert [CHEAP] == await admit(account, (CHEAP, UNPRICED))
    before = await stored.money()
    assert [DEAR] == await admit(account, (DEAR, UNPRICED))
    with pytest.raises(PermissionDenied):
        await admit(account, (UNPRICED,))

    assert [1, 15] == [books.used("key:k:requests"), books.used("key:k:tokens")]
    assert before == await stored.money()
    account.close(200)
    assert ["req_1"] == list(await stored.rows())


@pytest.mark.parametrize(
    ("completion", "max_tokens", "promised"),
    [(5, None, 10 * 10 + 5 * 20), (0, 50, 100), (None, 50, 1_100), (None, None, 100 + 20 * 1_024)],
)
async def test_the_dearest_that_may_answer_is_promised(
    stored: Stored, completion: int | None, max_tokens: int | None, promised: int
) -> None:
    limits = KeyLimits(budget_total_microusd=10**6, max_tokens=max_tokens)
    books = Books(ledger=stored.ledger)

    await admit(books.open(ApiKey("k", limits=limits)), (CHEAP, DEAR), completion=completion)

    assert {("k", "total"): (0, promised)} == await stored.money()


@pytest.mark.parametrize("period", ["day", "month", "total"])
async def test_what_a_budget_refuses_takes_nothing(stored: Stored, period: str) -> None:
    caps = {f"budget_{name}_microusd": 10_000 for name in ("day", "month", "total")}
    limits = KeyLimits(
        **{**caps, f"budget_{period}_microusd": 29},
        requests_per_minute=9,
        tokens_per_minute=999,
        concurrent_requests=9,
    )
    books = Books(limits=Limits(overall=LIMITED), ledger=stored.ledger)
    account = books.open(ApiKey("k", limits=limits))

    with pytest.raises(BudgetExceeded):
        await admit(account, prompt=20, completion=5)
    account.close(429)
    await books.book.close()

    for what in ("requests", "tokens", "running"):
        assert [0, 0] == [books.used(f"key:k:{what}"), books.used(f"all:{what}")]
    assert {(0, 0)} >= set((await stored.money()).values())
    (row,) = (await stored.rows()).values()
    assert ("settled", 429, 0) == (row.state, row.status, row.cost_microusd)


async def test_without_a_database_a_budget_cannot_be_kept_and_nothing_is_taken(
    stored: Stored,
) -> None:
    books = Books(limits=Limits(per_key=LIMITED), ledger=stored.ledger)
    await stored.ledger.close()

    with pytest.raises(StorageUnavailable):
        await admit(books.open(ApiKey("k", limits=BUDGET)))
    await books.book.close()

    for what in ("requests", "tokens", "running"):
        assert 0 == books.used(f"key:k:{what}")


async def test_one_who_leaves_while_it_is_admitted_takes_nothing(stored: Stored) -> None:
    books = Books(limits=Limits(per_key=LIMITED), ledger=stored.ledger)
    account = books.open(ApiKey("k", limits=BUDGET))
    admitting = asyncio.create_task(admit(account))
    while not books.used("key:k:running"):  # noqa: ASYNC110 # raises no event
        await asyncio.sleep(0)

    admitting.cancel()
    await asyncio.gather(admitting, return_exceptions=True)
    account.close(499)
    await books.book.close()

    assert admitting.cancelled()
    for what in ("requests", "tokens", "running"):
        assert 0 == books.used(f"key:k:{what}")
    assert {(0, 0)} >= set((await stored.money()).values())


async def test_a_key_whose_limits_change_is_measured_anew() -> None:
    books = Books()
    await admit(books.open(ApiKey("k", limits=KeyLimits(requests_per_minute=1))))
    account = books.open(ApiKey("k", limits=KeyLimits(requests_per_minute=2)))
    await admit(account)

    assert ["2", "0"] == [
        account.headers[f"x-ratelimit-{it}-requests"] for it in ("limit", "remaining")
    ]
    with pytest.raises(RateLimitExceeded):
        await admit(books.open(ApiKey("k", limits=KeyLimits(requests_per_minute=2))))


async def test_callers_that_come_once_fill_no_memory() -> None:
    books = Books(limits=Limits(per_key=LIMITED))
    for number in range(5_000):
        books.open(ApiKey(f"address {number}"))

    assert len(books.book._meters) <= 4_096


async def test_calls_that_ask_no_model_count_and_leave_no_row(stored: Stored) -> None:
    books = Books(limits=Limits(per_key=LIMITED), ledger=stored.ledger)
    account = books.open(ApiKey("k"))
    assert books.book.limits_calls(ApiKey("k"))

    await account.admit_call()
    assert [1, 0, 1] == [books.used(f"key:k:{it}") for it in ("requests", "tokens", "running")]
    account.close(200)
    await books.book.close()

    assert [1, 0, 0] == [books.used(f"key:k:{it}") for it in ("requests", "tokens", "running")]
    assert {} == await stored.rows()
    assert not Books().book.limits_calls(ApiKey("k", limits=KeyLimits(tokens_per_minute=1)))


async def test_the_row_tells_how_it_went(stored: Stored) -> None:
    books = Books(ledger=stored.ledger, max_body_chars=20)
    account = books.open(ApiKey("k"))
    await admit(account, (CHEAP, DEAR))
    account.exchange.ask(CHEAP)
    account.exchange.ask(DEAR)
    account.exchange.note_first_content()
    account.hand_over()
    account.request_body = "the key is sk-abcdefghijklmnop"
    account.note_reply(b"x" * 15)
    account.note_reply(b"y" * 15)
    account.note_error(RateLimitExceeded("too fast"))
    account.note_usage(Usage(prompt_tokens=3, completion_tokens=4, estimated=True))

    account.close(200)

    (row,) = (await stored.rows()).values()
    assert ("settled", DEAR.name, 2, 200) == (row.state, row.deployment, row.attempts, row.status)
    assert (3, 4, True, 110) == (
        row.prompt_tokens,
        row.completion_tokens,
        row.is_estimated,
        row.cost_microusd,
    )
    assert ("rate_limit_exceeded", True) == (row.error_code, row.is_stream)
    assert row.first_content_ms <= row.total_ms


async def test_a_hit_of_the_cache_costs_nothing(stored: Stored) -> None:
    books = Books(ledger=stored.ledger)
    account = books.open(ApiKey("k", limits=BUDGET))
    await admit(account)
    account.exchange.ask(CHEAP)
    account.note_usage(Usage(prompt_tokens=3, completion_tokens=4))
    account.exchange.cache = "hit"

    account.close(200)

    (row,) = (await stored.rows()).values()
    assert (0, "hit") == (row.cost_microusd, row.cache)
    assert {("k", "total"): (0, 0)} == await stored.money()


async def test_closing_before_it_was_admitted_writes_nothing(stored: Stored) -> None:
    account = Books(ledger=stored.ledger).open(ApiKey("k"))

    account.close(400)

    assert {} == await stored.rows()


def test_closing_after_the_loop_has_ended_fails_nobody() -> None:
    account = Books().open(ApiKey("k"))
    asyncio.run(_admitted(account))

    account.close(200)


async def _admitted(account: Account) -> None:
    await admit(account)


# -- everything in any order

CALLERS = {
    caller.id: caller
    for caller in (
        ApiKey("plain"),
        ApiKey("own", limits=KeyLimits(requests_per_minute=2, concurrent_requests=2)),
        ApiKey("poor", limits=KeyLimits(budget_day_microusd=5_000, budget_total_microusd=2_000)),
        ApiKey("all", limits=KeyLimits(tokens_per_minute=300, budget_month_microusd=3_000)),
    )
}
PER_KEY = {"requests": 6, "tokens": 9_000}
OVERALL = {"requests": 14, "tokens": 12_000, "running": 4}
OWN: dict[str, dict[str, int]] = {
    "plain": {},
    "own": {"requests": 2, "running": 2},
    "poor": {},
    "all": {"tokens": 300},
}
CAPS: dict[str, dict[str, int]] = {
    "plain": {},
    "own": {},
    "poor": {"day": 5_000, "total": 2_000},
    "all": {"month": 3_000},
}
USAGES = st.none() | st.builds(
    Usage, prompt_tokens=st.integers(0, 400), completion_tokens=st.integers(0, 200)
)


@dataclass
class Modelled:
    """A request as it is expected to be; `tokens` and `money` are promised, then true."""

    account: Account
    caller: str
    tokens: int
    money: int
    is_open: bool = True
    status: int = 0
    cost: int = 0
    deployment: str = ""


class AccountMachine(RuleBasedStateMachine):
    """Requests are admitted, refused, answered by others, cut and closed, in any order."""

    template: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="one-api-accounts-"))
        self.model: dict[str, Modelled] = {}
        self.refused: set[str] = set()
        self.opened = 0

    @initialize()
    def begin(self) -> None:
        self.stored = self.runner.run(Stored.open(self.directory, self.template))
        limits = Limits(
            per_key=KeyLimits(requests_per_minute=6, tokens_per_minute=9_000),
            overall=KeyLimits(
                requests_per_minute=14, tokens_per_minute=12_000, concurrent_requests=4
            ),
        )
        self.books = Books(limits=limits, ledger=self.stored.ledger)

    @override
    def teardown(self) -> None:
        self.runner.run(self.stored.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    # -- what is expected

    def used(self, what: str, caller: str | None) -> int:
        mine = [one for one in self.model.values() if caller in (None, one.caller)]
        match what:
            case "requests":
                return len(mine)
            case "tokens":
                return sum(one.tokens for one in mine)
            case _:
                return sum(one.is_open for one in mine)

    def expected(self, caller: str, tokens: int, money: int) -> type[GatewayError] | None:
        takes = {"requests": 1, "tokens": tokens, "running": 1}
        full: set[str] = set()
        for limits, who in (({**PER_KEY, **OWN[caller]}, caller), (OVERALL, None)):
            for what, limit in limits.items():
                if self.used(what, who) + takes[what] > limit:
                    full.add(what)
        if full:
            return TokenLimitExceeded if full == {"tokens"} else RateLimitExceeded
        spent = sum(
            one.money if one.is_open else one.cost
            for one in self.model.values()
            if one.caller == caller
        )
        over = any(spent + money > cap for cap in CAPS[caller].values())
        return BudgetExceeded if over else None

    # -- what happens

    @rule(
        caller=st.sampled_from(sorted(CALLERS)),
        deployments=st.lists(st.sampled_from([CHEAP, DEAR, UNPRICED]), min_size=1, unique=True),
        prompt=st.integers(0, 300),
        completion=st.none() | st.integers(0, 60),
    )
    def admit(
        self, caller: str, deployments: list[Deployment], prompt: int, completion: int | None
    ) -> None:
        self.opened += 1
        request_id = f"req_{self.opened}"
        account = self.books.open(CALLERS[caller], request_id)
        length = COMPLETION if completion is None else completion
        able = deployments
        money = 0
        error: type[GatewayError] | None = None
        if CAPS[caller]:
            able = [one for one in deployments if one.name in PRICES]
            rates = [PRICES[one.name] for one in able]
            money = max((i * prompt + o * length for i, o in rates), default=0)
            error = None if able else PermissionDenied
        error = error or self.expected(caller, prompt + length, money)
        admitting = admit(account, deployments, prompt=prompt, completion=completion)
        if error is None:
            assert able == list(self.runner.run(admitting))
            self.model[request_id] = Modelled(account, caller, prompt + length, money)
            return
        with pytest.raises(error):
            self.runner.run(admitting)
        if error is BudgetExceeded:
            self.refused.add(request_id)
        self.close_account(account, error.status, is_elsewhere=False)

    def close_account(self, account: Account, status: int, *, is_elsewhere: bool) -> None:
        async def close() -> None:
            if is_elsewhere:
                await asyncio.to_thread(account.close, status)
                await asyncio.sleep(0)
            else:
                account.close(status)
            await self.books.book.close()

        self.runner.run(close())

    @precondition(lambda self: self.model)
    @rule(
        data=st.data(),
        usage=USAGES,
        asked=st.lists(st.sampled_from([CHEAP, DEAR, UNPRICED]), max_size=3),
        ending=st.sampled_from([200, 499, 502]),
        breaks=st.booleans(),
        is_elsewhere=st.booleans(),
    )
    def close(
        self,
        data: st.DataObject,
        usage: Usage | None,
        asked: list[Deployment],
        ending: int,
        breaks: bool,
        is_elsewhere: bool,
    ) -> None:
        """Close one, maybe once more, after a failover, with an error in a stream, or its client
        gone."""
        one = self.model[data.draw(st.sampled_from(sorted(self.model)))]
        for deployment in asked:
            one.account.exchange.ask(deployment)
        if breaks:
            one.account.note_error(RateLimitExceeded("in the stream"))
        one.account.note_usage(usage)
        self.close_account(one.account, ending, is_elsewhere=is_elsewhere)
        if not one.is_open:
            return  # What is closed is closed.
        one.is_open, one.status = False, ending
        one.deployment = asked[-1].name if asked else ""
        one.tokens = usage.total_tokens if usage else 0
        price = PRICES.get(one.deployment)
        if price and usage:
            one.cost = price[0] * usage.prompt_tokens + price[1] * usage.completion_tokens

    @precondition(lambda self: any(one.is_open for one in self.model.values()))
    @rule(data=st.data())
    def ask_in_another_format(self, data: st.DataObject) -> None:
        names = sorted(name for name, one in self.model.items() if one.is_open)
        one = self.model[data.draw(st.sampled_from(names))]

        able = self.runner.run(admit(one.account, (DEAR,), prompt=999, completion=999))

        assert [DEAR] == list(able)

    # -- what must be so

    @invariant()
    def counters_agree(self) -> None:
        for what in ("requests", "tokens", "running"):
            if hasattr(self, "books"):
                assert self.used(what, None) == self.books.used(f"all:{what}")
        for caller in CALLERS:
            for what in {**PER_KEY, **OWN[caller]}:
                if hasattr(self, "books"):
                    assert self.used(what, caller) == self.books.used(f"key:{caller}:{what}")

    @invariant()
    def ledger_agrees(self) -> None:
        if not hasattr(self, "stored"):
            return
        rows = self.runner.run(self.stored.rows())
        assert set(self.model) | self.refused == set(rows)
        money: Counter[tuple[str, str, bool]] = Counter()
        for request_id, one in self.model.items():
            row = rows[request_id]
            state = "reserved" if one.is_open else "settled"
            assert (state, one.status, one.cost, one.deployment) == (
                row.state,
                row.status or 0,
                row.cost_microusd,
                row.deployment,
            )
            for period in CAPS[one.caller]:
                amount = one.money if one.is_open else one.cost
                money[one.caller, period, one.is_open] += amount
        assert all(rows[name].cost_microusd == 0 for name in self.refused)
        for (caller, period), stands in self.runner.run(self.stored.money()).items():
            assert (money[caller, period, False], money[caller, period, True]) == stands


@pytest.mark.slow
def test_accounts_agree_with_their_model(upgraded: Path) -> None:
    AccountMachine.template = upgraded
    run_state_machine_as_test(
        AccountMachine,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
