"""Lessons: what a model's refusal teaches about it, and the refusals that teach nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from adapters.claude.tests.scripted import (
    SCHEMA,
    MakeAdapter,
    Script,
    answer,
    error,
    request,
    stream,
)
from adapters.claude.tests.wires import OPUS_5, SONNET_4_6
from one_api.adapter import Call, Finish, InvalidRequest, JsonObject

TOOLS = [{"type": "function", "function": {"name": "f"}}]
PREFILLED = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "A"}]
MID_SYSTEM = [
    {"role": "user", "content": "x"},
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "y"},
]


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
