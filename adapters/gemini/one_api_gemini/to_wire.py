"""A chat completion request as the body of Google's generateContent.

Pure and deterministic: the same request gives the same bytes.
Source: `GenerateContentConfig` of google-genai 3.4.0 (2026-11) and ai.google.dev, "Generating
content", stored copies of 2026-09.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import orjson

from one_api.adapter import Call, ChatCompletionRequest, InvalidRequest, JsonObject
from one_api_gemini.capabilities import ModelCapabilities, model_name
from one_api_gemini.conversation import conversation_to_wire
from one_api_gemini.losses import drop
from one_api_gemini.service_tiers import TIERS
from one_api_gemini.thinking import thinking_to_wire
from one_api_gemini.tools import schema_to_wire, tools_to_wire

#: The most stop sequences of one request; more are enforced here.
MAX_STOPS: Final = 5


def request_to_wire(
    request: ChatCompletionRequest, call: Call, capabilities: ModelCapabilities
) -> bytes:
    """`request` as the bytes of a body; losses are noted on `call`.

    Raises: InvalidRequest, UnsupportedParameter.
    """
    return _to_bytes(_body(request, call, capabilities))


def count_to_wire(
    request: ChatCompletionRequest, call: Call, capabilities: ModelCapabilities
) -> bytes:
    """The body that asks countTokens about `request`: all of it, which must name its model.

    Source: ai.google.dev, "Counting tokens", stored copies of 2026; zed-industries/zed pull request
    29630 (2025-04) for the model's prefix.
    Raises: InvalidRequest, UnsupportedParameter.
    """
    body = _body(request, call, capabilities)
    # What is delivered how fast has no tokens, and is no business of a count.
    body.pop("serviceTier", None)
    body["model"] = f"models/{model_name(call.model)}"
    return _to_bytes({"generateContentRequest": body})


def _to_bytes(body: JsonObject) -> bytes:
    """`body` as JSON.

    Raises: InvalidRequest for numbers and texts that JSON has no room for.
    """
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as exc:
        raise InvalidRequest(f"The request cannot be sent on: {exc}.") from exc


def local_stops(request: ChatCompletionRequest) -> tuple[str, ...]:
    """The stop sequences for which a request to Google has no room."""
    return request.stop_sequences[MAX_STOPS:]


def _body(
    request: ChatCompletionRequest, call: Call, capabilities: ModelCapabilities
) -> JsonObject:
    conversation = conversation_to_wire(
        cast("Sequence[Mapping[str, Any]]", request.messages),
        needs_signatures=capabilities.needs_signatures,
    )
    body: JsonObject = {"contents": conversation.contents}
    if conversation.instructions:
        body["systemInstruction"] = {"parts": conversation.instructions}
    body |= tools_to_wire(request)
    config = _generation_config(request, call, capabilities)
    if config:
        body["generationConfig"] = config
    _add_service_tier(body, request, call)
    return body


def _generation_config(
    request: ChatCompletionRequest, call: Call, capabilities: ModelCapabilities
) -> JsonObject:
    config: JsonObject = {}
    if capabilities.sampling:
        config |= {"temperature": request.temperature, "topP": request.top_p}
    config["maxOutputTokens"] = _limit(request, capabilities)
    config["stopSequences"] = list(request.stop_sequences[:MAX_STOPS]) or None
    config["seed"] = None if request.seed is None else _seed(request.seed)
    config["thinkingConfig"] = thinking_to_wire(request, call, capabilities) or None
    config |= _response_format(request)
    return {name: value for name, value in config.items() if value is not None}


def _limit(request: ChatCompletionRequest, capabilities: ModelCapabilities) -> int | None:
    limits = [
        limit for limit in (request.completion_limit, capabilities.max_tokens) if limit is not None
    ]
    return min(limits) if request.completion_limit is not None else None


def _seed(seed: int) -> int:
    """`seed` in the 32 bits that Google has for it; equal seeds stay equal."""
    return seed if -(2**31) <= seed < 2**31 else seed & 0x7FFF_FFFF


def _response_format(request: ChatCompletionRequest) -> JsonObject:
    wanted: Any = request.response_format
    if wanted is None or wanted["type"] == "text":
        return {}
    config: JsonObject = {"responseMimeType": "application/json"}
    if wanted["type"] == "json_schema" and wanted["json_schema"].get("schema"):
        config["responseJsonSchema"] = schema_to_wire(wanted["json_schema"]["schema"])
    return config


def _add_service_tier(body: JsonObject, request: ChatCompletionRequest, call: Call) -> None:
    tier = request.service_tier
    if tier is None or tier == "auto":
        return
    if tier in TIERS:
        body["serviceTier"] = TIERS[tier]
    else:
        drop(call, "service_tier", f"The service tier '{tier}' is not supported with this model.")
