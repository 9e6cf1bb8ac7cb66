"""Relayed replies: clean ones leave as they came, sloppy ones as OpenAI would have sent them.

What "would have sent" means is not decided here but by the accumulator of OpenAI's SDK.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import openai
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.converter import ReplyForm, usage_from_wire
from one_api.errors import (
    ContextWindowExceeded,
    CredentialRejected,
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamServerError,
    UpstreamTimeout,
)
from one_api.events import Usage
from one_api.relay import StreamRelay, relay_body
from one_api.schemas import JsonObject
from tests.converter.digest import digest, facts
from tests.converter.replies import chunks_of, form
from tests.scripted_upstream import (
    DONE,
    HELLO,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    REASONED,
    TOOL_CALL_WITHOUT_ARGUMENTS,
    Answer,
    OpenAIDialect,
    TokenCount,
    openai_chunks,
    openai_completion_body,
    openai_frames,
    split,
    sse_frame,
    with_line_end,
)

ANSWERS = {
    "text": HELLO,
    "call": ONE_TOOL_CALL,
    "calls": PARALLEL_TOOL_CALLS,
    "call-without-arguments": TOOL_CALL_WITHOUT_ARGUMENTS,
    "reasoned": REASONED,
    "unicode": Answer(words=("Zürich ", "日本 ", "🦙\u2028", '"data: [DONE]\n\n"')),
}
ASKED = form(include_usage=True)


def relayed(
    pieces: Iterable[bytes], reply_form: ReplyForm = ASKED, *, choices: int = 1
) -> tuple[bytes, StreamRelay]:
    """What leaves when `pieces` arrive one by one and the provider then ends its stream."""
    relay = StreamRelay(reply_form, choices=choices)
    out = b"".join([relay.feed(piece) for piece in pieces])
    return out + relay.close(), relay


def expected_facts(answer: Answer, *, names: Sequence[str] = ()) -> JsonObject:
    """What a client must learn of `answer`, told independently of any stream."""
    told = facts(openai_completion_body(answer))
    message = told["choices"][0]["message"]
    if answer.reasoning:
        del message["reasoning_content"]
        message.update(
            dict.fromkeys(names or ("reasoning_content", "reasoning"), answer.reasoning_text)
        )
    return told


def assert_digests_to(answer: Answer, stream: bytes, *, ignoring: Sequence[str] = ()) -> None:
    told, wanted = facts(digest(stream)), expected_facts(answer)
    for key in ignoring:
        del told[key], wanted[key]
    assert wanted == told


class TestCleanStream:
    """What needs no mending is not touched: the bytes that arrive are the bytes that leave."""

    @pytest.mark.parametrize("cut", range(0, len(b"".join(openai_frames())), 7))
    def test_leaves_byte_identical_wherever_it_is_cut(self, cut: int) -> None:
        whole = b"".join(openai_frames())

        out, relay = relayed([whole[:cut], whole[cut:]])

        assert whole == out
        assert 18 == (relay.usage.total_tokens if relay.usage else None)

    @pytest.mark.parametrize("answer", [HELLO, ONE_TOOL_CALL, PARALLEL_TOOL_CALLS], ids=repr)
    @pytest.mark.parametrize("size", [1, 2, 3, 64, 4096])
    def test_leaves_byte_identical_in_pieces_of_any_size(self, answer: Answer, size: int) -> None:
        whole = b"".join(openai_frames(openai_chunks(answer)))

        assert whole == relayed(split(whole, size))[0]

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_leaves_byte_identical_however_it_is_cut(self, data: st.DataObject) -> None:
        answer = data.draw(st.sampled_from([HELLO, PARALLEL_TOOL_CALLS, ANSWERS["unicode"]]))
        whole = b"".join(openai_frames(openai_chunks(answer)))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
        pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

        assert whole == relayed(pieces)[0]

    def test_leaves_at_once(self) -> None:
        """Nothing is held back: each whole frame leaves with the read that completed it."""
        relay = StreamRelay(ASKED)
        frames = openai_frames()[:-2]

        assert frames == [relay.feed(frame) for frame in frames]

    def test_text_that_looks_like_protocol_is_text(self) -> None:
        words = ('"error":', "data: [DONE]", '"usage":{"prompt_tokens":9}', '"role":"x"', "\\r\\n")
        answer = replace(HELLO, words=words)

        out, relay = relayed(openai_frames(openai_chunks(answer)))

        assert_digests_to(answer, out)
        assert usage_from_wire(facts(digest(out))["usage"]) == relay.usage

    def test_several_choices_are_kept_apart(self) -> None:
        chunks = openai_chunks()
        doubled = []
        for chunk in chunks:
            for index in range(2) if chunk["choices"] else range(1):
                copy = json.loads(json.dumps(chunk))
                for choice in copy["choices"]:
                    choice["index"] = index
                doubled.append(copy)
        whole = b"".join(openai_frames(doubled))

        assert whole == relayed(split(whole, 100), choices=2)[0]


class TestCommit:
    """Before the first content another deployment may still be asked; after it, no more."""

    @pytest.mark.parametrize(
        "answer", [HELLO, ONE_TOOL_CALL, REASONED], ids=["text", "call", "reasoning"]
    )
    def test_first_content_commits(self, answer: Answer) -> None:
        opening, first, *_ = openai_frames(openai_chunks(answer))
        relay = StreamRelay(ASKED)

        relay.feed(opening)
        assert not relay.is_committed
        relay.feed(first)
        assert relay.is_committed

    @pytest.mark.parametrize(
        "delta",
        [
            {"refusal": "no"},
            {"function_call": {"name": "f", "arguments": ""}},
            {"audio": {"id": "a"}},
        ],
        ids=lambda delta: next(iter(delta)),
    )
    def test_content_of_any_kind_commits(self, delta: JsonObject) -> None:
        relay = StreamRelay(ASKED)

        relay.feed(sse_frame(chunk_with(delta)))

        assert relay.is_committed

    @pytest.mark.parametrize(
        "silent",
        [
            b": OPENROUTER PROCESSING\n\n",
            b"event: ping\n\n",
            b"retry: 1000\n\n",
            sse_frame({"choices": []}),
            sse_frame({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 0}}),
            sse_frame({"prompt_filter_results": []}),
            b"data: not json\n\n",
            b"data: [1]\n\n",
            b'data: {"choi',
            sse_frame(openai_chunks()[0]),
            sse_frame({**openai_chunks()[0], "choices": [{"index": 0, "delta": {"content": ""}}]}),
            sse_frame(
                {**openai_chunks()[0], "choices": [{"index": 0, "delta": {"content": None}}]}
            ),
            sse_frame({**openai_chunks()[0], "choices": [{"index": 0, "delta": {}}]}),
            sse_frame(
                {**openai_chunks()[0], "choices": [{"index": 0, "delta": {"tool_calls": []}}]}
            ),
        ],
        ids=lambda frame: frame[:60].decode().strip(),
    )
    @pytest.mark.parametrize("opening", [b"", openai_frames()[0]], ids=["first", "after-role"])
    def test_nothing_that_is_no_content_commits(self, opening: bytes, silent: bytes) -> None:
        relay = StreamRelay(ASKED)

        relay.feed(opening + silent)
        relay.feed(silent)

        assert not relay.is_committed

    def test_finish_commits(self) -> None:
        """An empty answer is an answer: asking somebody else would change it."""
        relay = StreamRelay(ASKED)

        relay.feed(sse_frame(openai_chunks()[-2]))

        assert relay.is_committed


def chunk_with(delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**openai_chunks()[0], "choices": [choice]}


Bend = Callable[[list[JsonObject]], list[JsonObject]]


def each_choice(change: Callable[[JsonObject], None]) -> Bend:
    def bend(chunks: list[JsonObject]) -> list[JsonObject]:
        for chunk in chunks:
            for choice in chunk["choices"] or ():
                change(choice)
        return chunks

    return bend


def each_call(change: Callable[[JsonObject], None]) -> Bend:
    def bend(choice: JsonObject) -> None:
        for call in choice["delta"].get("tool_calls", ()):
            change(call)

    return each_choice(bend)


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


def drop(key: str) -> Callable[[JsonObject], None]:
    return lambda holder: holder.pop(key, None) and None


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


class TestSloppyStream:
    """Whatever the provider's habits, the SDK ends up with the answer and its usage."""

    @pytest.mark.parametrize("size", [0, 1, 50], ids=["frames", "bytes", "pieces"])
    @pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
    @pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
    def test_dialect_is_understood(self, dialect: OpenAIDialect, answer: Answer, size: int) -> None:
        frames = openai_frames(openai_chunks(answer, dialect), done=dialect.done)

        out, relay = relayed(split(frames, size) if size else frames)

        if not dialect.finish_reason:
            answer = replace(answer, finish_reason="tool_calls" if answer.tool_calls else "stop")
        assert_digests_to(answer, out)
        assert usage_of(answer) == relay.usage

    @pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
    @pytest.mark.parametrize("bend", BENDS.values(), ids=BENDS)
    def test_bent_chunks_are_understood(self, bend: Bend, answer: Answer) -> None:
        out, relay = relayed(openai_frames(bend(openai_chunks(answer))))

        assert_digests_to(answer, out, ignoring=["id"])
        assert usage_of(answer) == relay.usage
        assert 1 == len({chunk["id"] for chunk in chunks_of(out)})

    @pytest.mark.parametrize("end", [b"\r\n", b"\r"], ids=["crlf", "cr"])
    @pytest.mark.parametrize("size", [1, 2, 5, 97, 4096])
    @pytest.mark.parametrize("answer", [HELLO, ONE_TOOL_CALL], ids=["text", "call"])
    def test_line_ends_of_any_kind_are_understood(
        self, end: Any, size: int, answer: Answer
    ) -> None:
        frames = with_line_end(openai_frames(openai_chunks(answer)), end)

        assert_digests_to(answer, relayed(split(frames, size))[0])

    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
    def test_last_frame_may_lack_its_blank_line(self, end: bytes) -> None:
        chunks = openai_chunks(dialect=OpenAIDialect(usage_on="finish"))
        *frames, last = [frame.replace(b"\n", end) for frame in openai_frames(chunks, done=False)]

        assert_digests_to(HELLO, relayed([*frames, last.rstrip()])[0])
        assert_digests_to(HELLO, relayed([*frames, last.removesuffix(end)])[0])

    @pytest.mark.parametrize("answer", [HELLO, REASONED], ids=["text", "reasoned"])
    def test_multibyte_text_may_be_cut_anywhere(self, answer: Answer) -> None:
        answer = replace(answer, words=("é日", "🦙", "ü"))

        assert_digests_to(answer, relayed(split(openai_frames(openai_chunks(answer)), 1))[0])

    def test_comments_names_ids_and_retries_are_left_out(self) -> None:
        noise = b": hi\n\nevent: ping\n\nid: 7\nretry: 10\n\n"
        frames = [noise + b"event: message\nid: 8\n" + frame for frame in openai_frames()]

        out, _ = relayed(frames)

        assert chunks_of(b"".join(openai_frames())) == chunks_of(out)

    @pytest.mark.parametrize("key", ["id", "created", "model", "object"])
    @pytest.mark.parametrize("value", [None, "", 0])
    def test_missing_identity_is_given_by_us(self, key: str, value: object) -> None:
        chunks = [{**chunk, key: value} for chunk in openai_chunks()]
        if value == 0 and key == "created":
            pytest.skip("a time like any other")

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
        self, key: Any, field: Any, names: tuple[str, ...]
    ) -> None:
        frames = openai_frames(openai_chunks(REASONED, OpenAIDialect(reasoning_key=key)))

        out, _ = relayed(frames, form(include_usage=True, reasoning_field=field))

        assert expected_facts(REASONED, names=names) == facts(digest(out))

    def test_reason_tool_calls_without_calls_is_stop(self) -> None:
        answer = replace(HELLO, finish_reason="tool_calls")

        out, _ = relayed(openai_frames(openai_chunks(answer)))

        assert_digests_to(HELLO, out)

    def test_content_after_finish_is_not_lost(self) -> None:
        out, relay = relayed(openai_frames(content_after_finish(openai_chunks())))

        assert_digests_to(HELLO, out)
        assert usage_of(HELLO) == relay.usage

    @pytest.mark.parametrize(
        "broken", [b'data: {"id":\n\n', b"data: \xff\n\n", b"data: 7\n\n", b"data: null\n\n"]
    )
    def test_frame_that_is_no_chunk_is_counted_and_left_out(self, broken: bytes) -> None:
        frames = openai_frames()

        out, relay = relayed([*frames[:3], broken, *frames[3:]])

        assert_digests_to(HELLO, out)
        assert 1 == relay.malformed

    def test_azure_prelude_is_left_out(self) -> None:
        prelude = {"choices": [], "id": "", "model": "", "prompt_filter_results": [{"index": 0}]}

        out, _ = relayed([sse_frame(prelude), *openai_frames()])

        assert b"".join(openai_frames()) == out

    def test_everything_after_done_is_ignored_by_clients(self) -> None:
        out, relay = relayed(openai_frames())

        assert relay.is_done
        assert 1 == out.count(b"[DONE]")
        assert out.endswith(DONE)


