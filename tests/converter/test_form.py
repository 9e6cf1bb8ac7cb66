"""Identity, usage and frames of a reply."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api.converter import (
    ReplyForm,
    error_frame,
    frame,
    random_id,
    usage_from_wire,
    usage_to_wire,
)
from one_api.errors import InvalidRequest
from one_api.events import Usage

_COUNT = st.integers(0, 2**53)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_ids_are_new_each_time_and_look_like_openais() -> None:
    ids = {ReplyForm(model="m").id for _ in range(100)}

    assert 100 == len(ids)
    assert all(id_.startswith("chatcmpl-") and id_[9:].isalnum() for id_ in ids)
    assert 9 + 29 == len(ids.pop())


def test_an_id_stays_the_same_once_it_was_asked_for() -> None:
    form = ReplyForm(model="m")

    assert form.id == form.id
    assert form.id == replace(form, functions=True).id
    assert "chatcmpl-1" == ReplyForm(model="m", given_id="chatcmpl-1").id


def test_no_two_threads_get_the_same_id() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda _: [random_id("", 32) for _ in range(500)], range(8))
        ids = [one for some in made for one in some]

    assert 4_000 == len(set(ids))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_makes_ids_of_its_own() -> None:
    program = """
import os
from one_api.converter import random_id

random_id("")
child = os.fork()
os.write(1, f"{random_id('', 32)}\\n".encode())
if child:
    os.waitpid(child, 0)
"""
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert 2 == len(set(told.stdout.split()))


def test_random_id_has_prefix_and_length() -> None:
    assert "call_" == random_id("call_", 24)[:5]
    assert 29 == len(random_id("call_", 24))


@given(
    st.builds(
        Usage,
        prompt_tokens=_COUNT,
        completion_tokens=_COUNT,
        cached_tokens=_COUNT,
        cache_write_tokens=_COUNT,
        reasoning_tokens=_COUNT,
        prompt_audio_tokens=_COUNT,
        completion_audio_tokens=_COUNT,
        accepted_prediction_tokens=_COUNT,
        rejected_prediction_tokens=_COUNT,
    )
)
def test_usage_survives_the_wire(usage: Usage) -> None:
    assert usage == usage_from_wire(orjson.loads(orjson.dumps(usage_to_wire(usage))))


@pytest.mark.parametrize(
    "wire", [None, [], "12", {}, {"completion_tokens": 3}, {"total_tokens": 3}], ids=str
)
def test_what_holds_no_counts_is_no_usage(wire: object) -> None:
    assert None is usage_from_wire(wire)


@pytest.mark.parametrize(
    "count",
    [-1, -(10**30), 10**30 * 1.0, "7", None, True, 3.5, [], {}],
    ids=str,
)
def test_count_that_is_none_is_zero(count: Any) -> None:
    usage = usage_from_wire({"prompt_tokens": count, "completion_tokens": 2})

    assert Usage(prompt_tokens=0, completion_tokens=2) == usage


@pytest.mark.parametrize(
    "wire",
    [
        {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}},
        {"prompt_tokens": 9, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5},
    ],
    ids=["in-details", "beside-the-totals"],
)
def test_cache_hits_are_found_wherever_they_are_told(wire: dict[str, Any]) -> None:
    usage = usage_from_wire({"completion_tokens": 1, **wire})

    assert Usage(prompt_tokens=9, completion_tokens=1, cached_tokens=4) == usage


@given(
    st.dictionaries(
        st.sampled_from(sorted(usage_to_wire(Usage(prompt_tokens=0, completion_tokens=0)))), _JSON
    )
)
def test_usage_of_any_json_is_never_negative(wire: dict[str, Any]) -> None:
    usage = usage_from_wire(wire)

    assert ("prompt_tokens" in wire) == (usage is not None)
    if usage is not None:
        assert min(usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens) >= 0


def test_error_frame_is_one_event_with_all_four_keys() -> None:
    error = InvalidRequest("no\n\nway", param="messages", code="bad")

    data = error_frame(error)

    assert 1 == data.count(b"\n\n")
    assert {
        "error": {
            "message": "no\n\nway",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "bad",
        }
    } == orjson.loads(data.removeprefix(b"data: "))


@given(st.dictionaries(st.text(), st.text(), max_size=3))
def test_frame_is_one_line_whatever_the_chunk_holds(chunk: dict[str, str]) -> None:
    data = frame(chunk)

    assert data.startswith(b"data: ")
    assert data.endswith(b"\n\n")
    assert b"\n" not in data[:-2]
