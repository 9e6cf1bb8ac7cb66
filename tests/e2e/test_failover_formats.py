"""What is passed on in a provider's own format is the client's from its content on, as chats are.

Until then a reply that breaks is answered by the next deployment; each is asked once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from one_api.errors import UpstreamDisconnected
from tests.e2e.failover_scenes import (
    ALONE,
    PAIR,
    RESPONSES_PATH,
    World,
    answer_of,
    attempts,
    said,
    world,
)
from tests.scripted_upstream import (
    CHAT_PATH,
    MESSAGES_PATH,
    BadChunkSize,
    Chunk,
    Close,
    Gate,
    Hang,
    Head,
    Hold,
    Pause,
    Reply,
    Reset,
    Send,
    anthropic_events,
    anthropic_frames,
    anthropic_message_body,
    bytes_reply,
    json_reply,
    openai_completion,
    openai_stream,
    sse_frame,
    sse_reply,
)

TWO_CLAUDES = PAIR.replace("adapter: openai", "adapter: claude")
CLAUDE_THEN_CHATS = PAIR.replace("name: a, adapter: openai", "name: a, adapter: claude")
RESPONSES_THEN_CHATS = PAIR.replace("name: b, adapter: openai", "name: b, adapter: deepseek")
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hello?"}]
ASKED: dict[str, dict[str, Any]] = {
    MESSAGES_PATH: {"model": "m", "max_tokens": 9, "messages": HI},
    RESPONSES_PATH: {"model": "m", "input": "Hello?"},
}
PAIRS = {MESSAGES_PATH: TWO_CLAUDES, RESPONSES_PATH: PAIR}
TRANSLATED = {MESSAGES_PATH: CLAUDE_THEN_CHATS, RESPONSES_PATH: RESPONSES_THEN_CHATS}


def response_body(text: str) -> dict[str, Any]:
    """A complete response."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    return {
        "id": f"resp_{text}",
        "object": "response",
        "status": "completed",
        "model": "m",
        "output": [{**message, "content": content}],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    }


def response_frames(text: str) -> list[bytes]:
    """The events of a stream; the first four have no content."""
    whole = response_body(text)
    begun = {**whole, "status": "in_progress", "output": []}
    (message,) = whole["output"]
    hollow = {**message, "status": "in_progress", "content": []}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": hollow},
        {"type": "response.content_part.added", **at, "part": part},
        {"type": "response.output_text.delta", **at, "delta": text},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": whole},
    ]
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return [sse_frame(event, event["type"]) for event in numbered]


def frames(path: str, text: str) -> list[bytes]:
    """A stream of the format of `path` that says `text`."""
    if path == RESPONSES_PATH:
        return response_frames(text)
    return anthropic_frames(anthropic_events(said(text)))


def hollow(path: str) -> list[bytes]:
    """The events of a stream before its content."""
    events = frames(path, "never read")
    first = next(at for at, frame in enumerate(events) if b".delta" in frame or b"_delta" in frame)
    return events[:first]


def body(path: str, text: str) -> dict[str, Any]:
    """A whole reply of the format of `path` that says `text`."""
    return response_body(text) if path == RESPONSES_PATH else anthropic_message_body(said(text))


def told(path: str, name: str) -> bytes:
    """An error inside a stream."""
    error: dict[str, Any] = {"code": name, "message": "busy"}
    if path == MESSAGES_PATH:
        error = {"error": {"type": name, "message": "busy"}}
    return sse_frame({"type": "error", **error}, "error")


DOORS = pytest.mark.parametrize(
    "path", [MESSAGES_PATH, RESPONSES_PATH], ids=["messages", "responses"]
)


async def ask_stream(scene: World, path: str) -> Any:
    return await scene.ask({**ASKED[path], "stream": True}, path)


@DOORS
@pytest.mark.parametrize(
    "fault",
    ["nothing", "first event", "ended", "closed", "reset", "framing", "within content", "error"],
)
async def test_a_stream_that_breaks_before_its_content_comes_from_the_next_one(
    tmp_path: Path, path: str, fault: str
) -> None:
    before = hollow(path)
    broken: dict[str, Reply] = {
        "nothing": sse_reply([]),
        "first event": sse_reply([before[0], Reset()]),
        "ended": sse_reply(before),
        "closed": sse_reply([*before, Close()]),
        "reset": sse_reply([*before, Reset()]),
        "framing": sse_reply([*before, BadChunkSize()]),
        "within content": sse_reply([*before, frames(path, "x")[len(before)][:-9], Close()]),
        "error": sse_reply([*before, told(path, "rate_limit_error")]),
    }
    async with world(tmp_path, PAIRS[path]) as scene:
        scene.script(a=broken[fault], b=sse_reply(frames(path, "from b")))

        answer = await ask_stream(scene, path)

        assert (200, b"".join(frames(path, "from b"))) == (answer.status, answer.body)
        assert ("b/m", "2") == attempts(answer)
        assert ["a", "b"] == scene.asked


