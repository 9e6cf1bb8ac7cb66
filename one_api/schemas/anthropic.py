"""Requests to Anthropic's Messages endpoints: what is needed to answer them with any provider.

Read only where the provider is not Anthropic itself: unknown fields and whatever has no
counterpart elsewhere (`context_management`, `container`, `cache_control`) are ignored. Unions are
told apart by tags as in `messages`.
Source: anthropic-python 2.11.0 types.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired, Self

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

from one_api.schemas.anthropic_blocks import (
    OPEN,
    AssistantBlock,
    OtherBlock,
    Text,
    TextBlock,
    ToolName,
    UserBlock,
)
from one_api.schemas.messages import one_of, tag_by_shape
from one_api.schemas.validation import invalid_request

#: The most stop sequences that are read: each is looked for in everything the model writes.
MAX_STOPS: Final = 64

Effort = Literal["low", "medium", "high", "xhigh", "max"]


@with_config(OPEN)
class UserMessage(TypedDict):
    """What the user says, and what tools gave."""

    role: Literal["user"]
    content: Annotated[
        Annotated[str, Tag("<str>")]
        | Annotated[Annotated[list[UserBlock], Field(min_length=1)], Tag("<list>")],
        Discriminator(tag_by_shape),
    ]


@with_config(OPEN)
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


@with_config(OPEN)
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


@with_config(OPEN)
class ClientTool(TypedDict):
    """A tool of the client's; `input_schema` is a JSON schema."""

    type: NotRequired[Literal["custom"] | None]
    name: ToolName
    description: NotRequired[str | None]
    input_schema: dict[str, Any]
    strict: NotRequired[bool | None]


@with_config(OPEN)
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


@with_config(OPEN)
class AnyToolChoice(TypedDict):
    """Whether tools may, must or must not be called."""

    type: Literal["auto", "any", "none"]
    disable_parallel_tool_use: NotRequired[bool | None]


@with_config(OPEN)
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


@with_config(OPEN)
class Thinking(TypedDict):
    """Whether the model thinks, and for how many tokens at most."""

    type: Literal["adaptive", "enabled", "disabled", "between_tools"]
    budget_tokens: NotRequired[int | None]


@with_config(OPEN)
class OutputFormat(TypedDict):
    """A JSON object that follows a schema."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


@with_config(OPEN)
class OutputConfig(TypedDict):
    """How much effort the answer is worth, and its format."""

    effort: NotRequired[Effort | None]
    format: NotRequired[OutputFormat | None]


@with_config(OPEN)
class Metadata(TypedDict):
    """Who the request is for."""

    user_id: NotRequired[str | None]


class PromptRequest(BaseModel):
    """What both endpoints take: the body of `POST /v1/messages/count_tokens`.

    `null` means absent. Build one with `from_wire`.
    """

    model_config = ConfigDict(
        strict=True,
        extra="ignore",
        frozen=True,
        protected_namespaces=(),
        defer_build=True,  # see `RequestBody`
    )

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
    """The body of `POST /v1/messages`; `max_tokens` 0 asks for no answer at all."""

    max_tokens: Annotated[int, Field(ge=0)]
    metadata: Metadata | None = None
    stop_sequences: Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    stream: bool = False
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
