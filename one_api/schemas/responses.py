"""A request for a response: the fields that the gateway itself reads, with type and range.

Source: openai-python 3.52.0, `types/responses`, read 2026-11. `null` means absent. Unknown fields
are kept (`model_extra`). Items and tools of kinds that only OpenAI itself runs pass as `OtherItem`
and `OtherTool`: whoever cannot run them says so.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    with_config,
)
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from one_api.schemas import JsonObject
from one_api.schemas.body import RequestBody
from one_api.schemas.chat import MetadataKey, MetadataValue, Name, ReasoningEffort
from one_api.schemas.messages import InputAudio, one_of, tag_by_shape

_OPEN = ConfigDict(strict=True, extra="allow")

Detail = Literal["auto", "low", "high", "original"]
Verbosity = Literal["low", "medium", "high"]
SummaryKind = Literal["auto", "concise", "detailed"]


@with_config(_OPEN)
class InputText(TypedDict):
    """A piece of text."""

    type: Literal["input_text"]
    text: str


@with_config(_OPEN)
class OutputText(TypedDict):
    """A piece of text that a model wrote earlier."""

    type: Literal["output_text"]
    text: str


@with_config(_OPEN)
class Refusal(TypedDict):
    """A refusal that a model gave earlier."""

    type: Literal["refusal"]
    refusal: str


@with_config(_OPEN)
class InputImage(TypedDict):
    """An image: an https URL, a data URL, or the provider's id of a file."""

    type: Literal["input_image"]
    image_url: NotRequired[str | None]
    file_id: NotRequired[str | None]
    detail: NotRequired[Detail | None]


@with_config(_OPEN)
class InputFile(TypedDict):
    """A document by content, by URL or by the provider's id."""

    type: Literal["input_file"]
    file_data: NotRequired[str | None]
    file_id: NotRequired[str | None]
    file_url: NotRequired[str | None]
    filename: NotRequired[str | None]


@with_config(_OPEN)
class InputAudioPart(TypedDict):
    """A piece of audio."""

    type: Literal["input_audio"]
    input_audio: InputAudio


Part = Annotated[
    Annotated[InputText, Tag("<input_text>")]
    | Annotated[OutputText, Tag("<output_text>")]
    | Annotated[Refusal, Tag("<refusal>")]
    | Annotated[InputImage, Tag("<input_image>")]
    | Annotated[InputFile, Tag("<input_file>")]
    | Annotated[InputAudioPart, Tag("<input_audio>")],
    one_of(
        "type",
        "input_text",
        "output_text",
        "refusal",
        "input_image",
        "input_file",
        "input_audio",
    ),
]
Content = Annotated[
    Annotated[str, Tag("<str>")]
    | Annotated[Annotated[list[Part], Field(min_length=1)], Tag("<list>")],
    Discriminator(tag_by_shape),
]
Output = Annotated[
    Annotated[str, Tag("<str>")] | Annotated[list[Part], Tag("<list>")],
    Discriminator(tag_by_shape),
]


@with_config(_OPEN)
class MessageItem(TypedDict):
    """What somebody said; `type` may be absent."""

    type: NotRequired[Literal["message"]]
    role: Literal["user", "assistant", "system", "developer"]
    content: Content


@with_config(_OPEN)
class FunctionCallItem(TypedDict):
    """A call that the model made earlier."""

    type: Literal["function_call"]
    call_id: Name
    name: Name
    arguments: str


@with_config(_OPEN)
class FunctionCallOutputItem(TypedDict):
    """The result of a call."""

    type: Literal["function_call_output"]
    call_id: Name
    output: Output


@with_config(_OPEN)
class ReasoningText(TypedDict):
    """A piece of reasoning."""

    type: Literal["reasoning_text", "summary_text"]
    text: str


@with_config(_OPEN)
class ReasoningItem(TypedDict):
    """What the model thought earlier."""

    type: Literal["reasoning"]
    summary: NotRequired[list[ReasoningText] | None]
    content: NotRequired[list[ReasoningText] | None]
    encrypted_content: NotRequired[str | None]


@with_config(_OPEN)
class OtherItem(TypedDict):
    """An item of any other kind."""

    type: str


_ITEM_TAGS = {
    "message": "<message>",
    "function_call": "<function_call>",
    "function_call_output": "<function_call_output>",
    "reasoning": "<reasoning>",
}


