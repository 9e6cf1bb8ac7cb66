"""What scripted models say is the same on every wire, streamed or whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.scripted_upstream import (
    CHAT_PATH,
    DONE,
    HELLO,
    MESSAGES_PATH,
    MODELS_PATH,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    REASONED,
    TOOL_CALL_WITHOUT_ARGUMENTS,
    Answer,
    AnthropicDialect,
    OpenAIDialect,
    Reply,
    ScriptedUpstream,
    TokenCount,
    ToolCall,
    anthropic_error,
    anthropic_events,
    anthropic_frames,
    anthropic_message_body,
    anthropic_models_reply,
    anthropic_stream,
    models_reply,
    openai_chunks,
    openai_completion,
    openai_completion_body,
    openai_error,
    openai_frames,
    split,
    sse_reply,
    with_line_end,
)


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def fold_openai(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client makes of the chunks of one choice, as plainly as can be."""
    folded: dict[str, Any] = {"content": "", "reasoning_content": "", "tool_calls": []}
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            folded["finish_reason"] = choice.get("finish_reason")
            delta = choice["delta"]
            folded["content"] += delta.get("content", "")
            folded["reasoning_content"] += delta.get("reasoning_content", "")
            for call in delta.get("tool_calls", ()):
                if "id" in call:
                    folded["tool_calls"].append([call["id"], call["function"]["name"], ""])
                folded["tool_calls"][call["index"]][2] += call["function"]["arguments"]
    return folded


