"""`one-api logs`, of requests that the ledger wrote down."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from one_api.cli.printing import dollars, printable
from one_api.storage.entries import Reservation, Settlement, TokenCounts
from tests.e2e.conftest import RunHere
from tests.e2e.gateways import BIN, clean_environment
from tests.web.stored import ODD_VALUES, Past, remember

#: 2026-11-20T00:00:00Z.
START_MS = 1_795_132_800_000


def past(number: int, *, model: str = "m", ends: bool = True, at_ms: int | None = None) -> Past:
    request = Reservation(
        request_id=f"req-{number}",
        key_id=f"key_{number % 2}",
        created_ms=START_MS + number if at_ms is None else at_ms,
        endpoint="/v1/chat/completions",
        model=model,
    )
    end = Settlement(
        status=200,
        total_ms=5,
        deployment="eu/m",
        usage=TokenCounts(prompt_tokens=10, completion_tokens=2),
        cost_microusd=1_500_000 + number,
        request_body='{\n"model": "m"}',
        reply_text="Hi\x1b]0;owned\x07",
    )
    return Past(request=request, end=end if ends else None)


class TestTail:
    def test_latest_comes_last(self, run_here: RunHere, tmp_path: Path) -> None:
        remember(tmp_path, [past(number) for number in range(1, 31)])

        result = run_here("logs", "tail")

        lines = [line.split() for line in result.stdout.splitlines()]
        assert [f"req-{number}" for number in range(11, 31)] == [line[-1] for line in lines]
        assert "2026-11-20T00:00:00.030Z" == lines[-1][0]
        assert {"200", "1.500030", "10+2", "key_0", "eu/m"} <= set(lines[-1])
        assert 3 == run_here("logs", "tail", "-n", "3").stdout.count("\n")

    def test_what_users_write_steers_no_terminal(self, run_here: RunHere, tmp_path: Path) -> None:
        remember(tmp_path, [past(1, model="m\x1b[2J\n200 OK\u202e")])

        told = run_here("logs", "tail").stdout

        assert 1 == told.count("\n")
        assert r"m\x1b[2J\n200 OK\u202e" in told

    def test_request_under_way_has_no_status(self, run_here: RunHere, tmp_path: Path) -> None:
        remember(tmp_path, [past(1, ends=False)])

        assert " ... " in run_here("logs", "tail").stdout

    @pytest.mark.slow
    def test_follow_prints_what_comes(self, tmp_path: Path) -> None:
        remember(tmp_path, [past(number, at_ms=START_MS) for number in (1, 2)])
        with subprocess.Popen(
            [f"{BIN}/one-api", "logs", "tail", "-n", "1", "--follow"],
            cwd=tmp_path,
            env=clean_environment(tmp_path, {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                first = process.stdout.readline()
                new = past(time.time_ns() // 1_000_000 - START_MS)
                remember(tmp_path, [new])
                second = process.stdout.readline()
            finally:
                process.kill()

        told = [line.split()[-1] for line in (first, second)]
        assert ["req-2", new.request.request_id] == told


class TestShow:
    def test_everything_is_told_and_nothing_is_obeyed(
        self, run_here: RunHere, tmp_path: Path
    ) -> None:
        remember(tmp_path, [past(1)])

        told = run_here("logs", "show", "req-1").stdout
        fields = dict(line.split(None, 1) for line in told.split("\n\n")[0].splitlines())

        assert ("1.500001", "200", "2026-11-20T00:00:00.001Z") == (
            fields["cost_usd"],
            fields["status"],
            fields["created"],
        )
        assert '--- request\n{\n"model": "m"}\n' in told
        assert "--- reply\nHi\\x1b]0;owned\\x07\n" in told

    def test_json_is_one_line(self, run_here: RunHere, tmp_path: Path) -> None:
        remember(tmp_path, [past(1)])

        told = run_here("logs", "show", "req-1", "--json").stdout

        assert 1 == told.count("\n")
        assert "Hi\x1b]0;owned\x07" == json.loads(told)["bodies"]["reply"]

    @pytest.mark.parametrize("request_id", ["req-2", *ODD_VALUES])
    def test_unknown_one_is_an_error(
        self, run_here: RunHere, tmp_path: Path, request_id: str
    ) -> None:
        result = run_here("logs", "show", "--", request_id)

        assert (1, "") == (result.exit_code, result.stdout)
        assert "no request with this id" in result.stderr


class TestExport:
    @pytest.mark.parametrize(
        ("options", "numbers"),
        [
            ([], [1, 2, 3, 4]),
            (["--key", "key_1"], [1, 3]),
            (["--model", "n"], [4]),
            (["--since", "2026-11-20T00:00:00.003Z"], [3, 4]),
            (["--since", "2026-11-20", "--key", "key_0"], [2, 4]),
            (["--since", "2999-01-01"], []),
            (["--key", "' OR '1'='1"], []),
            (["--model", "%"], []),
        ],
    )
    def test_lines_are_json_oldest_first(
        self, run_here: RunHere, tmp_path: Path, options: list[str], numbers: list[int]
    ) -> None:
        remember(tmp_path, [past(1), past(2), past(3), past(4, model="n")])

        result = run_here("logs", "export", *options)

        assert 0 == result.exit_code
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        assert [f"req-{number}" for number in numbers] == [row["id"] for row in rows]

    def test_wrong_time_is_told(self, run_here: RunHere) -> None:
        result = run_here("logs", "export", "--since", "yesterday")

        assert 2 == result.exit_code
        assert "--since" in result.stderr

    @pytest.mark.slow
    def test_reader_that_leaves_ends_it_without_noise(self, tmp_path: Path) -> None:
        remember(tmp_path, [past(number) for number in range(1, 601)])

        ended = subprocess.run(
            ["sh", "-c", f"{BIN}/one-api logs export | head -n 1"],
            cwd=tmp_path,
            env=clean_environment(tmp_path, {}),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )

        assert "req-1" == json.loads(ended.stdout)["id"]
        assert "Traceback" not in ended.stderr
        assert "BrokenPipe" not in ended.stderr


@pytest.mark.parametrize(
    ("amount", "told"),
    [(0, "0.000000"), (1, "0.000001"), (1_500_000, "1.500000"), (-1, "-0.000001"), (None, "-")],
)
def test_dollars_are_exact(amount: int | None, told: str) -> None:
    assert told == dollars(amount)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plain 名 é", "plain 名 é"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("a\x9bb\x7f", r"a\x9bb\x7f"),
        ("\u202eevil", r"\u202eevil"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_control_characters_are_spelled_out(text: str, told: str) -> None:
    assert told == printable(text)