def _tag_item(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    kind = value.get("type")
    if kind is None:
        return "<message>" if "role" in value else None
    return _ITEM_TAGS.get(kind, "<other>") if isinstance(kind, str) else None


Item = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[FunctionCallItem, Tag("<function_call>")]
    | Annotated[FunctionCallOutputItem, Tag("<function_call_output>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")]
    | Annotated[OtherItem, Tag("<other>")],
    Discriminator(
        _tag_item,
        custom_error_type="invalid_value",
        custom_error_message="an item with a 'type', or a message with a 'role', is needed here",
    ),
]
Input = Annotated[
    Annotated[str, Tag("<str>")]
    | Annotated[Annotated[list[Item], Field(min_length=1)], Tag("<list>")],
    Discriminator(tag_by_shape),
]


@with_config(_OPEN)
class FunctionTool(TypedDict):
    """A function that the model may call."""

    type: Literal["function"]
    name: Name
    description: NotRequired[str | None]
    parameters: NotRequired[dict[str, Any] | None]
    strict: NotRequired[bool | None]


@with_config(_OPEN)
class OtherTool(TypedDict):
    """A tool of any other kind."""

    type: str


def _tag_tool(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        return None
    return "<function>" if kind == "function" else "<other>"


Tool = Annotated[
    Annotated[FunctionTool, Tag("<function>")] | Annotated[OtherTool, Tag("<other>")],
    Discriminator(
        _tag_tool,
        custom_error_type="invalid_value",
        custom_error_message="an object with a 'type' is needed here",
    ),
]


@with_config(_OPEN)
class NamedChoice(TypedDict):
    """The model must call this function."""

    type: Literal["function"]
    name: Name


@with_config(_OPEN)
class AllowedChoice(TypedDict):
    """The model may only call these."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[Tool], Field(min_length=1)]


def _tag_choice(value: Any) -> str | None:
    if isinstance(value, str):
        return "<str>"
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        return None
    return f"<{kind}>" if kind in ("function", "allowed_tools") else "<other>"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<str>")]
    | Annotated[NamedChoice, Tag("<function>")]
    | Annotated[AllowedChoice, Tag("<allowed_tools>")]
    | Annotated[OtherTool, Tag("<other>")],
    Discriminator(
        _tag_choice,
        custom_error_type="invalid_value",
        custom_error_message="'none', 'auto', 'required', or an object with a 'type' is needed "
        "here",
    ),
]


@with_config(_OPEN)
class PlainFormat(TypedDict):
    """Plain text, or any one JSON object."""

    type: Literal["text", "json_object"]


@with_config(_OPEN)
class SchemaFormat(TypedDict):
    """A JSON object that follows a schema."""

    type: Literal["json_schema"]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    schema: dict[str, Any]
    description: NotRequired[str | None]
    strict: NotRequired[bool | None]


def _tag_format(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in ("text", "json_object"):
        return "<plain>"
    return "<json_schema>" if kind == "json_schema" else None


Format = Annotated[
    Annotated[PlainFormat, Tag("<plain>")] | Annotated[SchemaFormat, Tag("<json_schema>")],
    Discriminator(
        _tag_format,
        custom_error_type="invalid_value",
        custom_error_message="an object whose 'type' is one of 'text', 'json_object', "
        "'json_schema' is needed here",
    ),
]


@with_config(_OPEN)
class TextOptions(TypedDict, total=False):
    """The form of the answer."""

    format: Format | None
    verbosity: Verbosity | None


@with_config(_OPEN)
class ReasoningOptions(TypedDict, total=False):
    """How much to think, and whether to tell of it in a summary."""

    effort: ReasoningEffort | None
    summary: SummaryKind | None
    generate_summary: SummaryKind | None


class ResponseRequest(RequestBody):
    """The body of `POST /v1/responses`, checked.

    Nested values stay the dictionaries that arrived. Build one with `from_wire`.
    """

    input: Input | None = None
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None

    background: bool | None = None
    conversation: Any = None
    include: list[str] | None = None
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tool_calls: Annotated[int, Field(ge=0)] | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    moderation: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    prompt: Any = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    reasoning: ReasoningOptions | None = None
    safety_identifier: Annotated[str, StringConstraints(max_length=128)] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    text: TextOptions | None = None
    tool_choice: ToolChoice | None = None
    tools: list[Tool] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None

    @property
    def extras(self) -> JsonObject:
        """The fields that this version does not know."""
        return dict(self.model_extra or {})
