"""Provider streams to relay, and what a client must learn from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from one_api.converter import ReplyForm
from one_api.events import Usage
from one_api.relay import StreamRelay
from one_api.schemas import JsonObject
from tests.converter.digest import digest, facts
from tests.converter.replies import form
from tests.scripted_upstream import (
    HELLO,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    REASONED,
    TOOL_CALL_WITHOUT_ARGUMENTS,
    Answer,
    openai_chunks,
    openai_completion_body,
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


def relayed(pieces: Iterable[bytes], reply_form: ReplyForm = ASKED) -> tuple[bytes, StreamRelay]:
    """What leaves when `pieces` arrive one by one and the provider then ends its stream."""
    relay = StreamRelay(reply_form)
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
    for key in ("system_fingerprint", *ignoring):
        del told[key], wanted[key]
    assert wanted == told


def chunk_with(delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**openai_chunks()[0], "choices": [choice]}


def usage_of(answer: Answer) -> Usage | None:
    count = answer.usage
    if count is None:
        return None
    return Usage(
        prompt_tokens=count.prompt,
        completion_tokens=count.completion,
        reasoning_tokens=count.reasoning,
    )


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


def drop(key: str) -> Callable[[JsonObject], None]:
    return lambda holder: holder.pop(key, None) and None
