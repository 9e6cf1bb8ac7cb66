"""A chat completion request: every documented field with its type and range.

Source: openai-python 3.52.0 types and OpenAI's published specification 2.3.0 (2026-08-21). `null`
means absent.
Unknown fields are kept (`model_extra`): an OpenAI-shaped provider gets them, others have them
listed as dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NotRequired, Self

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    with_config,
)
from typing_extensions import TypedDict, override  # pydantic needs this one before Python 3.12

from one_api.schemas.body import RequestBody
from one_api.schemas.messages import Message, one_of, tag_by_shape
from one_api.schemas.validation import disagree

_OPEN = ConfigDict(strict=True, extra="allow")

#: The most stop sequences that OpenAI's format has room for.
MAX_STOPS: Final = 4

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


@with_config(_OPEN)
class FunctionDefinition(TypedDict):
    """A function the model may call; `parameters` is a JSON schema and may be absent."""

    name: Name
    description: NotRequired[str | None]
    parameters: NotRequired[dict[str, Any] | None]
    strict: NotRequired[bool | None]


@with_config(_OPEN)
class FunctionTool(TypedDict):
    """A function tool."""

    type: Literal["function"]
    function: FunctionDefinition


@with_config(_OPEN)
class CustomDefinition(TypedDict):
    """A tool with free-form input."""

    name: Name
    description: NotRequired[str | None]
    format: NotRequired[dict[str, Any] | None]


@with_config(_OPEN)
class CustomTool(TypedDict):
    """A custom tool."""

    type: Literal["custom"]
    custom: CustomDefinition


Tool = Annotated[
    Annotated[FunctionTool, Tag("<function>")] | Annotated[CustomTool, Tag("<custom>")],
    one_of("type", "function", "custom"),
]


@with_config(_OPEN)
class NamedTool(TypedDict):
    """A tool by name."""

    name: Name


@with_config(_OPEN)
class NamedFunctionChoice(TypedDict):
    """The model must call this function."""

    type: Literal["function"]
    function: NamedTool


@with_config(_OPEN)
class NamedCustomChoice(TypedDict):
    """The model must call this custom tool."""

    type: Literal["custom"]
    custom: NamedTool


@with_config(_OPEN)
class AllowedTools(TypedDict):
    """A subset of the tools, and whether one of them must be called."""

    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


@with_config(_OPEN)
class AllowedToolsChoice(TypedDict):
    """The model may only call these."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def _tag_choice(value: Any) -> str | None:
    if isinstance(value, str):
        return "<str>"
    kind = value.get("type") if isinstance(value, dict) else None
    return f"<{kind}>" if kind in ("function", "custom", "allowed_tools") else None


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<str>")]
    | Annotated[NamedFunctionChoice, Tag("<function>")]
    | Annotated[NamedCustomChoice, Tag("<custom>")]
    | Annotated[AllowedToolsChoice, Tag("<allowed_tools>")],
    Discriminator(
        _tag_choice,
        custom_error_type="invalid_value",
        custom_error_message="'none', 'auto', 'required', or an object whose 'type' is one of "
        "'function', 'custom', 'allowed_tools' is needed here",
    ),
]


@with_config(_OPEN)
class JsonSchemaFormat(TypedDict):
    """The schema a structured answer must follow."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: NotRequired[str | None]
    schema: NotRequired[dict[str, Any] | None]
    strict: NotRequired[bool | None]


@with_config(_OPEN)
class TextFormat(TypedDict):
    """Plain text."""

    type: Literal["text"]


@with_config(_OPEN)
class JsonObjectFormat(TypedDict):
    """Any one JSON object."""

    type: Literal["json_object"]


@with_config(_OPEN)
class JsonSchemaResponseFormat(TypedDict):
    """A JSON object that follows a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchemaFormat


ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("<text>")]
    | Annotated[JsonObjectFormat, Tag("<json_object>")]
    | Annotated[JsonSchemaResponseFormat, Tag("<json_schema>")],
    one_of("type", "text", "json_object", "json_schema"),
]


@with_config(_OPEN)
class StreamOptions(TypedDict, total=False):
    """What a stream carries besides deltas."""

    include_usage: bool | None
    include_obfuscation: bool | None


@with_config(_OPEN)
class AudioOptions(TypedDict):
    """How spoken answers should sound."""

    format: str
    voice: Annotated[
        Annotated[str, Tag("<str>")] | Annotated[dict[str, Any], Tag("<object>")],
        Discriminator(lambda value: "<object>" if isinstance(value, dict) else "<str>"),
    ]


