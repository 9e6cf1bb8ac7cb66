"""Bodies that ask for a response, and the chat requests they are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import TypeAdapter

from one_api.adapter import Call, ChatCompletionRequest, JsonObject
from one_api_openai.to_wire import request_to_wire

PARAMETERS: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsStreaming)
QUESTION: JsonObject = {"role": "user", "content": "Hello?"}
FUNCTION: JsonObject = {
    "name": "get_weather",
    "description": "d",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
TOOL: JsonObject = {"type": "function", "function": FUNCTION}
FLAT: JsonObject = {"type": "function", **FUNCTION}
PIXEL = "data:image/png;base64,AAAA"


def exhaust(value: Any) -> None:
    """Visit all of `value`: pydantic validates iterables only when they are read."""
    if isinstance(value, Mapping):
        for inner in value.values():
            exhaust(inner)
    elif isinstance(value, list | Iterator):
        for inner in value:
            exhaust(inner)


def sent(call: Call | None = None, **fields: Any) -> JsonObject:
    """The body for a request with `fields`."""
    body = {"model": "x", "messages": [QUESTION], "tools": [TOOL], **fields}
    return request_to_wire(ChatCompletionRequest.from_wire(body), call or Call(model="gpt-5.6"))


def check(body: JsonObject) -> None:
    """`body` has the shape that the SDK gives it.

    The SDK knows what a model said only as it was stored, with an id. The API needs none.
    """
    stored = {"id": "msg_0", "status": "completed"}
    given = [
        {**item, **stored} if item.get("role") == "assistant" else item for item in body["input"]
    ]
    for item in given:
        if item.get("role") == "assistant":
            item["content"] = [{"annotations": [], **part} for part in item["content"]]
    exhaust(PARAMETERS.validate_python({**body, "input": given}))


def items(*messages: JsonObject) -> list[JsonObject]:
    """The items of `messages`, in the shape that the SDK gives them."""
    body = sent(messages=list(messages))
    check(body)
    given: list[JsonObject] = body["input"]
    return given


def call_of(id_: str, name: str = "f", arguments: str = "{}") -> JsonObject:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
