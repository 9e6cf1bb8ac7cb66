"""The package on the first page for authors, made from the page: it serves, and keeps every law."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import re
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from one_api.adapter.testing import Answer, ScriptedUpstream, TokenCount
from one_api.adapter.testing.suite import find_subject, run
from one_api.app import create_app
from one_api.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/adapters/index.md").read_text()
FILES = dict(re.findall(r"^`([\w./]+)`[:,].*?\n\n```\w+\n(.+?)```", PAGE, re.S | re.M))
ANSWER = Answer(words=("Grüße, ", "world", "!"), usage=TokenCount(prompt=7, completion=3))
KEY = "acme-credential"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's package, as installed as pip could make it; gone again after the test."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    metadata = tmp_path / "one_api_acme-0.1.0.dist-info"
    metadata.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(f"{head}\n{project['readme']['text']}\n")
    lines = [
        f"[{group}]\n{k} = {v}\n"
        for group, e in project["entry-points"].items()
        for k, v in e.items()
    ]
    (metadata / "entry_points.txt").write_text("".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)  # no .env file
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "one_api_acme"]:
        del sys.modules[name]


@pytest.fixture
async def acme(package: None) -> AsyncIterator[ScriptedUpstream]:
    """Acme itself, which says `ANSWER`."""
    profile = find_subject("acme").profile
    assert profile is not None
    upstream = ScriptedUpstream(
        lambda asked: (
            profile.models(["acme-1"], asked)
            if asked.method == "GET"
            else profile.answer(ANSWER, asked)
        )
    )
    await upstream.open()
    yield upstream
    await upstream.close()


@pytest.fixture
def client(acme: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setenv("ACME_API_KEY", KEY)
    monkeypatch.setenv("ACME_BASE_URL", acme.url)
    settings = Settings.load(one_api_adapters="acme", database_url="none", no_auth=True)
    return create_app(settings).test_client()


async def ask(client: FlaskClient, **fields: Any) -> str:
    """The body of a reply; the client waits in a thread, since Acme is on this one."""
    body = {"model": "acme-1", "messages": [{"role": "user", "content": "Hi"}], **fields}

    def post() -> str:
        reply = client.post("/v1/chat/completions", json=body)
        assert reply.status_code == 200, reply.text
        return reply.text

    try:
        return await asyncio.to_thread(post)
    finally:
        await asyncio.to_thread(client.application.close)  # type: ignore[attr-defined]  # ours


def test_the_adapter_has_forty_lines() -> None:
    code = FILES["one_api_acme/__init__.py"]
    kinds = (ast.Import, ast.ImportFrom, ast.Expr)
    head = [node.lineno for node in ast.parse(code).body if isinstance(node, kinds)]
    lines = [at for at, line in enumerate(code.splitlines(), 1) if line and at not in head]
    assert len(lines) <= 40


async def test_it_answers_through_a_gateway(client: FlaskClient, acme: ScriptedUpstream) -> None:
    reply = json.loads(await ask(client, max_tokens=9))
    message, usage = reply["choices"][0]["message"], reply["usage"]
    assert ("Grüße, world!", "acme-1") == (message["content"], reply["model"])
    assert (7, 3) == (usage["prompt_tokens"], usage["completion_tokens"])
    (asked,) = [one for one in acme.requests if one.method == "POST"]
    assert f"Bearer {KEY}" == asked.headers["authorization"]
    assert ("acme-1", 9) == (asked.json["model"], asked.json["limit"])


async def test_it_streams_through_a_gateway(client: FlaskClient) -> None:
    text = await ask(client, stream=True, stream_options={"include_usage": True})
    *chunks, done, end = text.split("\n\n")
    assert ("data: [DONE]", "") == (done, end)
    told = [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]
    deltas = [choice["delta"] for chunk in told for choice in chunk["choices"]]
    assert ["Grüße, ", "world", "!"] == [d["content"] for d in deltas if d.get("content")]
    assert (7, 3) == (told[-1]["usage"]["prompt_tokens"], told[-1]["usage"]["completion_tokens"])


async def test_it_keeps_every_law(package: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    report = await run(find_subject("acme"))
    assert {} == {r.law.id: r.detail for r in report.rulings if r.outcome == "broken"}
    assert report.kept == report.total > 50
