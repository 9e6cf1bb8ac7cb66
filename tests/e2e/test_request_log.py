"""What is kept of a request and shown of it, and what nobody will ever find in there."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.account_scenes import (
    ADMIN_KEY,
    CREDENTIAL,
    KEY_SECRET,
    Bank,
    bank,
    cost_of,
    counted,
    ended_rows,
    kept_in,
    office,
    provider,
)
from tests.e2e.exchanges import exchange
from tests.e2e.failover_scenes import CALLER_KEY, chat, streamed, whole
from tests.scripted_upstream import (
    MESSAGES_PATH,
    TokenCount,
    json_reply,
    openai_completion,
    openai_error,
    openai_stream,
)
from tests.scripted_upstream import Answer as Said

ASKED, ANSWERED = "a question nobody else asks", "an answer nobody else gives"
#: Looks like nobody's key, in a place where clients put some.
PASTED = "sk-pasted-0123456789abcdefghijklmnop"


def answer() -> Any:
    return openai_completion(counted(9, 3, ANSWERED))


# -- how much is kept


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("level", ["metadata", "full", "off"])
async def test_what_was_said_is_kept_where_the_operator_wants_it(
    tmp_path: Path, level: str, is_stream: bool
) -> None:
    said = counted(9, 3, ANSWERED)
    async with bank(tmp_path, request_log=level) as branch:
        branch.script(a=openai_stream(said) if is_stream else openai_completion(said))
        await branch.ask(streamed(ASKED) if is_stream else chat(ASKED))
        (row,) = await branch.ended(1)
        bodies = await branch.table("request_bodies")
        shown = await branch.admin(f"/admin/requests/{row['request_id']}")
    assert 200 == row["status"]
    assert (9, 3) == (row["prompt_tokens"], row["completion_tokens"])
    kept = b"".join(kept_in(tmp_path).values())
    if level == "full":
        (body,) = bodies
        assert ASKED in body["request"]
        assert ANSWERED in body["reply"]
        assert not body["is_truncated"]
        assert ASKED in shown["bodies"]["request"]
    else:
        assert [] == bodies
        assert ASKED.encode() not in kept
        assert ANSWERED.encode() not in kept
        assert shown["bodies"] is None


async def test_a_long_body_is_cut(tmp_path: Path) -> None:
    async with bank(tmp_path, request_log="full", request_log_body_kb=1) as branch:
        branch.script(a=openai_completion(counted(9, 3, "long " * 1_000)))
        await branch.ask(chat("question " * 1_000))
        await branch.ended(1)
        (body,) = await branch.table("request_bodies")
    assert body["is_truncated"]
    assert len(body["request"]) <= 1_000
    assert len(body["reply"]) <= 1_000


async def test_a_key_that_was_pasted_into_a_prompt_is_taken_out(tmp_path: Path) -> None:
    async with bank(tmp_path, request_log="full") as branch:
        branch.script(a=openai_completion(counted(9, 3, f"your key {PASTED} works")))
        await branch.ask(chat(f"does {PASTED} work? Bearer {PASTED}"))
        await branch.ended(1)
        (body,) = await branch.table("request_bodies")
    assert PASTED not in body["request"]
    assert PASTED not in body["reply"]
    assert "[redacted]" in body["request"]


async def test_nothing_is_stored_where_there_is_no_database(tmp_path: Path) -> None:
    async with bank(tmp_path, database_url="none") as branch:
        branch.script(a=whole())
        assert 200 == (await branch.ask(chat())).status
        assert 400 == (await branch.get("/admin/requests", ADMIN_KEY)).status
    assert {} == kept_in(tmp_path)


# -- secrets


@pytest.mark.slow
def test_no_secret_is_in_any_file(tmp_path: Path) -> None:
    with provider() as upstream:
        # A provider that quotes our credential back, in an error and in a reply.
        upstream.script(openai_error(400, f"bad key {CREDENTIAL}"), model="other")
        upstream.script(answer(), model="m", repeat_last=True)
        upstream.script(json_reply(200, {"results": []}), repeat_last=True)
        front = office(tmp_path, upstream, REQUEST_LOG="full", KEY_SECRET=KEY_SECRET, DEBUG="true")
        key = front.make_key()
        with front.open() as gateway:
            urls = [f"{gateway.base_url}/{path}" for path in ("chat/completions", "rerank")]
            message = {**chat(), "max_tokens": 9}
            told = []
            for presented in (key, CALLER_KEY, PASTED):
                for body in (chat(ASKED), streamed(), {**chat(), "model": "other"}):
                    told.append(exchange(urls[0], body, key=presented))
                told.append(exchange(urls[1], {"model": "m", "key": key}, key=presented))
                told.append(exchange(f"{gateway.url}{MESSAGES_PATH}", message,
                                     headers={"x-api-key": presented}))  # fmt: skip
            exchange(f"{gateway.url}/admin/keys", key=ADMIN_KEY)
            ended_rows(front.rows, 10)
            kept = kept_in(tmp_path)
        kept |= kept_in(tmp_path)
    assert any(name.startswith("journal-") for name in kept)
    assert any(ASKED.encode() in data for data in kept.values()), "nothing was logged at all"
    for secret in (key, key.removeprefix("sk-oa-")[12:], CALLER_KEY, ADMIN_KEY, CREDENTIAL,
                   KEY_SECRET, PASTED):  # fmt: skip
        found = [name for name, data in kept.items() if secret.encode() in data]
        assert [] == found, f"{secret} is in there"
        if secret != key.removeprefix("sk-oa-")[12:]:
            assert [] == [one.body for one in told if secret.encode() in one.body]
    lines = [line for data in kept.values() for line in data.lower().splitlines()]
    # What `serve` tells to try has no key in it.
    told_at_start = b"'authorization: bearer <key>'"
    shown = [line for line in lines if b"authorization" in line.replace(told_at_start, b"")]
    assert [] == shown


# -- looking at it


async def ask_some(branch: Bank, *keys: str, times: int = 3) -> list[str]:
    """Requests with each of `keys`, one after the other; the ids of their rows, latest first."""
    for _ in range(times):
        for key in keys:
            await branch.ask_as(key, chat())
    rows = await branch.ended(times * len(keys))
    rows.sort(key=lambda row: (row["created_ms"], row["request_id"]), reverse=True)
    return [row["request_id"] for row in rows]


async def test_pages_follow_each_other_without_gaps(tmp_path: Path) -> None:
    async with bank(tmp_path) as branch:
        branch.script(a=whole())
        ids = await ask_some(branch, CALLER_KEY, times=11)
        seen, path = [], "/admin/requests?limit=4"
        while path:
            page = await branch.admin(path)
            seen += [request["id"] for request in page["data"]]
            # Those that come meanwhile shift nothing.
            await branch.ask(chat())
            before = page["next_before"]
            path = f"/admin/requests?limit=4&before={before}" if before else ""
    assert ids == seen


async def test_filters_show_those_that_match(tmp_path: Path) -> None:
    async with bank(tmp_path) as branch:
        branch["a"].script(openai_error(400), model="other", repeat_last=True)
        branch["a"].script(whole(), repeat_last=True)
        made = await branch.admin("/admin/keys", {"name": "a key"})
        await ask_some(branch, made["key"], CALLER_KEY, times=2)
        await branch.ask({**chat(), "model": "other"})
        await branch.ended(5)

        async def count(query: str) -> int:
            return len((await branch.admin(f"/admin/requests?{query}"))["data"])

        assert 5 == await count("")
        assert 2 == await count(f"key_id={made['id']}")
        assert 1 == await count("model=other")
        assert 1 == await count("status=400")
        assert 0 == await count("until=2020-01-01")
        assert 5 == await count("since=2020-01-01")
        assert 400 == (await branch.get("/admin/requests?nonsense=1", ADMIN_KEY)).status
        assert 401 == (await branch.get("/admin/requests", made["key"])).status


COUNTS = (TokenCount(10, 1), TokenCount(200, 20), TokenCount(3_000, 300, cached=1_000))


async def test_the_sums_are_what_the_providers_told(tmp_path: Path) -> None:
    async with bank(tmp_path) as branch:
        for count in COUNTS:
            for model in ("m", "other"):
                said = Said(usage=count)
                branch["a"].script(openai_completion(said), openai_stream(said), model=model)
        keys = [await branch.make_key() for _ in range(2)]
        for model in ("m", "other"):
            for number in range(2 * len(COUNTS)):
                body = {**(chat() if number % 2 == 0 else streamed()), "model": model}
                await branch.ask_as(keys[number % 2], body)
        rows = await branch.ended(4 * len(COUNTS))
        by_model = await branch.admin("/admin/usage?group_by=model")
        by_all = await branch.admin("/admin/usage?group_by=key,model,deployment,day")
        overall = await branch.admin("/admin/usage")
        own = [(await branch.get("/v1/usage", key)).json for key in keys]
        others = await branch.get("/v1/usage", CALLER_KEY)
    prompt = 2 * sum(count.prompt for count in COUNTS)
    completion = 2 * sum(count.completion for count in COUNTS)
    cost = 2 * sum(map(cost_of, COUNTS))
    for line in by_model["data"]:
        assert (prompt, completion, 6) == (
            line["prompt_tokens"], line["completion_tokens"], line["requests"]
        )  # fmt: skip
        assert cost == line["cost_microusd"]
    assert {"m", "other"} == {line["model"] for line in by_model["data"]}
    (total,) = overall["data"]
    assert (2 * prompt, 2 * completion, 2 * cost) == (
        total["prompt_tokens"], total["completion_tokens"], total["cost_microusd"]
    )  # fmt: skip
    assert 4 == len(by_all["data"])
    per_key = Counter[str]()
    for row in rows:
        per_key[row["key_id"]] += row["cost_microusd"]
    assert sorted(per_key.values()) == sorted(
        sum(line["cost_microusd"] for line in told["data"]) for told in own
    )
    assert [] == others.json["data"]


async def test_a_caller_sees_its_own_usage_and_no_one_elses(tmp_path: Path) -> None:
    async with bank(tmp_path) as branch:
        branch.script(a=whole())
        mine, theirs = [await branch.make_key(budget_day_microusd=10**6) for _ in range(2)]
        await ask_some(branch, mine, theirs, theirs, times=1)
        told = await branch.get("/v1/usage", mine)
        refused = await branch.get("/v1/usage?key_id=key_0123456789ab", mine)
        nobody = await branch.get("/v1/usage", "no-key-at-all")
    assert [1] == [line["requests"] for line in told.json["data"]]
    (budget,) = told.json["key"]["budgets"]
    assert 0 < budget["spent_microusd"] == 10**6 - budget["left_microusd"]
    assert theirs not in told.body.decode()
    assert (400, 401) == (refused.status, nobody.status)


# -- who it was


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [("192.0.2.0/24", "198.51.100.9"), ("", "192.0.2.7"), ("10.0.0.0/8", "192.0.2.7")],
    ids=["trusted", "nobody is trusted", "another is trusted"],
)
async def test_a_proxy_is_believed_where_it_is_trusted(
    tmp_path: Path, trusted: str, expected: str
) -> None:
    async with bank(tmp_path, trusted_proxies=trusted) as branch:
        branch.script(a=whole())
        await branch.ask(chat(), x_forwarded_for="203.0.113.66, 198.51.100.9")
        (row,) = await branch.ended(1)
    assert expected == row["client_address"]


@pytest.mark.slow
def test_a_proxy_of_this_machine_tells_who_called(tmp_path: Path) -> None:
    with provider() as upstream:
        upstream.script(whole(), repeat_last=True)
        front = office(tmp_path, upstream, TRUSTED_PROXIES="127.0.0.1")
        with front.open() as gateway:
            url = f"{gateway.base_url}/chat/completions"
            given: tuple[dict[str, str], ...] = (
                {"X-Forwarded-For": "198.51.100.9"},
                {"X-Forwarded-For": "nonsense"},
                {},
            )
            for headers in given:
                assert 200 == exchange(url, chat(), key=CALLER_KEY, headers=headers).status
            rows = ended_rows(front.rows, 3)
            exported = front.cli("logs", "export").splitlines()
    addresses = ["127.0.0.1", "127.0.0.1", "198.51.100.9"]
    assert addresses == sorted(row["client_address"] for row in rows)
    assert addresses == sorted(json.loads(line)["client_address"] for line in exported)
