"""`/admin/keys`: what makes a key, and what nobody is told of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient

from one_api.web.admin_keys import add_key_routes
from one_api.web.admin_values import Stores
from tests.web.stored import ODD_VALUES, serving

KEY = re.compile(r"sk-oa-[A-Za-z0-9_-]{43}")
WHOLE: dict[str, Any] = {
    "name": "Ann's key",
    "owner": "ann@example.org",
    "tags": ["team-a", "名"],
    "expires_at": "2999-01-31T00:00:00.000Z",
    "models": ["gpt-*", "m"],
    "requests_per_minute": 60,
    "tokens_per_minute": 1_000,
    "concurrent_requests": 2,
    "budget_day_microusd": 0,
    "budget_month_microusd": 1_500_000,
    "budget_total_microusd": 10**15,
    "max_tokens": 100,
    "may_route": True,
}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    blueprint, stores = flask.Blueprint("keys", __name__), Stores()
    add_key_routes(blueprint, stores)
    with serving(tmp_path, blueprint, stores) as client:
        yield client


def made(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    response = client.post("/keys", json={"name": "n", **fields})
    assert 201 == response.status_code, response.text
    body: dict[str, Any] = response.get_json()
    return body


def error_of(response: Any) -> tuple[int, str | None, str | None]:
    error = response.get_json()["error"]
    return response.status_code, error["param"], error["code"]


#: What no field of a key may be, whether it is made or changed.
WRONG_VALUES: list[tuple[str, object]] = [
    ("name", None),
    ("name", ""),
    ("name", " "),
    ("name", 7),
    ("name", "n" * 201),
    ("name", "a\nb"),
    ("name", "a\x00b"),
    ("name", "\x1b[31mred"),
    ("owner", "a\u202eb"),
    ("owner", ""),
    ("tags", "a"),
    ("tags", ["a", ""]),
    ("tags", ["t"] * 201),
    ("models", []),
    ("models", "gpt-*"),
    ("models", [1]),
    ("expires_at", "soon"),
    ("expires_at", "2001-01-01T00:00:00Z"),
    ("expires_at", 4_000_000_000),
    ("requests_per_minute", 0),
    ("requests_per_minute", "60"),
    ("requests_per_minute", True),
    ("tokens_per_minute", 1.5),
    ("tokens_per_minute", 2**63),
    ("concurrent_requests", -1),
    ("budget_day_microusd", -1),
    ("budget_month_microusd", 0.5),
    ("budget_total_microusd", 10**15 + 1),
    ("max_tokens", 0),
    ("may_route", "yes"),
    ("may_route", 1),
    ("may_route", None),
]
#: What nobody sets, or what there is not.
NO_FIELDS = ["id", "digest", "prefix", "key", "created_ms", "revoked_at", "is_admin", "budget_usd"]


#: As WHOLE, with nothing the same.
OTHERWISE: dict[str, Any] = {
    "name": "Bob's key",
    "owner": "bob@example.org",
    "tags": ["team-b"],
    "expires_at": "2999-02-01T00:00:00.000Z",
    "models": ["other"],
    "requests_per_minute": 1,
    "tokens_per_minute": 2,
    "concurrent_requests": 3,
    "budget_day_microusd": 4,
    "budget_month_microusd": 0,
    "budget_total_microusd": 6,
    "max_tokens": 7,
    "may_route": False,
}


class TestCreate:
    def test_key_is_told_once_and_never_again(self, client: FlaskClient) -> None:
        key = made(client, **WHOLE)
        plaintext = key.pop("key")

        assert KEY.fullmatch(plaintext)
        assert "good" == key["state"]
        assert key == client.get(f"/keys/{key['id']}").get_json()
        assert [key] == client.get("/keys").get_json()["data"]
        assert plaintext not in client.get("/keys").text
        assert plaintext not in client.get(f"/keys/{key['id']}").text

    def test_every_field_is_kept(self, client: FlaskClient) -> None:
        key = made(client, **WHOLE)

        assert WHOLE == {name: key[name] for name in WHOLE}

    def test_what_is_not_said_does_not_limit(self, client: FlaskClient) -> None:
        key = made(client)

        unsaid = {name: key[name] for name in WHOLE.keys() - {"name"}}
        assert {None, "", False} == {v for v in unsaid.values() if v != []}
        assert [] == key["tags"]

    @pytest.mark.parametrize("field", NO_FIELDS)
    def test_nothing_else_can_be_set(self, client: FlaskClient, field: str) -> None:
        response = client.post("/keys", json={"name": "n", field: 1})

        assert (400, field, "unknown_parameter") == error_of(response)
        assert [] == client.get("/keys").get_json()["data"]

    @pytest.mark.parametrize(("field", "value"), WRONG_VALUES)
    def test_wrong_value_is_named_and_makes_no_key(
        self, client: FlaskClient, field: str, value: object
    ) -> None:
        response = client.post("/keys", json={"name": "n", field: value})

        status, param, _ = error_of(response)
        assert 400 == status
        assert (param or "").startswith(field)
        assert [] == client.get("/keys").get_json()["data"]

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"name"', b"null"])
    def test_what_is_no_object_makes_no_key(self, client: FlaskClient, body: bytes) -> None:
        assert 400 == client.post("/keys", data=body).status_code


class TestUpdate:
    @pytest.mark.parametrize("field", OTHERWISE)
    def test_one_field_is_another_and_all_else_is_as_it_was(
        self, client: FlaskClient, field: str
    ) -> None:
        key = made(client, **WHOLE)
        del key["key"]

        response = client.patch(f"/keys/{key['id']}", json={field: OTHERWISE[field]})

        assert 200 == response.status_code, response.text
        assert {**key, field: OTHERWISE[field]} == response.get_json()
        assert response.get_json() == client.get(f"/keys/{key['id']}").get_json()

    def test_null_takes_away_all_that_may_be_missing(self, client: FlaskClient) -> None:
        key, bare = made(client, **WHOLE), made(client)
        cleared = dict.fromkeys(WHOLE.keys() - {"name", "may_route"})

        told = client.patch(f"/keys/{key['id']}", json=cleared).get_json()

        assert {name: bare[name] for name in cleared} == {name: told[name] for name in cleared}
        assert (WHOLE["name"], True) == (told["name"], told["may_route"])

    def test_nothing_said_changes_nothing(self, client: FlaskClient) -> None:
        key = made(client, **WHOLE)

        told = client.patch(f"/keys/{key['id']}", json={}).get_json()

        assert {**told, "key": key["key"]} == key

    @pytest.mark.parametrize(("field", "value"), WRONG_VALUES)
    def test_wrong_value_is_named_and_nothing_of_it_is_done(
        self, client: FlaskClient, field: str, value: object
    ) -> None:
        key = made(client, **WHOLE)
        changes = {"owner": "carl", "max_tokens": 8, field: value}

        response = client.patch(f"/keys/{key['id']}", json=changes)

        status, param, _ = error_of(response)
        assert 400 == status
        assert (param or "").startswith(field)
        assert {**client.get(f"/keys/{key['id']}").get_json(), "key": key["key"]} == key

    @pytest.mark.parametrize("field", [*NO_FIELDS, "state", "created_at", "expires_ms"])
    def test_nothing_else_can_be_changed(self, client: FlaskClient, field: str) -> None:
        key = made(client)

        response = client.patch(f"/keys/{key['id']}", json={"owner": "carl", field: 1})

        assert (400, field, "unknown_parameter") == error_of(response)
        assert {**client.get(f"/keys/{key['id']}").get_json(), "key": key["key"]} == key

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"name"', b"null"])
    def test_what_is_no_object_changes_nothing(self, client: FlaskClient, body: bytes) -> None:
        key = made(client)

        assert 400 == client.patch(f"/keys/{key['id']}", data=body).status_code

    def test_revoked_key_can_not_be_changed(self, client: FlaskClient) -> None:
        key = made(client)
        revoked = client.post(f"/keys/{key['id']}/revoke").get_json()

        response = client.patch(f"/keys/{key['id']}", json={"expires_at": None})

        assert (409, None, "conflict") == error_of(response)
        assert "revoked" in response.get_json()["error"]["message"]
        assert revoked == client.get(f"/keys/{key['id']}").get_json()


class TestLifeOfKey:
    def test_revoked_key_says_so_and_stays_revoked(self, client: FlaskClient) -> None:
        key = made(client)

        first = client.post(f"/keys/{key['id']}/revoke").get_json()
        again = client.post(f"/keys/{key['id']}/revoke").get_json()

        assert "revoked" == first["state"]
        assert first == again == client.get(f"/keys/{key['id']}").get_json()
        assert (409, None, "conflict") == error_of(client.post(f"/keys/{key['id']}/rotate"))

    def test_rotated_key_has_new_characters_and_nothing_else_new(self, client: FlaskClient) -> None:
        key = made(client, **WHOLE)

        rotated = client.post(f"/keys/{key['id']}/rotate").get_json()

        assert KEY.fullmatch(rotated["key"])
        changed = {name for name in key if key[name] != rotated[name]}
        assert {"key", "prefix"} == changed

    @pytest.mark.parametrize("key_id", ["key_000000000000", *ODD_VALUES])
    @pytest.mark.parametrize(
        ("method", "act"), [("GET", ""), ("PATCH", ""), ("POST", "/revoke"), ("POST", "/rotate")]
    )
    def test_unknown_key_is_not_found(
        self, client: FlaskClient, key_id: str, method: str, act: str
    ) -> None:
        key = made(client)

        response = client.open(f"/keys/{key_id}{act}", method=method, json={"name": "x"})

        assert (404, None, "not_found") == error_of(response)
        assert "good" == client.get(f"/keys/{key['id']}").get_json()["state"]

    def test_nul_in_an_id_is_of_no_key(self, client: FlaskClient) -> None:
        assert 404 == client.get("/keys/key_%00").status_code


class TestPages:
    def test_each_key_is_on_one_page(self, client: FlaskClient) -> None:
        ids = [made(client, name=f"n{i}")["id"] for i in range(5)]

        pages, after = [], ""
        while True:
            page = client.get(f"/keys?limit=2&after={after}").get_json()
            pages.append([key["id"] for key in page["data"]])
            after = page["next_after"]
            if after is None:
                break

        assert sorted(ids) == sorted(key_id for page in pages for key_id in page)
        assert [2, 2, 1] == [len(page) for page in pages]

    @pytest.mark.parametrize("limit", ["0", "201", "-1", "many", "1.5", "9" * 5000, "٣"])
    def test_page_has_a_length(self, client: FlaskClient, limit: str) -> None:
        assert (400, "limit", "invalid_value") == error_of(client.get(f"/keys?limit={limit}"))

    def test_unknown_parameter_is_an_error(self, client: FlaskClient) -> None:
        response = client.get("/keys?limits=3")

        assert (400, "limits", "unknown_parameter") == error_of(response)

    @pytest.mark.parametrize("after", ODD_VALUES)
    def test_odd_cursor_is_before_nothing(self, client: FlaskClient, after: str) -> None:
        made(client)

        told = client.get("/keys", query_string={"after": after}).get_json()

        assert [] == told["data"]
