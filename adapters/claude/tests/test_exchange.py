"""Whole exchanges over a scripted transport: retries, pauses, lessons and model lists."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from typing_extensions import override

from one_api.adapter import (
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    GatewayError,
    HTTPTransport,
    InvalidRequest,
    JsonObject,
    ModelNotFound,
    TextDelta,
    Timeouts,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UsageReport,
    WireReply,
    WireRequest,
)
from one_api_claude import ClaudeAdapter

MakeAdapter = Callable[..., ClaudeAdapter]
REPLIES = Path(__file__).parent / "replies"
SSE = {"content-type": "text/event-stream; charset=utf-8"}
OPUS_5 = "claude-opus-5"
SONNET_4_6 = "claude-sonnet-4-6"


@dataclass
class Scripted(WireReply):
    """One reply of the script; `is_released` once its context was left."""

    body: bytes
    status_code: int = 200
    fields: Mapping[str, str] = field(default_factory=lambda: SSE)
    is_released: bool = False
    chunks_read: int = 0

    @property
    @override
    def status(self) -> int:
        return self.status_code

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return self.fields

    @override
    async def read(self, limit: int) -> bytes:
        return self.body[:limit]

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for at in range(0, len(self.body), 64):
            self.chunks_read += 1
            yield self.body[at : at + 64]


class Script(HTTPTransport):
    """Answers requests in order and keeps them; one reply is open at a time."""

    def __init__(self, *replies: Scripted) -> None:
        self.replies = list(replies)
        self.requests: list[WireRequest] = []

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        before = self.replies[: len(self.requests)]
        assert all(reply.is_released for reply in before), "the last reply is still open"
        reply = self.replies[len(self.requests)]
        self.requests.append(request)
        try:
            yield reply
        finally:
            reply.is_released = True

    @property
    def bodies(self) -> list[JsonObject]:
        bodies = [request.body or b"null" for request in self.requests]
        return [orjson.loads(body) for body in bodies if isinstance(body, bytes)]

    @property
    def is_over(self) -> bool:
        return len(self.requests) == len(self.replies) and all(r.is_released for r in self.replies)


def stream(case: str) -> Scripted:
    return Scripted((REPLIES / f"{case}.sse").read_bytes())


def error(
    status: int, message: str, kind: str = "invalid_request_error", **fields: str
) -> Scripted:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return Scripted(orjson.dumps(body), status, {"content-type": "application/json", **fields})


def page(*models: JsonObject, **fields: Any) -> Scripted:
    return Scripted(orjson.dumps({"data": list(models), **fields}), 200, {})


def request(**body: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.from_wire({"messages": [{"role": "user", "content": "x"}], **body})


async def answer(
    adapter: ClaudeAdapter, asked: ChatCompletionRequest, call: Call | None = None
) -> list[Event]:
    events = adapter.generate_completion(asked, call or Call(model=OPUS_5))
    return [event async for event in events]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_a_reply_is_asked_for_as_a_stream_and_read_to_its_end(
    adapter_over: MakeAdapter,
) -> None:
    script = Script(stream("text"))
    events = await answer(adapter_over(script), request(stream=False))
    assert text_of(events) == "Hello, wörld \u2028🙂"
    assert isinstance(events[-1], Finish)
    assert script.bodies[0]["stream"] is True
    # The connection goes back to the pool only when nothing is left unread.
    assert script.replies[0].chunks_read == -(-len(script.replies[0].body) // 64)
    assert script.is_over


async def test_a_cut_reply_is_an_error(adapter_over: MakeAdapter) -> None:
    script = Script(stream("cut"))
    with pytest.raises(UpstreamDisconnected):
        await answer(adapter_over(script), request())
    assert script.is_over


async def test_an_error_before_the_stream_is_raised(adapter_over: MakeAdapter) -> None:
    script = Script(error(529, "Overloaded", "overloaded_error", **{"retry-after": "7"}))
    with pytest.raises(UpstreamOverloaded) as caught:
        await answer(adapter_over(script), request())
    assert caught.value.headers() == {"Retry-After": "7"}
    assert script.is_over


async def test_a_local_stop_sequence_leaves_the_rest_unread(adapter_over: MakeAdapter) -> None:
    script = Script(stream("blank_lines"))
    events = await answer(adapter_over(script), request(stop="\n\n"))
    assert (text_of(events), events[-1]) == ("first", Finish("stop", stop_sequence="\n\n"))
    assert script.replies[0].chunks_read < -(-len(script.replies[0].body) // 64)
    assert script.is_over


async def test_a_client_that_leaves_closes_the_upstream(adapter_over: MakeAdapter) -> None:
    script = Script(stream("text"))
    events = adapter_over(script).generate_completion(request(), Call(model=OPUS_5))
    await anext(events)
    await events.aclose()  # type: ignore[attr-defined]  # it is an async generator
    assert script.is_over


async def test_a_paused_turn_is_gone_on_with(adapter_over: MakeAdapter) -> None:
    script = Script(stream("pause_first"), stream("pause_second"))
    events = await answer(adapter_over(script), request())
    usage = [event.usage for event in events if isinstance(event, UsageReport)][-1]
    assert text_of(events) == "Looking… found."
    assert (usage.prompt_tokens, usage.completion_tokens) == (265, 29)
    assert [Finish("stop")] == [event for event in events if isinstance(event, Finish)]
    first, second = script.bodies
    *same, last = second["messages"]
    assert (first["messages"], "assistant") == (same, last["role"])
    assert [block["type"] for block in last["content"]] == ["text", "server_tool_use"]
    assert script.is_over


async def test_a_turn_is_gone_on_with_five_times_at_most(adapter_over: MakeAdapter) -> None:
    script = Script(*[stream("pause_first") for _ in range(6)])
    events = await answer(adapter_over(script), request())
    assert (text_of(events), events[-1]) == ("Looking… " * 6, Finish("length"))
    assert len(script.bodies[-1]["messages"][-1]["content"]) == 10
    assert script.is_over


async def test_an_error_while_going_on_is_raised(adapter_over: MakeAdapter) -> None:
    script = Script(stream("pause_first"), error(529, "Overloaded", "overloaded_error"))
    with pytest.raises(UpstreamOverloaded):
        await answer(adapter_over(script), request())
    assert script.is_over


TOOLS = [{"type": "function", "function": {"name": "f"}}]
PREFILLED = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "A"}]
MID_SYSTEM = [
    {"role": "user", "content": "x"},
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "y"},
]
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "n",
        "schema": {"type": "object", "properties": {"a": {"type": "null"}}},
    },
}


@dataclass(frozen=True)
class Lesson:
    """A refusal, the part of the request it is about, and that part as it is sent after it."""

    model: str
    body: JsonObject
    refusal: str
    key: str
    before: Any
    after: Any
    dropped: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()


LESSONS = {
    "sampling": Lesson(
        SONNET_4_6,
        {"temperature": 0.5},
        "`temperature` is deprecated for this model.",
        "temperature",
        0.5,
        None,
        dropped=("temperature",),
    ),
    "sampling-by-version": Lesson(
        SONNET_4_6,
        {"top_p": 0.5},
        "top_p: Extra inputs are not permitted",
        "top_p",
        0.5,
        None,
        dropped=("top_p",),
    ),
    "forced-tools": Lesson(
        OPUS_5,
        {"tools": TOOLS, "tool_choice": "required"},
        'tool_choice: type "tool" and "any" are not supported for this model.',
        "tool_choice",
        {"type": "any"},
        {"type": "auto"},
        degraded=("tool_choice",),
    ),
    "forced-tools-with-thinking": Lesson(
        OPUS_5,
        {"tools": TOOLS, "tool_choice": "required", "reasoning_effort": "max"},
        "Thinking may not be enabled when tool_choice forces tool use.",
        "thinking",
        {"type": "adaptive", "display": "summarized"},
        {"type": "disabled"},
    ),
    "thinking-by-budget": Lesson(
        "acme-1",
        {"reasoning_effort": "low"},
        "thinking: Input tag 'adaptive' found using 'type' does not match any of the expected "
        "tags: 'disabled', 'enabled'",
        "thinking",
        {"type": "adaptive", "display": "summarized"},
        {"type": "enabled", "budget_tokens": 2_048},
    ),
    "thinking-by-effort": Lesson(
        "claude-haiku-4-5",
        {"reasoning_effort": "low"},
        '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" '
        'and "output_config.effort" to control thinking behavior.',
        "thinking",
        {"type": "enabled", "budget_tokens": 2_048},
        {"type": "adaptive", "display": "summarized"},
    ),
    "thinking-off": Lesson(
        OPUS_5,
        {"reasoning_effort": "none"},
        '"thinking.type.disabled" is not supported for this model.',
        "thinking",
        {"type": "disabled"},
        None,
    ),
    "effort-level": Lesson(
        OPUS_5,
        {"reasoning_effort": "max"},
        "output_config.effort: 'max' is not supported for this model.",
        "output_config",
        {"effort": "max"},
        {"effort": "xhigh"},
    ),
    "effort": Lesson(
        OPUS_5,
        {"reasoning_effort": "low"},
        "This model does not support the effort parameter.",
        "output_config",
        {"effort": "low"},
        None,
    ),
    "structured-outputs": Lesson(
        OPUS_5,
        {"response_format": SCHEMA},
        "output_config.format: structured outputs are not supported for this model.",
        "output_config",
        {
            "format": {
                "type": "json_schema",
                "schema": {
                    "type": "object",
                    "properties": {"a": {"type": "null"}},
                    "additionalProperties": False,
                },
            }
        },
        None,
        degraded=("response_format",),
    ),
    "instructions-in-place": Lesson(
        OPUS_5,
        {"messages": MID_SYSTEM},
        "messages.1.role: Input should be 'user' or 'assistant'",
        "system",
        None,
        [{"type": "text", "text": "be brief"}],
    ),
    "limit": Lesson(
        OPUS_5,
        {"max_tokens": 128_000},
        "max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for "
        "claude-opus-5",
        "max_tokens",
        128_000,
        64_000,
    ),
}


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=LESSONS.keys())
async def test_a_refusal_teaches_once_and_for_all(
    adapter_over: MakeAdapter, lesson: Lesson
) -> None:
    script = Script(error(400, lesson.refusal), stream("text"), stream("text"))
    adapter = adapter_over(script)
    asked, call = request(**lesson.body), Call(model=lesson.model)
    events = await answer(adapter, asked, call)
    await answer(adapter, asked, Call(model=lesson.model))
    sent = [body.get(lesson.key) for body in script.bodies]
    assert [lesson.before, lesson.after, lesson.after] == sent
    assert isinstance(events[-1], Finish)
    assert (list(lesson.dropped), list(lesson.degraded)) == (call.dropped, call.degraded)
    assert script.is_over


async def test_a_lesson_is_about_one_model(adapter_over: MakeAdapter) -> None:
    lesson = LESSONS["sampling"]
    script = Script(error(400, lesson.refusal), stream("text"), stream("text"))
    adapter = adapter_over(script)
    await answer(adapter, request(**lesson.body), Call(model=SONNET_4_6))
    await answer(adapter, request(**lesson.body), Call(model="claude-opus-4-6"))
    assert [body.get("temperature") for body in script.bodies] == [0.5, None, 0.5]
    assert "temperature" not in adapter.parameters(SONNET_4_6).honoured
    assert "temperature" in adapter.parameters("claude-opus-4-6").honoured


async def test_a_second_refusal_is_told(adapter_over: MakeAdapter) -> None:
    refused = error(400, LESSONS["sampling"].refusal)
    again = error(400, "`temperature` is deprecated for this model, again.")
    script = Script(refused, again)
    with pytest.raises(InvalidRequest, match="again"):
        await answer(adapter_over(script), request(temperature=0.5), Call(model=SONNET_4_6))
    assert script.is_over


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param({}, "messages.0: something else is wrong", id="unknown"),
        pytest.param({}, LESSONS["sampling"].refusal, id="about-what-was-not-sent"),
        pytest.param(
            {"temperature": 0.5},
            "tools.0.name: 'temperature is deprecated for this model.' is wrong",
            id="a-quotation-of-the-client",
        ),
        pytest.param(
            {"thinking": {"type": "enabled", "budget_tokens": 1_024}},
            '"thinking.type.enabled" is not supported for this model.',
            id="the-clients-own-thinking",
        ),
        pytest.param({"max_tokens": 5}, "max_tokens: 5 > 64000, which is odd", id="no-lower-limit"),
    ],
)
async def test_other_refusals_are_told_verbatim(
    adapter_over: MakeAdapter, body: JsonObject, message: str
) -> None:
    script = Script(error(400, message), stream("text"))
    with pytest.raises(InvalidRequest) as caught:
        await answer(adapter_over(script), request(**body), Call(model=SONNET_4_6))
    assert message == caught.value.message
    assert len(script.requests) == 1


async def test_a_prefill_refused_upstream_is_refused_here_next_time(
    adapter_over: MakeAdapter,
) -> None:
    script = Script(error(400, "This model does not support assistant message prefill. The …"))
    adapter = adapter_over(script)
    for _ in range(2):
        with pytest.raises(InvalidRequest) as caught:
            await answer(adapter, request(messages=PREFILLED), Call(model="claude-sonnet-4-5"))
        assert caught.value.param == "messages"
    assert script.is_over


FOREIGN = (
    "messages.1.content.0: Invalid 'signature' in 'thinking' block. The block is bound to a "
    "different conversation."
)
SIGNED = [
    {"role": "user", "content": "x"},
    {
        "role": "assistant",
        "content": "c",
        "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "Sig"}],
    },
    {"role": "user", "content": "y"},
]


async def test_thinking_of_another_conversation_is_left_out_once(
    adapter_over: MakeAdapter,
) -> None:
    script = Script(error(400, FOREIGN), stream("text"), stream("text"))
    adapter = adapter_over(script)
    for _ in range(2):
        await answer(adapter, request(messages=SIGNED))
    blocks = [[b["type"] for b in body["messages"][1]["content"]] for body in script.bodies]
    # The next conversation's blocks may well be good.
    assert blocks == [["thinking", "text"], ["text"], ["thinking", "text"]]
    assert script.is_over


async def test_without_thinking_to_leave_out_the_refusal_is_told(
    adapter_over: MakeAdapter,
) -> None:
    script = Script(error(400, FOREIGN), stream("text"))
    with pytest.raises(InvalidRequest):
        await answer(adapter_over(script), request())
    assert len(script.requests) == 1


async def test_an_answer_that_is_no_stream_is_told(adapter_over: MakeAdapter) -> None:
    script = Script(Scripted(b"<html>", 200, {"content-type": "text/html"}))
    with pytest.raises(UpstreamInvalidResponse):
        await answer(adapter_over(script), request())
    assert script.is_over


def supported(**names: bool) -> JsonObject:
    return {name: {"supported": value} for name, value in names.items()}


ACME = {
    "id": "acme-2",
    "type": "model",
    "display_name": "Acme 2",
    "created_at": "2026-09-01T00:00:00Z",
    "max_input_tokens": 500_000,
    "max_tokens": 9_000,
    "capabilities": {
        "thinking": {
            "supported": True,
            "types": supported(adaptive=False, between_tools=False, disabled=True, enabled=True),
        },
        "effort": {"supported": False, **supported(low=False, high=False)},
        "structured_outputs": {"supported": False},
    },
}
DATED = {"id": "claude-haiku-4-5-20251001", "created_at": "1970-01-01T00:00:00Z"}


async def test_the_list_of_models_is_read_page_by_page(adapter_over: MakeAdapter) -> None:
    script = Script(
        page(DATED, has_more=True, last_id="a/b", first_id="x"),
        page(ACME, {"id": 5}, "noise", has_more=False, last_id="acme-2"),  # type: ignore[arg-type]  # noise
    )
    models = await adapter_over(script, CLAUDE_BASE_URL="https://a.example/claude").list_models()
    assert [(DATED["id"], 0), ("acme-2", 1_788_220_800)] == [(m.id, m.created) for m in models]
    acme = models[1]
    assert (acme.owned_by, acme.display_name) == ("anthropic", "Acme 2")
    assert (acme.context_window, acme.max_completion_tokens) == (500_000, 9_000)
    base = "https://a.example/claude/v1/models?limit=1000"
    assert [base, f"{base}&after_id=a%2Fb"] == [request.url for request in script.requests]
    assert {"GET"} == {request.method for request in script.requests}
    assert script.requests[0].headers["x-api-key"] == "sk-ant-test"


@pytest.mark.parametrize("moment", [None, 5, "yesterday", "1600-01-01T00:00:00Z"])
async def test_an_unknown_time_of_release_is_zero(adapter_over: MakeAdapter, moment: Any) -> None:
    script = Script(page({**ACME, "created_at": moment}))
    (model,) = await adapter_over(script).list_models()
    assert model.created == 0


async def test_an_endless_list_ends(adapter_over: MakeAdapter) -> None:
    script = Script(*[page(DATED, has_more=True, last_id="x") for _ in range(30)])
    models = await adapter_over(script).list_models()
    assert 20 == len(script.requests) == len(models)


async def test_what_the_list_tells_decides_the_conversion(adapter_over: MakeAdapter) -> None:
    script = Script(page(ACME), stream("text"), stream("text"))
    adapter = adapter_over(script)
    await adapter.list_models()
    call = Call(model="acme-2")
    await answer(adapter, request(reasoning_effort="low", response_format=SCHEMA), call)
    await answer(adapter, request(reasoning_effort="none"), call)
    first, second = script.bodies[1:]
    assert (
        first["thinking"],
        first["max_tokens"],
    ) == ({"type": "enabled", "budget_tokens": 2_048}, 9_000)
    assert "output_config" not in first
    assert second["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Scripted(b"[]", 200, {}), id="a-list"),
        pytest.param(Scripted(b'{"data":null}', 200, {}), id="no-data"),
        pytest.param(Scripted(b"<html>", 200, {}), id="html"),
        pytest.param(error(404, "Not found", "not_found_error"), id="no-such-page"),
    ],
)
async def test_a_list_that_is_none_is_told(adapter_over: MakeAdapter, reply: Scripted) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        await adapter_over(Script(reply)).list_models()


async def test_named_models_are_listed_without_asking(adapter_over: MakeAdapter) -> None:
    adapter = adapter_over(Script(), CLAUDE_MODELS="a, b ,,")
    assert [model.id for model in await adapter.list_models()] == ["a", "b"]
    assert (await adapter.get_model_info("b")).id == "b"
    with pytest.raises(ModelNotFound):
        await adapter.get_model_info("c")


async def test_one_model_is_asked_for_by_name(adapter_over: MakeAdapter) -> None:
    script = Script(Scripted(orjson.dumps(ACME), 200, {}))
    info = await adapter_over(script).get_model_info("acme/2")
    assert info.id == "acme-2"
    assert script.requests[0].url.endswith("/v1/models/acme%2F2")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (error(404, "model: nope", "not_found_error"), ModelNotFound),
        (Scripted(b"{}", 200, {}), UpstreamInvalidResponse),
    ],
)
async def test_a_model_that_is_not_there_is_told(
    adapter_over: MakeAdapter, reply: Scripted, expected: type[GatewayError]
) -> None:
    with pytest.raises(expected):
        await adapter_over(Script(reply)).get_model_info("nope")
