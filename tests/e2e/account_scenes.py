"""Gateways that keep accounts, and what their databases say when nobody but the test asks them.

The rows are read with SQLite's own module and with psql: nothing of the gateway's tells its story.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import pytest

from one_api.storage import ledger
from tests.e2e.exchanges import Answer
from tests.e2e.failover_scenes import CALLER_KEY, World, answer_of, chat, world, written
from tests.e2e.gateways import GatewayProcess, run_to_end, running
from tests.runtime.line import HOST, Line
from tests.scripted_upstream import (
    CHAT_PATH,
    MODELS_PATH,
    ScriptedUpstream,
    TokenCount,
    models_reply,
)
from tests.scripted_upstream import Answer as Said
from tests.storage.postgres import PostgresServer
from tests.web.stored import lay_tables

ADMIN_KEY = "an-admin-key-that-is-long-enough"
KEY_SECRET = "a secret of the server that is long enough for anybody"
CREDENTIAL = "sk-credential-of-a"
#: What the model `m` costs at `a`, in micro-dollars per token of the prompt and the completion.
PROMPT_MICROUSD, COMPLETION_MICROUSD = 2, 10

#: Three models: each prompt token costs 2, each completion token 10 micro-dollars.
PRICED = """
upstreams:
  - {name: a, adapter: openai, sk: sk-credential-of-a, endpoint: "${A_URL}",
     models: [m, other, flow], price: {input: 2, output: 10}}
"""

Row = dict[str, Any]


def cost_of(count: TokenCount) -> int:
    """What a reply of `m` costs at `a`, in micro-dollars."""
    return count.prompt * PROMPT_MICROUSD + count.completion * COMPLETION_MICROUSD


def counted(prompt: int, completion: int, *words: str) -> Said:
    """An answer that took so many tokens."""
    return Said(words=words or ("Hello",), usage=TokenCount(prompt, completion))


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


# -- databases


def sqlite_rows(path: Path, table: str = "requests") -> list[Row]:
    """All rows of a table, in the order in which they were made."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]  # noqa: S608 - names of ours


def postgres_rows(server: PostgresServer, name: str, table: str = "requests") -> list[Row]:
    """All rows of a table of the database `name`."""
    found = server.execute(f"SELECT row_to_json(t) FROM {table} t", name)  # noqa: S608 - names of ours
    return [json.loads(line) for line in found.splitlines()]


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server of the test's own."""
    # Not pytest's directory: that can be entered by one user only.
    with TemporaryDirectory(prefix="one-api-postgres-") as directory:
        server = PostgresServer(Path(directory))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def settled(rows: Sequence[Row]) -> list[Row]:
    """Those of `rows` that have ended."""
    return [row for row in rows if row["state"] != "reserved"]


def ended_rows(read: Callable[[], list[Row]], count: int, timeout_s: float = 10.0) -> list[Row]:
    """All rows, once `count` have ended. Raises: AssertionError when they do not in time."""
    deadline = time.monotonic() + timeout_s
    while len(settled(rows := read())) < count:
        assert time.monotonic() < deadline, f"{len(settled(rows))} of {count} rows: {rows[-3:]}"
        time.sleep(0.01)
    return rows


# -- a gateway on the test's own event loop


