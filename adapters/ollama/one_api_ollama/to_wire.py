"""A chat request as the body of `/api/chat`.

Source: docs.ollama.com/api/chat and docs.ollama.com/openapi.yaml, crawled in 2026;
github.com/ollama/ollama docs/api.md, "Generate request (With options)", for the penalties.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from one_api.adapter import Call, ChatCompletionRequest, InvalidRequest, JsonObject
from one_api_ollama.conversation import Conversation
from one_api_ollama.thinking import ThinkValues, think_to_wire
from one_api_ollama.tools import tools_to_wire

#: Fields of a request that have an effect here.
HONOURED: Final = frozenset(
    {
        "frequency_penalty",
        "function_call",
        "functions",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
    }
)
#: Fields that are options of the same name.
_OPTIONS: Final = ("frequency_penalty", "presence_penalty", "seed", "temperature", "top_p")


def request_to_wire(request: ChatCompletionRequest, call: Call, values: ThinkValues) -> JsonObject:
    """The body that asks for the answer to `request`, always as a stream.

    `values` are those of `think` that the model takes. Pure but for what `call` collects.
    Raises: InvalidRequest, UnsupportedParameter for what cannot be said there.
    """
    conversation = Conversation(call)
    conversation.read(request.messages)
    body: JsonObject = {"model": call.model, "messages": conversation.messages, "stream": True}
    tools = tools_to_wire(request)
    if tools:
        body["tools"] = tools
    format_ = _format_to_wire(request)
    if format_ is not None:
        body["format"] = format_
    think = think_to_wire(request, call, values)
    if think is not None:
        body["think"] = think
    if request.logprobs:
        body["logprobs"] = True
        if request.top_logprobs:
            body["top_logprobs"] = request.top_logprobs
    options = _options_to_wire(request)
    if options:
        body["options"] = options
    return body


def body_to_bytes(body: JsonObject) -> bytes:
    """`body` as JSON.

    Raises: InvalidRequest for numbers and texts that JSON has no room for.
    """
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as exc:
        raise InvalidRequest(f"The request cannot be sent on: {exc}.") from exc


def _options_to_wire(request: ChatCompletionRequest) -> JsonObject:
    options = {name: getattr(request, name) for name in _OPTIONS}
    options["num_predict"] = request.completion_limit
    options["stop"] = list(request.stop_sequences) or None
    return {name: value for name, value in options.items() if value is not None}


def _format_to_wire(request: ChatCompletionRequest) -> str | JsonObject | None:
    wanted: Mapping[str, Any] | None = request.response_format
    if wanted is None or wanted["type"] == "text":
        return None
    schema: JsonObject | None = (wanted.get("json_schema") or {}).get("schema")
    return schema or "json"
