"""Every door has its requests answered by whichever deployment can; nobody is asked twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from one_api.errors import UpstreamDisconnected
from tests.e2e.failover_scenes import (
    EMBEDDINGS_PATH,
    PAIR,
    RESPONSES_PATH,
    World,
    attempts,
    said,
    world,
)
from tests.scripted_upstream import (
    CHAT_PATH,
    HELLO,
    MESSAGES_PATH,
    Close,
    Gate,
    Hang,
    Head,
    Hold,
    Reply,
    Reset,
    Send,
    anthropic_error,
    anthropic_message,
    anthropic_stream,
    bytes_reply,
    json_reply,
    openai_completion,
    openai_completion_body,
    openai_error,
    openai_stream,
    sse_frame,
    sse_reply,
)

COMPLETIONS_PATH = "/v1/completions"
ASKED: dict[str, dict[str, Any]] = {
    CHAT_PATH: {"messages": [{"role": "user", "content": "Hello?"}]},
    COMPLETIONS_PATH: {"prompt": "Hello"},
    EMBEDDINGS_PATH: {"input": "Hello"},
    RESPONSES_PATH: {"input": "Hello?"},
    MESSAGES_PATH: {"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 9},
    "/v1/rerank": {"query": "Hello", "documents": ["a"]},
}
COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "text": " world", "finish_reason": "stop", "logprobs": None}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
EMBEDDINGS = {
    "object": "list",
    "model": "m",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}


def response_of(name: str) -> dict[str, Any]:
    """A stored response that a provider made."""
    return {
        "id": f"resp_{name}",
        "object": "response",
        "status": "completed",
        "model": "m",
        "output": [
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": name, "annotations": []}],
            }
        ],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    }


ANSWERS: dict[str, Reply] = {
    CHAT_PATH: json_reply(200, openai_completion_body()),
    COMPLETIONS_PATH: json_reply(200, COMPLETION),
    EMBEDDINGS_PATH: json_reply(200, EMBEDDINGS),
    RESPONSES_PATH: json_reply(200, response_of("b")),
    # Asked in Anthropic's format, the provider is asked for a chat.
    MESSAGES_PATH: json_reply(200, openai_completion_body()),
    "/v1/rerank": json_reply(200, {"results": [{"index": 0}]}),
}
FAULTS: dict[str, Reply] = {
    "429": openai_error(429, headers={"Retry-After": "30"}),
    "500": openai_error(500),
    "401": openai_error(401),
    "reset": (Reset(),),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", ASKED)
async def test_every_door_goes_to_the_next_one(tmp_path: Path, path: str, fault: str) -> None:
    async with world(tmp_path, PAIR) as scene:
        scene.script(a=FAULTS[fault], b=ANSWERS[path])

        answer = await scene.ask({"model": "m", **ASKED[path]}, path)

        assert 200 == answer.status, answer.body
        assert ("b/m", "2") == attempts(answer)
        assert ["a", "b"] == scene.asked
        assert "m" == scene.requests("b")[0].json["model"]


#: Whoever answers: OpenAI's format itself, or one that it is translated for.
BEHIND = {"openai": PAIR, "claude": PAIR.replace("adapter: openai", "adapter: claude")}
#: What Anthropic's format calls the caller's mistakes; OpenAI's has one name for all.
ANTHROPIC_TYPES = {404: "not_found_error", 413: "request_too_large"}


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", [400, 404, 413, 422])
@pytest.mark.parametrize(
    ("path", "behind"),
    [
        *((path, "openai") for path in ASKED),
        *((path, "claude") for path in (CHAT_PATH, MESSAGES_PATH, RESPONSES_PATH)),
    ],
)
async def test_every_door_tells_the_callers_mistake_after_one_call(
    tmp_path: Path, path: str, behind: str, status: int, is_stream: bool
) -> None:
    """F24: in the format of the door, with the status and the words of the provider."""
    said = f'bad field; "sk-proj-{"a1B2" * 6}" is yours'
    code = "not_found" if status == 404 else None
    refusal = openai_error(status, said, code=code)
    if behind == "claude":
        refusal = anthropic_error(
            status, ANTHROPIC_TYPES.get(status, "invalid_request_error"), said
        )
    async with world(tmp_path, BEHIND[behind]) as scene:
        scene.script(a=refusal)

        answer = await scene.ask({"model": "m", **ASKED[path], "stream": is_stream}, path)

        assert status == answer.status
        assert "application/json" == answer.headers["content-type"]
        error = answer.json["error"]
        assert error["message"].startswith("bad field")
        assert path == "/v1/rerank" or b"sk-proj" not in answer.body
        kinds = ANTHROPIC_TYPES if path == MESSAGES_PATH else {}
        assert kinds.get(status, "invalid_request_error") == error["type"]
        assert (path == MESSAGES_PATH) == ("error" == answer.json.get("type"))
        assert ["a"] == scene.asked


@pytest.mark.parametrize(
    "reply",
    [
        bytes_reply(200, b"<html>", "text/html"),
        json_reply(200, {"data": []}),
        (
            Head(200, (("Content-Type", "application/json"), ("Content-Length", "99"))),
            Send(b"{"),
            Close(),
        ),
    ],
    ids=["html", "too few vectors", "cut"],
)
async def test_vectors_that_are_none_come_from_the_next_one(tmp_path: Path, reply: Reply) -> None:
    """F25: what is told as an error of a chat is one of embeddings too."""
    async with world(tmp_path, PAIR) as scene:
        scene.script(a=reply, b=ANSWERS[EMBEDDINGS_PATH])

        answer = await scene.ask({"model": "m", "input": "Hello"}, EMBEDDINGS_PATH)

        assert [0.5, 0.25] == answer.json["data"][0]["embedding"]
        assert ["a", "b"] == scene.asked


class TestPassthrough:
    async def test_the_last_ones_own_words_are_the_clients(self, tmp_path: Path) -> None:
        told = {"error": "a format of its own", "hint": [1, 2]}
        async with world(tmp_path, PAIR) as scene:
            scene.script(a=openai_error(503), b=json_reply(429, told, {"Retry-After": "7"}))

            answer = await scene.ask({"model": "m", "query": "x"}, "/v1/rerank")

            assert (429, told, "7") == (answer.status, answer.json, answer.headers["retry-after"])
            assert ("b/m", "2") == attempts(answer)
            assert ["a", "b"] == scene.asked

    async def test_an_upload_is_never_sent_twice(self, tmp_path: Path) -> None:
        form = (
            b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            + b"sound" * 1_000
            + b"\r\n--x--\r\n"
        )
        async with world(tmp_path, PAIR) as scene:
            told = {"error": "in words of its own"}
            scene.script(a=json_reply(500, told))

            answer = await scene.ask(
                form, "/v1/audio/transcriptions", content_type="multipart/form-data; boundary=x"
            )

            assert (500, told) == (answer.status, answer.json)
            assert ["a"] == scene.asked
            assert form == scene.requests("a")[0].body

    async def test_a_stream_that_does_not_begin_is_left(self, tmp_path: Path) -> None:
        text = PAIR.replace(
            '"${A_URL}", models: [m]', '"${A_URL}", models: [m], timeouts: {first_content: 0.1}'
        )
        async with world(tmp_path, text) as scene:
            scene.script(a=(Hang(),), b=sse_reply([sse_frame({"type": "begun"})]))

            answer = await scene.ask({"model": "m", "stream": True}, "/v1/anything")

            assert ("b/m", "2") == attempts(answer)
            assert b'data: {"type":"begun"}\n\n' == answer.body
            await scene.requests("a")[0].until_closed()

    async def test_a_cut_after_the_head_is_not_hidden(self, tmp_path: Path) -> None:
        gate = Gate()
        async with world(tmp_path, PAIR) as scene:
            scene.script(a=sse_reply([sse_frame({"n": 1}), Hold(gate), Reset()]))
            line = scene.begin({"model": "m", "stream": True}, "/v1/anything")
            await line.until(lambda: b'"n":1' in line.body)
            gate.open()

            # What the server makes of it is a connection that is cut.
            with pytest.raises(UpstreamDisconnected):
                await line.until_served()

            assert (200, False) == (line.status, line.is_complete)
            assert ["a"] == scene.asked

    async def test_a_broken_one_is_learnt_from(self, tmp_path: Path) -> None:
        async with world(tmp_path, PAIR) as scene:
            scene.script(a=openai_error(500), b=ANSWERS["/v1/rerank"])

            for _ in range(8):
                await scene.ask({"model": "m"}, "/v1/rerank")

            assert {"a": 5, "b": 8} == scene.calls


#: A provider with responses of its own, then one that knows chats only.
WITH_AND_WITHOUT = PAIR.replace("name: b, adapter: openai", "name: b, adapter: deepseek")


class TestResponses:
    async def test_chats_answer_where_the_one_with_responses_fails(self, tmp_path: Path) -> None:
        async with world(tmp_path, WITH_AND_WITHOUT) as scene:
            scene.script(a=openai_error(500), b=openai_completion(said("from b")))

            answer = await scene.ask({"model": "m", "input": "Hello?"}, RESPONSES_PATH)

            assert "from b" == answer.json["output"][0]["content"][0]["text"]
            assert ("b/m", "2") == attempts(answer)
            assert ["a", "b"] == scene.asked
            assert [RESPONSES_PATH, CHAT_PATH] == paths(scene, "a", "b")

    async def test_converted_streams_are_mended_before_content(self, tmp_path: Path) -> None:
        text = PAIR.replace("adapter: openai", "adapter: deepseek")
        async with world(tmp_path, text) as scene:
            scene.script(a=sse_reply([Reset()]), b=openai_stream())

            answer = await scene.ask(
                {"model": "m", "input": "Hello?", "stream": True}, RESPONSES_PATH
            )

            assert "2" == attempts(answer)[1]
            assert b"response.completed" in answer.body
            assert b"response.failed" not in answer.body
            assert ["a", "b"] == scene.asked

    @pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
    async def test_what_follows_a_stored_response_goes_where_it_is(
        self, tmp_path: Path, is_stream: bool
    ) -> None:
        made = json_reply(200, response_of("b"))
        if is_stream:
            names = ("response.created", "response.completed")
            response = response_of("b")
            events = [sse_frame({"type": name, "response": response}, name) for name in names]
            made = sse_reply(events)
        async with world(tmp_path, PAIR) as scene:
            scene["a"].script(openai_error(500))
            scene["b"].script(made)
            await scene.ask({"model": "m", "input": "Hi", "stream": is_stream}, RESPONSES_PATH)
            scene.script(a=json_reply(200, response_of("a")), b=json_reply(200, response_of("b2")))

            following = {"model": "m", "input": "And?", "previous_response_id": "resp_b"}
            followed = await scene.ask(following, RESPONSES_PATH)
            fetched = await scene.ask(b"", f"{RESPONSES_PATH}/resp_b", method="GET")
            unbound = await scene.ask({"model": "m", "input": "New"}, RESPONSES_PATH)

            assert "resp_b2" == followed.json["id"]
            assert 200 == fetched.status
            assert "resp_a" == unbound.json["id"]
            assert ["a", "b", "b", "b", "a"] == scene.asked

    async def test_a_stored_response_is_asked_for_nowhere_else(self, tmp_path: Path) -> None:
        async with world(tmp_path, PAIR) as scene:
            scene.script(a=openai_error(500))
            scene["b"].script(json_reply(200, response_of("b")), openai_error(500, "b broke"))
            scene["b"].script(openai_error(500, "b broke"), repeat_last=True)
            await scene.ask({"model": "m", "input": "Hi"}, RESPONSES_PATH)

            following = {"model": "m", "input": "And?", "previous_response_id": "resp_b"}
            answer = await scene.ask(following, RESPONSES_PATH)

            assert 500 == answer.status
            assert 1 == scene.calls["a"]


#: A provider that speaks Anthropic's format, then one that does not.
CLAUDE_THEN_OPENAI = PAIR.replace("name: a, adapter: openai", "name: a, adapter: claude")
MESSAGE = {"model": "m", **ASKED[MESSAGES_PATH]}


class TestMessages:
    async def test_claude_answers_in_its_own_words(self, tmp_path: Path) -> None:
        async with world(tmp_path, CLAUDE_THEN_OPENAI) as scene:
            scene.script(a=anthropic_message())

            answer = await scene.ask(MESSAGE, MESSAGES_PATH)

            assert HELLO.text == answer.json["content"][0]["text"]
            assert ("a/m", "1") == attempts(answer)

    @pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
    @pytest.mark.parametrize(
        "fault",
        [anthropic_error(529, "overloaded_error"), anthropic_error(429), (Reset(),)],
        ids=["529", "429", "reset"],
    )
    async def test_another_one_answers_in_a_translation_when_claude_is_down(
        self, tmp_path: Path, fault: Reply, is_stream: bool
    ) -> None:
        async with world(tmp_path, CLAUDE_THEN_OPENAI) as scene:
            scene.script(a=fault, b=openai_stream() if is_stream else openai_completion())

            answer = await scene.ask({**MESSAGE, "stream": is_stream}, MESSAGES_PATH)

            assert 200 == answer.status
            assert ("b/m", "2") == attempts(answer)
            assert ["a", "b"] == scene.asked
            assert [MESSAGES_PATH, CHAT_PATH] == paths(scene, "a", "b")
            if is_stream:
                assert b"message_stop" in answer.body
            else:
                assert HELLO.text == answer.json["content"][0]["text"]

    async def test_when_all_are_down_each_was_asked_once(self, tmp_path: Path) -> None:
        async with world(tmp_path, CLAUDE_THEN_OPENAI, max_attempts=2) as scene:
            scene.script(a=anthropic_error(529, "overloaded_error"), b=openai_error(503))

            answer = await scene.ask(MESSAGE, MESSAGES_PATH)

            assert answer.status >= 500
            assert "error" == answer.json["type"]
            assert ["a", "b"] == scene.asked

    async def test_a_second_claude_is_asked_in_its_own_format(self, tmp_path: Path) -> None:
        text = PAIR.replace("adapter: openai", "adapter: claude")
        async with world(tmp_path, text) as scene:
            scene.script(a=anthropic_error(529, "overloaded_error"), b=anthropic_stream())

            answer = await scene.ask({**MESSAGE, "stream": True}, MESSAGES_PATH)

            assert ("b/m", "2") == attempts(answer)
            assert [MESSAGES_PATH, MESSAGES_PATH] == paths(scene, "a", "b")


def paths(scene: World, *names: str) -> list[str]:
    """What each of these was asked for."""
    return [request.path for name in names for request in scene.requests(name)]
