"""Complete replies: clean ones leave as they came, sloppy ones mended."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from one_api.errors import InvalidRequest, UpstreamInvalidResponse
from one_api.events import Usage
from one_api.relay import relay_body
from one_api.schemas import JsonObject
from tests.converter.digest import facts
from tests.converter.replies import form
from tests.relay.streams import expected_facts, usage_of
from tests.scripted_upstream import (
    HELLO,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    REASONED,
    Answer,
    OpenAIDialect,
    openai_completion_body,
)


@pytest.mark.parametrize("answer", [HELLO, ONE_TOOL_CALL, PARALLEL_TOOL_CALLS], ids=repr)
def test_clean_body_leaves_byte_identical(answer: Answer) -> None:
    data = json.dumps(openai_completion_body(answer), indent=1).encode()

    assert (data, usage_of(answer)) == relay_body(data, form())


@pytest.mark.parametrize("key", ["id", "object", "created", "model"])
@pytest.mark.parametrize("is_absent", [True, False], ids=["absent", "null"])
def test_missing_identity_is_given_by_us(key: str, is_absent: bool) -> None:
    reply = {**openai_completion_body(), key: None}
    if is_absent:
        del reply[key]

    told = orjson.loads(relay_body(orjson.dumps(reply), form())[0])

    ours = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_790_000_000}
    assert ours.get(key, "m") == told[key]


@pytest.mark.parametrize(
    ("change", "path", "wanted"),
    [
        (lambda c: c.pop("index"), "index", 0),
        (lambda c: c.pop("finish_reason"), "finish_reason", "stop"),
        (lambda c: c.update(finish_reason=None), "finish_reason", "stop"),
        (lambda c: c.update(finish_reason=""), "finish_reason", "stop"),
        (lambda c: c.update(finish_reason="tool_calls"), "finish_reason", "stop"),
        (lambda c: c["message"].pop("role"), "message.role", "assistant"),
        (lambda c: c["message"].pop("content"), "message.content", None),
    ],
    ids=["index", "reason-absent", "reason-null", "reason-empty", "no-calls", "role", "content"],
)
def test_choice_is_mended(
    change: Callable[[JsonObject], object], path: str, wanted: object
) -> None:
    reply = openai_completion_body()
    change(reply["choices"][0])

    told: Any = orjson.loads(relay_body(orjson.dumps(reply), form())[0])["choices"][0]

    for step in path.split("."):
        told = told[step]
    assert wanted == told


@pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
def test_reasoning_is_told_under_both_names(key: Any) -> None:
    reply = openai_completion_body(REASONED, OpenAIDialect(reasoning_key=key))

    told = orjson.loads(relay_body(orjson.dumps(reply), form())[0])

    assert expected_facts(REASONED) == facts(told)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({"a": 1}, '{"a":1}'), ({}, "{}"), (None, "{}"), ("", "{}"), ('{"a":1}', '{"a":1}')],
    ids=repr,
)
def test_arguments_come_out_as_json_text(arguments: object, told: str) -> None:
    reply = openai_completion_body(ONE_TOOL_CALL)
    call = reply["choices"][0]["message"]["tool_calls"][0]
    call["function"]["arguments"] = arguments

    mended = orjson.loads(relay_body(orjson.dumps(reply), form())[0])

    calls = mended["choices"][0]["message"]["tool_calls"]
    assert told == calls[0]["function"]["arguments"]


def test_call_without_id_and_type_gets_both() -> None:
    reply = openai_completion_body(ONE_TOOL_CALL)
    call = reply["choices"][0]["message"]["tool_calls"][0]
    del call["type"]
    call["id"] = ""

    mended = orjson.loads(relay_body(orjson.dumps(reply), form())[0])

    (told,) = mended["choices"][0]["message"]["tool_calls"]
    assert "function" == told["type"]
    assert told["id"].startswith("call_")


@pytest.mark.parametrize("count", [-5, 10**30, "7", None, 1.5, True], ids=str)
def test_count_that_is_none_is_zero(count: object) -> None:
    reply = openai_completion_body()
    reply["usage"]["completion_tokens"] = count

    _, usage = relay_body(json.dumps(reply).encode(), form())

    assert Usage(prompt_tokens=11, completion_tokens=0) == usage


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'"ok"',
        b'{"choices":null}',
        b'{"choices":[]}',
        b'{"choices":[{}]}',
        b'{"choices":[{"message":null}]}',
        b'{"choices":["a"]}',
        b'{"choices":[{"message":"a"}]}',
    ],
)
def test_body_without_a_completion_is_invalid(body: bytes) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        relay_body(body, form())


def test_body_that_is_an_error_object_is_raised() -> None:
    body = b'{"object":"error","message":"too long","type":"BadRequestError","code":400}'

    with pytest.raises(InvalidRequest, match="too long"):
        relay_body(body, form())