class Bank(World):
    """One gateway that keeps accounts in `directory`, and its providers."""

    @classmethod
    def of(cls, made: World, directory: Path) -> Self:
        """The gateway `made`, whose database is in `directory`."""
        bank = cls(made._bridge, made._providers)
        bank.database = directory / "one_api.db"
        return bank

    database: Path

    async def ask_as(self, key: str, body: object, path: str = CHAT_PATH, **headers: str) -> Answer:
        """The whole answer to a request with this key."""
        return await self.ask(body, path, **bearer(key), **headers)

    async def until(self, key: str, status: int, timeout_s: float = 10.0) -> Answer:
        """The first answer with this status to requests with `key`.

        Raises: TimeoutError.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                answer = await self.ask_as(key, chat())
                if answer.status == status:
                    return answer
                await asyncio.sleep(0.02)

    async def get(self, path: str, key: str = CALLER_KEY, *, method: str = "GET") -> Answer:
        """The whole answer to a request without a body; `path` may have a query."""
        name, _, query = path.partition("?")
        pairs = [(b"authorization", f"Bearer {key}".encode()), HOST]
        line = Line(self._bridge, name, method=method, headers=pairs, query_string=query.encode())
        return await answer_of(line)

    async def admin(self, path: str, body: object = None, *, method: str = "POST") -> Any:
        """What the operator is told: GET without a body, POST with one."""
        if body is None:
            answer = await self.get(path, ADMIN_KEY, method="GET")
        else:
            answer = await self.ask(body, path, method=method, **bearer(ADMIN_KEY))
        assert answer.status < 300, answer.body
        return answer.json

    async def make_key(self, **limits: object) -> str:
        """A new key with `limits`, made by the operator."""
        made = await self.admin("/admin/keys", {"name": "a key of a test", **limits})
        key = made["key"]
        assert isinstance(key, str)
        return key

    async def ended(self, count: int, timeout_s: float = 10.0) -> list[Row]:
        """All rows of the ledger, once `count` have ended."""
        return await asyncio.to_thread(
            ended_rows, lambda: sqlite_rows(self.database), count, timeout_s
        )

    async def table(self, name: str) -> list[Row]:
        """All rows of a table."""
        return await asyncio.to_thread(sqlite_rows, self.database, name)


@contextlib.asynccontextmanager
async def bank(directory: Path, text: str = PRICED, **settings: Any) -> AsyncIterator[Bank]:
    """A gateway with an operator, whose database is in `directory`."""
    if "database_url" not in settings:
        await asyncio.to_thread(lay_tables, directory)
    given = {
        "admin_key": ADMIN_KEY,
        "database_url": f"sqlite:///{directory}/one_api.db",
        **settings,
    }
    with pytest.MonkeyPatch.context() as patch:
        # What is written half a second later is what tests of its rows wait for.
        patch.setattr(ledger, "BATCH_WAIT_S", 0.02)
        async with world(directory, text, **given) as made:
            yield Bank.of(made, directory)


async def until_true(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait for something that others make true. Raises: TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - other threads make it true, which know no events
            await asyncio.sleep(0.01)


def kept_in(directory: Path) -> dict[str, bytes]:
    """The files in which a gateway keeps anything, by name; not the file of its upstreams."""
    kept = {}
    for file in directory.rglob("*"):
        if file.name != "upstreams.yaml" and file.is_file():
            with contextlib.suppress(FileNotFoundError):  # a segment of which all was written
                kept[file.name] = file.read_bytes()
    return kept


# -- gateways as processes


@dataclass(slots=True)
class Office:
    """The operator of gateways that are processes: their environment, and their command line."""

    directory: Path
    environment: dict[str, str]

    def cli(self, *arguments: str) -> str:
        """What `one-api ARGUMENTS` prints.

        Raises: AssertionError when it fails.
        """
        done = run_to_end(arguments, self.directory, self.environment)
        assert 0 == done.returncode, done.stderr
        return done.stdout

    def make_key(self, *options: str) -> str:
        """A new key, made on the command line."""
        return self.cli("keys", "create", "--name", "a key of a test", *options).strip()

    @contextlib.contextmanager
    def open(self, **environment: str) -> Iterator[GatewayProcess]:
        """A gateway that answers, and is gone when the context ends."""
        with running(self.directory, {**self.environment, **environment}) as process:
            yield process

    @property
    def database(self) -> Path:
        """The SQLite file, where there is one."""
        return self.directory / "one_api.db"

    def rows(self, table: str = "requests") -> list[Row]:
        """All rows of a table of the SQLite file."""
        return sqlite_rows(self.database, table)


def office(
    directory: Path, provider: ScriptedUpstream, text: str = PRICED, **environment: str
) -> Office:
    """An operator who has one provider, and one API key in the environment."""
    path = written(directory, text, {"a": provider.url})
    return Office(
        directory,
        {
            "API_KEYS": CALLER_KEY,
            "ADMIN_KEY": ADMIN_KEY,
            "UPSTREAMS_FILE": str(path),
            **environment,
        },
    )


@contextlib.contextmanager
def provider() -> Iterator[ScriptedUpstream]:
    """A provider that lists its model, and was asked for nothing that it has no reply for."""
    with ScriptedUpstream() as upstream:
        upstream.script(models_reply(["m"]), path=MODELS_PATH, repeat_last=True)
        yield upstream
        assert [] == upstream.unexpected


def calls(provider: ScriptedUpstream) -> int:
    """How often a provider was asked for anything but its models."""
    return sum(request.path != MODELS_PATH for request in provider.requests)
