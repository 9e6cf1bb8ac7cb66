"""Every door, and every way in which a provider could say our credential, or a client its own key.

The secrets look like nothing that a pattern knows: what takes them out is that they are known.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.account_scenes import Bank, bank, bearer, kept_in
from tests.e2e.exchanges import Answer
from tests.e2e.failover_scenes import EMBEDDINGS_PATH, RESPONSES_PATH, anthropic_begun, begun
from tests.e2e.test_alerts import Inbox
from tests.scripted_upstream import (
    CHAT_PATH,
    MESSAGES_PATH,
    Close,
    Reply,
    anthropic_error,
    bytes_reply,
    json_reply,
    openai_error,
    sse_frame,
    sse_reply,
)

pytestmark = pytest.mark.slow

CREDENTIAL = "0a1b2c3d4e5f60718293"
CALLER_KEY = "f0e1d2c3b4a5968778695a4b"
ADMIN_KEY = "13579bdf02468ace13579bdf02468ace"
METRICS_TOKEN = "97531fdbeca8642097531fdb"
#: Of nobody here, in places where only its looks can tell what it is.
PASTED = "sk-pasted-0123456789abcdefghijklmnop"
QUOTED = f"the key {CREDENTIAL} may not do this"
QUOTED_WITHOUT = re.compile(r"the key (?:\[redacted\]|\*+) may not do this")
SECRETS = (CREDENTIAL, CALLER_KEY, ADMIN_KEY, METRICS_TOKEN, PASTED)

#: Upstreams of their own for refused credentials: nobody asks them again for a while.
REFUSING = {"b": 401, "c": 403}
ENTRY = (
    "  - {{name: {name}, adapter: {adapter}, sk: %s, endpoint: '${{{url}}}', models: [{models}]}}"
)


class Door(NamedTuple):
    """A path and what is asked there, of a provider that speaks like `adapter`."""

    path: str
    fields: Mapping[str, Any]
    adapter: str = "openai"


MESSAGES = [{"role": "user", "content": f"what is {PASTED} for?"}]
CHAT = {"messages": MESSAGES}
MESSAGE = {"messages": MESSAGES, "max_tokens": 9}
TEXT = {"input": f"what is {PASTED} for?"}
STREAM = {"stream": True}
DOORS = {
    "chat": Door(CHAT_PATH, CHAT),
    "chat stream": Door(CHAT_PATH, CHAT | STREAM),
    "chat of claude": Door(CHAT_PATH, CHAT, "claude"),
    "completions": Door("/v1/completions", {"prompt": PASTED}),
    "completions stream": Door("/v1/completions", {"prompt": PASTED} | STREAM),
    "embeddings": Door(EMBEDDINGS_PATH, TEXT),
    "responses": Door(RESPONSES_PATH, TEXT),
    "responses stream": Door(RESPONSES_PATH, TEXT | STREAM),
    "responses of claude": Door(RESPONSES_PATH, TEXT | STREAM, "claude"),
    "messages": Door(MESSAGES_PATH, MESSAGE, "claude"),
    "messages stream": Door(MESSAGES_PATH, MESSAGE | STREAM, "claude"),
    "messages of openai": Door(MESSAGES_PATH, MESSAGE),
    "messages stream of openai": Door(MESSAGES_PATH, MESSAGE | STREAM),
    "tokens": Door(f"{MESSAGES_PATH}/count_tokens", {"messages": MESSAGES}, "claude"),
    "passed on": Door("/v1/rerank", {"query": PASTED, "documents": ["a"]}),
    "passed on stream": Door("/v1/rerank", {"query": PASTED} | STREAM),
}
#: A stream that breaks off, and that another deployment goes on with.
TORN = """
groups: {default: {after_commit: continue}}
upstreams:
  - {name: a, adapter: claude, sk: sk-of-the-first, endpoint: "${A_URL}", models: [m],
     model_map: {m: claude-haiku-4-5}}
  - {name: b, adapter: claude, sk: %s, endpoint: "${B_URL}", models: [m],
     model_map: {m: claude-haiku-4-5}}
