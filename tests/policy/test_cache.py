"""The cache of replies: which requests are the same, what is kept, and how it is told again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.converter import CHAT, DONE, Dialect
from one_api.counters import Counters
from one_api.errors import StorageUnavailable
from one_api.events import (
    Annotation,
    Event,
    Finish,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    Relay,
    Start,
    TextDelta,
    ThinkingBlockDelta,
    ToolCallDelta,
    Usage,
    UsageReport,
)
from one_api.policy.cache import (
    CachedReply,
    CacheSlot,
    CacheUse,
    Flights,
    ReplyCache,
    ReplyRecording,
)
from one_api.reply import ReplyStream
from one_api.schemas import JsonObject
from one_api.schemas.chat import ChatCompletionRequest
from one_api.schemas.completions import CompletionRequest
from tests.converter.messages import replies as messages
from tests.converter.replies import citation, folded, form, logprobs, replies, written
from tests.counters.redis_server import RedisServer, running_redis
from tests.counters.worlds import MemoryWorld, RedisWorld, World

CHAT_PATH = "/v1/chat/completions"
USAGE = Usage(prompt_tokens=7, completion_tokens=3)
ANSWER: tuple[Event, ...] = (
    Start(id="chatcmpl-theirs", system_fingerprint="fp"),
    TextDelta("Hello"),
    TextDelta(" there"),
    Finish("stop"),
    UsageReport(USAGE),
)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    made: World
    if request.param == "memory":
        made = MemoryWorld()
    else:
        made = RedisWorld(request.getfixturevalue("redis_server"))
    yield made
    await made.counters.close()


class BrokenStore:
    """A store whose server is gone."""

    async def get(self, key: str) -> bytes | None:
        raise StorageUnavailable("gone")

    async def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        raise StorageUnavailable("gone")


def cache_in(store: Counters, **differences: Any) -> ReplyCache:
    return ReplyCache(store, b"secret", **{"ttl_s": 60.0, **differences})


def chat(**fields: Any) -> ChatCompletionRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return ChatCompletionRequest.from_wire(body)


def slot(request: ChatCompletionRequest | None = None, **differences: Any) -> CacheSlot | None:
    cache = ReplyCache(BrokenStore(), differences.pop("secret", b"secret"), ttl_s=60.0)
    asked = {"scope": "alice", "endpoint": CHAT_PATH, "request": request or chat()}
    return cache.slot(**{**asked, **differences})


def kept(body: JsonObject | bytes) -> CachedReply:
    return CachedReply(
        body=body if isinstance(body, bytes) else orjson.dumps(body),
        deployment="eu/m-1",
        upstream_model="m-1",
        created_ms=1_790_000_000_123,
    )


def answer(**differences: Any) -> JsonObject:
    """A complete reply, whose one choice differs."""
    reply = folded(ANSWER)
    choice = reply["choices"][0]
    for name, value in differences.items():
        (choice if name in ("finish_reason", "logprobs") else choice["message"])[name] = value
    return reply


# -- which requests are the same


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream": False},
        {"user": "bob"},
        {"safety_identifier": "b0b"},
        {"metadata": {"trace": "1"}},
        {"store": False},
        {"prompt_cache_key": "k"},
        {"prompt_cache_retention": "24h"},
        {"temperature": None},
    ],
    ids=str,
)
def test_what_does_not_change_the_answer_does_not_change_the_slot(fields: JsonObject) -> None:
    assert slot() == slot(chat(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "n"},
        {"models": ["n"]},
        {"messages": [{"role": "user", "content": "Hi "}]},
        {"messages": [{"role": "system", "content": "Hi"}]},
        {"messages": [{"role": "user", "content": "Hi", "name": "bob"}]},
        {"temperature": 0.0},
        {"seed": 1},
        {"n": 2},
        {"stop": ["x"]},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"reasoning_effort": "low"},
        {"service_tier": "flex"},
        {"a_field_of_next_year": 1},
    ],
    ids=str,
)
def test_what_may_change_the_answer_changes_the_slot(fields: JsonObject) -> None:
    assert slot() != slot(chat(**fields))


@pytest.mark.parametrize(
    "difference",
    [{"scope": "bob"}, {"endpoint": "/v1/messages"}, {"secret": b"other"}],
    ids=str,
)
def test_slots_of_others_are_others(difference: Any) -> None:
    assert slot() != slot(**difference)


def test_scope_and_endpoint_cannot_be_mistaken_for_each_other() -> None:
    assert slot(scope="a", endpoint="bc") != slot(scope="ab", endpoint="c")
    assert slot(scope='a","b', endpoint="c") != slot(scope="a", endpoint='b","c')


def test_order_of_fields_does_not_matter_but_that_within_a_schema_does() -> None:
    one: JsonObject = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "x": 1,
        "w": 2,
    }
    other = dict(reversed(one.items()))
    assert slot(ChatCompletionRequest.from_wire(one)) == slot(
        ChatCompletionRequest.from_wire(other)
    )

    def asked(*properties: str) -> ChatCompletionRequest:
        schema = {"type": "object", "properties": {name: {} for name in properties}}
        return chat(
            response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
        )

    assert slot(asked("a", "b")) != slot(asked("b", "a"))


def test_slot_tells_nothing_of_what_was_asked() -> None:
    found = slot(chat(messages=[{"role": "user", "content": "secret"}]))
    assert found is not None
    assert found.name.removeprefix("cache:").isalnum()
    assert len("cache:") + 64 == len(found.name)


def test_request_to_keep_the_conversation_is_not_answered_from_here() -> None:
    assert slot(chat(store=True)) is None


def test_request_nested_too_deeply_is_not_kept() -> None:
    nested: Any = 1
    for _ in range(400):
        nested = [nested]
    assert slot(chat(x=nested)) is None


@given(st.text(), st.text(), st.text(), st.text())
@settings(deadline=None)
def test_only_the_same_scope_and_question_share_a_slot(a: str, b: str, c: str, d: str) -> None:
    first, second = ((scope, chat(messages=[{"role": "user", "content": text}]))
                     for scope, text in ((a, b), (c, d)))  # fmt: skip
    same = (a, b) == (c, d)
    assert same == (slot(first[1], scope=first[0]) == slot(second[1], scope=second[0]))


@pytest.mark.parametrize(
    ("header", "reads", "writes"),
    [
        (None, True, True),
        ("", True, True),
        ("max-age=60", True, True),
        ("no-cache", False, True),
        ("No-Cache, max-age=0", False, True),
        ("no-store", False, False),
        ("no-cache,no-store", False, False),
        ("private , NO-STORE", False, False),
        ("x-no-store", True, True),
    ],
)
def test_cache_control_opts_out(header: str | None, reads: bool, writes: bool) -> None:
    assert CacheUse(reads, writes) == CacheUse.of(header)


# -- what is kept


async def test_reply_is_told_again_as_it_was_until_its_time_is_over(world: World) -> None:
    cache = cache_in(world.counters, ttl_s=60.0)
    place, other = cache.slot("alice", CHAT_PATH, chat()), cache.slot("bob", CHAT_PATH, chat())
    assert place is not None
    assert other is not None
    reply = kept(answer())
    assert await cache.get(place) is None
    assert await cache.put(place, reply)
    assert reply == await cache.get(place)
    assert await cache.get(other) is None
    world.advance(59)
    assert reply == await cache.get(place)
    world.advance(2)
    assert await cache.get(place) is None


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
GOOD = [
    pytest.param(answer(), id="text"),
    pytest.param(answer(finish_reason="tool_calls", tool_calls=[CALL], content=None), id="call"),
    pytest.param(
        answer(finish_reason="function_call", function_call={"name": "f", "arguments": ""}),
        id="legacy call",
    ),
    pytest.param(answer(content=None, refusal="No."), id="refusal"),
    pytest.param(answer(annotations=[citation("https://example.org")]), id="citation"),
    pytest.param(answer(reasoning="hm", reasoning_content="hm"), id="reasoning"),
    pytest.param(answer(thinking_blocks=[{"type": "thinking", "signature": "s"}]), id="thinking"),
    pytest.param(answer(audio=None, some_list=[]), id="empty unknown parts"),
    pytest.param({**answer(), "citations": ["x"]}, id="more around the choices"),
]
BAD = [
    pytest.param(answer(finish_reason="content_filter"), id="filtered"),
    pytest.param(answer(finish_reason="error"), id="failed"),
    pytest.param(answer(finish_reason=None), id="cut"),
    pytest.param(answer(finish_reason="length"), id="cut by no limit of the client's"),
    pytest.param(answer(audio={"id": "a"}), id="audio"),
    pytest.param(answer(images=[{"x": 1}]), id="unknown part"),
    pytest.param(answer(content=[{"type": "text"}]), id="content in parts"),
    pytest.param(answer(reasoning_content={"x": 1}), id="reasoning as object"),
    pytest.param(answer(tool_calls=[{**CALL, "type": "custom"}]), id="custom call"),
    pytest.param(answer(tool_calls=[{**CALL, "id": None}]), id="call without id"),
    pytest.param(answer(tool_calls=[{**CALL, "function": {}}]), id="call of nothing"),
    pytest.param(answer(function_call={"name": "f"}), id="legacy call without arguments"),
    pytest.param(answer(thinking_blocks=[{"data": {"x": 1}}]), id="thinking as object"),
    pytest.param(answer(annotations=["x"]), id="citation as text"),
    pytest.param({**answer(), "usage": None}, id="no usage"),
    pytest.param({**answer(), "choices": []}, id="no choice"),
    pytest.param({**answer(), "choices": [*answer()["choices"], {}]}, id="a choice that is none"),
    pytest.param({**answer(), "id": None}, id="no id"),
    pytest.param({"error": {"message": "x"}}, id="error"),
    pytest.param(b"[1]", id="no object"),
    pytest.param(b"{", id="no JSON"),
]


@pytest.mark.parametrize("body", GOOD)
async def test_complete_success_is_kept(body: JsonObject) -> None:
    world = MemoryWorld()
    place = CacheSlot("cache:x")
    assert await cache_in(world.counters).put(place, kept(body))
    assert kept(body) == await cache_in(world.counters).get(place)


@pytest.mark.parametrize("body", BAD)
async def test_anything_else_is_not(body: JsonObject | bytes) -> None:
    world = MemoryWorld()
    assert not await cache_in(world.counters).put(CacheSlot("cache:x"), kept(body))
    assert await cache_in(world.counters).get(CacheSlot("cache:x")) is None


@pytest.mark.parametrize(
    ("fields", "is_kept"),
    [({}, False), ({"max_tokens": 5}, True), ({"max_completion_tokens": 5}, True)],
    ids=str,
)
async def test_reply_of_the_length_that_was_asked_for_is_complete(
    fields: JsonObject, is_kept: bool
) -> None:
    world = MemoryWorld()
    cache = cache_in(world.counters)
    place = cache.slot("alice", CHAT_PATH, chat(**fields))
    assert place is not None
    assert is_kept == await cache.put(place, kept(answer(finish_reason="length")))


async def test_reply_to_a_text_completion_is_not_kept() -> None:
    cache = cache_in(MemoryWorld().counters)
    request = CompletionRequest.from_wire({"model": "m", "prompt": "x", "max_tokens": 5})
    place = cache.slot("alice", "/v1/completions", request)
    assert place is not None
    choice = {"index": 0, "text": "x", "logprobs": None, "finish_reason": "stop"}
    assert not await cache.put(place, kept({**answer(), "choices": [choice]}))


async def test_bound_of_size_holds_for_the_whole_entry() -> None:
    cache = cache_in(MemoryWorld().counters)
    size = len(kept(answer()).to_bytes())
    for bound, is_kept in ((size - 1, False), (size, True)):
        cache = cache_in(MemoryWorld().counters, max_entry_bytes=bound)
        assert is_kept == await cache.put(CacheSlot("cache:x"), kept(answer()))
    large = cache_in(MemoryWorld().counters, max_entry_bytes=10**9)
    assert not await large.put(CacheSlot("cache:x"), kept(answer(content="x" * (1 << 20))))


async def test_entry_of_another_version_is_no_entry() -> None:
    world = MemoryWorld()
    await world.counters.put("cache:x", b'[0,"d","m",1]\n{}', 60)
    assert await cache_in(world.counters).get(CacheSlot("cache:x")) is None


async def test_cache_that_fails_is_an_empty_one() -> None:
    cache = ReplyCache(BrokenStore(), b"secret", ttl_s=60.0)
    assert await cache.get(CacheSlot("cache:x")) is None
    assert not await cache.put(CacheSlot("cache:x"), kept(answer()))


# -- how it is told again


@given(replies())
@settings(deadline=None)
def test_reply_that_is_told_again_folds_into_itself(events: list[Event]) -> None:
    """What one fold has made, another one makes of it again."""
    told = folded([*events, UsageReport(USAGE)])
    again = kept(told)
    assert told == folded(again.events(), again.form(form()))


@given(replies())
@settings(deadline=None)
def test_told_again_in_another_format_it_is_one_reply_of_that_format(events: list[Event]) -> None:
    again = kept(folded([*events, UsageReport(USAGE)]))
    stream = messages.events_of(messages.written(again.events()))
    assert "message_start" == stream[0]["type"]
    assert "message_stop" == stream[-1]["type"]


def stream_of(reply: CachedReply, dialect: Dialect = CHAT, **asked: Any) -> bytes:
    """As the gateway would send it."""
    stream = ReplyStream(reply.form(replace(form(), **asked)), dialect=dialect)
    return b"".join([stream.take(event) for event in reply.events()]) + stream.close()


def test_hit_is_a_stream_with_the_identity_of_the_reply() -> None:
    reply = kept(answer())
    assert written(
        [
            Start(id="chatcmpl-theirs", system_fingerprint="fp"),
            TextDelta("Hello there"),
            Finish("stop"),
            UsageReport(USAGE),
        ],
        form(include_usage=True),
    ) == stream_of(reply, given_id="chatcmpl-new", created=1, include_usage=True)


def test_hit_has_no_usage_where_none_was_asked_for() -> None:
    assert b'"usage":{' not in stream_of(kept(answer()))
    assert stream_of(kept(answer())).endswith(DONE)


def test_all_parts_are_told_in_the_order_in_which_a_model_gets_there() -> None:
    told = answer(
        tool_calls=[CALL],
        finish_reason="tool_calls",
        reasoning_content="hm",
        thinking_blocks=[{"type": "thinking", "signature": "s"}],
        refusal="no",
        annotations=[citation("https://example.org")],
        logprobs=logprobs("Hello"),
    )
    assert [
        Start(id="chatcmpl-theirs", system_fingerprint="fp"),
        ReasoningDelta("hm"),
        ThinkingBlockDelta(0, {"type": "thinking", "signature": "s"}),
        TextDelta("Hello there", 0, logprobs("Hello")),
        RefusalDelta("no"),
        Annotation(citation("https://example.org")),
        ToolCallDelta(0, "call_1", "f", "{}"),
        Finish("tool_calls"),
        UsageReport(USAGE),
    ] == list(kept(told).events())


def test_legacy_call_is_told_as_its_reader_asked() -> None:
    call = {"name": "f", "arguments": "{}"}
    reply = kept(answer(content=None, function_call=call, finish_reason="function_call"))
    assert b'"function_call":{"name":"f"' in stream_of(reply, functions=True)
    assert b'"tool_calls"' not in stream_of(reply, functions=True)


# -- recording


def recorded(
    events: list[Event], *, is_stream: bool = True, **differences: Any
) -> JsonObject | None:
    recording = ReplyRecording(form(), is_stream=is_stream, **differences)
    for event in events:
        recording.take(event)
    body = recording.close()
    return None if body is None else orjson.loads(body)


@given(replies(), st.booleans())
@settings(deadline=None)
def test_recording_of_a_reply_is_its_fold(events: list[Event], is_stream: bool) -> None:
    events = [*events, UsageReport(USAGE)]
    assert folded(events) == recorded(events, is_stream=is_stream)


@given(replies(), st.integers(1, 40))
@settings(deadline=None)
def test_recording_of_a_relayed_stream_is_the_fold_of_its_chunks(
    events: list[Event], size: int
) -> None:
    plain = [
        event
        for event in events
        if not isinstance(event, ThinkingBlockDelta | Annotation | KeepAlive | Start)
    ]
    sent = written([*plain, UsageReport(USAGE)], form(include_usage=True))
    parts: list[Event] = [Relay(sent[at : at + size]) for at in range(0, len(sent), size)]
    made = recorded(parts)
    assert made is not None
    told = folded([*plain, UsageReport(USAGE)])
    for choice, expected in zip(made["choices"], told["choices"], strict=True):
        assert expected["message"].get("content") == choice["message"].get("content")
        assert expected["finish_reason"] == choice["finish_reason"]
        calls = choice["message"].get("tool_calls") or []
        assert len(expected["message"].get("tool_calls") or []) == len(calls)
    assert told["usage"] == made["usage"]


def test_recording_of_a_relayed_body_is_the_body() -> None:
    body = orjson.dumps(answer())
    assert answer() == recorded([Relay(body[:10]), Relay(body[10:])], is_stream=False)


STREAM = written(ANSWER, form(include_usage=True))


@pytest.mark.parametrize(
    ("events", "is_stream"),
    [
        pytest.param([], True, id="nothing"),
        pytest.param([], False, id="no body"),
        pytest.param([TextDelta("x"), UsageReport(USAGE)], True, id="cut"),
        pytest.param([TextDelta("x"), Finish("stop")], True, id="no usage"),
        pytest.param([Relay(STREAM[:300])], True, id="relayed and cut"),
        pytest.param([Relay(written(ANSWER))], True, id="relayed without usage"),
        pytest.param([Relay(b'data: {"error":{"message":"x"}}\n\n')], True, id="relayed error"),
        pytest.param([Relay(b"{")], False, id="broken body"),
        pytest.param([Relay(b'{"error":{"message":"x"}}')], False, id="error"),
        pytest.param(
            [ToolCallDelta(1, "a", "f"), *ANSWER], True, id="an adapter's mistake"
        ),
    ],
)  # fmt: skip
def test_what_is_not_complete_is_not_recorded(events: list[Event], is_stream: bool) -> None:
    assert recorded(events, is_stream=is_stream) is None


def test_recording_stops_at_its_bound() -> None:
    long: list[Event] = [TextDelta("x" * 100) for _ in range(100)]
    ending: list[Event] = [Finish("stop"), UsageReport(USAGE)]
    assert recorded([*long, *ending], max_bytes=20_000) is not None
    assert recorded([*long, *ending], max_bytes=9_000) is None
    body = orjson.dumps(answer())
    assert recorded([Relay(body)], is_stream=False, max_bytes=len(body) - 1) is None


# -- sharing what is under way


SLOT = CacheSlot("cache:x")


async def test_fifty_identical_requests_ask_once() -> None:
    flights = Flights(wait_s=30)
    calls = 0
    landing = asyncio.Event()

    async def ask() -> CachedReply | None:
        nonlocal calls
        with flights.join(SLOT) as flight:
            if not flight.is_leader:
                return await flight.wait()
            calls += 1
            await landing.wait()
            flight.land(kept(answer()))
            return kept(answer())

    tasks = [asyncio.create_task(ask()) for _ in range(50)]
    await asyncio.sleep(0)
    assert 1 == len(flights)
    landing.set()
    assert [kept(answer())] * 50 == await asyncio.gather(*tasks)
    assert 1 == calls
    assert 0 == len(flights)


async def test_followers_of_a_leader_that_fails_are_told_so() -> None:
    flights = Flights(wait_s=30)
    leader = flights.join(SLOT)
    followers = [flights.join(SLOT) for _ in range(3)]
    with pytest.raises(RuntimeError), leader:
        raise RuntimeError
    assert [None] * 3 == await asyncio.gather(*(follower.wait() for follower in followers))
    assert flights.join(SLOT).is_leader


async def test_followers_of_a_leader_that_takes_too_long_go_on_their_own() -> None:
    flights = Flights(wait_s=0.001)
    leader, follower = flights.join(SLOT), flights.join(SLOT)
    assert await follower.wait() is None
    leader.land(kept(answer()))
    assert kept(answer()) == await follower.wait()


async def test_follower_that_leaves_does_not_disturb_the_others() -> None:
    flights = Flights(wait_s=30)
    leader, follower, other = (flights.join(SLOT) for _ in range(3))
    leaving = asyncio.create_task(follower.wait())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait((leaving,))
    follower.close()
    leader.land(kept(answer()))
    leader.close()
    assert kept(answer()) == await other.wait()


async def test_other_requests_lead_themselves() -> None:
    flights = Flights(wait_s=30)
    assert flights.join(SLOT).is_leader
    assert flights.join(CacheSlot("cache:y")).is_leader