def usage_of(answer: Answer) -> Usage | None:
    count = answer.usage
    return count and Usage(
        prompt_tokens=count.prompt,
        completion_tokens=count.completion,
        reasoning_tokens=count.reasoning,
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


class TestSloppyToolCalls:
    @pytest.mark.parametrize("size", [0, 1], ids=["frames", "bytes"])
    @pytest.mark.parametrize(
        "answer",
        [ONE_TOOL_CALL, PARALLEL_TOOL_CALLS, TOOL_CALL_WITHOUT_ARGUMENTS],
        ids=["one", "two", "without-arguments"],
    )
    @pytest.mark.parametrize("bend", CALL_BENDS.values(), ids=CALL_BENDS)
    def test_calls_come_out_once_and_whole(self, bend: Bend, answer: Answer, size: int) -> None:
        frames = openai_frames(bend(openai_chunks(answer)))

        out, _ = relayed(split(frames, size) if size else frames)

        assert_digests_to(answer, out)

    @pytest.mark.parametrize("key", ["index", "id"])
    def test_whole_calls_in_one_frame_are_told_apart(self, key: str) -> None:
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
    def test_arguments_come_out_as_json_text(self, arguments: object, told: str) -> None:
        call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": arguments}}
        chunks = [chunk_with({"tool_calls": [call]}), chunk_with({}, "tool_calls")]

        message = facts(digest(relayed(openai_frames(chunks))[0]))["choices"][0]["message"]

        assert told == message["tool_calls"][0]["function"]["arguments"]

    @pytest.mark.parametrize("reason", ["tool_calls", "stop"])
    def test_call_without_arguments_ends_as_an_empty_object(self, reason: Any) -> None:
        """A forced call ends in "stop" on some providers; it is a call all the same."""
        answer = replace(TOOL_CALL_WITHOUT_ARGUMENTS, finish_reason=reason)

        assert_digests_to(answer, relayed(openai_frames(openai_chunks(answer)))[0])

    def test_call_cut_by_a_limit_gets_no_arguments(self) -> None:
        answer = replace(TOOL_CALL_WITHOUT_ARGUMENTS, finish_reason="length")

        out, _ = relayed(openai_frames(openai_chunks(answer)))

        call = facts(digest(out))["choices"][0]["message"]["tool_calls"][0]
        assert "" == call["function"]["arguments"]

    def test_ids_repeated_late_do_not_pile_up(self) -> None:
        """Once a stream runs without being parsed, a repeated id must still be noticed."""
        part = {"index": 0, "id": "call_paris", "function": {"arguments": " "}}
        chunks = openai_chunks(ONE_TOOL_CALL)
        frames = openai_frames([*chunks[:-2], chunk_with({"tool_calls": [part]}), *chunks[-2:]])

        told = facts(digest(relayed(frames)[0]))["choices"][0]["message"]["tool_calls"]

        assert ["call_paris"] == [call["id"] for call in told]

    def test_null_arguments_late_do_not_break_the_stream(self) -> None:
        part = {"index": 0, "function": {"arguments": None}}
        chunks = openai_chunks(ONE_TOOL_CALL)
        frames = openai_frames([*chunks[:-2], chunk_with({"tool_calls": [part]}), *chunks[-2:]])

        assert_digests_to(ONE_TOOL_CALL, relayed(frames)[0])


class TestUsage:
    @pytest.mark.parametrize("on", ["last", "finish", "every"])
    def test_usage_is_known_but_hidden_unless_asked(self, on: Any) -> None:
        frames = openai_frames(openai_chunks(dialect=OpenAIDialect(usage_on=on)))

        out, relay = relayed(frames, form())

        assert usage_of(HELLO) == relay.usage
        assert all(not chunk.get("usage") and chunk["choices"] for chunk in chunks_of(out))

    @pytest.mark.parametrize("on", ["last", "finish", "every"])
    def test_usage_comes_last_when_asked(self, on: Any) -> None:
        frames = openai_frames(openai_chunks(dialect=OpenAIDialect(usage_on=on)))

        *before, last = chunks_of(relayed(frames)[0])

        assert [] == last["choices"]
        assert 18 == last["usage"]["total_tokens"]
        assert all(not chunk.get("usage") for chunk in before)

    def test_last_count_is_the_truth(self) -> None:
        chunks = openai_chunks(dialect=OpenAIDialect(usage_on="every"))
        for at, chunk in enumerate(chunks):
            chunk["usage"] = {"prompt_tokens": 5, "completion_tokens": at}

        _, relay = relayed(openai_frames(chunks))

        assert Usage(prompt_tokens=5, completion_tokens=len(chunks) - 1) == relay.usage

    def test_no_usage_is_no_usage(self) -> None:
        out, relay = relayed(openai_frames(openai_chunks(replace(HELLO, usage=None))))

        assert None is relay.usage
        assert all(chunk["choices"] for chunk in chunks_of(out))

    @pytest.mark.parametrize("count", [-5, 10**30, "7", None, 1.5, True, [], {}], ids=str)
    @pytest.mark.parametrize("on", ["last", "finish"])
    def test_count_that_is_none_is_zero(self, count: object, on: Any) -> None:
        chunks = openai_chunks(dialect=OpenAIDialect(usage_on=on))
        next(c for c in chunks if c.get("usage"))["usage"]["completion_tokens"] = count

        out, relay = relayed(openai_frames(chunks))

        assert Usage(prompt_tokens=11, completion_tokens=0) == relay.usage
        assert relay.usage == usage_from_wire(facts(digest(out))["usage"])


ERRORS: list[tuple[str, object, type[GatewayError]]] = [
    ("text", "it broke", UpstreamError),
    ("message", {"message": "it broke"}, UpstreamError),
    ("openai-server", {"message": "m", "type": "server_error", "code": None}, UpstreamError),
    ("status-429", {"message": "slow", "code": 429}, UpstreamRateLimited),
    ("status-429-text", {"message": "slow", "code": "429"}, UpstreamRateLimited),
    ("status-500", {"message": "m", "code": 500}, UpstreamServerError),
    ("status-502", {"message": "m", "code": 502}, UpstreamServerError),
    ("status-503", {"message": "m", "code": 503}, UpstreamOverloaded),
    ("status-504", {"message": "m", "code": 504}, UpstreamTimeout),
    ("status-401", {"message": "bad key", "code": 401}, CredentialRejected),
    ("status-402", {"message": "no money", "code": 402}, UpstreamQuotaExhausted),
    ("status-404", {"message": "no model", "code": 404}, ModelNotFound),
    ("status-400", {"message": "m", "code": 400}, InvalidRequest),
    ("type-400", {"message": "m", "type": "invalid_request_error"}, InvalidRequest),
    (
        "context",
        {"message": "m", "type": "invalid_request_error", "code": "context_length_exceeded"},
        ContextWindowExceeded,
    ),
    ("rate", {"message": "m", "type": "rate_limit_error"}, UpstreamRateLimited),
    ("rate-code", {"message": "m", "code": "rate_limit_exceeded"}, UpstreamRateLimited),
    ("overloaded", {"message": "m", "type": "overloaded_error"}, UpstreamOverloaded),
    ("key", {"message": "sk-1234567890", "type": "authentication_error"}, CredentialRejected),
    ("key-code", {"message": "m", "code": "invalid_api_key"}, CredentialRejected),
    ("quota", {"message": "m", "code": "insufficient_quota"}, UpstreamQuotaExhausted),
    ("model", {"message": "m", "code": "model_not_found"}, ModelNotFound),
    ("strange-code", {"message": "m", "code": [1]}, UpstreamError),
    ("strange-message", {"message": {"a": 1}}, UpstreamError),
    ("number", 5, UpstreamError),
]
FRAMINGS: dict[str, Callable[[object], bytes]] = {
    "alone": lambda error: sse_frame({"error": error}),
    "in-a-chunk": lambda error: sse_frame({**chunk_with({"content": ""}, "error"), "error": error}),
    "named-event": lambda error: sse_frame({"error": error}, event="error"),
    "named-event-bare": lambda error: sse_frame(error, event="error"),
    "object-error": lambda error: sse_frame(
        {"object": "error", **(error if isinstance(error, dict) else {"message": error})}
    ),
}


class TestErrors:
    @pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
    @pytest.mark.parametrize(
        ("error", "kind"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
    )
    @pytest.mark.parametrize("begun", [0, 3], ids=["at-first", "under-way"])
    def test_error_told_in_the_stream_is_raised(
        self, begun: int, error: object, kind: type[GatewayError], framing: Callable[..., bytes]
    ) -> None:
        relay = StreamRelay(ASKED)
        for frame in openai_frames()[:begun]:
            relay.feed(frame)

        with pytest.raises(GatewayError) as caught:
            relay.feed(framing(error))

        assert kind is type(caught.value)

    @pytest.mark.parametrize(
        ("error", "kind"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
    )
    def test_error_told_in_a_body_is_raised(self, error: object, kind: type[GatewayError]) -> None:
        with pytest.raises(GatewayError) as caught:
            relay_body(orjson.dumps({"error": error}), form())

        assert kind is type(caught.value)

    def test_error_that_is_null_is_none(self) -> None:
        chunks = [{**chunk, "error": None} for chunk in openai_chunks()]

        assert_digests_to(HELLO, relayed(openai_frames(chunks))[0])

    @pytest.mark.parametrize("frames", range(1, 5))
    @pytest.mark.parametrize("rest", [b"", b'data: {"id":"chatcmpl-scr', b"data: "])
    def test_stream_cut_before_its_finish_is_a_disconnect(self, frames: int, rest: bytes) -> None:
        with pytest.raises(UpstreamDisconnected):
            relayed([*openai_frames()[:frames], rest])

    @pytest.mark.parametrize("choices", [2, 3])
    def test_every_choice_that_began_must_finish(self, choices: int) -> None:
        second = chunk_with({"role": "assistant", "content": "a"})
        second["choices"][0]["index"] = 1

        with pytest.raises(UpstreamDisconnected):
            relayed([sse_frame(second), *openai_frames()[:-1]], choices=choices)

    @pytest.mark.parametrize(
        "stream",
        [b"", DONE, b": ping\n\n", b"<html>Bad gateway</html>", b'{"choices":[]}', b"data: {}\n\n"],
        ids=["nothing", "done", "comment", "html", "json", "empty-chunk"],
    )
    def test_stream_without_a_completion_is_invalid(self, stream: bytes) -> None:
        with pytest.raises(UpstreamInvalidResponse):
            relayed([stream])

    @pytest.mark.parametrize("piece", [b"x" * 64_000, b"data: " + b"x" * 64_000 + b"\r"])
    def test_event_without_an_end_is_not_collected_for_ever(self, piece: bytes) -> None:
        relay = StreamRelay(ASKED)

        with pytest.raises(UpstreamInvalidResponse):
            list(map(relay.feed, [piece] * 40))

    def test_sdk_raises_what_we_tell_in_band(self) -> None:
        """The other end of the bargain: an in-band error is an exception for the client."""
        broken = b"".join(openai_frames()[:3]) + sse_frame({"error": {"message": "m"}})

        with pytest.raises(openai.APIError, match="m"):
            digest(broken)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.floats(allow_nan=False)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)


def _object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly an object with these fields, each of which may be absent or nonsense."""
    return _JSON | st.fixed_dictionaries({}, optional={k: v | _JSON for k, v in fields.items()})


def _some(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=2)


_FUNCTION = _object(name=st.just("f"), arguments=st.just("{}"))
_CALL = _object(
    index=st.integers(-1, 2),
    id=st.sampled_from(["a", "b"]),
    type=st.just("function"),
    function=_FUNCTION,
)
_MESSAGE = _object(
    role=st.just("assistant"), content=st.text(), tool_calls=_some(_CALL), reasoning=st.text()
)
_CHOICE = _object(
    index=st.integers(-1, 2),
    delta=_MESSAGE,
    message=_MESSAGE,
    finish_reason=st.sampled_from(["stop", "tool_calls"]),
)
_REPLY = _object(
    id=st.sampled_from(["x", "y"]),
    choices=_some(_CHOICE),
    usage=_object(prompt_tokens=st.integers()),
    error=_object(message=st.text(), code=st.integers(399, 600)),
)


class TestNonsense:
    """No JSON whatever makes a provider's reply into a bug of ours."""

    @settings(max_examples=200, deadline=None)
    @given(st.lists(_REPLY, max_size=4), st.integers(1, 2))
    def test_stream_of_any_json_is_relayed_or_refused(
        self, chunks: list[Any], choices: int
    ) -> None:
        opening = openai_frames()[:2]
        try:
            out, _ = relayed(
                [*opening, *map(sse_frame, chunks), *openai_frames()[-3:]], choices=choices
            )
        except GatewayError:
            return
        assert all(isinstance(chunk["choices"], list) for chunk in chunks_of(out))

    @settings(max_examples=200, deadline=None)
    @given(_REPLY)
    def test_body_of_any_json_is_relayed_or_refused(self, reply: Any) -> None:
        try:
            body, _ = relay_body(orjson.dumps(reply), form())
        except GatewayError:
            return
        assert all("message" in choice for choice in orjson.loads(body)["choices"])

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.binary(max_size=30) | st.sampled_from([b"data: ", b"\n\n", b"\r", *openai_frames()])
        )
    )
    def test_any_bytes_are_relayed_or_refused(self, pieces: list[bytes]) -> None:
        try:
            out, _ = relayed(pieces)
        except GatewayError:
            return
        assert out.endswith(DONE)


