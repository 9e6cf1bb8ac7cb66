"""After the first content an error is told inside the stream: never a quiet end, never `[DONE]`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import openai
import pytest

from tests.e2e.conftest import API_KEY, CLAUDE_CREDENTIAL, OPENAI_CREDENTIAL
from tests.e2e.exchanges import Answer, exchange, stream
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    HELLO,
    BadChunkSize,
    Close,
    Gate,
    Hang,
    Hold,
    Reset,
    Step,
    split,
    sse_reply,
)

#: What a provider does after the last word instead of ending its stream.
Fault = Callable[[Scene], Sequence[bytes | Step]]
CUTS: dict[str, Fault] = {
    "reset": lambda scene: [Reset()],
    "closed": lambda scene: [Close()],
    "ended without a finish": lambda scene: [],
    "an error": lambda scene: [scene.error_frame("out of memory")],
    "half an event": lambda scene: [scene.frames()[-2][:20]],
}


def ask(gateway: GatewayProcess, scene: Scene, *last: bytes | Step) -> Answer:
    """The answer to a stream whose provider does `last` once its last word has arrived here."""
    gate = Gate()
    scene.script(sse_reply([*scene.begun(), Hold(gate), *last]))
    body = scene.ask(stream=True, stream_options={"include_usage": True})
    with stream(f"{gateway.base_url}/chat/completions", body, key=API_KEY) as response:
        arrived = b""
        while HELLO.words[-1].encode() not in arrived:
            arrived += response.read1()
        gate.open()
        arrived += response.read()
    assert OPENAI_CREDENTIAL not in arrived.decode()
    assert CLAUDE_CREDENTIAL not in arrived.decode()
    return Answer(response.status, {}, arrived)


def text_of(answer: Answer) -> str:
    """The words before the last event."""
    return "".join(
        event["choices"][0]["delta"].get("content") or "" for event in answer.events[:-1]
    )


@pytest.mark.parametrize("fault", CUTS)
def test_a_cut_stream_ends_in_an_error_and_nothing_after_it(
    gateway: GatewayProcess, scene: Scene, fault: str
) -> None:
    answer = ask(gateway, scene, *CUTS[fault](scene))
    assert 200 == answer.status
    assert HELLO.text == text_of(answer)
    assert ["error"] == list(answer.events[-1])
    assert {"message", "type", "param", "code"} == set(answer.events[-1]["error"])
    assert b"[DONE]" not in answer.body
    assert b'"usage":{' not in answer.body
    assert answer.body.endswith(b"\n\n")


@pytest.mark.parametrize("fault", ["reset", "an error"])
def test_the_sdk_raises_at_a_cut_stream(
    any_client: openai.OpenAI, scene: Scene, fault: str
) -> None:
    gate = Gate()
    scene.script(sse_reply([*scene.begun(), Hold(gate), *CUTS[fault](scene)]))
    words: list[str] = []
    with any_client.chat.completions.create(
        model=scene.model, messages=[{"role": "user", "content": "Hello?"}], stream=True
    ) as chunks:
        while words[-1:] != [HELLO.words[-1]]:
            words.append(next(chunks).choices[0].delta.content or "")
        gate.open()
        with pytest.raises(openai.APIError):
            next(chunks)
    assert HELLO.text == "".join(words)


def test_the_providers_words_are_in_the_error(gateway: GatewayProcess, scene: Scene) -> None:
    quoting = f"out of memory, {OPENAI_CREDENTIAL}, {CLAUDE_CREDENTIAL}"
    answer = ask(gateway, scene, scene.error_frame(quoting))
    assert "out of memory" in answer.events[-1]["error"]["message"]


def test_words_that_arrive_together_with_the_error_are_not_lost(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    last = openai_scene.begun()[-1].replace(HELLO.words[-1].encode(), b"farewell")
    answer = ask(gateway, openai_scene, last + openai_scene.error_frame("out of memory"), Hang())
    assert f"{HELLO.text}farewell" == text_of(answer)
    assert "out of memory" == answer.events[-1]["error"]["message"]


@pytest.mark.parametrize(
    "silence", [(Hang(),), (BadChunkSize(), Hang())], ids=["silence", "bad framing"]
)
def test_a_provider_that_falls_silent_is_told_as_an_error(
    impatient_gateway: GatewayProcess, scene: Scene, silence: Sequence[Step]
) -> None:
    answer = ask(impatient_gateway, scene, *silence)
    assert HELLO.text == text_of(answer)
    assert "error" in answer.events[-1]
    assert b"[DONE]" not in answer.body


@pytest.mark.parametrize("size", [1, 100_000], ids=["byte by byte", "all at once"])
def test_the_end_of_a_body_is_not_waited_for(
    gateway: GatewayProcess, openai_scene: Scene, size: int
) -> None:
    """Some servers keep the connection open after `[DONE]`."""
    openai_scene.script(sse_reply([*split(openai_scene.frames(), size), Hang()]))
    body = openai_scene.ask(stream=True, stream_options={"include_usage": True})
    answer = exchange(f"{gateway.base_url}/chat/completions", body, key=API_KEY)
    assert b"".join(openai_scene.frames()) == answer.body
    openai_scene.request.wait_closed()


def test_content_is_sent_on_at_once(any_gateway: GatewayProcess, scene: Scene) -> None:
    """Nothing is held back: the first word is here while the provider waits with the second."""
    gate = Gate()
    begun = scene.begun()
    scene.script(sse_reply([*begun[:-2], Hold(gate), *scene.frames()[len(begun) - 2 :]]))
    url = f"{any_gateway.base_url}/chat/completions"
    with stream(url, scene.ask(stream=True), key=API_KEY) as response:
        arrived = b""
        while HELLO.words[0].encode() not in arrived:
            arrived += response.read1()
        assert HELLO.words[-1].encode() not in arrived
        gate.open()
        assert (arrived + response.read()).endswith(b"data: [DONE]\n\n")
