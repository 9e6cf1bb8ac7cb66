"""Streams that break: before the client has read anything, while it is held back, and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from one_api.tokens import estimate
from tests.e2e.failover_scenes import (
    PAIR,
    answer_of,
    anthropic_begun,
    attempts,
    begun,
    ends_in_error,
    is_whole_stream,
    said,
    streamed,
    text_of,
    world,
)
from tests.scripted_upstream import (
    DONE,
    HELLO,
    BadChunkSize,
    Close,
    Gate,
    Hang,
    Hold,
    Reply,
    Reset,
    Step,
    TokenCount,
    anthropic_error,
    anthropic_frames,
    anthropic_stream,
    openai_stream,
    sse_frame,
    sse_reply,
)
from tests.scripted_upstream import Answer as Said

#: Two deployments of `m` whose replies are converted; the model goes on from what was said.
CLAUDE_PAIR = """
upstreams:
  - {name: a, adapter: claude, sk: sk-ant-credential-a, endpoint: "${A_URL}", models: [m],
     model_map: {m: claude-haiku-4-5}}
  - {name: b, adapter: claude, sk: sk-ant-credential-b, endpoint: "${B_URL}", models: [m],
     model_map: {m: claude-haiku-4-5}}
"""


class Kind:
    """A provider's format, and the file with two that speak it."""

    def __init__(
        self,
        pair: str,
        begun: Callable[..., list[bytes]],
        stream: Callable[[Said], Reply],
    ) -> None:
        self.pair = pair
        self.begun = begun
        self.stream = stream

    def cut(self, *words: str, by: Sequence[bytes | Step] = (Reset(),)) -> Reply:
        """A stream that breaks after `words`."""
        return sse_reply([*self.begun(*words), *by])