class TestBody:
    @pytest.mark.parametrize("answer", [HELLO, ONE_TOOL_CALL, PARALLEL_TOOL_CALLS], ids=repr)
    def test_clean_body_leaves_byte_identical(self, answer: Answer) -> None:
        data = json.dumps(openai_completion_body(answer), indent=1).encode()

        assert (data, usage_of(answer)) == relay_body(data, form())

    @pytest.mark.parametrize("key", ["id", "object", "created", "model"])
    @pytest.mark.parametrize("is_absent", [True, False], ids=["absent", "null"])
    def test_missing_identity_is_given_by_us(self, key: str, is_absent: bool) -> None:
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
        ids=[
            "index",
            "reason-absent",
            "reason-null",
            "reason-empty",
            "no-calls",
            "role",
            "content",
        ],
    )
    def test_choice_is_mended(
        self, change: Callable[[JsonObject], object], path: str, wanted: object
    ) -> None:
        reply = openai_completion_body()
        change(reply["choices"][0])

        told: Any = orjson.loads(relay_body(orjson.dumps(reply), form())[0])["choices"][0]

        for step in path.split("."):
            told = told[step]
        assert wanted == told

    @pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
    def test_reasoning_is_told_under_both_names(self, key: Any) -> None:
        reply = openai_completion_body(REASONED, OpenAIDialect(reasoning_key=key))

        told = orjson.loads(relay_body(orjson.dumps(reply), form())[0])

        assert expected_facts(REASONED) == facts(told)

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [({"a": 1}, '{"a":1}'), ({}, "{}"), (None, "{}"), ("", "{}"), ('{"a":1}', '{"a":1}')],
        ids=repr,
    )
    def test_arguments_come_out_as_json_text(self, arguments: object, told: str) -> None:
        reply = openai_completion_body(ONE_TOOL_CALL)
        call = reply["choices"][0]["message"]["tool_calls"][0]
        call["function"]["arguments"] = arguments

        mended = orjson.loads(relay_body(orjson.dumps(reply), form())[0])

        calls = mended["choices"][0]["message"]["tool_calls"]
        assert told == calls[0]["function"]["arguments"]

    def test_call_without_id_and_type_gets_both(self) -> None:
        reply = openai_completion_body(ONE_TOOL_CALL)
        call = reply["choices"][0]["message"]["tool_calls"][0]
        del call["type"]
        call["id"] = ""

        mended = orjson.loads(relay_body(orjson.dumps(reply), form())[0])

        (told,) = mended["choices"][0]["message"]["tool_calls"]
        assert "function" == told["type"]
        assert told["id"].startswith("call_")

    @pytest.mark.parametrize("count", [-5, 10**30, "7", None, 1.5, True], ids=str)
    def test_count_that_is_none_is_zero(self, count: object) -> None:
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
    def test_body_without_a_completion_is_invalid(self, body: bytes) -> None:
        with pytest.raises(UpstreamInvalidResponse):
            relay_body(body, form())

    def test_body_that_is_an_error_object_is_raised(self) -> None:
        body = b'{"object":"error","message":"too long","type":"BadRequestError","code":400}'

        with pytest.raises(InvalidRequest, match="too long"):
            relay_body(body, form())


def test_token_count_of_the_script_is_the_one_the_client_sees() -> None:
    answer = replace(HELLO, usage=TokenCount(20, 9, cached=8, cache_write=4, reasoning=2))

    out, relay = relayed(openai_frames(openai_chunks(answer)))

    wanted = Usage(
        prompt_tokens=20,
        completion_tokens=9,
        cached_tokens=8,
        cache_write_tokens=4,
        reasoning_tokens=2,
    )
    assert wanted == relay.usage
    assert wanted == usage_from_wire(facts(digest(out))["usage"])
