"""Reading a request is total: any JSON is a chat request or a 400, never another exception."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.converter.messages import chat_request, error_to_wire
from one_api.errors import InvalidRequest
from one_api.schemas.anthropic import MessagesRequest, PromptRequest

_WORDS = [
    "user",
    "assistant",
    "system",
    "text",
    "image",
    "document",
    "search_result",
    "tool_result",
    "tool_use",
    "thinking",
    "redacted_thinking",
    "base64",
    "url",
    "file",
    "content",
    "any",
    "auto",
    "tool",
    "none",
    "adaptive",
    "enabled",
    "custom",
    "json_schema",
    "high",
    "tool_reference",
]
_KEYS = [
    "role",
    "content",
    "type",
    "text",
    "source",
    "data",
    "media_type",
    "url",
    "file_id",
    "title",
    "context",
    "id",
    "name",
    "input",
    "tool_use_id",
    "is_error",
    "thinking",
    "signature",
    "input_schema",
    "description",
    "strict",
    "effort",
    "format",
    "schema",
    "budget_tokens",
    "user_id",
    "disable_parallel_tool_use",
    "tool_name",
]
LEAVES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(_WORDS)
)
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = sorted({*MessagesRequest.model_fields, *PromptRequest.model_fields})
BODIES = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=6), JSON, max_size=6)
_TEXT_BLOCKS = st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=5)})
_SOURCES = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("base64"), "media_type": st.text(max_size=4), "data": st.text(max_size=4)}
    ),
    st.fixed_dictionaries({"type": st.just("url"), "url": st.text(max_size=4)}),
    st.fixed_dictionaries({"type": st.just("text"), "data": st.text(max_size=4)}),
    st.fixed_dictionaries({"type": st.just("content"), "content": st.lists(_TEXT_BLOCKS)}),
    st.fixed_dictionaries({"type": st.just("file"), "file_id": st.text(max_size=4)}),
)
_RICH_BLOCKS = st.one_of(
    _TEXT_BLOCKS,
    st.fixed_dictionaries(
        {"type": st.sampled_from(["image", "document"]), "source": _SOURCES},
        optional={"title": st.none() | st.text(max_size=4), "context": st.text(max_size=4)},
    ),
)
_RESULTS = st.fixed_dictionaries(
    {"type": st.just("tool_result"), "tool_use_id": st.text(max_size=60)},
    optional={
        "content": st.none() | st.text(max_size=4) | st.lists(_RICH_BLOCKS, max_size=2),
        "is_error": st.booleans(),
    },
)
_USES = st.fixed_dictionaries(
    {
        "type": st.just("tool_use"),
        "id": st.text(min_size=1, max_size=60),
        "name": st.text(min_size=1, max_size=80),
        "input": st.dictionaries(st.text(max_size=3), LEAVES, max_size=2),
    }
)
_MESSAGES = st.one_of(
    st.fixed_dictionaries(
        {
            "role": st.just("user"),
            "content": st.text(max_size=4) | st.lists(_RICH_BLOCKS | _RESULTS, max_size=3),
        }
    ),
    st.fixed_dictionaries(
        {
            "role": st.just("assistant"),
            "content": st.text(max_size=4) | st.lists(_TEXT_BLOCKS | _USES, max_size=3),
        }
    ),
)
_TOOLS = st.one_of(
    st.fixed_dictionaries(
        {
            "name": st.text(min_size=1, max_size=80),
            "input_schema": st.dictionaries(st.text(max_size=3), LEAVES, max_size=2),
        },
        optional={"description": st.text(max_size=3), "strict": st.booleans()},
    ),
    st.fixed_dictionaries({"type": st.text(min_size=1, max_size=9)}),
)
NEAR_MISSES = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "max_tokens": st.integers(-1, 9),
        "messages": st.lists(_MESSAGES, max_size=4),
    },
    optional={
        "system": st.text(max_size=4) | st.lists(_TEXT_BLOCKS, max_size=2),
        "tools": st.lists(_TOOLS, max_size=2),
        "tool_choice": st.sampled_from([{"type": "any"}, {"type": "tool", "name": "f"}, {}]),
        "metadata": st.fixed_dictionaries({"user_id": st.text(max_size=80)}),
        "stop_sequences": st.lists(st.text(max_size=2), max_size=5),
        "temperature": st.floats(0, 1),
    },
)


def is_total(body: Any) -> bool:
    """Whether `body` becomes a chat request; else the refusal names what is wrong."""
    refusal: InvalidRequest | None = None
    try:
        chat_request(MessagesRequest.from_wire(body))
    except InvalidRequest as exc:
        refusal = exc
    if refusal is None:
        return True
    told = error_to_wire(refusal, "req_1")["error"]
    assert (400, "invalid_request_error") == (refusal.status, told["type"])
    assert refusal.param is None or refusal.param in told["message"]
    return False


@settings(deadline=None)
@given(JSON | BODIES)
def test_any_json_is_a_request_or_a_400(body: Any) -> None:
    is_total(body)


@settings(deadline=None)
@given(NEAR_MISSES)
def test_what_is_nearly_a_request_is_one_or_a_400(body: dict[str, Any]) -> None:
    is_total(body)


def test_a_request_is_one() -> None:
    messages = [{"role": "user", "content": "hi"}]
    assert is_total({"model": "m", "max_tokens": 1, "messages": messages})
