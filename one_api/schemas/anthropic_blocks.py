"""Content blocks of Anthropic's messages, and where images and documents come from.

Read as all requests of this format: see `anthropic`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import ConfigDict, Discriminator, StringConstraints, Tag, with_config
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from one_api.schemas.messages import one_of, tag_by_shape

OPEN: Final = ConfigDict(strict=True, extra="allow")

ToolName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


@with_config(OPEN)
class TextBlock(TypedDict):
    """A piece of text."""

    type: Literal["text"]
    text: str


@with_config(OPEN)
class Base64Source(TypedDict):
    """Bytes in base64."""

    type: Literal["base64"]
    media_type: str
    data: str


@with_config(OPEN)
class URLSource(TypedDict):
    """Something to be fetched by the provider."""

    type: Literal["url"]
    url: str


@with_config(OPEN)
class FileSource(TypedDict):
    """A file kept by Anthropic."""

    type: Literal["file"]
    file_id: str


@with_config(OPEN)
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


@with_config(OPEN)
class ImageBlock(TypedDict):
    """An image."""

    type: Literal["image"]
    source: ImageSource


@with_config(OPEN)
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


@with_config(OPEN)
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


@with_config(OPEN)
class DocumentBlock(TypedDict):
    """A document."""

    type: Literal["document"]
    source: DocumentSource
    title: NotRequired[str | None]
    context: NotRequired[str | None]


@with_config(OPEN)
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


@with_config(OPEN)
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


@with_config(OPEN)
class ThinkingBlock(TypedDict):
    """What the model thought aloud."""

    type: Literal["thinking"]
    thinking: str


@with_config(OPEN)
class ToolUseBlock(TypedDict):
    """A call of a client's tool."""

    type: Literal["tool_use"]
    id: Annotated[str, StringConstraints(min_length=1)]
    name: ToolName
    input: dict[str, Any]


@with_config(OPEN)
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