"""
#: Where an operator looks.
PAGES = (
    "/admin/requests",
    "/admin/deployments",
    "/admin/upstreams",
    "/admin/route?model={model}",
    "/admin/usage",
    "/admin/keys",
    "/health/deployments",
    "/health/ready",
)


def refusal(door: Door, status: int) -> Reply:
    headers = {"X-Debug": QUOTED, "WWW-Authenticate": QUOTED, "Retry-After": QUOTED}
    if door.adapter == "claude":
        return anthropic_error(status, message=QUOTED, headers=headers)
    return openai_error(status, QUOTED, headers=headers)


def faults(door: Door) -> dict[str, Reply]:
    """Ways to say the credential, none of which is about the credential."""
    first = anthropic_begun("Hel") if door.adapter == "claude" else begun("Hel")
    in_band: dict[str, Any] = {"type": "error", "error": {"type": "x", "message": QUOTED}}
    told = {
        **{str(status): refusal(door, status) for status in (400, 404, 413, 429, 500, 503)},
        "an error with status 200": json_reply(200, in_band),
        "an error of another shape": json_reply(
            400, {"detail": [{"msg": QUOTED, "input": QUOTED}]}
        ),
        "broken JSON": bytes_reply(200, f'{{"id": "{QUOTED}'.encode(), "application/json"),
        "a page": bytes_reply(502, f"<h1>{QUOTED}</h1>".encode(), "text/html"),
        "a redirect": bytes_reply(
            302, b"", "text/plain", {"Location": f"https://elsewhere.example/?key={CREDENTIAL}"}
        ),
    }
    if door.fields.get("stream"):
        told |= {
            "an error in a stream": sse_reply([*first, sse_frame(in_band)]),
            "an error first": sse_reply([sse_frame(in_band)]),
            "a broken frame": sse_reply([*first, f"data: {{{QUOTED}\n\n".encode()]),
        }
    return told


def upstreams(door: Door, models: list[str]) -> str:
    served = {"a": ", ".join(models)} | {name: f"refused-{name}" for name in REFUSING}
    entries = [
        ENTRY.format(name=name, adapter=door.adapter, url=f"{name.upper()}_URL", models=listed)
        for name, listed in served.items()
    ]
    return "\n".join(["upstreams:", *entries]) % ((CREDENTIAL,) * len(entries))


@contextlib.asynccontextmanager
async def watched(
    directory: Path, text: str, inbox: Inbox, *, max_attempts: int = 1
) -> AsyncIterator[Bank]:
    settings: dict[str, Any] = {
        "api_keys": CALLER_KEY,
        "admin_key": ADMIN_KEY,
        "metrics_token": METRICS_TOKEN,
        "request_log": "full",
        "max_attempts": max_attempts,
        "data_dir": directory / "data",
        "alert_webhook_url": inbox.server.url,
        "alert_group_s": 0,
        "alert_max_per_minute": 60,
    }
    async with bank(directory, text, **settings) as gateway:
        yield gateway


async def ask(gateway: Bank, door: Door, model: str) -> Answer:
    headers = {**bearer(CALLER_KEY), "x-trace": PASTED, "cookie": f"s={CALLER_KEY}"}
    return await gateway.ask({"model": model, **door.fields}, door.path, **headers)


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
async def test_no_secret_leaves_or_stays(tmp_path: Path, door: Door) -> None:
    inbox, ways = Inbox(), faults(door)
    models = [f"m{at}" for at in range(len(ways))]
    told: dict[str, str] = {}

    with inbox.server:
        async with watched(tmp_path, upstreams(door, models), inbox) as gateway:
            for model, (way, reply) in zip(models, ways.items(), strict=True):
                gateway["a"].script(reply, model=model, repeat_last=True)
                told[way] = shown(await ask(gateway, door, model))
            for name, status in REFUSING.items():
                gateway.script(**{name: refusal(door, status)})
                for at in range(3):
                    answer = await ask(gateway, door, f"refused-{name}")
                    told[f"{status}, {at}"] = shown(answer)
                await inbox.until(("credential_refused", name, "open"))
            told |= await pages_of(gateway, len(told), "m0")
        told |= {f"alert {at}": one.body.decode() for at, one in enumerate(inbox.server.requests)}
    require_no_secret(told, tmp_path)


async def test_no_secret_of_who_goes_on_with_a_stream_leaves_or_stays(tmp_path: Path) -> None:
    door = Door(CHAT_PATH, CHAT | STREAM, "claude")
    frames = anthropic_begun("Hello,", " wor")
    quoting = faults(door)["an error in a stream"]

    inbox = Inbox()
    with inbox.server:
        async with watched(tmp_path, TORN % CREDENTIAL, inbox, max_attempts=2) as gateway:
            gateway.script(a=sse_reply([*frames, Close()]), b=quoting)
            answer = await ask(gateway, door, "m")
            assert ["a", "b"] == gateway.asked
            told = {"stream": shown(answer), **await pages_of(gateway, 1, "m")}
    require_no_secret(told, tmp_path)


async def pages_of(gateway: Bank, count: int, model: str) -> dict[str, str]:
    """What the operator is shown once `count` requests have ended."""
    rows = await gateway.ended(count)
    pages = [page.format(model=model) for page in PAGES]
    pages += [f"/admin/requests/{row['request_id']}" for row in rows]
    told = {page: shown(await ask_as_operator(gateway, page, ADMIN_KEY)) for page in pages}
    return {**told, "/metrics": shown(await ask_as_operator(gateway, "/metrics", METRICS_TOKEN))}


def require_no_secret(told: Mapping[str, str], directory: Path) -> None:
    kept = {name: data.decode(errors="replace") for name, data in kept_in(directory).items()}
    assert "one_api.db" in kept
    assert QUOTED_WITHOUT.search("".join(told.values())), "nothing was quoted at all"
    assert [] == [
        (where, secret)
        for where, text in (*told.items(), *kept.items())
        for secret in SECRETS
        if secret in text
    ]


async def ask_as_operator(gateway: Bank, page: str, key: str) -> Answer:
    answer = await gateway.get(page, key)
    assert 200 == answer.status, page
    return answer


def shown(answer: Answer) -> str:
    """All that a client sees."""
    return json.dumps([answer.status, dict(answer.headers), answer.body.decode()])
