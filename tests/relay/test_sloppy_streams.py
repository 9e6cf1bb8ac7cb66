"""Whatever the provider's habits, OpenAI's SDK ends up with the answer and its usage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from one_api.schemas import JsonObject
from tests.converter.digest import digest, facts
from tests.converter.replies import chunks_of, form
from tests.relay.streams import (
    ANSWERS,
    ASKED,
    Bend,
    assert_digests_to,
    drop,
    each_choice,
    expected_facts,
    relayed,
    usage_of,
)
from tests.scripted_upstream import (
    DONE,
    HELLO,
    ONE_TOOL_CALL,
    REASONED,
    Answer,
    OpenAIDialect,
    openai_chunks,
    openai_frames,
    split,
    sse_frame,
    with_line_end,
)


def without(key: str) -> Bend:
    return lambda chunks: [{k: v for k, v in chunk.items() if k != key} for chunk in chunks]


def changing_ids(chunks: list[JsonObject]) -> list[JsonObject]:
    return [{**chunk, "id": f"chatcmpl-{at}"} for at, chunk in enumerate(chunks)]


def content_after_finish(chunks: list[JsonObject]) -> list[JsonObject]:
    *before, last_word, finish, usage = chunks
    return [*before, finish, last_word, usage]


def finish_twice(chunks: list[JsonObject]) -> list[JsonObject]:
    return [*chunks[:-1], chunks[-2], chunks[-1]]


def usage_first(chunks: list[JsonObject]) -> list[JsonObject]:
    return [chunks[-1], *chunks[:-1]]


def null_deltas(choice: JsonObject) -> None:
    if not choice["delta"]:
        choice["delta"] = None


DIALECTS = {
    "role-never": OpenAIDialect(role="never"),
    "role-every": OpenAIDialect(role="every"),
    "usage-every": OpenAIDialect(usage_on="every"),
    "usage-with-finish": OpenAIDialect(usage_on="finish"),
    "usage-choices-null": OpenAIDialect(usage_chunk_choices="null"),
    "usage-choices-absent": OpenAIDialect(usage_chunk_choices="absent"),
    "finish-empty": OpenAIDialect(no_finish_reason="empty"),
    "finish-absent": OpenAIDialect(no_finish_reason="absent"),
    "no-done": OpenAIDialect(done=False),
    "done-without-finish": OpenAIDialect(finish_reason=False),
    "reasoning": OpenAIDialect(reasoning_key="reasoning"),
    "reasoning-role-every-usage-every": OpenAIDialect(
        reasoning_key="reasoning", role="every", usage_on="every", no_finish_reason="empty"
    ),
}
BENDS: dict[str, Bend] = {
    "id-changes": changing_ids,
    "content-null-beside-nothing": each_choice(null_deltas),
    "index-absent": each_choice(drop("index")),
    "logprobs-absent": each_choice(drop("logprobs")),
    "finish-twice": finish_twice,
    "usage-first": usage_first,
    "object-absent": without("object"),
    "service-tier-absent": without("service_tier"),
}


@pytest.mark.parametrize("size", [0, 1], ids=["frames", "bytes"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_dialect_is_understood(dialect: OpenAIDialect, answer: Answer, size: int) -> None:
    frames = openai_frames(openai_chunks(answer, dialect), done=dialect.done)

    out, relay = relayed(split(frames, size) if size else frames)

    if not dialect.finish_reason:
        answer = replace(answer, finish_reason="tool_calls" if answer.tool_calls else "stop")
    assert_digests_to(answer, out)
    assert usage_of(answer) == relay.usage


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("bend", BENDS.values(), ids=BENDS)
def test_bent_chunks_are_understood(bend: Bend, answer: Answer) -> None:
    out, relay = relayed(openai_frames(bend(openai_chunks(answer))))

    assert_digests_to(answer, out, ignoring=["id"])
    assert usage_of(answer) == relay.usage
    assert 1 == len({chunk["id"] for chunk in chunks_of(out)})


@pytest.mark.parametrize("end", [b"\r\n", b"\r"], ids=["crlf", "cr"])
@pytest.mark.parametrize("size", [1, 2, 5, 97, 4096])
@pytest.mark.parametrize("answer", [HELLO, ONE_TOOL_CALL], ids=["text", "call"])
def test_line_ends_of_any_kind_are_understood(end: Any, size: int, answer: Answer) -> None:
    frames = with_line_end(openai_frames(openai_chunks(answer)), end)

    assert_digests_to(answer, relayed(split(frames, size))[0])


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_last_frame_may_lack_its_blank_line(end: bytes) -> None:
    chunks = openai_chunks(dialect=OpenAIDialect(usage_on="finish"))
    *frames, last = [frame.replace(b"\n", end) for frame in openai_frames(chunks, done=False)]

    assert_digests_to(HELLO, relayed([*frames, last.rstrip()])[0])
    assert_digests_to(HELLO, relayed([*frames, last.removesuffix(end)])[0])


@pytest.mark.parametrize("answer", [HELLO, REASONED], ids=["text", "reasoned"])
def test_multibyte_text_may_be_cut_anywhere(answer: Answer) -> None:
    answer = replace(answer, words=("é日", "🦙", "ü"))

    assert_digests_to(answer, relayed(split(openai_frames(openai_chunks(answer)), 1))[0])


@pytest.mark.parametrize("extra", [b"\n", b"\n\n", b"\n\n\n"], ids=len)
@pytest.mark.parametrize("size", [0, 1, 300], ids=["frames", "bytes", "pieces"])
def test_extra_blank_lines_are_nothing(extra: bytes, size: int) -> None:
    frames = [extra, *(frame + extra for frame in openai_frames())]

    out, _ = relayed(split(frames, size) if size else frames)

    assert_digests_to(HELLO, out)


def test_comments_names_ids_and_retries_are_left_out() -> None:
    noise = b": hi\n\nevent: ping\n\nid: 7\nretry: 10\n\n"
    frames = [noise + b"event: message\nid: 8\n" + frame for frame in openai_frames()]

    out, _ = relayed(frames)

    assert chunks_of(b"".join(openai_frames())) == chunks_of(out)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (key, value)
        for key in ("id", "created", "model", "object")
        for value in (None, "", 0)
        if (key, value) != ("created", 0)  # a time like any other
    ],
)
def test_missing_identity_is_given_by_us(key: str, value: object) -> None:
    chunks = [{**chunk, key: value} for chunk in openai_chunks()]

    out, _ = relayed(openai_frames(chunks))

    ours = {"id": ASKED.id, "created": ASKED.created, "model": ASKED.model}
    wanted = ours.get(key, "chat.completion.chunk")
    assert {wanted} == {chunk[key] for chunk in chunks_of(out)}


@pytest.mark.parametrize(
    ("field", "names"),
    [("reasoning", ("reasoning",)), ("reasoning_content", ("reasoning_content",))],
)
@pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
def test_reasoning_goes_under_the_name_asked_for(
    key: Any, field: Any, names: tuple[str, ...]
) -> None:
    frames = openai_frames(openai_chunks(REASONED, OpenAIDialect(reasoning_key=key)))

    out, _ = relayed(frames, form(include_usage=True, reasoning_field=field))

    assert expected_facts(REASONED, names=names) == facts(digest(out))


def test_reason_tool_calls_without_calls_is_stop() -> None:
    answer = replace(HELLO, finish_reason="tool_calls")

    out, _ = relayed(openai_frames(openai_chunks(answer)))

    assert_digests_to(HELLO, out)


def test_content_after_finish_is_not_lost() -> None:
    out, relay = relayed(openai_frames(content_after_finish(openai_chunks())))

    assert_digests_to(HELLO, out)
    assert usage_of(HELLO) == relay.usage


@pytest.mark.parametrize(
    "broken", [b'data: {"id":\n\n', b"data: \xff\n\n", b"data: 7\n\n", b"data: null\n\n"]
)
def test_frame_that_is_no_chunk_is_counted_and_left_out(broken: bytes) -> None:
    frames = openai_frames()

    out, relay = relayed([*frames[:3], broken, *frames[3:]])

    assert_digests_to(HELLO, out)
    assert 1 == relay.malformed


def test_azure_prelude_is_left_out() -> None:
    prelude = {"choices": [], "id": "", "model": "", "prompt_filter_results": [{"index": 0}]}

    out, _ = relayed([sse_frame(prelude), *openai_frames()])

    assert b"".join(openai_frames()) == out


def test_everything_after_done_is_ignored_by_clients() -> None:
    out, relay = relayed(openai_frames())

    assert relay.is_done
    assert 1 == out.count(b"[DONE]")
    assert out.endswith(DONE)
