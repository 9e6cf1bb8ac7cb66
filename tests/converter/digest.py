"""What a client of the real OpenAI SDK ends up with, for any bytes a gateway may send."""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx2
import openai
from openai.lib.streaming.chat import ChatCompletionStreamState
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


def digest(stream: bytes) -> JsonObject:
    """The completion that the SDK's own decoder and accumulator make of `stream`.

    Raises: openai.APIError for an error told inside it; whatever the SDK stumbles over.
    """
    client, transport = _client()
    transport.stream = stream
    state = ChatCompletionStreamState()
    chunks = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "?"}], stream=True
    )
    for chunk in chunks:
        # The events made on the way are what `.stream()` yields: making them must not fail.
        list(state.handle_chunk(chunk))
    return state.current_completion_snapshot.to_dict(mode="json")


def facts(completion: JsonObject) -> JsonObject:
    """What a completion says, streamed or not.

    Left out: the `index` that only streams need, and whether nothing is "", null or absent.
    """
    return {
        "choices": [_choice_facts(choice) for choice in completion["choices"]],
        "usage": completion.get("usage"),
    } | {key: completion.get(key) for key in ("id", "created", "model", "system_fingerprint")}


def _choice_facts(choice: JsonObject) -> JsonObject:
    message = choice["message"]
    told = {key: _without_index(value) for key, value in message.items() if value}
    told.pop("parsed", None)
    for call in told.get("tool_calls", ()):
        call["function"].pop("parsed_arguments", None)
    tokens = (choice.get("logprobs") or {}).get("content")
    return {
        "index": choice["index"],
        "finish_reason": choice["finish_reason"],
        "message": told,
        "tokens": [token["token"] for token in tokens or ()],
    }


def _without_index(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [{key: part for key, part in entry.items() if key != "index"} for entry in value]
