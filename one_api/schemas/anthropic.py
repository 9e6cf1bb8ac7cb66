"""Requests to Anthropic's Messages endpoints: what is needed to answer them with any provider.

Read only where the provider is not Anthropic itself: unknown fields and whatever has no
counterpart elsewhere (`context_management`, `container`, `cache_control`) are ignored. Unions are
told apart by tags as in `messages`.
Source: Anthropic Messages API reference and anthropic-python 2.11.0 types, read 2026-11.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    model_validator,
    with_config,
)
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from one_api.schemas.messages import one_of, tag_by_shape
from one_api.schemas.validation import invalid_request

_OPEN = ConfigDict(strict=True, extra="allow")

ToolName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Effort = Literal["low", "medium", "high", "xhigh", "max"]


@with_config(_OPEN)
class TextBlock(TypedDict):
    """A piece of text."""

    type: Literal["text"]
    text: str


@with_config(_OPEN)
class Base64Source(TypedDict):
    """Bytes in base64."""

    type: Literal["base64"]
    media_type: str
    data: str


@with_config(_OPEN)
class URLSource(TypedDict):
    """Something to be fetched by the provider."""

    type: Literal["url"]
    url: str


@with_config(_OPEN)
class FileSource(TypedDict):
    """A file kept by Anthropic."""

    type: Literal["file"]
    file_id: str


@with_config(_OPEN)
class TextSource(TypedDict):
    """Plain text."""

    type: Literal["text"]
    data: str


ImageSource = Annotated[
    Annotated[Base64Source, Tag("<base64>")]
    | Annotated[URLSource, Tag("<url>")]
    | Annotated[FileSource, Tag("<file>")],
    one_of("type", "base64", "url", "file"),
]


@with_config(_OPEN)
class ImageBlock(TypedDict):
    """An image."""

    type: Literal["image"]
    source: ImageSource


@with_config(_OPEN)
class SearchResultBlock(TypedDict):
    """Something that a search of the client's found."""

    type: Literal["search_result"]
    source: str
    title: str
    content: list[TextBlock]


_SourceBlocks = list[
    Annotated[
        Annotated[TextBlock, Tag("<text>")] | Annotated[ImageBlock, Tag("<image>")],
        one_of("type", "text", "image"),
    ]
]


@with_config(_OPEN)
class ContentSource(TypedDict):
    """A document of text and images."""

    type: Literal["content"]
    content: Annotated[
        Annotated[str, Tag("<str>")] | Annotated[_SourceBlocks, Tag("<list>")],
        Discriminator(tag_by_shape),
    ]


DocumentSource = Annotated[
    Annotated[Base64Source, Tag("<base64>")]
    | Annotated[TextSource, Tag("<text>")]
    | Annotated[ContentSource, Tag("<content>")]
    | Annotated[URLSource, Tag("<url>")]
    | Annotated[FileSource, Tag("<file>")],
    one_of("type", "base64", "text", "content", "url", "file"),
]


@with_config(_OPEN)
class DocumentBlock(TypedDict):
    """A document."""

    type: Literal["document"]
    source: DocumentSource
    title: NotRequired[str | None]
    context: NotRequired[str | None]


@with_config(_OPEN)
class ToolReferenceBlock(TypedDict):
    """A tool that a search for tools found."""

    type: Literal["tool_reference"]
    tool_name: str


ResultBlock = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ImageBlock, Tag("<image>")]
    | Annotated[DocumentBlock, Tag("<document>")]
    | Annotated[SearchResultBlock, Tag("<search_result>")]
    | Annotated[ToolReferenceBlock, Tag("<tool_reference>")],
    one_of("type", "text", "image", "document", "search_result", "tool_reference"),
]


@with_config(_OPEN)
class ToolResultBlock(TypedDict):
    """What a tool call gave."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: NotRequired[
        Annotated[
            Annotated[str | None, Tag("<str>")] | Annotated[list[ResultBlock], Tag("<list>")],
            Discriminator(tag_by_shape),
        ]
    ]
    is_error: NotRequired[bool | None]


UserBlock = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ImageBlock, Tag("<image>")]
    | Annotated[DocumentBlock, Tag("<document>")]
    | Annotated[SearchResultBlock, Tag("<search_result>")]
    | Annotated[ToolResultBlock, Tag("<tool_result>")],
    one_of("type", "text", "image", "document", "search_result", "tool_result"),
]


@with_config(_OPEN)
class ThinkingBlock(TypedDict):
    """What the model thought aloud."""

    type: Literal["thinking"]
    thinking: str


@with_config(_OPEN)
class ToolUseBlock(TypedDict):
    """A call of a client's tool."""

    type: Literal["tool_use"]
    id: Annotated[str, StringConstraints(min_length=1)]
    name: ToolName
    input: dict[str, Any]


@with_config(_OPEN)
class OtherBlock(TypedDict):
    """A block of Anthropic's own (a server tool's work, hidden thinking): nobody else reads it."""

    type: str


