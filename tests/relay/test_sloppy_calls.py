"""Tool calls come out once, whole, counted from 0 and with arguments that are JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from one_api.schemas import JsonObject
from tests.converter.digest import digest, facts
from tests.converter.replies import deltas_of
from tests.relay.streams import Bend, assert_digests_to, chunk_with, drop, each_call, relayed
from tests.scripted_upstream import (
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    TOOL_CALL_WITHOUT_ARGUMENTS,
    Answer,
    openai_chunks,
    openai_frames,
    split,
)


def repeated_ids(chunks: list[JsonObject]) -> list[JsonObject]:
    """Each part of a call says whose it is."""
    ids: dict[int, str] = {}

    def change(call: JsonObject) -> None:
        call["id"] = ids.setdefault(call["index"], call.get("id", ""))

    return each_call(change)(chunks)


def repeated_names(chunks: list[JsonObject]) -> list[JsonObject]:
    """Each part of a call says everything again, as llama-cpp-python's does."""
    seen: dict[int, JsonObject] = {}

    def change(call: JsonObject) -> None:
        first = seen.setdefault(call["index"], json.loads(json.dumps(call)))
        call.update(id=first["id"], type="function")
        call["function"]["name"] = first["function"]["name"]

    return each_call(change)(chunks)


def index_from_one(call: JsonObject) -> None:
    call["index"] += 1


def null_first_arguments(call: JsonObject) -> None:
    if call["function"]["arguments"] == "":
        call["function"]["arguments"] = None


def absent_first_arguments(call: JsonObject) -> None:
    if call["function"]["arguments"] == "":
        del call["function"]["arguments"]


def null_name_and_id(call: JsonObject) -> None:
    call.setdefault("id", None)
    call.setdefault("type", None)
    call["function"].setdefault("name", None)


def empty_name_and_id(call: JsonObject) -> None:
    call.setdefault("id", "")
    call["function"].setdefault("name", "")


CALL_BENDS: dict[str, Bend] = {
    "index-absent": each_call(drop("index")),
    "index-from-one": each_call(index_from_one),
    "id-repeated": repeated_ids,
    "id-and-name-repeated": repeated_names,
    "type-absent": each_call(drop("type")),
    "arguments-null-at-first": each_call(null_first_arguments),
    "arguments-absent-at-first": each_call(absent_first_arguments),
    "name-and-id-null": each_call(null_name_and_id),
    "name-and-id-empty": each_call(empty_name_and_id),
}


@pytest.mark.parametrize("size", [0, 1], ids=["frames", "bytes"])
@pytest.mark.parametrize(
    "answer",
    [ONE_TOOL_CALL, PARALLEL_TOOL_CALLS, TOOL_CALL_WITHOUT_ARGUMENTS],
    ids=["one", "two", "without-arguments"],
)
@pytest.mark.parametrize("bend", CALL_BENDS.values(), ids=CALL_BENDS)
def test_calls_come_out_once_and_whole(bend: Bend, answer: Answer, size: int) -> None:
    frames = openai_frames(bend(openai_chunks(answer)))

    out, _ = relayed(split(frames, size) if size else frames)

    assert_digests_to(answer, out)


@pytest.mark.parametrize("key", ["index", "id"])
def test_whole_calls_in_one_frame_are_told_apart(key: str) -> None:
    """Ollama and Gemini send each call whole; some give every call index 0, some no id."""
    calls = [
        {"index": at, "id": f"call_{at}", "function": {"name": name, "arguments": "{}"}}
        for at, name in enumerate(["f", "g"])
    ]
    for call in calls:
        call[key] = 0 if key == "index" else ""
    chunks = [chunk_with({"tool_calls": calls}), chunk_with({}, "tool_calls")]

    told = facts(digest(relayed(openai_frames(chunks))[0]))["choices"][0]["message"]

    assert ["f", "g"] == [call["function"]["name"] for call in told["tool_calls"]]
    assert ["{}", "{}"] == [call["function"]["arguments"] for call in told["tool_calls"]]
    assert 2 == len({call["id"] for call in told["tool_calls"]})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({"city": "Paris"}, '{"city":"Paris"}'), ({}, "{}"), (None, "{}"), ("", "{}"), (7, "{}")],
    ids=repr,
)
def test_arguments_come_out_as_json_text(arguments: object, told: str) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": arguments}}
    chunks = [chunk_with({"tool_calls": [call]}), chunk_with({}, "tool_calls")]

    message = facts(digest(relayed(openai_frames(chunks))[0]))["choices"][0]["message"]

    assert told == message["tool_calls"][0]["function"]["arguments"]


@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
def test_call_without_arguments_ends_as_an_empty_object(reason: Any) -> None:
    """A forced call ends in "stop" on some providers; it is a call all the same."""
    answer = replace(TOOL_CALL_WITHOUT_ARGUMENTS, finish_reason=reason)

    assert_digests_to(answer, relayed(openai_frames(openai_chunks(answer)))[0])


def test_call_cut_by_a_limit_gets_no_arguments() -> None:
    answer = replace(TOOL_CALL_WITHOUT_ARGUMENTS, finish_reason="length")

    out, _ = relayed(openai_frames(openai_chunks(answer)))

    call = facts(digest(out))["choices"][0]["message"]["tool_calls"][0]
    assert "" == call["function"]["arguments"]


def test_ids_repeated_late_do_not_pile_up() -> None:
    """Once a stream runs without being parsed, a repeated id must still be noticed."""
    part = {"index": 0, "id": "call_paris", "function": {"arguments": " "}}
    chunks = openai_chunks(ONE_TOOL_CALL)
    frames = openai_frames([*chunks[:-2], chunk_with({"tool_calls": [part]}), *chunks[-2:]])

    told = facts(digest(relayed(frames)[0]))["choices"][0]["message"]["tool_calls"]

    assert ["call_paris"] == [call["id"] for call in told]


def test_null_arguments_late_do_not_break_the_stream() -> None:
    part = {"index": 0, "function": {"arguments": None}}
    chunks = openai_chunks(ONE_TOOL_CALL)
    frames = openai_frames([*chunks[:-2], chunk_with({"tool_calls": [part]}), *chunks[-2:]])

    out, _ = relayed(frames)

    assert_digests_to(ONE_TOOL_CALL, out)
    deltas = [delta for delta in deltas_of(out) if "tool_calls" in delta]
    assert [str] * 4 == [type(d["tool_calls"][0]["function"]["arguments"]) for d in deltas]
