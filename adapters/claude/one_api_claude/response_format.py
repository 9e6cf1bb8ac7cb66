"""`response_format` as a schema that Anthropic enforces, or else as an instruction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from one_api.adapter import Call, ChatCompletionRequest, InvalidRequest
from one_api_claude.capabilities import ModelCapabilities
from one_api_claude.json_schema import NotExpressible, SchemaBudget, enforceable
from one_api_claude.losses import degrade

if TYPE_CHECKING:
    from anthropic.types import JSONOutputFormatParam

JSON_INSTRUCTION = (
    "Respond with one JSON object only: no text before or after it and no code fence."
)


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """The form of the answer: enforced by `schema`, or asked for by `instruction`, or free."""

    schema: JSONOutputFormatParam | None = None
    instruction: str | None = None


def response_format_to_wire(
    request: ChatCompletionRequest,
    call: Call,
    capabilities: ModelCapabilities,
    budget: SchemaBudget,
) -> AnswerFormat:
    """The form of the answer that `request` asks for; the schema is taken off `budget`.

    Raises: UnsupportedParameter, InvalidRequest.
    """
    wanted: Any = request.response_format
    if wanted is None or wanted["type"] == "text":
        return AnswerFormat()
    if wanted["type"] == "json_object":
        return AnswerFormat(instruction=JSON_INSTRUCTION)
    definition = wanted["json_schema"]
    schema = definition.get("schema")
    if schema is None:
        return AnswerFormat(instruction=JSON_INSTRUCTION)
    enforced = _enforced(schema, capabilities, budget)
    if enforced is not None:
        return AnswerFormat(schema={"type": "json_schema", "schema": enforced})
    degrade(call, "response_format", "This JSON schema cannot be enforced with this model.")
    try:
        text = orjson.dumps(schema).decode()
    except orjson.JSONEncodeError as exc:
        raise InvalidRequest(
            f"The JSON schema cannot be sent: {exc}.", param="response_format.json_schema.schema"
        ) from exc
    return AnswerFormat(
        instruction=f"{JSON_INSTRUCTION} It must be valid against this JSON schema:\n{text}"
    )


def asks_for_json(request: ChatCompletionRequest) -> bool:
    """Whether the answer is to be JSON, by schema or not."""
    wanted: Any = request.response_format
    return wanted is not None and wanted["type"] != "text"


def _enforced(
    schema: Mapping[str, Any], capabilities: ModelCapabilities, budget: SchemaBudget
) -> dict[str, object] | None:
    if not capabilities.structured_outputs:
        return None
    try:
        enforced = enforceable(schema)
    except NotExpressible:
        return None
    return enforced if budget.take(enforced, is_tool=False) else None
