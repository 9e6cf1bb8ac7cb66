"""`/admin/usage` of everybody, and `/usage` of the calling key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient

from one_api.policy.auth import ApiKey, KeyLimits
from one_api.storage.entries import BudgetCap, Reservation, Settlement, TokenCounts
from one_api.web.admin_usage import add_usage_route
from one_api.web.admin_values import Stores
from one_api.web.usage import usage_blueprint
from tests.web.stored import ODD_VALUES, Past, remember, serving

NOW = datetime.now(UTC)
TODAY = f"{NOW:%Y-%m-%d}"
YESTERDAY = f"{NOW - timedelta(days=1):%Y-%m-%d}"
LONG_AGO = f"{NOW - timedelta(days=40):%Y-%m-%d}"


def past(
    number: int,
    key_id: str,
    model: str,
    *,
    days_ago: int = 0,
    budgets: dict[str, int] | None = None,
) -> Past:
    """A request of 10 + 1 tokens at `number` micro-dollars; number 0 is still under way."""
    created_ms = int((NOW - timedelta(days=days_ago)).timestamp() * 1000)
    request = Reservation(
        request_id=f"{key_id}-{number}",
        key_id=key_id,
        created_ms=created_ms,
        endpoint="/v1/chat/completions",
        model=model,
        estimate_microusd=7,
        budgets=tuple(BudgetCap(*budget) for budget in (budgets or {}).items()),
    )
    tokens = TokenCounts(prompt_tokens=10, completion_tokens=1)
    end = Settlement(
        status=200, total_ms=1, deployment=f"eu/{model}", usage=tokens, cost_microusd=number
    )
    return Past(request=request, end=end if number else None)


CAPS = {f"day:{TODAY}": 2_000, "total": 1_000_000}
PAST = [
    past(100, "key_a", "m"),
    past(20, "key_a", "m", budgets=CAPS),
    past(0, "key_a", "m", budgets=CAPS),
    past(3, "key_a", "n", days_ago=1),
    past(5_000, "key_b", "m"),
    past(70_000, "key_b", "n", days_ago=40),
]
LIMITED = ApiKey(
    "key_a",
    models=("m", "n*"),
    limits=KeyLimits(
        tokens_per_minute=500, budget_day_microusd=2_000, budget_total_microusd=1_000_000
    ),
)

AsCaller = Callable[[ApiKey], FlaskClient]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("usage")
    remember(directory, PAST)
    return directory


@pytest.fixture(scope="module")
def admin(directory: Path) -> Iterator[FlaskClient]:
    blueprint, stores = flask.Blueprint("admin", __name__), Stores()
    add_usage_route(blueprint, stores)
    with serving(directory, blueprint, stores) as client:
        yield client


@pytest.fixture
def as_caller(directory: Path) -> Iterator[AsCaller]:
    """A client of an application that takes everybody for this key."""
    with ExitStack() as stack:

        def client_of(caller: ApiKey) -> FlaskClient:
            stores = Stores()
            blueprint = usage_blueprint(stores, KeyLimits(requests_per_minute=60))
            return stack.enter_context(serving(directory, blueprint, stores, caller))

        yield client_of


def lines(response: Any, *names: str) -> list[tuple[Any, ...]]:
    body = response.get_json()
    assert (200, "list") == (response.status_code, body["object"]), response.text
    assert ["usage"] * len(body["data"]) == [row["object"] for row in body["data"]]
    return [tuple(row[name] for name in names) for row in body["data"]]


class TestEverybodys:
    def test_one_line_in_all_for_the_last_days(self, admin: FlaskClient) -> None:
        response = admin.get("/usage")

        assert [(4, 40, 4, 5_123)] == lines(
            response, "requests", "prompt_tokens", "completion_tokens", "cost_microusd"
        )
        assert not {"day", "key_id", "model", "deployment"} & response.get_json()["data"][0].keys()
        assert (TODAY, True) == (response.get_json()["until"], response.get_json()["is_complete"])

    @pytest.mark.parametrize(
        ("query", "names", "told"),
        [
            ("group_by=key", "key_id cost_microusd", [("key_b", 5_000), ("key_a", 123)]),
            ("group_by=model", "model cost_microusd", [("m", 5_120), ("n", 3)]),
            (
                "group_by=deployment,key&key_id=key_a",
                "deployment key_id requests",
                [("eu/m", "key_a", 2), ("eu/n", "key_a", 1)],
            ),
            ("group_by=day", "day cost_microusd", [(TODAY, 5_120), (YESTERDAY, 3)]),
            (f"since={LONG_AGO}", "cost_microusd", [(75_123,)]),
            (f"since={LONG_AGO}&until={LONG_AGO}&group_by=key", "key_id", [("key_b",)]),
            (f"since={YESTERDAY}&until={YESTERDAY}", "cost_microusd", [(3,)]),
            ("group_by=key&limit=1", "key_id", [("key_b",)]),
        ],
    )
    def test_sums_are_by_what_was_asked(
        self, admin: FlaskClient, query: str, names: str, told: list[tuple[Any, ...]]
    ) -> None:
        assert told == lines(admin.get(f"/usage?{query}"), *names.split())

    def test_cut_list_says_so(self, admin: FlaskClient) -> None:
        assert not admin.get("/usage?group_by=key&limit=1").get_json()["is_complete"]

    @pytest.mark.parametrize("value", ODD_VALUES)
    def test_odd_values_are_values(self, admin: FlaskClient, value: str) -> None:
        response = admin.get("/usage", query_string={"key_id": value, "group_by": "key"})

        assert [] == lines(response, "key_id")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("group_by", "owner"),
            ("group_by", "key,"),
            ("group_by", "key; DROP TABLE usage_days"),
            ("since", "2026-11-31"),
            ("since", "2999-01-01"),
            ("until", "today"),
            ("limit", "1001"),
            ("key_id", "\x00"),
        ],
    )
    def test_wrong_parameter_is_named(self, admin: FlaskClient, name: str, value: str) -> None:
        response = admin.get("/usage", query_string={name: value})

        assert (400, name) == (response.status_code, response.get_json()["error"]["param"])


class TestOnesOwn:
    def test_it_is_by_day_and_model(self, as_caller: AsCaller) -> None:
        response = as_caller(ApiKey("key_a")).get("/usage")

        assert [(TODAY, "m", 2, 120), (YESTERDAY, "n", 1, 3)] == lines(
            response, "day", "model", "requests", "cost_microusd"
        )
        assert "no-store" == response.headers["Cache-Control"]

    def test_keys_see_nothing_of_each_other(self, as_caller: AsCaller) -> None:
        a, b, other = (as_caller(ApiKey(key_id)) for key_id in ("key_a", "key_b", "key_c"))

        assert [(120,), (3,)] == lines(a.get(f"/usage?since={LONG_AGO}"), "cost_microusd")
        assert [(5_000,), (70_000,)] == lines(b.get(f"/usage?since={LONG_AGO}"), "cost_microusd")
        assert [] == lines(other.get("/usage"), "model")
        assert "key_b" not in a.get("/usage").text

    @pytest.mark.parametrize("query", ["key_id=key_b", "group_by=key", "limit=5"])
    def test_nobody_can_ask_for_anothers(self, as_caller: AsCaller, query: str) -> None:
        error = as_caller(ApiKey("key_a")).get(f"/usage?{query}").get_json()["error"]

        assert (query.partition("=")[0], "unknown_parameter") == (error["param"], error["code"])

    def test_limits_and_budgets_are_told_with_what_is_left(self, as_caller: AsCaller) -> None:
        told = as_caller(LIMITED).get("/usage").get_json()["key"]

        assert told == {
            "id": "key_a",
            "models": ["m", "n*"],
            "limits": {
                "requests_per_minute": 60,
                "tokens_per_minute": 500,
                "concurrent_requests": None,
                "max_tokens": None,
            },
            "budgets": [
                {
                    "object": "budget",
                    "period": f"day:{TODAY}",
                    "budget_microusd": 2_000,
                    "spent_microusd": 20,
                    "reserved_microusd": 7,
                    "left_microusd": 1_973,
                },
                {
                    "object": "budget",
                    "period": "total",
                    "budget_microusd": 1_000_000,
                    "spent_microusd": 20,
                    "reserved_microusd": 7,
                    "left_microusd": 999_973,
                },
            ],
        }

    def test_key_without_budget_has_none(self, as_caller: AsCaller) -> None:
        told = as_caller(ApiKey("key_b")).get("/usage").get_json()["key"]

        assert (None, []) == (told["models"], told["budgets"])
        assert 60 == told["limits"]["requests_per_minute"]