KINDS = {
    "relayed": Kind(PAIR, begun, openai_stream),
    "converted": Kind(CLAUDE_PAIR, anthropic_begun, anthropic_stream),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


class TestAfterTheFirstContent:
    """F19, F20: an error is told in-band, and nobody else is asked."""

    @pytest.mark.parametrize(
        "cut",
        [(Reset(),), (Close(),), (), (BadChunkSize(), Hang())],
        ids=["reset", "closed", "ended without a finish", "bad framing"],
    )
    async def test_a_cut_is_told(self, tmp_path: Path, kind: Kind, cut: Sequence[Step]) -> None:
        gate = Gate()
        async with world(tmp_path, kind.pair) as scene:
            scene.script(a=kind.cut("Hello", by=[Hold(gate), *cut]))
            line = scene.begin(streamed())
            await line.until(lambda: b"Hello" in line.body)
            gate.open()

            answer = await answer_of(line)

            assert (200, "Hello") == (answer.status, text_of(answer))
            assert ends_in_error(answer)
            assert ("a/m" if kind.pair is PAIR else "a/claude-haiku-4-5", "1") == attempts(answer)
            assert ["a"] == scene.asked

    async def test_a_stall_is_told(self, tmp_path: Path, kind: Kind) -> None:
        text = kind.pair.replace("models: [m]", "models: [m], timeouts: {idle: 0.15}")
        async with world(tmp_path, text) as scene:
            scene.script(a=kind.cut("Hello", by=[Hang()]))

            answer = await scene.ask(streamed())

            assert "Hello" == text_of(answer)
            assert ends_in_error(answer)
            assert "timeout" == answer.events[-1]["error"]["code"]
            assert ["a"] == scene.asked
            await scene.requests("a")[0].until_closed()

    async def test_a_cut_counts_against_the_deployment(self, tmp_path: Path, kind: Kind) -> None:
        async with world(tmp_path, kind.pair) as scene:
            scene.script(a=kind.cut("Hello", by=[]), b=kind.stream(HELLO))

            answers = [await scene.ask(streamed()) for _ in range(8)]

            # One whose end came with its first words was mended by the next one.
            assert 5 == scene.calls["a"]
            assert all(is_whole_stream(answer) for answer in answers[5:])


class TestHeldBack:
    """What is held back is seen by nobody when its stream breaks."""

    @pytest.mark.parametrize(
        "cut", [(Reset(),), (), (Hang(),)], ids=["reset", "ended without a finish", "stall"]
    )
    async def test_an_early_cut_stays_invisible(
        self, tmp_path: Path, kind: Kind, cut: Sequence[Step]
    ) -> None:
        text = kind.pair.replace("models: [m]", "models: [m], timeouts: {idle: 0.15}")
        async with world(tmp_path, text, hold_back_tokens=4) as scene:
            answer_of_b = Said(words=("All", " of", " it", " is", " mine", "."))
            scene.script(a=kind.cut("Not", " this", by=cut), b=kind.stream(answer_of_b))

            answer = await scene.ask(streamed())

            assert answer_of_b.text == text_of(answer)
            assert is_whole_stream(answer)
            assert "2" == attempts(answer)[1]
            assert ["a", "b"] == scene.asked

    async def test_a_cut_after_it_is_told(self, tmp_path: Path, kind: Kind) -> None:
        gate = Gate()
        async with world(tmp_path, kind.pair, hold_back_tokens=3) as scene:
            scene.script(a=kind.cut("One", "two", "three", "four", by=[Hold(gate), Reset()]))
            line = scene.begin(streamed())
            await line.until(lambda: b"three" in line.body)
            gate.open()

            answer = await answer_of(line)

            assert text_of(answer).startswith("Onetwothree")
            assert ends_in_error(answer)
            assert ["a"] == scene.asked

    async def test_nothing_is_seen_before_there_is_enough(self, tmp_path: Path, kind: Kind) -> None:
        gate = Gate()
        frames = kind.begun("One", "two", "three")
        async with world(tmp_path, kind.pair, hold_back_tokens=3) as scene:
            scene.script(a=sse_reply([*frames[:-1], Hold(gate), frames[-1], Hang()]))
            line = scene.begin(streamed())
            (request,) = await scene["a"].until_requests(len(scene["a"].requests) or 1)
            assert (None, b"") == (line.status, line.body)
            gate.open()

            await line.until(lambda: b"three" in line.body)

            assert b"One" in line.body
            line.leave()
            await request.until_closed()
            await line.until_served()

    async def test_a_pause_ends_it(self, tmp_path: Path, kind: Kind) -> None:
        gate = Gate()
        settings = {"hold_back_tokens": 500, "hold_back_ms": 100}
        async with world(tmp_path, kind.pair, **settings) as scene:
            frames = kind.begun("Hello", ", world")
            scene.script(a=sse_reply([*frames[:-1], Hold(gate), frames[-1], *kind_end(kind)]))
            line = scene.begin(streamed())
            await line.until(lambda: b"Hello" in line.body)
            assert b", world" not in line.body
            gate.open()

            answer = await answer_of(line)

            assert "Hello, world" == text_of(answer)
            assert is_whole_stream(answer)

    @pytest.mark.parametrize(
        "settings",
        [{"hold_back_tokens": 500}, {"hold_back_ms": 20_000}],
        ids=["by tokens", "by time"],
    )
    async def test_a_shorter_stream_is_complete(
        self, tmp_path: Path, kind: Kind, settings: dict[str, int]
    ) -> None:
        async with world(tmp_path, kind.pair, **settings) as scene:
            scene.script(a=kind.stream(HELLO))

            answer = await scene.ask(streamed(stream_options={"include_usage": True}))

            assert HELLO.text == text_of(answer)
            assert is_whole_stream(answer)
            assert 1 == answer.body.count(b'"total_tokens":18')

    async def test_a_client_that_leaves_frees_the_provider(
        self, tmp_path: Path, kind: Kind
    ) -> None:
        async with world(tmp_path, kind.pair, hold_back_tokens=500) as scene:
            scene.script(a=kind.cut("Hello", ", world", by=[Hang()]))
            line = scene.begin(streamed())
            await scene["a"].until_requests(1)
            line.leave()

            await line.until_served()

            assert line.status is None
            await scene.requests("a")[0].until_closed()
            assert ["a"] == scene.asked


def kind_end(kind: Kind) -> list[bytes]:
    """The events after the last word."""
    if kind.pair is PAIR:
        return [
            sse_frame({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
            DONE,
        ]
    frames = anthropic_frames()
    return frames[-3:]


class TestGoingOn:
    """A group that says `after_commit: continue`: the next one goes on where it can."""

    CLAUDES = f"groups: {{default: {{after_commit: continue}}}}\n{CLAUDE_PAIR}"

    async def test_the_next_one_goes_on_from_what_the_client_has_read(self, tmp_path: Path) -> None:
        rest = TokenCount(prompt=20, completion=5)
        gate = Gate()
        async with world(tmp_path, self.CLAUDES) as scene:
            first = anthropic_begun("The quick brown fox ", "jumps ")
            scene.script(
                a=sse_reply([*first, Hold(gate), Reset()]),
                b=anthropic_stream(Said(words=("over the ", "lazy dog."), usage=rest)),
            )
            line = scene.begin(streamed(stream_options={"include_usage": True}))
            await line.until(lambda: b"jumps" in line.body)
            gate.open()

            answer = await answer_of(line)

            assert "The quick brown fox jumps over the lazy dog." == text_of(answer)
            assert is_whole_stream(answer)
            assert ["a", "b"] == scene.asked
            assert {"role": "assistant", "content": "The quick brown fox jumps"} == flat(
                scene.requests("b")[0].json["messages"][-1]
            )
            usage = answer.events[-2]["usage"]
            # The one that was cut told nothing: it read what the other did, but for its own words.
            given = estimate("The quick brown fox jumps ")
            assert (20 - given) + 20 == usage["prompt_tokens"]
            assert given + 5 == usage["completion_tokens"]

    async def test_one_that_breaks_too_is_gone_on_with(self, tmp_path: Path) -> None:
        text = self.CLAUDES + CLAUDE_PAIR.splitlines()[2].replace("a,", "c,", 1).replace(
            "A_URL", "C_URL"
        )
        text += "\n     model_map: {m: claude-haiku-4-5}}\n"
        gates = Gate(), Gate()
        async with world(tmp_path, text) as scene:
            scene.script(
                a=sse_reply([*anthropic_begun("One"), Hold(gates[0]), Reset()]),
                b=sse_reply([*anthropic_begun(", two"), Hold(gates[1]), Reset()]),
                c=anthropic_stream(said(", three.")),
            )
            line = scene.begin(streamed())
            await line.until(lambda: b"One" in line.body)
            gates[0].open()
            await line.until(lambda: b", two" in line.body)
            gates[1].open()

            answer = await answer_of(line)

            assert "One, two, three." == text_of(answer)
            assert is_whole_stream(answer)
            assert ["a", "b", "c"] == scene.asked

    async def test_a_relayed_stream_is_gone_on_with_by_a_provider_that_can(
        self, tmp_path: Path
    ) -> None:
        text = f"groups: {{default: {{after_commit: continue}}}}\n{MIXED}"
        gate = Gate()
        async with world(tmp_path, text) as scene:
            scene.script(
                a=sse_reply([*begun("Hello", ","), Hold(gate), Reset()]),
                b=anthropic_stream(said(" world")),
            )
            line = scene.begin(streamed())
            await line.until(lambda: b'","' in line.body)
            gate.open()

            answer = await answer_of(line)

            assert "Hello, world" == text_of(answer)
            assert is_whole_stream(answer)
            assert ["a", "b"] == scene.asked

    @pytest.mark.parametrize("policy", ["continue", "error"])
    async def test_it_is_an_error_where_nobody_can_or_may(
        self, tmp_path: Path, policy: str
    ) -> None:
        """OpenAI's format has no way to say it; and it is the operator's choice."""
        pair = PAIR if policy == "continue" else CLAUDE_PAIR
        kind = KINDS["relayed" if policy == "continue" else "converted"]
        gate = Gate()
        async with world(tmp_path, f"groups: {{default: {{after_commit: {policy}}}}}\n{pair}") as (
            scene
        ):
            scene.script(a=kind.cut("Hello", by=[Hold(gate), Reset()]))
            line = scene.begin(streamed())
            await line.until(lambda: b"Hello" in line.body)
            gate.open()

            answer = await answer_of(line)

            assert "Hello" == text_of(answer)
            assert ends_in_error(answer)
            assert ["a"] == scene.asked

    async def test_where_the_next_one_refuses_the_first_error_is_told(self, tmp_path: Path) -> None:
        gate = Gate()
        async with world(tmp_path, self.CLAUDES) as scene:
            scene.script(
                a=sse_reply([*anthropic_begun("Hello"), Hold(gate), Reset()]),
                b=anthropic_error(400, "invalid_request_error", "no prefill"),
            )
            line = scene.begin(streamed())
            await line.until(lambda: b"Hello" in line.body)
            gate.open()

            answer = await answer_of(line)

            assert ends_in_error(answer)
            assert "upstream_disconnected" == answer.events[-1]["error"]["code"]
            assert "b" in scene.asked


#: A provider whose stream is relayed, and one that goes on from what was said.
MIXED = "".join(PAIR.splitlines(keepends=True)[:3]) + "".join(
    CLAUDE_PAIR.splitlines(keepends=True)[4:]
)


def flat(message: dict[str, object]) -> dict[str, object]:
    """A message with its text as a string."""
    content = message["content"]
    if isinstance(content, list):
        content = "".join(block["text"] for block in content)
    return {"role": message["role"], "content": content}
