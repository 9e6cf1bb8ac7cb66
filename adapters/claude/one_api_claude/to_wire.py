"""A chat completion request as the body of Anthropic's `POST /v1/messages`.

Pure and deterministic: the same request gives the same bytes.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from one_api.adapter import Call, ChatCompletionRequest, InvalidRequest
from one_api_claude.cache_control import limit_breakpoints
from one_api_claude.capabilities import ModelCapabilities
from one_api_claude.conversation import Conversation, conversation_to_wire
from one_api_claude.json_schema import SchemaBudget
from one_api_claude.losses import drop
from one_api_claude.response_format import AnswerFormat, response_format_to_wire
from one_api_claude.thinking import Circumstances, Thinking, thinking_to_wire
from one_api_claude.tools import Tooling, tools_to_wire

if TYPE_CHECKING:
    from anthropic.types.message_create_params import MessageCreateParamsStreaming

_OPAQUE_ID = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_.:|-]{1,256}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a conversion needs besides the request.

    `user_key` is the secret under which personal user ids are hashed.
    """

    capabilities: ModelCapabilities
    default_max_tokens: int
    user_key: bytes


def request_to_wire(
    request: ChatCompletionRequest, call: Call, conversion: Conversion
) -> MessageCreateParamsStreaming:
    """`request` as Anthropic's parameters; losses are noted on `call`.

    Raises: InvalidRequest, UnsupportedParameter.
    """
    capabilities = conversion.capabilities
    budget = SchemaBudget()
    answer = response_format_to_wire(request, call, capabilities, budget)
    tooling = tools_to_wire(request, call, capabilities, budget)
    conversation = _conversation(request, capabilities, tooling, answer)
    thinking = thinking_to_wire(
        request,
        call,
        capabilities,
        Circumstances(
            default_max_tokens=conversion.default_max_tokens,
            blocks_budget=conversation.ends_with_assistant or conversation.continues_unsigned_calls,
            forces_tools=tooling.is_forced,
        ),
    )
    limit_breakpoints([*tooling.tools, *conversation.blocks()])
    body: MessageCreateParamsStreaming = {
        "model": call.model,
        "max_tokens": thinking.max_tokens,
        "stream": True,
        "messages": [turn.to_wire() for turn in conversation.turns],
    }
    if conversation.system:
        body["system"] = conversation.system
    if tooling.tools:
        body["tools"] = tooling.tools
    if tooling.choice is not None:
        body["tool_choice"] = tooling.choice
    _add_thinking(body, thinking, answer)
    _add_sampling(body, request, call, capabilities, thinking)
    _add_options(body, request, call, conversion.user_key)
    return body


def body_to_bytes(body: Mapping[str, Any]) -> bytes:
    """The bytes of a body.

    Raises: InvalidRequest for nesting past 254 levels and for text that is not Unicode.
    """
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as exc:
        raise InvalidRequest(f"The request cannot be sent on: {exc}.") from exc


def without_thinking_blocks(request: ChatCompletionRequest) -> ChatCompletionRequest:
    """`request` with the signed thinking of earlier turns left out."""
    messages = [
        {key: value for key, value in message.items() if key != "thinking_blocks"}
        for message in cast("list[Mapping[str, Any]]", request.messages)
    ]
    return request.model_copy(update={"messages": messages})


def _conversation(
    request: ChatCompletionRequest,
    capabilities: ModelCapabilities,
    tooling: Tooling,
    answer: AnswerFormat,
) -> Conversation:
    if tooling.nudge is not None:
        # The nudge will not be there next time: blocks signed with it, or before it, do not fit.
        request = without_thinking_blocks(request)
    messages = cast("list[Mapping[str, Any]]", request.messages)
    conversation = conversation_to_wire(messages, mid_system=capabilities.mid_system)
    if answer.instruction is not None:
        conversation.system.append({"type": "text", "text": answer.instruction})
    if conversation.ends_with_assistant:
        _settle_prefill(conversation, capabilities)
    if tooling.nudge is not None:
        users = [turn for turn in conversation.turns if turn.role == "user"]
        users[-1].blocks.append({"type": "text", "text": tooling.nudge})
    return conversation


def _settle_prefill(conversation: Conversation, capabilities: ModelCapabilities) -> None:
    """Let the model go on from a last assistant message, where it can.

    Raises: InvalidRequest where it cannot.
    """
    if not capabilities.prefill:
        raise InvalidRequest(
            "This model cannot continue an assistant message: the conversation must end with a "
            "user message.",
            param="messages",
            code="unsupported_value",
        )
    last = conversation.turns[-1].blocks[-1]
    if last["type"] == "text":
        # Refused otherwise: "final assistant content cannot end with trailing whitespace".
        last["text"] = last["text"].rstrip()


def _add_thinking(
    body: MessageCreateParamsStreaming, thinking: Thinking, answer: AnswerFormat
) -> None:
    if thinking.config is not None:
        body["thinking"] = thinking.config
    if thinking.effort is not None and answer.schema is not None:
        body["output_config"] = {"effort": thinking.effort, "format": answer.schema}
    elif thinking.effort is not None:
        body["output_config"] = {"effort": thinking.effort}
    elif answer.schema is not None:
        body["output_config"] = {"format": answer.schema}


def _add_sampling(
    body: MessageCreateParamsStreaming,
    request: ChatCompletionRequest,
    call: Call,
    capabilities: ModelCapabilities,
    thinking: Thinking,
) -> None:
    """Add `temperature` or `top_p`; they exist in the older version of the API only."""
    given = {"temperature": request.temperature, "top_p": request.top_p}
    wanted = [name for name, value in given.items() if value is not None]
    is_open = capabilities.sampling == "one" and not thinking.is_on
    for name in wanted[1:] if is_open else wanted:
        drop(call, name, f"'{name}' is not supported here with this model.")
    if wanted and is_open:
        value = cast("float", given[wanted[0]])
        cast("dict[str, object]", body)[wanted[0]] = min(value, 1.0)


def _add_options(
    body: MessageCreateParamsStreaming, request: ChatCompletionRequest, call: Call, key: bytes
) -> None:
    stops = [stop for stop in request.stop_sequences if stop.strip()]
    if stops:
        body["stop_sequences"] = stops
    user = request.safety_identifier or request.user or ""
    if user.strip():
        body["metadata"] = {"user_id": _opaque(user, key)}
    tier = request.service_tier
    if tier in ("default", "flex", "standard_only"):
        body["service_tier"] = "standard_only"
    elif tier in ("priority", "scale"):
        body["service_tier"] = "auto"
    elif tier == "fast":
        drop(call, "service_tier", "The service tier 'fast' is not supported with this model.")


def _opaque(user: str, key: bytes) -> str:
    """`user` if it is an opaque id, else its keyed hash: mail addresses and names stay here."""
    if _OPAQUE_ID.fullmatch(user):
        return user
    return hmac.digest(key, user.encode("utf-8", "surrogatepass"), "sha256").hex()
