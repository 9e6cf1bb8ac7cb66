"""What a client of the real Anthropic SDK ends up with, for any bytes a gateway may send."""

from __future__ import annotations

from functools import cache
from typing import Any

import anthropic
import httpx2
import orjson
from typing_extensions import override

from one_api.schemas import JsonObject


class _CannedTransport(httpx2.BaseTransport):
    """Answers every request with the same reply."""

    def __init__(self) -> None:
        self.body = b""
        self.content_type = ""

    @override
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {"Content-Type": self.content_type}
        return httpx2.Response(200, headers=headers, content=self.body)


@cache
def _client() -> tuple[anthropic.Anthropic, _CannedTransport]:
    # Made once: a client costs more than all the streams that a test digests with it.
    transport = _CannedTransport()
    http = httpx2.Client(transport=transport, trust_env=False)
    url = "http://gateway.invalid"
    client = anthropic.Anthropic(api_key="k", base_url=url, http_client=http, max_retries=0)
    return client, transport


_ASKED: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}


def digest(stream: bytes) -> JsonObject:
    """The message that the SDK's own decoder and accumulator make of `stream`.

    Raises: anthropic.APIStatusError for an error told inside it; whatever the SDK stumbles over.
    """
    client, transport = _client()
    transport.body, transport.content_type = stream, "text/event-stream"
    with client.messages.stream(**_ASKED) as events:
        return facts(events.get_final_message())


def read(message: JsonObject) -> JsonObject:
    """The message that the SDK reads in a complete reply."""
    client, transport = _client()
    transport.body, transport.content_type = orjson.dumps(message), "application/json"
    return facts(client.messages.create(**_ASKED))


def facts(message: anthropic.types.Message) -> JsonObject:
    """What a message says, streamed or not."""
    told = message.to_dict(mode="json")
    for block in told["content"]:  # type: ignore[attr-defined]  # to_dict gives plain objects
        block.pop("parsed_output", None)
    return told
