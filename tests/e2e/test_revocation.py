"""A key that was revoked opens nothing any more: here at once, elsewhere within seconds."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.e2e.account_scenes import ADMIN_KEY, bank, office, provider
from tests.e2e.exchanges import exchange
from tests.e2e.failover_scenes import CALLER_KEY, chat, whole
from tests.e2e.gateways import GatewayProcess

#: Within how many seconds a key is refused: by the process that revoked it, and by all others.
HERE_S, ELSEWHERE_S = 1.0, 5.0
#: What a request and a slow machine may add.
SLACK_S = 0.5


def seconds_until_refused(gateway: GatewayProcess, key: str) -> float:
    """How long a key in constant use stays good from now on."""
    began = time.monotonic()
    while exchange(f"{gateway.base_url}/models", key=key).status == 200:
        assert time.monotonic() < began + 20
        time.sleep(0.02)
    return time.monotonic() - began


async def test_a_revoked_key_is_refused_within_a_second(tmp_path: Path) -> None:
    async with bank(tmp_path) as branch:
        branch.script(a=whole())
        made = await branch.admin("/admin/keys", {"name": "to be revoked"})
        assert 200 == (await branch.ask_as(made["key"], chat())).status
        await branch.admin(f"/admin/keys/{made['id']}/revoke", {})
        answer = await branch.until(made["key"], 401, HERE_S + SLACK_S)
        assert (401, "invalid_api_key") == (answer.status, answer.error["code"])
        assert 200 == (await branch.ask(chat())).status


async def test_a_rotated_key_stops_and_the_new_one_has_its_limits(tmp_path: Path) -> None:
    async with bank(tmp_path) as branch:
        branch.script(a=whole())
        made = await branch.admin("/admin/keys", {"name": "turned", "models": ["other"]})
        old = made["key"]
        assert 404 == (await branch.ask_as(old, chat())).status
        turned = await branch.admin(f"/admin/keys/{made['id']}/rotate", {})
        assert made["id"] == turned["id"]
        await branch.until(old, 401, HERE_S + SLACK_S)
        assert 404 == (await branch.ask_as(turned["key"], chat())).status
        body = {**chat(), "model": "other"}
        assert 200 == (await branch.ask_as(turned["key"], body)).status


@pytest.mark.slow
def test_another_process_refuses_a_revoked_key_within_seconds(tmp_path: Path) -> None:
    with provider() as upstream:
        upstream.script(whole(), repeat_last=True)
        front = office(tmp_path, upstream)
        by_admin, by_cli = front.make_key(), front.make_key()
        ids = [json.loads(line)["id"] for line in front.cli("keys", "list", "--json").splitlines()]
        with front.open() as here, front.open() as elsewhere:
            for gateway in (here, elsewhere):
                for key in (by_admin, by_cli):
                    assert 200 == exchange(f"{gateway.base_url}/models", key=key).status
            revoked = exchange(f"{here.url}/admin/keys/{ids[0]}/revoke", {}, key=ADMIN_KEY)
            assert 200 == revoked.status
            assert seconds_until_refused(here, by_admin) <= HERE_S + SLACK_S
            assert seconds_until_refused(elsewhere, by_admin) <= ELSEWHERE_S
            front.cli("keys", "revoke", ids[1])
            assert seconds_until_refused(here, by_cli) <= ELSEWHERE_S
            assert seconds_until_refused(elsewhere, by_cli) <= ELSEWHERE_S
            for gateway in (here, elsewhere):
                assert 200 == exchange(f"{gateway.base_url}/models", key=CALLER_KEY).status
                assert by_admin not in gateway.log
                assert by_cli not in gateway.log
