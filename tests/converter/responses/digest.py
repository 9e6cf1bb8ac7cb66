"""What a client of the real OpenAI SDK ends up with, for any response stream."""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx2
import openai
import orjson
from typing_extensions import override

from one_api.schemas import JsonObject


class _CannedTransport(httpx2.BaseTransport):
    """Answers every request with the same stream."""

    def __init__(self) -> None:
        self.stream = b""

    @override
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {"Content-Type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, content=self.stream)


@cache
def _client() -> tuple[openai.OpenAI, _CannedTransport]:
    # Made once: a client costs more than all the streams that a test digests with it.
    transport = _CannedTransport()
    http = httpx2.Client(transport=transport, trust_env=False)
    url = "http://gateway.invalid/v1"
    return openai.OpenAI(api_key="k", base_url=url, http_client=http, max_retries=0), transport


def sdk_events(stream: bytes) -> list[Any]:
    """What `responses.stream()` yields for `stream`, accumulated by the SDK itself.

    Raises: openai.APIError for an error told inside it; whatever the SDK stumbles over.
    """
    client, transport = _client()
    transport.stream = stream
    with client.responses.stream(model="m", input="?") as events:
        return list(events)


def final_response(stream: bytes) -> JsonObject:
    """The response that the last of the SDK's events brings, without what the SDK adds to it."""
    last = sdk_events(stream)[-1]
    response: JsonObject = last.response.to_dict(mode="json")
    for item in response["output"]:
        item.pop("parsed_arguments", None)
        for part in item.get("content") or ():
            part.pop("parsed", None)
    return response


def wire_events(stream: bytes) -> list[JsonObject]:
    """The events in `stream`, whose frames are named by their type and hold nothing else."""
    frames = [frame for frame in stream.split(b"\n\n") if frame != b": ping"]
    assert b"" == frames.pop()
    events = []
    for frame in frames:
        name, data = frame.split(b"\n")
        event = orjson.loads(data.removeprefix(b"data: "))
        assert b"event: " + event["type"].encode() == name
        events.append(event)
    return events


def types(stream: bytes) -> list[str]:
    """The types of the events in `stream`, without their common prefix."""
    return [event["type"].removeprefix("response.") for event in wire_events(stream)]
