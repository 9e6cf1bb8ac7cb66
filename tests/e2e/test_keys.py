"""Keys that the operator makes: what they open, and what they do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.account_scenes import (
    ADMIN_KEY,
    KEY_SECRET,
    PRICED,
    Bank,
    bank,
    calls,
    kept_in,
    office,
    provider,
)
from tests.e2e.exchanges import exchange
from tests.e2e.failover_scenes import CALLER_KEY, EMBEDDINGS_PATH, RESPONSES_PATH, chat, whole
from tests.scripted_upstream import (
    CHAT_PATH,
    HELLO,
    MESSAGES_PATH,
    Reply,
    anthropic_message,
    anthropic_stream,
    json_reply,
    openai_completion,
)

CLAUDE = PRICED.replace("adapter: openai", "adapter: claude")
MESSAGE = {"model": "m", "messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 9}
BODIES: dict[str, dict[str, Any]] = {
    CHAT_PATH: chat(),
    "/v1/completions": {"model": "m", "prompt": "Hello?"},
    EMBEDDINGS_PATH: {"model": "m", "input": "Hello?"},
    RESPONSES_PATH: {"model": "m", "input": "Hello?"},
    MESSAGES_PATH: MESSAGE,
    "/v1/messages/count_tokens": {"model": "m", "messages": MESSAGE["messages"]},
    "/v1/rerank": {"model": "m", "query": "Hello?"},
}


@pytest.fixture
async def branch(tmp_path: Path) -> AsyncIterator[Bank]:
    async with bank(tmp_path) as made:
        yield made


# -- making them


async def test_a_key_that_the_operator_makes_opens_the_gateway(branch: Bank) -> None:
    branch.script(a=whole())
    key = await branch.make_key()
    as_openai = await branch.ask_as(key, chat())
    as_anthropic = await branch.ask_as("no-key-at-all", chat(), x_api_key=key)
    with_the_old_one = await branch.ask(chat())
    assert [200] * 3 == [one.status for one in (as_openai, as_anthropic, with_the_old_one)]


async def test_a_key_is_shown_once_and_stored_nowhere(branch: Bank, tmp_path: Path) -> None:
    made = await branch.admin("/admin/keys", {"name": "shown once"})
    key = made["key"]
    listed = await branch.get("/admin/keys", ADMIN_KEY)
    one = await branch.get(f"/admin/keys/{made['id']}", ADMIN_KEY)
    assert key.startswith(f"sk-oa-{made['prefix']}")
    assert [made["id"]] == [entry["id"] for entry in listed.json["data"]]
    for answer in (listed, one):
        assert "key" not in answer.json
        assert key not in answer.body.decode()
    secret = key.removeprefix(f"sk-oa-{made['prefix']}").encode()
    for name, data in kept_in(tmp_path).items():
        assert secret not in data, name


@pytest.mark.parametrize(
    "wrong",
    ["", "sk-oa-", "sk-oa-" + "x" * 43, "another-key", ADMIN_KEY, "sk-oa-' OR 1=1 --"],
)
async def test_what_is_no_key_opens_nothing(branch: Bank, wrong: str) -> None:
    await branch.make_key()
    answer = await branch.ask_as(wrong, chat())
    assert (401, "invalid_api_key") == (answer.status, answer.error["code"])
    assert branch.asked == []


async def test_one_character_makes_another_key(branch: Bank) -> None:
    key = await branch.make_key()
    last = "A" if key[-1] != "A" else "B"
    assert 401 == (await branch.ask_as(key[:-1] + last, chat())).status


async def test_clients_keys_do_not_open_the_operators_door(branch: Bank) -> None:
    key = await branch.make_key()
    for caller in (key, CALLER_KEY):
        answer = await branch.get("/admin/keys", caller)
        assert 401 == answer.status


@pytest.mark.slow
async def test_the_first_key_closes_a_gateway_that_was_open(tmp_path: Path) -> None:
    async with bank(tmp_path, api_keys=()) as branch:
        branch.script(a=whole())
        assert 200 == (await branch.ask_as("anybody", chat())).status
        key = await branch.make_key()
        await branch.until("anybody", 401, 8)
        assert 200 == (await branch.ask_as(key, chat())).status
        assert 401 == (await branch.ask_as("anybody", chat())).status


# -- what they may do


@pytest.mark.parametrize("path", BODIES)
async def test_a_model_that_a_key_may_not_ask_for_does_not_exist_for_it(
    branch: Bank, path: str
) -> None:
    key = await branch.make_key(models=["other"])
    answer = await branch.ask_as(key, BODIES[path], path)
    unknown = await branch.ask_as(key, {**BODIES[path], "model": "no-such"}, path)
    assert (404, 404) == (answer.status, unknown.status)
    told, known = answer.json["error"]["message"], unknown.json["error"]["message"]
    assert known.replace("no-such", "m") == told
    assert branch.asked == []


async def test_an_allowed_model_is_answered_and_listed_alone(branch: Bank) -> None:
    branch.script(a=whole())
    key = await branch.make_key(models=["oth*"])
    answer = await branch.ask_as(key, {**chat(), "model": "other"})
    listed = await branch.get("/v1/models", key)
    hidden = await branch.get("/v1/models/m", key)
    assert 200 == answer.status
    assert ["other"] == [model["id"] for model in listed.json["data"]]
    assert 404 == hidden.status


async def test_no_fallback_leads_around_the_list_of_models(branch: Bank) -> None:
    branch.script(a=whole())
    key = await branch.make_key(models=["other"], may_route=True)
    listed = await branch.ask_as(key, {**chat(), "model": "other", "models": ["m"]})
    header = await branch.ask_as(key, {**chat(), "model": "other"}, x_one_api_fallbacks="m")
    assert (404, 404) == (listed.status, header.status)
    assert branch.asked == []


LIMITED: dict[str, tuple[str, str, dict[str, Any], str, Reply]] = {
    "chat": (PRICED, CHAT_PATH, chat(), "max_completion_tokens", whole()),
    "chat, the old way": (PRICED, CHAT_PATH, chat(), "max_tokens", whole()),
    "completions": (
        PRICED, "/v1/completions", BODIES["/v1/completions"], "max_tokens",
        json_reply(200, {"id": "c", "object": "text_completion", "created": 1, "model": "m",
                         "choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]}),
    ),
    "responses relayed": (PRICED, RESPONSES_PATH, BODIES[RESPONSES_PATH], "max_output_tokens",
                          json_reply(200, {"id": "r", "object": "response", "output": []})),
    "responses translated": (CLAUDE, RESPONSES_PATH, BODIES[RESPONSES_PATH], "max_output_tokens",
                             anthropic_stream()),
    "messages translated": (PRICED, MESSAGES_PATH, MESSAGE, "max_tokens", openai_completion()),
    "messages relayed": (CLAUDE, MESSAGES_PATH, MESSAGE, "max_tokens", anthropic_message()),
}  # fmt: skip


DOORS = [pytest.param(door, id=name) for name, door in LIMITED.items()]


@pytest.mark.parametrize("door", DOORS)
async def test_no_door_gives_more_tokens_than_the_key_may_ask_for(
    tmp_path: Path, door: tuple[str, str, dict[str, Any], str, Reply]
) -> None:
    text, path, body, field, reply = door
    async with bank(tmp_path, text) as branch:
        branch.script(a=reply)
        key = await branch.make_key(max_tokens=50)
        over = await branch.ask_as(key, {**body, field: 51}, path)
        assert [] == branch.requests("a")
        within = await branch.ask_as(key, {**body, field: 50}, path)
        (request,) = branch.requests("a")
    assert (400, 200) == (over.status, within.status), (over.body, within.body)
    assert "at most 50 tokens" in over.json["error"]["message"]
    assert 50 in request.json.values()


@pytest.mark.parametrize("door", [door for door in DOORS if "messages" not in str(door.id)])
async def test_who_sets_no_limit_gets_that_of_the_key(
    tmp_path: Path, door: tuple[str, str, dict[str, Any], str, Reply]
) -> None:
    text, path, body, _, reply = door
    async with bank(tmp_path, text) as branch:
        branch.script(a=reply)
        key = await branch.make_key(max_tokens=50)
        answer = await branch.ask_as(key, body, path)
        (request,) = branch.requests("a")
    assert 200 == answer.status, answer.body
    asked = [value for name, value in request.json.items() if name.startswith("max_")]
    assert asked, "the provider decides"
    assert max(asked) <= 50


async def test_a_key_ends_when_it_was_told_to(branch: Bank) -> None:
    branch.script(a=whole())
    ends = datetime.now(UTC) + timedelta(seconds=1)
    key = await branch.make_key(expires_at=ends.isoformat())
    assert 200 == (await branch.ask_as(key, chat())).status
    answer = await branch.until(key, 401, 5)
    assert (401, "invalid_api_key") == (answer.status, answer.error["code"])
    assert datetime.now(UTC) >= ends


# -- the gateway as operators run it


@pytest.mark.slow
def test_keys_of_the_command_line_open_a_gateway_that_runs(tmp_path: Path) -> None:
    with provider() as upstream:
        upstream.script(whole(), repeat_last=True)
        front = office(tmp_path, upstream)
        with front.open() as gateway:
            key = front.make_key("--model", "m", "--requests-per-minute", "2", "--max-tokens", "50")
            with openai.OpenAI(base_url=gateway.base_url, api_key=key, max_retries=0) as client:
                reply = client.chat.completions.create(**chat())
                assert HELLO.text == reply.choices[0].message.content
                with pytest.raises(openai.NotFoundError):
                    client.chat.completions.create(**{**chat(), "model": "other"})
                with pytest.raises(openai.BadRequestError, match="at most 50"):
                    client.chat.completions.create(**chat(), max_tokens=51)
            assert 50 == upstream.requests[-1].json["max_completion_tokens"]
            listed = front.cli("keys", "list", "--json")
            assert key not in listed
            assert '"state":"good"' in listed
            url = f"{gateway.base_url}/models"
            assert 200 == exchange(url, key=CALLER_KEY).status
            assert 401 == exchange(url, key=key[:-1]).status
        assert key not in gateway.log
    assert 1 == calls(upstream)


@pytest.mark.slow
def test_the_secret_of_another_server_makes_keys_worthless(tmp_path: Path) -> None:
    with provider() as upstream:
        front = office(tmp_path, upstream, KEY_SECRET=KEY_SECRET)
        key = front.make_key()
        with front.open(KEY_SECRET=KEY_SECRET[::-1]) as gateway:
            assert 401 == exchange(f"{gateway.base_url}/models", key=key).status
        with front.open() as gateway:
            assert 200 == exchange(f"{gateway.base_url}/models", key=key).status
