"""`/admin/requests`: which requests are listed, page by page, and what is told of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient

from one_api.storage.entries import Reservation, Settlement, TokenCounts
from one_api.web.admin_requests import add_request_routes
from one_api.web.admin_values import Stores
from tests.web.stored import ODD_VALUES, Past, remember, serving

#: 2026-11-20T00:00:00Z.
START_MS = 1_795_132_800_000
END = Settlement(
    status=200,
    total_ms=1_234,
    deployment="eu/m",
    attempts=2,
    is_stream=True,
    first_content_ms=87,
    usage=TokenCounts(prompt_tokens=10, cached_tokens=4, completion_tokens=20, reasoning_tokens=5),
    cost_microusd=1_500_001,
    request_body='{"model": "m"}',
    reply_text="Hi\x1b[31m",
)
FAILED = Settlement(status=429, total_ms=3, error_code="rate_limit_exceeded")


def past(number: int, key_id: str, model: str, end: Settlement | None) -> Past:
    request = Reservation(
        request_id=f"req-{number}",
        key_id=key_id,
        created_ms=START_MS + number,
        endpoint="/v1/chat/completions",
        model=model,
        client_address="192.0.2.7",
    )
    return Past(request=request, end=end)


PAST = [
    past(1, "key_a", "m", END),
    past(2, "key_a", "m", FAILED),
    past(3, "key_b", "m", END),
    past(4, "key_b", "n", END),
    past(5, "", "n", None),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    directory: Path = tmp_path_factory.mktemp("log")
    remember(directory, PAST)
    blueprint, stores = flask.Blueprint("log", __name__), Stores()
    add_request_routes(blueprint, stores)
    with serving(directory, blueprint, stores) as client:
        yield client


def ids(client: FlaskClient, **query: str) -> list[str]:
    response = client.get("/requests", query_string=query)
    assert 200 == response.status_code, response.text
    return [row["id"] for row in response.get_json()["data"]]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, "54321"),
        ({"key_id": "key_a"}, "21"),
        ({"model": "n"}, "54"),
        ({"status": "429"}, "2"),
        ({"key_id": "key_b", "model": "n"}, "4"),
        ({"key_id": "key_a", "model": "n"}, ""),
        ({"key_id": "", "model": ""}, "54321"),
        ({"since": "2026-11-20T00:00:00.003Z"}, "543"),
        ({"until": "2026-11-20T00:00:00.003Z"}, "21"),
        ({"since": "2026-11-20"}, "54321"),
        ({"until": "2026-11-20"}, ""),
        ({"until": "2026-11-20T00:00:00.002+00:00"}, "1"),
        ({"limit": "2"}, "54"),
    ],
)
def test_filters_choose(client: FlaskClient, query: dict[str, str], numbers: str) -> None:
    assert [f"req-{number}" for number in numbers] == ids(client, **query)


@pytest.mark.parametrize("name", ["key_id", "model"])
@pytest.mark.parametrize("value", ODD_VALUES)
def test_odd_values_are_values(client: FlaskClient, name: str, value: str) -> None:
    assert [] == ids(client, **{name: value})
    assert 5 == len(ids(client))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key_id", "a\x00b"),
        ("model", "m" * 201),
        ("status", "99"),
        ("status", "600"),
        ("status", "ok"),
        ("since", "yesterday"),
        ("until", "2026-13-01"),
        ("before", "req-3"),
        ("before", "-req-3"),
        ("before", "12345"),
        ("before", f"{'9' * 19}-req-3"),
        ("before", "1' OR 1=1-req-3"),
        ("limit", "201"),
    ],
)
def test_wrong_parameter_is_named(client: FlaskClient, name: str, value: str) -> None:
    response = client.get("/requests", query_string={name: value})

    error = response.get_json()["error"]
    assert (400, name, "invalid_value") == (response.status_code, error["param"], error["code"])


def test_unknown_parameter_is_an_error(client: FlaskClient) -> None:
    error = client.get("/requests?key=key_a").get_json()["error"]

    assert ("key", "unknown_parameter") == (error["param"], error["code"])


def test_pages_go_back_in_time(client: FlaskClient) -> None:
    pages: list[list[str]] = []
    query = {"limit": "2"}
    while query.get("before") != "":
        page = client.get("/requests", query_string=query).get_json()
        pages.append([row["id"] for row in page["data"]])
        query["before"] = page["next_before"] or ""

    assert [["req-5", "req-4"], ["req-3", "req-2"], ["req-1"]] == pages


def test_everything_is_told_of_a_request(client: FlaskClient) -> None:
    told: dict[str, Any] = client.get("/requests/req-1").get_json()

    settled_at = told.pop("settled_at")
    assert settled_at.startswith("2")
    assert settled_at.endswith("Z")
    assert told == {
        "object": "request",
        "id": "req-1",
        "state": "settled",
        "created_at": "2026-11-20T00:00:00.001Z",
        "key_id": "key_a",
        "client_address": "192.0.2.7",
        "endpoint": "/v1/chat/completions",
        "model": "m",
        "deployment": "eu/m",
        "attempts": 2,
        "status": 200,
        "error_code": None,
        "is_stream": True,
        "first_content_ms": 87,
        "total_ms": 1_234,
        "prompt_tokens": 10,
        "cached_tokens": 4,
        "cache_write_tokens": 0,
        "completion_tokens": 20,
        "reasoning_tokens": 5,
        "is_estimated": False,
        "cost_microusd": 1_500_001,
        "cache": None,
        "bodies": {"request": '{"model": "m"}', "reply": "Hi\x1b[31m", "is_truncated": False},
    }


def test_lists_tell_no_bodies(client: FlaskClient) -> None:
    rows = client.get("/requests").get_json()["data"]

    assert [None] * 5 == [row["bodies"] for row in rows]


def test_request_under_way_says_so(client: FlaskClient) -> None:
    told = client.get("/requests/req-5").get_json()

    names = ("state", "status", "settled_at", "key_id", "deployment", "bodies")
    assert ["reserved", *[None] * 5] == [told[name] for name in names]


@pytest.mark.parametrize("request_id", ["req-9", "req-%00", *ODD_VALUES])
def test_unknown_request_is_not_found(client: FlaskClient, request_id: str) -> None:
    response = client.get(f"/requests/{request_id}")

    assert (404, "not_found") == (response.status_code, response.get_json()["error"]["code"])
