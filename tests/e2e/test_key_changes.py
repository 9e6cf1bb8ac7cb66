"""What the operator changes about a key holds for all that it asks from then on.

How long the old may be believed is told by the tests of `policy.stored_keys`, whose clock is given.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from one_api.policy import stored_keys
from tests.e2e.account_scenes import ADMIN_KEY, Bank, bank, office, provider
from tests.e2e.exchanges import Answer, exchange
from tests.e2e.failover_scenes import chat, whole
from tests.e2e.gateways import GatewayProcess


@pytest.fixture(autouse=True)
def brief_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway in this process believes the old for a twentieth of its second."""
    monkeypatch.setattr(stored_keys, "FRESH_S", stored_keys.FRESH_S / 20)


async def change(gateway: Bank, made: dict[str, Any], **changes: object) -> dict[str, Any]:
    """The key as the operator is told of it."""
    changed = await gateway.admin(f"/admin/keys/{made['id']}", changes, method="PATCH")
    assert isinstance(changed, dict)
    return changed


async def test_lowered_limit_holds_and_a_cleared_one_no_more(
    tmp_path: Path,
) -> None:
    async with bank(tmp_path) as gateway:
        gateway.script(a=whole())
        made = await gateway.admin("/admin/keys", {"name": "n", "requests_per_minute": 1_000})
        assert (
            "1000"
            == (await gateway.ask_as(made["key"], chat())).headers["x-ratelimit-limit-requests"]
        )

        await change(gateway, made, requests_per_minute=1)
        answer = await gateway.until(made["key"], 429)
        assert "rate_limit_exceeded" == answer.error["code"]
        assert "1 requests per minute" in answer.error["message"]

        await change(gateway, made, requests_per_minute=None)
        await gateway.until(made["key"], 200)


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"tokens_per_minute": 1}, 429, "rate_limit_exceeded"),
        ({"budget_total_microusd": 0}, 429, "insufficient_quota"),
        ({"models": ["none-*"]}, 404, "model_not_found"),
    ],
    ids=["tokens", "budget", "models"],
)
async def test_each_kind_of_change_holds_and_can_be_taken_back(
    tmp_path: Path, changes: dict[str, Any], status: int, code: str
) -> None:
    async with bank(tmp_path) as gateway:
        gateway.script(a=whole())
        made = await gateway.admin("/admin/keys", {"name": "n", "budget_total_microusd": 10**9})
        assert 200 == (await gateway.ask_as(made["key"], chat())).status

        await change(gateway, made, **changes)
        answer = await gateway.until(made["key"], status)
        assert code == answer.error["code"]

        await change(gateway, made, **dict.fromkeys(changes))
        await gateway.until(made["key"], 200)


async def test_budget_that_is_lowered_knows_what_was_spent_before(tmp_path: Path) -> None:
    async with bank(tmp_path) as gateway:
        gateway.script(a=whole())
        limits = {"budget_total_microusd": 10**9, "max_tokens": 10}
        made = await gateway.admin("/admin/keys", {"name": "n", **limits})
        assert 200 == (await gateway.ask_as(made["key"], chat())).status
        spent = (await gateway.ended(1))[0]["cost_microusd"]
        assert spent > 0

        await change(gateway, made, budget_total_microusd=spent)

        answer = await gateway.until(made["key"], 429)
        assert "insufficient_quota" == answer.error["code"]
        budgets = (await gateway.get("/v1/usage", made["key"])).json["key"]["budgets"]
        assert [("total", spent)] == [(one["period"], one["budget_microusd"]) for one in budgets]


async def test_only_the_operator_changes_keys(tmp_path: Path) -> None:
    async with bank(tmp_path) as gateway:
        made = await gateway.admin("/admin/keys", {"name": "n", "requests_per_minute": 5})
        path = f"/admin/keys/{made['id']}"

        answer = await gateway.ask(
            {"requests_per_minute": None}, path, method="PATCH",
            authorization=f"Bearer {made['key']}",
        )  # fmt: skip

        assert 401 == answer.status
        assert 5 == (await gateway.admin(path))["requests_per_minute"]


def wait_until_limited(gateway: GatewayProcess, key: str) -> Answer:
    """The first answer that is a refusal, to a key in constant use."""
    deadline = time.monotonic() + 20
    while (answer := exchange(f"{gateway.base_url}/models", key=key)).status == 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return answer


@pytest.mark.slow
def test_lowered_limit_holds_in_every_process_whoever_lowered_it(tmp_path: Path) -> None:
    with provider() as upstream:
        front = office(tmp_path, upstream)
        by_admin, by_cli = front.make_key(), front.make_key()
        ids = [json.loads(line)["id"] for line in front.cli("keys", "list", "--json").splitlines()]
        with front.open() as here, front.open() as elsewhere:
            for gateway in (here, elsewhere):
                for key in (by_admin, by_cli):
                    assert 200 == exchange(f"{gateway.base_url}/models", key=key).status
            changed = exchange(
                f"{here.url}/admin/keys/{ids[0]}", {"requests_per_minute": 1}, key=ADMIN_KEY,
                method="PATCH",
            )  # fmt: skip
            assert 200 == changed.status
            front.cli("keys", "update", ids[1], "--requests-per-minute", "1")
            refused = [
                wait_until_limited(gateway, key)
                for gateway in (here, elsewhere)
                for key in (by_admin, by_cli)
            ]
            assert [(429, "rate_limit_exceeded")] * 4 == [
                (answer.status, answer.error["code"]) for answer in refused
            ]