@DOORS
async def test_a_stream_whose_content_does_not_come_in_time_is_left(
    tmp_path: Path, path: str
) -> None:
    """Its head and what holds no content do not count."""
    text = PAIRS[path].replace(
        '"${A_URL}", models: [m]', '"${A_URL}", models: [m], timeouts: {first_content: 0.2}'
    )
    async with world(tmp_path, text) as scene:
        scene.script(
            a=sse_reply([*hollow(path), Hang()]),
            b=sse_reply(frames(path, "from b")),
        )

        answer = await ask_stream(scene, path)

        assert b"".join(frames(path, "from b")) == answer.body
        assert ["a", "b"] == scene.asked
        await scene.requests("a")[0].until_closed()


@DOORS
@pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "whole"])
async def test_whoever_speaks_another_format_answers_what_broke_before_content(
    tmp_path: Path, path: str, is_stream: bool
) -> None:
    broken = (
        sse_reply([*hollow(path), Reset()])
        if is_stream
        else bytes_reply(200, b"<html>", "text/html")
    )
    async with world(tmp_path, TRANSLATED[path]) as scene:
        answered = openai_stream if is_stream else openai_completion
        scene.script(a=broken, b=answered(said("from b")))

        answer = await scene.ask({**ASKED[path], "stream": is_stream}, path)

        assert 200 == answer.status
        assert b"from b" in answer.body
        assert b"never read" not in answer.body
        assert ("b/m", "2") == attempts(answer)
        assert [path, CHAT_PATH] == [one.path for name in "ab" for one in scene.requests(name)]


@DOORS
async def test_content_is_the_clients_as_it_comes(tmp_path: Path, path: str) -> None:
    """Together with all that was held back for it; what breaks then is told."""
    gate = Gate()
    events = frames(path, "from a")
    begun = events[: len(hollow(path)) + 1]
    async with world(tmp_path, PAIRS[path]) as scene:
        scene.script(a=sse_reply([*begun, Hold(gate), Reset()]))
        line = scene.begin({**ASKED[path], "stream": True}, path)
        await line.until(lambda: line.body == b"".join(begun))
        gate.open()

        answer = await answer_of(line)

        assert 200 == answer.status
        assert answer.body.startswith(b"".join(begun) + b"event: error\n")
        assert ["a"] == scene.asked


@DOORS
async def test_with_nobody_left_what_breaks_before_content_has_a_status(
    tmp_path: Path, path: str
) -> None:
    text = ALONE.replace("openai", "claude") if path == MESSAGES_PATH else ALONE
    async with world(tmp_path, text) as scene:
        scene.script(a=sse_reply([*hollow(path), Reset()]))

        answer = await ask_stream(scene, path)

        assert 502 == answer.status
        assert "application/json" == answer.headers["content-type"]
        kind = answer.json["error"]["type"]
        assert ("api_error" if path == MESSAGES_PATH else "server_error") == kind
        assert (path == MESSAGES_PATH) == (answer.json.get("type") == "error")
        assert ["a"] == scene.asked


@DOORS
async def test_with_nobody_left_content_may_take_its_time(tmp_path: Path, path: str) -> None:
    """A model that thinks for long tells so by events without content."""
    text = ALONE.replace("openai", "claude") if path == MESSAGES_PATH else ALONE
    text = text.replace("models: [m]", "models: [m], timeouts: {first_content: 0.5}")
    events = frames(path, "from a")
    before = len(hollow(path))
    async with world(tmp_path, text) as scene:
        scene.script(a=sse_reply([*events[:before], Pause(0.7), *events[before:]]))

        answer = await ask_stream(scene, path)

        assert (200, b"".join(events)) == (answer.status, answer.body)
        assert ["a"] == scene.asked


@DOORS
async def test_with_nobody_left_an_error_before_content_is_told_as_it_came(
    tmp_path: Path, path: str
) -> None:
    events = [*hollow(path), told(path, "overloaded_error")]
    text = ALONE.replace("openai", "claude") if path == MESSAGES_PATH else ALONE
    async with world(tmp_path, text) as scene:
        scene.script(a=sse_reply(events))

        answer = await ask_stream(scene, path)

        assert (200, b"".join(events)) == (answer.status, answer.body)
        assert ["a"] == scene.asked


