"""A validator's report becomes the one error that a caller can act on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from one_api.schemas.validation import field_path, invalid_request


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ((), None),
        (("model",), "model"),
        (("messages", 0), "messages[0]"),
        (("messages", 0, "content"), "messages[0].content"),
        (
            ("messages", 0, "<user>", "content", "<list>", 2, "<text>", "text"),
            "messages[0].content[2].text",
        ),
        ((0, 1), "[0][1]"),
        (("<str>",), None),
        (("metadata", "k", "[key]"), "metadata.k"),
        (("a", "b", 10, "c"), "a.b[10].c"),
        (("a", ""), "a."),
    ],
)
def test_field_path_leaves_out_what_callers_did_not_write(
    location: tuple[int | str, ...], path: str | None
) -> None:
    assert path == field_path(location)


class Sample(BaseModel):
    model_config = ConfigDict(strict=True)

    text: Annotated[str, Field(min_length=2, max_length=4)] = "ok"
    count: Annotated[int, Field(ge=1, le=9)] = 1
    items: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    kind: Literal["a", "b"] = "a"
    inner: dict[str, int] = {}
    needed: int


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"text": 1}, "text", "invalid_type"),
        ({"text": "x"}, "text", "invalid_value"),
        ({"text": "xxxxx"}, "text", "string_above_max_length"),
        ({"count": 0}, "count", "integer_below_min_value"),
        ({"count": 10}, "count", "integer_above_max_value"),
        ({"count": "1"}, "count", "invalid_type"),
        ({"items": []}, "items", "empty_array"),
        ({"items": [1, 2, 3]}, "items", "array_above_max_length"),
        ({"items": [1, None]}, "items[1]", "invalid_type"),
        ({"kind": "c"}, "kind", "unsupported_value"),
        ({"inner": {"k": "x"}}, "inner.k", "invalid_type"),
        ({"needed": None}, "needed", "invalid_type"),
    ],
)
def test_kind_of_finding_decides_the_code(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate({"needed": 1, **fields})
    error = invalid_request(caught.value)
    assert (400, param, code) == (error.status, error.param, error.code)
    assert error.message.startswith(f"Invalid value for '{param}': ")
    assert error.message.endswith(".")
    assert not error.message.endswith("..")


def test_missing_field_has_a_sentence_of_its_own() -> None:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate({})
    error = invalid_request(caught.value)
    assert ("needed", "missing_required_parameter") == (error.param, error.code)
    assert "Missing required parameter: 'needed'." == error.message


def test_finding_about_the_whole_body_has_no_param() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, int]).validate_python([])
    error = invalid_request(caught.value)
    assert error.param is None
    assert error.message.startswith("Invalid value for the request body: ")


def test_only_the_first_finding_is_told() -> None:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate({"text": 1, "count": "x", "needed": 1})
    assert 2 == caught.value.error_count()
    assert "text" == invalid_request(caught.value).param


def test_no_value_of_the_caller_is_quoted() -> None:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate({"kind": "canary", "needed": 1})
    assert "canary" not in invalid_request(caught.value).message