def fold_anthropic(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client makes of the events of one message, as plainly as can be."""
    message: dict[str, Any] = {}
    partial: dict[int, str] = {}
    for event in events:
        match event:
            case {"type": "message_start", "message": start}:
                message = {**start, "content": []}
            case {"type": "content_block_start", "content_block": block, "index": index}:
                assert len(message["content"]) == index
                message["content"].append(dict(block))
            case {"type": "content_block_delta", "delta": delta, "index": index}:
                block = message["content"][index]
                if delta["type"] == "input_json_delta":
                    partial[index] = partial.get(index, "") + delta["partial_json"]
                    block["input"] = partial[index]
                else:
                    (key,) = delta.keys() - {"type"}
                    block[key] += delta[key]
            case {"type": "message_delta", "delta": delta, "usage": usage}:
                message.update(delta)
                message["usage"] = {**message["usage"], **usage}
    for index, text in partial.items():
        message["content"][index]["input"] = json.loads(text)
    return message


ANSWERS = {
    "text": HELLO,
    "one call": ONE_TOOL_CALL,
    "parallel calls": PARALLEL_TOOL_CALLS,
    "call without arguments": TOOL_CALL_WITHOUT_ARGUMENTS,
    "reasoning": REASONED,
    "cut": Answer(words=("much",), finish_reason="length"),
    "cached": Answer(usage=TokenCount(prompt=100, cached=80, cache_write=5)),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
class TestAnswers:
    def test_openai_stream_folds_to_the_completion(self, answer: Answer) -> None:
        chunks = openai_chunks(answer)
        whole = openai_completion_body(answer)
        message = whole["choices"][0]["message"]
        assert {
            "content": message["content"] or "",
            "reasoning_content": message.get("reasoning_content", ""),
            "tool_calls": [
                [
                    call["id"],
                    call["function"]["name"],
                    "".join(said.arguments),
                ]
                for call, said in zip(message.get("tool_calls", ()), answer.tool_calls, strict=True)
            ],
            "finish_reason": whole["choices"][0]["finish_reason"],
        } == fold_openai(chunks)
        assert whole["usage"] == chunks[-1]["usage"]

    def test_anthropic_stream_folds_to_the_message(self, answer: Answer) -> None:
        assert anthropic_message_body(answer) == fold_anthropic(anthropic_events(answer))


class TestDialects:
    def test_standard_stream_is_what_openai_sends(self) -> None:
        chunks = openai_chunks(Answer(words=("a", "b")))
        assert [
            [{"role": "assistant", "content": "", "refusal": None}],
            [{"content": "a"}],
            [{"content": "b"}],
            [{}],
            [],
        ] == [[choice["delta"] for choice in chunk["choices"]] for chunk in chunks]
        assert [None, None, None, "stop"] == [
            chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]
        ]
        assert [None, None, None, None] == [chunk["usage"] for chunk in chunks[:-1]]
        assert DONE == openai_frames(chunks)[-1]

    @pytest.mark.parametrize(
        ("role", "expected"),
        [("first", [True, False]), ("never", [False] * 2), ("every", [True] * 2)],
    )
    def test_role(self, role: Any, expected: list[bool]) -> None:
        chunks = openai_chunks(dialect=OpenAIDialect(role=role))
        assert expected == ["role" in chunk["choices"][0]["delta"] for chunk in chunks[:2]]

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            ("last", [None, None, None, None, None, 7]),
            ("finish", [None, None, None, None, 7]),
            ("every", [7, 7, 7, 7, 7]),
            ("never", [None, None, None, None, None]),
        ],
    )
    def test_usage(self, where: Any, expected: list[int | None]) -> None:
        chunks = openai_chunks(dialect=OpenAIDialect(usage_on=where))
        assert expected == [(chunk.get("usage") or {}).get("completion_tokens") for chunk in chunks]

    @pytest.mark.parametrize(
        ("choices", "expected"),
        [("empty", {"choices": []}), ("null", {"choices": None}), ("absent", {})],
    )
    def test_usage_chunk_choices(self, choices: Any, expected: dict[str, Any]) -> None:
        last = openai_chunks(dialect=OpenAIDialect(usage_chunk_choices=choices))[-1]
        assert expected == {key: value for key, value in last.items() if key == "choices"}

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [("null", {"finish_reason": None}), ("empty", {"finish_reason": ""}), ("absent", {})],
    )
    def test_no_finish_reason(self, kind: Any, expected: dict[str, Any]) -> None:
        choice = openai_chunks(dialect=OpenAIDialect(no_finish_reason=kind))[0]["choices"][0]
        assert expected == {key: value for key, value in choice.items() if key == "finish_reason"}

    def test_finish_reason_may_never_come(self) -> None:
        chunks = openai_chunks(dialect=OpenAIDialect(finish_reason=False))
        assert [] == [
            choice
            for chunk in chunks
            for choice in chunk["choices"]
            if choice["finish_reason"] is not None
        ]

    @pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
    def test_reasoning_goes_under_the_dialects_name(self, key: Any) -> None:
        dialect = OpenAIDialect(reasoning_key=key)
        streamed = [
            chunk["choices"][0]["delta"].get(key) for chunk in openai_chunks(REASONED, dialect)[1:3]
        ]
        assert list(REASONED.reasoning) == streamed
        message = openai_completion_body(REASONED, dialect)["choices"][0]["message"]
        assert REASONED.reasoning_text == message[key]

    def test_omitted_thinking_leaves_the_signature(self) -> None:
        dialect = AnthropicDialect(thinking_omitted=True)
        folded = fold_anthropic(anthropic_events(REASONED, dialect))
        assert anthropic_message_body(REASONED, dialect) == folded
        assert ("", True) == (
            folded["content"][0]["thinking"],
            bool(folded["content"][0]["signature"]),
        )

    def test_anthropic_options_leave_their_mark(self) -> None:
        dialect = AnthropicDialect(
            pings=False,
            input_tokens_in_delta=False,
            message_stop=False,
            stop_reason="stop_sequence",
            stop_sequence="END",
        )
        events = anthropic_events(dialect=dialect)
        assert "message_delta" == events[-1]["type"]
        assert {"stop_reason": "stop_sequence", "stop_sequence": "END"} == events[-1]["delta"]
        assert {"output_tokens", "output_tokens_details"} == set(events[-1]["usage"])
        assert "ping" not in {event["type"] for event in events}

    def test_tool_call_without_arguments_sends_no_argument_bytes(self) -> None:
        answer = Answer(words=(), tool_calls=(ToolCall("f"),))
        (call,) = fold_openai(openai_chunks(answer))["tool_calls"]
        assert ["call_0", "f", ""] == call
        assert [] == [
            event for event in anthropic_events(answer) if event["type"] == "content_block_delta"
        ]


class TestReplies:
    @pytest.mark.parametrize("size", [1, 7, 10_000])
    async def test_split_changes_no_byte(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession, size: int
    ) -> None:
        frames = openai_frames()
        upstream.script(sse_reply(split(frames, size), {"x-a": "b"}), path=CHAT_PATH)
        async with client.post(upstream.url + CHAT_PATH) as reply:
            assert "text/event-stream" == reply.headers["Content-Type"]
            assert "b" == reply.headers["x-a"]
            assert b"".join(frames) == await reply.read()

    @pytest.mark.parametrize("end", [b"\r\n", b"\r"])
    def test_line_ends_are_replaced(self, end: Any) -> None:
        assert [b"event: ping", b'data: {"type":"ping"}', b"", b""] == with_line_end(
            anthropic_frames([{"type": "ping"}]), end
        )[0].split(end)

    @pytest.mark.parametrize(
        ("reply", "status", "path"),
        [
            (openai_completion(), 200, ("choices", 0, "message", "content")),
            (openai_error(400, "no", "bad"), 400, ("error", "message")),
            (models_reply(["a"]), 200, ("data", 0, "id")),
            (anthropic_models_reply(["a"]), 200, ("data", 0, "id")),
            (anthropic_models_reply([]), 200, ("has_more",)),
            (anthropic_error(529, "overloaded_error"), 529, ("error", "type")),
        ],
    )
    async def test_json_replies_are_json(
        self,
        upstream: ScriptedUpstream,
        client: aiohttp.ClientSession,
        reply: Reply,
        status: int,
        path: tuple[str | int, ...],
    ) -> None:
        upstream.script(reply, path=MODELS_PATH)
        async with client.get(upstream.url + MODELS_PATH) as response:
            assert status == response.status
            found = await response.json()
        for step in path:
            found = found[step]
        assert found in ("Hello, world", "no", "a", False, "overloaded_error")

    async def test_anthropic_stream_names_its_events(
        self, upstream: ScriptedUpstream, client: aiohttp.ClientSession
    ) -> None:
        upstream.script(anthropic_stream(), path=MESSAGES_PATH)
        async with client.post(f"{upstream.url}{MESSAGES_PATH}?beta=true") as reply:
            assert "req_scripted" == reply.headers["request-id"]
            frames = (await reply.text()).split("\n\n")[:-1]
        for frame in frames:
            event, data = frame.split("\n")
            assert f"event: {json.loads(data.removeprefix('data: '))['type']}" == event