@DOORS
@pytest.mark.parametrize(
    "fault", ["length", "chunks", "reset", "html", "json", "list", "empty", "error"]
)
async def test_a_whole_reply_that_is_none_comes_from_the_next_one(
    tmp_path: Path, path: str, fault: str
) -> None:
    whole = json.dumps(body(path, "never read")).encode()
    of_json = ("Content-Type", "application/json")
    cut = Head(200, (of_json, ("Content-Length", str(len(whole)))))
    in_chunks = Head(200, (of_json, ("Transfer-Encoding", "chunked")))
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    broken: dict[str, Reply] = {
        "length": (cut, Send(whole[:-1]), Close()),
        "chunks": (in_chunks, Chunk(whole), Close()),
        "reset": (cut, Send(whole[:9]), Reset()),
        "html": bytes_reply(200, b"<html>", "text/html"),
        "json": bytes_reply(200, whole[:-1], "application/json"),
        "list": json_reply(200, [body(path, "never read")]),
        "empty": bytes_reply(200, b"", "application/json"),
        "error": json_reply(200, error),
    }
    async with world(tmp_path, PAIRS[path]) as scene:
        scene.script(a=broken[fault], b=json_reply(200, body(path, "from b")))

        answer = await scene.ask(ASKED[path], path)

        assert (200, body(path, "from b")) == (answer.status, answer.json)
        assert ("b/m", "2") == attempts(answer)
        assert ["a", "b"] == scene.asked


@DOORS
@pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "whole"])
async def test_a_client_that_leaves_before_content_frees_the_provider(
    tmp_path: Path, path: str, is_stream: bool
) -> None:
    whole = Head(200, (("Content-Type", "application/json"), ("Content-Length", "99")))
    held = sse_reply([*hollow(path), Hang()]) if is_stream else (whole, Send(b"{"), Hang())
    async with world(tmp_path, PAIRS[path]) as scene:
        scene.script(a=held)
        line = scene.begin({**ASKED[path], "stream": is_stream}, path)
        await scene["a"].until_requests(1)
        line.leave()

        await line.until_served()

        assert line.status is None
        await scene.requests("a")[0].until_closed()
        assert ["a"] == scene.asked


async def test_tokens_are_counted_by_the_next_one(tmp_path: Path) -> None:
    path = f"{MESSAGES_PATH}/count_tokens"
    async with world(tmp_path, TWO_CLAUDES) as scene:
        scene.script(
            a=bytes_reply(200, b'{"input_tok', "application/json"),
            b=json_reply(200, {"input_tokens": 7}),
        )

        answer = await scene.ask({"model": "m", "messages": HI}, path)

        assert {"input_tokens": 7} == answer.json
        assert ["a", "b"] == scene.asked


async def test_a_response_in_the_background_is_the_clients_at_once(tmp_path: Path) -> None:
    """It goes on without its stream: another one would be made twice."""
    response = {"id": "resp_1", "background": True}
    created = sse_frame({"type": "response.created", "response": response}, "response.created")
    gate = Gate()
    async with world(tmp_path, PAIR) as scene:
        scene.script(a=sse_reply([created, Hold(gate), Reset()]))
        asked = {**ASKED[RESPONSES_PATH], "stream": True, "background": True}
        line = scene.begin(asked, RESPONSES_PATH)
        await line.until(lambda: b"resp_1" in line.body)
        gate.open()
        await answer_of(line)

        assert ["a"] == scene.asked


class TestUnknownFormats:
    """What no door knows is the client's from its first byte on."""

    PATH = "/v1/rerank"
    CUT = Head(200, (("Content-Type", "application/json"), ("Content-Length", "99")))

    async def test_a_body_that_does_not_begin_comes_from_the_next_one(self, tmp_path: Path) -> None:
        async with world(tmp_path, PAIR) as scene:
            scene.script(a=(self.CUT, Reset()), b=json_reply(200, {"from": "b"}))

            answer = await scene.ask({"model": "m"}, self.PATH)

            assert {"from": "b"} == answer.json
            assert ("b/m", "2") == attempts(answer)
            assert ["a", "b"] == scene.asked

    async def test_one_that_is_cut_later_is_not_hidden(self, tmp_path: Path) -> None:
        gate = Gate()
        async with world(tmp_path, PAIR) as scene:
            scene.script(a=(self.CUT, Send(b'{"from":'), Hold(gate), Reset()))
            line = scene.begin({"model": "m"}, self.PATH)
            await line.until(lambda: b"from" in line.body)
            gate.open()

            with pytest.raises(UpstreamDisconnected):
                await line.until_served()

            assert (200, False) == (line.status, line.is_complete)
            assert ["a"] == scene.asked

    async def test_a_reply_without_a_body_is_one(self, tmp_path: Path) -> None:
        async with world(tmp_path, PAIR) as scene:
            scene.script(a=bytes_reply(200, b"", "text/plain"))

            answer = await scene.ask({"model": "m"}, self.PATH)

            assert (200, b"") == (answer.status, answer.body)
            assert ("a/m", "1") == attempts(answer)
            assert ["a"] == scene.asked