@with_config(_OPEN)
class Prediction(TypedDict):
    """Text that the answer will mostly repeat."""

    type: Literal["content"]
    content: Annotated[
        Annotated[str, Tag("<str>")] | Annotated[list[dict[str, Any]], Tag("<list>")],
        Discriminator(tag_by_shape),
    ]


Stop = Annotated[
    Annotated[str, Tag("<str>")]
    | Annotated[Annotated[list[str], Field(max_length=MAX_STOPS)], Tag("<list>")],
    Discriminator(tag_by_shape),
]
FunctionChoice = Annotated[
    Annotated[Literal["none", "auto"], Tag("<str>")] | Annotated[NamedTool, Tag("<named>")],
    Discriminator(lambda value: "<named>" if isinstance(value, dict) else "<str>"),
]
MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class ChatCompletionRequest(RequestBody):
    """The body of `POST /v1/chat/completions`, checked.

    Nested values stay the dictionaries that arrived. Build one with `from_wire`.
    """

    model_config = ConfigDict(defer_build=False)  # Nobody's first chat is to wait for it.

    messages: Annotated[list[Message], Field(min_length=1)]
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    #: Models to try after `model`, in order; the gateway's own field, no provider gets it.
    models: Annotated[list[Name], Field(min_length=1, max_length=8)] | None = None

    audio: AudioOptions | None = None
    frequency_penalty: Penalty | None = None
    function_call: FunctionChoice | None = None
    functions: Annotated[list[FunctionDefinition], Field(min_length=1, max_length=128)] | None = (
        None
    )
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    logprobs: bool | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    moderation: dict[str, Any] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    parallel_tool_calls: bool | None = None
    prediction: Prediction | None = None
    presence_penalty: Penalty | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: ReasoningEffort | None = None
    response_format: ResponseFormat | None = None
    safety_identifier: Annotated[str, StringConstraints(max_length=128)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    service_tier: (
        Literal["auto", "default", "flex", "scale", "priority", "fast", "standard_only"] | None
    ) = None
    stop: Stop | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    tool_choice: ToolChoice | None = None
    tools: list[Tool] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    user: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: dict[str, Any] | None = None

    @override
    def _require_agreement(self) -> None:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise disagree("max_tokens", "cannot be set together with 'max_completion_tokens'")
        if self.stream_options is not None and not self.stream:
            raise disagree("stream_options", "is only allowed when 'stream' is true")
        if self.top_logprobs is not None and not self.logprobs:
            raise disagree("top_logprobs", "needs 'logprobs' to be true")
        if self.audio is None and "audio" in (self.modalities or ()):
            raise disagree("audio", "is required when 'modalities' has 'audio'")
        for index, message in enumerate(self.messages):
            if (
                message["role"] == "assistant"
                and message.get("content") is None
                and not any(message.get(key) for key in ("tool_calls", "function_call", "refusal"))
                and message.get("audio") is None
            ):
                raise disagree(
                    f"messages[{index}].content",
                    "is required for role 'assistant' unless it has 'tool_calls'",
                )

    def without(self, *names: str) -> Self:
        """The same request as if the fields `names` had not been sent."""
        known = type(self).model_fields.keys() & set(names)
        copy = self.model_copy(update=dict.fromkeys(known))
        copy.__pydantic_fields_set__.difference_update(names)
        for name in names:
            (copy.__pydantic_extra__ or {}).pop(name, None)
        return copy

    def with_stops(self, stops: Sequence[str]) -> Self:
        """The same request with `stops`; more of them than a client may send are allowed here."""
        return self.model_copy(update={"stop": list(stops)})

    @property
    def wants_stream(self) -> bool:
        """Whether the client asked for server-sent events."""
        return bool(self.stream)

    @property
    def wants_usage_chunk(self) -> bool:
        """Whether a stream must end in a chunk with the usage."""
        return bool(self.stream_options and self.stream_options.get("include_usage"))

    @property
    def completion_limit(self) -> int | None:
        """The most completion tokens the client allows, whichever field said so."""
        return (
            self.max_completion_tokens
            if self.max_completion_tokens is not None
            else self.max_tokens
        )

    @property
    def stop_sequences(self) -> tuple[str, ...]:
        """The stop sequences as a tuple; empty ones are left out."""
        if self.stop is None:
            return ()
        stops = [self.stop] if isinstance(self.stop, str) else self.stop
        return tuple(stop for stop in stops if stop)
