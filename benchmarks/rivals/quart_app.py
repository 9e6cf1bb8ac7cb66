"""The least gateway in Python: Quart and one aiohttp session, with no keys, limits or ledger.

Runs in an environment of its own; what it adds to nginx is the price of the language.
"""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# Quart is not installed where types are checked.

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import aiohttp
import orjson
from quart import Quart, Response, request

app = Quart(__name__)
_ENDPOINTS: dict[str, str] = orjson.loads(os.environ["ENDPOINTS"])  # noqa: TID251 - no part of one_api
_HEADERS = {"Authorization": "Bearer sk-benchmark-upstream", "Content-Type": "application/json"}
_sessions: list[aiohttp.ClientSession] = []


@app.before_serving
async def open_session() -> None:
    """One pool of connections for the process."""
    connector = aiohttp.TCPConnector(limit=0)
    _sessions.append(aiohttp.ClientSession(connector=connector, read_bufsize=65_536))


@app.get("/ready")
async def ready() -> str:
    """Whether it serves."""
    return "ready"


@app.post("/v1/chat/completions")
async def chat() -> Response:
    """Pass one chat on, and its reply back."""
    asked = orjson.loads(await request.get_data())
    url = f"{_ENDPOINTS[asked['model']]}/v1/chat/completions"
    reply = await _sessions[0].post(url, data=orjson.dumps(asked), headers=_HEADERS)
    if not asked.get("stream"):
        async with reply:
            return Response(await reply.read(), content_type="application/json")
    response = Response(_pieces(reply), content_type="text/event-stream")
    response.timeout = None
    return response


async def _pieces(reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with reply:
        async for data in reply.content.iter_any():
            yield data
