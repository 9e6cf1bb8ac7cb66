"""The `messages` of a chat request: what each role and each content part may hold.

Messages stay plain dictionaries after validation, so that what a client sent is what an
OpenAI-shaped provider gets, unknown fields included. Unions are told apart by their tag before
anything else is looked at: an error names the field that is wrong, not every shape it could be.
Tags are written `<so>`; `validation.field_path` leaves them out of the path a caller sees.
Source: openai-python 3.52.0 types and OpenAI's published specification 2.3.0 (2026-08-21).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Discriminator, Field, Tag, with_config
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

_OPEN = ConfigDict(strict=True, extra="allow")


def tag_by(key: str, *known: str) -> Callable[[Any], str | None]:
    """A discriminator that reads the tag of a dictionary under `key`."""
    tags = {name: f"<{name}>" for name in known}

    def tag(value: Any) -> str | None:
        name = value.get(key) if isinstance(value, dict) else None
        return tags.get(name) if isinstance(name, str) else None

    return tag


def tag_by_shape(value: Any) -> str:
    """A discriminator for "a string or a list of things"."""
    return "<list>" if isinstance(value, list) else "<str>"


def one_of(key: str, *known: str) -> Discriminator:
    """`Discriminator` over `key` whose error says which values are known."""
    choices = ", ".join(repr(name) for name in known)
    return Discriminator(
        tag_by(key, *known),
        custom_error_type="invalid_value",
        custom_error_message=f"an object whose '{key}' is one of {choices} is needed here",
    )


@with_config(_OPEN)
class TextPart(TypedDict):
    """A piece of text."""

    type: Literal["text"]
    text: str


@with_config(_OPEN)
class RefusalPart(TypedDict):
    """A refusal the assistant gave earlier."""

    type: Literal["refusal"]
    refusal: str


@with_config(_OPEN)
class ImageURL(TypedDict):
    """Where an image is: an https URL or a data URL."""

    url: str
    detail: NotRequired[Literal["auto", "low", "high", "original"] | None]


@with_config(_OPEN)
class ImagePart(TypedDict):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageURL


@with_config(_OPEN)
class InputAudio(TypedDict):
    """Base64 audio."""

    data: str
    format: Literal["wav", "mp3"]


@with_config(_OPEN)
class AudioPart(TypedDict):
    """A piece of audio."""

    type: Literal["input_audio"]
    input_audio: InputAudio


@with_config(_OPEN)
class FileReference(TypedDict, total=False):
    """A file by content (`file_data`, a data URL or base64) or by the provider's id."""

    file_data: str | None
    file_id: str | None
    filename: str | None


@with_config(_OPEN)
class FilePart(TypedDict):
    """A document."""

    type: Literal["file"]
    file: FileReference


UserPart = Annotated[
    Annotated[TextPart, Tag("<text>")]
    | Annotated[ImagePart, Tag("<image_url>")]
    | Annotated[AudioPart, Tag("<input_audio>")]
    | Annotated[FilePart, Tag("<file>")],
    one_of("type", "text", "image_url", "input_audio", "file"),
]
AssistantPart = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[RefusalPart, Tag("<refusal>")],
    one_of("type", "text", "refusal"),
]
SystemPart = Annotated[Annotated[TextPart, Tag("<text>")], one_of("type", "text")]
# Tool results may carry images and files for providers that read them there (an extension).
ToolPart = UserPart

SystemContent = Annotated[
    Annotated[str, Tag("<str>")]
    | Annotated[Annotated[list[TextPart], Field(min_length=1)], Tag("<list>")],
    Discriminator(tag_by_shape),
]
UserContent = Annotated[
    Annotated[str, Tag("<str>")]
    | Annotated[Annotated[list[UserPart], Field(min_length=1)], Tag("<list>")],
    Discriminator(tag_by_shape),
]
AssistantContent = Annotated[
    Annotated[str | None, Tag("<str>")] | Annotated[list[AssistantPart], Tag("<list>")],
    Discriminator(tag_by_shape),
]
ToolContent = Annotated[
    Annotated[str, Tag("<str>")] | Annotated[list[ToolPart], Tag("<list>")],
    Discriminator(tag_by_shape),
]


@with_config(_OPEN)
class FunctionCall(TypedDict):
    """A call's function name and its arguments as JSON text."""

    name: str
    arguments: str


@with_config(_OPEN)
class FunctionToolCall(TypedDict):
    """A call of a function tool."""

    id: str
    type: Literal["function"]
    function: FunctionCall


@with_config(_OPEN)
class CustomCall(TypedDict):
    """A call's custom tool name and its free-form input."""

    name: str
    input: str


@with_config(_OPEN)
class CustomToolCall(TypedDict):
    """A call of a custom tool."""

    id: str
    type: Literal["custom"]
    custom: CustomCall


ToolCall = Annotated[
    Annotated[FunctionToolCall, Tag("<function>")] | Annotated[CustomToolCall, Tag("<custom>")],
    one_of("type", "function", "custom"),
]


@with_config(_OPEN)
class AudioReference(TypedDict):
    """Audio of an earlier assistant turn."""

    id: str


@with_config(_OPEN)
class SystemMessage(TypedDict):
    """Instructions, from role `system` or `developer`."""

    role: Literal["system", "developer"]
    content: SystemContent
    name: NotRequired[str | None]


@with_config(_OPEN)
class UserMessage(TypedDict):
    """What the user says."""

    role: Literal["user"]
    content: UserContent
    name: NotRequired[str | None]


@with_config(_OPEN)
class AssistantMessage(TypedDict):
    """What the model said; content may be absent when it called tools."""

    role: Literal["assistant"]
    content: NotRequired[AssistantContent]
    refusal: NotRequired[str | None]
    tool_calls: NotRequired[list[ToolCall] | None]
    function_call: NotRequired[FunctionCall | None]
    audio: NotRequired[AudioReference | None]
    name: NotRequired[str | None]
    reasoning: NotRequired[str | None]
    reasoning_content: NotRequired[str | None]


@with_config(_OPEN)
class ToolMessage(TypedDict):
    """The result of one tool call."""

    role: Literal["tool"]
    content: ToolContent
    tool_call_id: str


@with_config(_OPEN)
class FunctionMessage(TypedDict):
    """The result of a legacy function call."""

    role: Literal["function"]
    name: str
    content: str | None


def _tag_by_role(value: Any) -> str | None:
    try:
        return _ROLE_TAGS[value["role"]]
    except (KeyError, TypeError):  # no message: pydantic tells what would be one
        return None


_ROLE_TAGS = {
    "system": "<system>",
    "developer": "<system>",
    "user": "<user>",
    "assistant": "<assistant>",
    "tool": "<tool>",
    "function": "<function>",
}

Message = Annotated[
    Annotated[SystemMessage, Tag("<system>")]
    | Annotated[UserMessage, Tag("<user>")]
    | Annotated[AssistantMessage, Tag("<assistant>")]
    | Annotated[ToolMessage, Tag("<tool>")]
    | Annotated[FunctionMessage, Tag("<function>")],
    Discriminator(
        _tag_by_role,
        custom_error_type="invalid_value",
        custom_error_message="a message whose 'role' is one of 'developer', 'system', 'user', "
        "'assistant', 'tool', 'function' is needed here",
    ),
]
