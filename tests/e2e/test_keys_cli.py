"""`one-api keys` and `one-api db`, on an SQLite file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunHere

KEY = re.compile(r"sk-oa-[A-Za-z0-9_-]{43}\n")
EVERY_OPTION = (
    *("--owner", "ann", "--tag", "a", "--tag", "b", "--model", "gpt-*", "--model", "m"),
    *("--requests-per-minute", "60", "--tokens-per-minute", "1000", "--concurrent", "2"),
    *("--budget-day-usd", "1.50", "--budget-month-usd", "0", "--budget-total-usd", "0.000001"),
    *("--max-tokens", "100", "--expires-in", "30d"),
)
OPTIONS = dict.fromkeys(part for part in EVERY_OPTION if part.startswith("--"))


def listed(run_here: RunHere) -> list[dict[str, Any]]:
    result = run_here("keys", "list", "--json")
    assert 0 == result.exit_code, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def create(run_here: RunHere, *options: str) -> str:
    """The key, in plain text."""
    result = run_here("keys", "create", "--name", "n", *options)
    assert 0 == result.exit_code, result.output
    return result.stdout.strip()


class TestCreate:
    def test_key_is_printed_alone_and_once(self, run_here: RunHere) -> None:
        result = run_here("keys", "create", "--name", "n")

        (key,) = listed(run_here)
        plaintext = result.stdout
        assert KEY.fullmatch(plaintext)
        assert f"This is {key['id']}. Keep it: it is not shown again." in result.stderr
        assert plaintext.strip() not in run_here("keys", "list").output + json.dumps(key)

    def test_no_file_has_the_key_in_it(self, run_here: RunHere, tmp_path: Path) -> None:
        plaintext = create(run_here).encode()

        files = [path for path in tmp_path.iterdir() if path.is_file()]
        assert {"one_api.db", "key_secret"} <= {path.name for path in files}
        assert [] == [path for path in files if plaintext[-30:] in path.read_bytes()]
        assert {0o600} == {path.stat().st_mode & 0o777 for path in files}

    def test_every_option_is_kept(self, run_here: RunHere) -> None:
        create(run_here, *EVERY_OPTION, "--may-route")

        (key,) = listed(run_here)
        assert key["expires_at"].endswith("Z")
        assert ("ann", ["a", "b"], ["gpt-*", "m"]) == (key["owner"], key["tags"], key["models"])
        limits = ("requests_per_minute", "tokens_per_minute", "concurrent_requests", "max_tokens")
        assert [60, 1000, 2, 100] == [key[name] for name in limits]
        budgets = [key[f"budget_{period}_microusd"] for period in ("day", "month", "total")]
        assert [1_500_000, 0, 1] == budgets
        assert key["may_route"]

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("--name", ""),
            ("--name", "n" * 201),
            ("--name", "a\x1b[31m"),
            ("--owner", "a\nb"),
            ("--tag", "\u202e"),
            ("--expires-in", "30"),
            ("--expires-in", "0d"),
            ("--expires-in", "-1d"),
            ("--expires-in", "٣d"),
            ("--budget-day-usd", "-1"),
            ("--budget-day-usd", "1.1234567"),
            ("--budget-month-usd", "1e3"),
            ("--budget-total-usd", "NaN"),
            ("--budget-total-usd", "1000000000000"),
            ("--requests-per-minute", "0"),
            ("--concurrent", "1.5"),
            ("--max-tokens", str(2**63)),
        ],
    )
    def test_wrong_option_makes_no_key(self, run_here: RunHere, option: str, value: str) -> None:
        result = run_here("keys", "create", "--name", "n", option, value)

        assert (2, "") == (result.exit_code, result.stdout)
        assert option in result.stderr
        assert [] == listed(run_here)


class TestUpdate:
    def updated(self, run_here: RunHere, *options: str) -> dict[str, Any]:
        """The only key, once it was changed."""
        result = run_here("keys", "update", listed(run_here)[0]["id"], *options)
        assert 0 == result.exit_code, result.output
        return listed(run_here)[0]

    def test_takes_the_options_of_create_and_makes_the_same_of_them(
        self, run_here: RunHere
    ) -> None:
        create(run_here)
        create(run_here, *EVERY_OPTION, "--may-route", "--name", "another")

        self.updated(run_here, *EVERY_OPTION, "--may-route", "--name", "another")

        own = {"id", "prefix", "created_at", "expires_at"}
        updated, created = (
            {name: value for name, value in key.items() if name not in own}
            for key in listed(run_here)
        )
        assert created == updated
        assert {True} == {key["expires_at"] is not None for key in listed(run_here)}

    def test_what_is_not_named_stays(self, run_here: RunHere) -> None:
        create(run_here, *EVERY_OPTION, "--may-route")
        (before,) = listed(run_here)

        after = self.updated(run_here, "--requests-per-minute", "5", "--no-may-route")

        assert {**before, "requests_per_minute": 5, "may_route": False} == after

    def test_each_option_but_the_name_can_be_cleared(self, run_here: RunHere) -> None:
        create(run_here)
        (bare,) = listed(run_here)
        self.updated(run_here, *EVERY_OPTION)

        clear = [part for option in OPTIONS for part in ("--clear", option.removeprefix("--"))]

        assert bare == self.updated(run_here, *clear)

    def test_prints_the_key_as_the_list_does(self, run_here: RunHere) -> None:
        create(run_here)
        key_id = listed(run_here)[0]["id"]

        result = run_here("keys", "update", key_id, "--budget-total-usd", "2.5")

        assert run_here("keys", "list").stdout == result.stdout
        assert "2.500000" in result.stdout

    @pytest.mark.parametrize(
        "options",
        [
            (),
            ("--name", ""),
            ("--requests-per-minute", "0"),
            ("--clear", "name"),
            ("--clear", "may-route"),
            ("--clear", "max-tokens", "--max-tokens", "5"),
            ("--owner", "x", "--unknown", "1"),
        ],
    )
    def test_wrong_options_change_nothing(
        self, run_here: RunHere, options: tuple[str, ...]
    ) -> None:
        create(run_here, *EVERY_OPTION)
        before = listed(run_here)

        result = run_here("keys", "update", before[0]["id"], *options)

        assert (2, "") == (result.exit_code, result.stdout)
        assert before == listed(run_here)

    def test_revoked_key_can_not_be_changed(self, run_here: RunHere) -> None:
        create(run_here)
        key_id = listed(run_here)[0]["id"]
        run_here("keys", "revoke", key_id)

        result = run_here("keys", "update", key_id, "--clear", "expires-in")

        assert (1, "") == (result.exit_code, result.stdout)
        assert "Error: conflict: The key is revoked" in result.stderr

    def test_unknown_key_is_an_error_in_one_line(self, run_here: RunHere) -> None:
        result = run_here("keys", "update", "key_000000000000", "--name", "x")

        assert (1, "") == (result.exit_code, result.stdout)
        assert "Error: not_found: There is no key with this id." in result.stderr


class TestList:
    def test_table_shows_states_limits_and_dollars(self, run_here: RunHere) -> None:
        create(
            run_here, "--budget-day-usd", "1.5", "--model", "gpt-*", "--requests-per-minute", "9"
        )
        create(run_here)
        run_here("keys", "revoke", listed(run_here)[0]["id"])

        head, first, second = (
            line.split() for line in run_here("keys", "list").stdout.split("\n")[:3]
        )

        told = dict(zip(head, first, strict=True))
        assert ("revoked", "gpt-*", "9") == (told["STATE"], told["MODELS"], told["REQ/MIN"])
        assert ("1.500000", "-") == (told["DAY-USD"], told["EXPIRES"])
        assert ["good", "n", "-", "all", "-"] == second[1:6]

    def test_without_keys_there_is_a_head(self, run_here: RunHere) -> None:
        result = run_here("keys", "list")

        assert (0, 1) == (result.exit_code, result.stdout.count("\n"))


class TestLifeOfKey:
    def test_rotated_key_keeps_its_id(self, run_here: RunHere) -> None:
        old = create(run_here)
        (before,) = listed(run_here)

        result = run_here("keys", "rotate", before["id"])

        (after,) = listed(run_here)
        assert KEY.fullmatch(result.stdout)
        assert old != result.stdout.strip()
        assert {"prefix"} == {name for name in before if before[name] != after[name]}

    def test_revoked_key_can_not_be_rotated(self, run_here: RunHere) -> None:
        create(run_here)
        key_id = listed(run_here)[0]["id"]

        revoked = run_here("keys", "revoke", key_id)
        rotated = run_here("keys", "rotate", key_id)

        assert revoked.stdout.startswith(f"{key_id} is revoked since 2")
        assert (1, "") == (rotated.exit_code, rotated.stdout)
        assert "Error: conflict: The key is revoked" in rotated.stderr
        assert "revoked" == listed(run_here)[0]["state"]

    @pytest.mark.parametrize("command", ["revoke", "rotate"])
    @pytest.mark.parametrize("key_id", ["key_000000000000", "' OR '1'='1", "%"])
    def test_unknown_key_is_an_error_in_one_line(
        self, run_here: RunHere, command: str, key_id: str
    ) -> None:
        create(run_here)

        result = run_here("keys", command, key_id)

        assert (1, "") == (result.exit_code, result.stdout)
        assert "Error: not_found: There is no key with this id." in result.stderr
        assert "good" == listed(run_here)[0]["state"]


class TestDatabase:
    def test_upgrade_is_done_once(self, run_here: RunHere) -> None:
        results = [run_here("db", command) for command in ("current", "upgrade", "upgrade")]

        assert [0, 0, 0] == [result.exit_code for result in results]
        first, second, third = (result.stdout for result in results)
        assert "none: the database has no tables yet\n" == first
        assert second.startswith("applied 0001\n")
        assert "The schema is up to date.\n" == third
        applied = second.splitlines()[-1].removeprefix("applied ")
        assert f"{applied}\n" == run_here("db", "current").stdout

    @pytest.mark.parametrize(
        "command",
        [
            ("keys", "list"),
            ("keys", "create", "--name", "n"),
            ("logs", "tail"),
            ("logs", "export"),
            ("logs", "show", "x"),
            ("db", "current"),
            ("db", "upgrade"),
        ],
        ids=" ".join,
    )
    def test_without_a_database_nothing_is_stored(
        self, run_here: RunHere, tmp_path: Path, command: tuple[str, ...]
    ) -> None:
        result = run_here(*command, DATABASE_URL="none")

        assert (2, "") == (result.exit_code, result.stdout)
        assert "Wrong setting DATABASE_URL: nothing is stored" in result.stderr
        assert [] == list(tmp_path.iterdir())

    def test_damaged_file_is_told_and_kept(self, run_here: RunHere, tmp_path: Path) -> None:
        file = tmp_path / "one_api.db"
        file.write_bytes(b"This is no database. " * 100)
        file.chmod(0o600)

        result = run_here("keys", "list")

        assert 2 == result.exit_code
        assert "Wrong setting DATABASE_URL: " in result.stderr
        assert file.read_bytes().startswith(b"This is no database")

    def test_secret_is_the_setting_where_there_is_one(
        self, run_here: RunHere, tmp_path: Path
    ) -> None:
        result = run_here("keys", "create", "--name", "n", KEY_SECRET="s" * 32)

        assert 0 == result.exit_code
        assert not (tmp_path / "key_secret").exists()


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"WORKERS": "2"}, "one SQLite file"),
        ({"WORKERS": "2", "DATABASE_URL": "postgresql://h/d"}, "without REDIS_URL"),
    ],
)
def test_banner_warns_of_what_processes_do_not_share(
    run_here: RunHere, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], told: str
) -> None:
    started: list[int] = []

    def start(load: object, *, workers: int, **_: object) -> None:
        started.append(workers)

    monkeypatch.setattr("one_api.cli.serving.serve_forever", start)

    assert told in run_here("serve", **environment).stdout
    assert "Warning" not in run_here("serve").stdout
    assert [2, 1] == started
