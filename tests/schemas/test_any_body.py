"""Reading a request is total: any JSON object is a request or a 400, never another exception."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.errors import InvalidRequest
from one_api.schemas.chat import ChatCompletionRequest
from tests.schemas.wire import chat

FIELDS = sorted(ChatCompletionRequest.model_fields)
LEAVES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "user",
            "assistant",
            "tool",
            "function",
            "system",
            "developer",
            "text",
            "image_url",
            "none",
            "auto",
            "required",
            "json_schema",
            "json_object",
            "custom",
            "allowed_tools",
        ]
    )
)
KEYS = st.text(max_size=4) | st.sampled_from(
    [
        "role",
        "content",
        "type",
        "text",
        "name",
        "tool_calls",
        "tool_call_id",
        "id",
        "arguments",
        "function",
        "custom",
        "image_url",
        "url",
        "json_schema",
        "schema",
        "refusal",
        "audio",
    ]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=6), JSON, max_size=6)


def is_total(body: dict[str, Any]) -> bool:
    """Whether `body` gives a request or a 400; any other exception passes through."""
    try:
        request = ChatCompletionRequest.from_wire(body)
    except InvalidRequest as error:
        return error.status == 400 and error.message != ""
    return request.messages != []


@given(BODIES)
@settings(deadline=None)
def test_any_json_object_is_a_request_or_a_400(body: dict[str, Any]) -> None:
    assert is_total(body)


@given(fields=BODIES, messages=st.lists(st.dictionaries(KEYS, JSON, max_size=4), min_size=1))
@settings(deadline=None)
def test_any_list_of_messages_is_a_request_or_a_400(
    fields: dict[str, Any], messages: list[Any]
) -> None:
    assert is_total({**fields, "messages": messages})


@given(field=st.sampled_from(FIELDS), value=JSON)
@settings(deadline=None)
def test_any_value_of_one_field_is_a_request_or_a_400(field: str, value: Any) -> None:
    assert is_total(chat(**{field: value}))


@given(st.dictionaries(st.text(max_size=6), JSON.filter(lambda value: value is not None)))
@settings(deadline=None)
def test_unknown_fields_come_back_whatever_they_hold(unknown: dict[str, Any]) -> None:
    body = chat(**{name: value for name, value in unknown.items() if name not in FIELDS})
    assert body == ChatCompletionRequest.from_wire(body).to_wire()