def _tag_assistant(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    return f"<{kind}>" if kind in ("text", "thinking", "tool_use") else "<other>"


AssistantBlock = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ThinkingBlock, Tag("<thinking>")]
    | Annotated[ToolUseBlock, Tag("<tool_use>")]
    | Annotated[OtherBlock, Tag("<other>")],
    Discriminator(_tag_assistant),
]

Text = Annotated[
    Annotated[str, Tag("<str>")] | Annotated[list[TextBlock], Tag("<list>")],
    Discriminator(tag_by_shape),
]


@with_config(_OPEN)
class UserMessage(TypedDict):
    """What the user says, and what tools gave."""

    role: Literal["user"]
    content: Annotated[
        Annotated[str, Tag("<str>")]
        | Annotated[Annotated[list[UserBlock], Field(min_length=1)], Tag("<list>")],
        Discriminator(tag_by_shape),
    ]


@with_config(_OPEN)
class AssistantMessage(TypedDict):
    """What the model said."""

    role: Literal["assistant"]
    content: Annotated[
        Annotated[str, Tag("<str>")] | Annotated[list[AssistantBlock], Tag("<list>")],
        Discriminator(tag_by_shape),
    ]


def _tag_system(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    return "<text>" if kind == "text" else "<other>"


@with_config(_OPEN)
class SystemMessage(TypedDict):
    """Instructions inside the conversation; of its blocks, text only is read."""

    role: Literal["system"]
    content: Annotated[
        Annotated[str, Tag("<str>")]
        | Annotated[
            list[
                Annotated[
                    Annotated[TextBlock, Tag("<text>")] | Annotated[OtherBlock, Tag("<other>")],
                    Discriminator(_tag_system),
                ]
            ],
            Tag("<list>"),
        ],
        Discriminator(tag_by_shape),
    ]


Message = Annotated[
    Annotated[UserMessage, Tag("<user>")]
    | Annotated[AssistantMessage, Tag("<assistant>")]
    | Annotated[SystemMessage, Tag("<system>")],
    one_of("role", "user", "assistant", "system"),
]


@with_config(_OPEN)
class ClientTool(TypedDict):
    """A tool of the client's; `input_schema` is a JSON schema."""

    type: NotRequired[Literal["custom"] | None]
    name: ToolName
    description: NotRequired[str | None]
    input_schema: dict[str, Any]
    strict: NotRequired[bool | None]


@with_config(_OPEN)
class ServerTool(TypedDict):
    """A tool that Anthropic runs, or whose form it knows: `type` says which."""

    type: str
    name: NotRequired[str | None]


def _tag_tool(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    return "<client>" if kind in (None, "custom") else "<server>"


Tool = Annotated[
    Annotated[ClientTool, Tag("<client>")] | Annotated[ServerTool, Tag("<server>")],
    Discriminator(_tag_tool),
]


@with_config(_OPEN)
class AnyToolChoice(TypedDict):
    """Whether tools may, must or must not be called."""

    type: Literal["auto", "any", "none"]
    disable_parallel_tool_use: NotRequired[bool | None]


@with_config(_OPEN)
class NamedToolChoice(TypedDict):
    """The model must call this tool."""

    type: Literal["tool"]
    name: ToolName
    disable_parallel_tool_use: NotRequired[bool | None]


ToolChoice = Annotated[
    Annotated[AnyToolChoice, Tag("<auto>")]
    | Annotated[AnyToolChoice, Tag("<any>")]
    | Annotated[AnyToolChoice, Tag("<none>")]
    | Annotated[NamedToolChoice, Tag("<tool>")],
    one_of("type", "auto", "any", "none", "tool"),
]


@with_config(_OPEN)
class Thinking(TypedDict):
    """Whether the model thinks, and for how many tokens at most."""

    type: Literal["adaptive", "enabled", "disabled", "between_tools"]
    budget_tokens: NotRequired[int | None]


@with_config(_OPEN)
class OutputFormat(TypedDict):
    """A JSON object that follows a schema."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


@with_config(_OPEN)
class OutputConfig(TypedDict):
    """How much effort the answer is worth, and its format."""

    effort: NotRequired[Effort | None]
    format: NotRequired[OutputFormat | None]


@with_config(_OPEN)
class Metadata(TypedDict):
    """Who the request is for."""

    user_id: NotRequired[str | None]


class PromptRequest(BaseModel):
    """What both endpoints take: the body of `POST /v1/messages/count_tokens`.

    `null` means absent. Build one with `from_wire`.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, protected_namespaces=())

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=100_000)]
    system: Text | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        return {key: value for key, value in body.items() if value is not None}

    @classmethod
    def from_wire(cls, body: object) -> Self:
        """The request in a decoded JSON body.

        Raises: InvalidRequest that names the first wrong field.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as exc:
            raise invalid_request(exc) from exc


class MessagesRequest(PromptRequest):
    """The body of `POST /v1/messages`; `max_tokens` 0 asks for no answer at all.

    At most 4 `stop_sequences`: other providers take no more.
    """

    max_tokens: Annotated[int, Field(ge=0)]
    metadata: Metadata | None = None
    stop_sequences: Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool = False
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
