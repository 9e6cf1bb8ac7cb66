"""The gateway as operators run it, with a file of upstreams, and the SDKs as clients use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import anthropic
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.e2e.conftest import watched
from tests.e2e.exchanges import exchange
from tests.e2e.failover_scenes import anthropic_begun, begun, said, written
from tests.e2e.gateways import GatewayProcess
from tests.scripted_upstream import (
    CHAT_PATH,
    HELLO,
    MESSAGES_PATH,
    MODELS_PATH,
    Gate,
    Hold,
    Reset,
    ScriptedUpstream,
    anthropic_error,
    anthropic_stream,
    models_reply,
    openai_completion,
    openai_error,
    openai_stream,
    sse_reply,
)

pytestmark = pytest.mark.slow

CALLER_KEY = "a-key-of-the-file"
HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello?"}]
#: Each model is served by `a` first; its name is its own in each test.
FILE = """
authorization: a-key-of-the-file
groups: {default: {}, steady: {after_commit: continue}}
aliases: {quick: [plain]}
upstreams:
  - {name: a, adapter: openai, sk: sk-credential-of-a, endpoint: "${A_URL}",
     models: [plain, streamed, cut]}
  - {name: b, adapter: openai, sk: sk-credential-of-b, endpoint: "${B_URL}",
     models: [plain, streamed, cut]}
  - {name: c1, adapter: claude, sk: sk-ant-credential-1, endpoint: "${A_URL}", group: steady,
     models: [claude, steady], model_map: {steady: claude-haiku-4-5, claude: claude-opus-5}}
  - {name: c2, adapter: claude, sk: sk-ant-credential-2, endpoint: "${B_URL}", group: steady,
     models: [steady], model_map: {steady: claude-haiku-4-5}}
  - {name: d, adapter: openai, sk: sk-credential-of-d, endpoint: "${B_URL}", models: [claude],
     group: steady}
"""


@pytest.fixture(scope="module")
def upstreams() -> Iterator[dict[str, ScriptedUpstream]]:
    with ScriptedUpstream() as a, ScriptedUpstream() as b:
        for upstream in (a, b):
            upstream.script(models_reply([]), path=MODELS_PATH, repeat_last=True)
        yield {"a": a, "b": b}


@pytest.fixture(scope="module")
def gateway(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    upstreams: dict[str, ScriptedUpstream],
) -> Iterator[GatewayProcess]:
    directory = tmp_path_factory.mktemp("failover")
    urls = {name: upstream.url for name, upstream in upstreams.items()}
    environment = {"UPSTREAMS_FILE": str(written(directory, FILE, urls))}
    with watched(pytestconfig, directory, environment) as process:
        yield process


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=gateway.base_url, api_key=CALLER_KEY, max_retries=0, timeout=20
    ) as client:
        yield client


Calls = Callable[..., list[str]]


@pytest.fixture
def calls(upstreams: dict[str, ScriptedUpstream]) -> Calls:
    """What each provider was asked for since the test began, those for models left out."""
    before = {name: len(upstream.requests) for name, upstream in upstreams.items()}

    def made(name: str) -> list[str]:
        new = upstreams[name].requests[before[name] :]
        return [request.path for request in new if request.path != MODELS_PATH]

    return made


def test_a_complete_reply(
    client: openai.OpenAI, upstreams: dict[str, ScriptedUpstream], calls: Calls
) -> None:
    upstreams["a"].script(openai_error(503), model="plain")
    upstreams["b"].script(openai_completion(said("from b")), model="plain")

    raw = client.chat.completions.with_raw_response.create(model="quick", messages=HI)

    assert "from b" == raw.parse().choices[0].message.content
    assert ("b/plain", "2", "plain") == tuple(
        raw.headers[f"x-one-api-{name}"] for name in ("deployment", "attempts", "model")
    )
    assert ([CHAT_PATH], [CHAT_PATH]) == (calls("a"), calls("b"))


def test_a_stream(
    client: openai.OpenAI, upstreams: dict[str, ScriptedUpstream], calls: Calls
) -> None:
    upstreams["a"].script(sse_reply([Reset()]), model="streamed")
    upstreams["b"].script(openai_stream(), model="streamed")

    raw = client.chat.completions.with_raw_response.create(
        model="streamed", messages=HI, stream=True
    )
    words = [chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices]

    assert HELLO.text == "".join(words)
    assert ("b/streamed", "2") == (
        raw.headers["x-one-api-deployment"],
        raw.headers["x-one-api-attempts"],
    )
    assert ([CHAT_PATH], [CHAT_PATH]) == (calls("a"), calls("b"))


def test_a_stream_that_is_cut_is_an_error_of_the_sdk(
    client: openai.OpenAI, upstreams: dict[str, ScriptedUpstream], calls: Calls
) -> None:
    gate = Gate()
    upstreams["a"].script(sse_reply([*begun("Hello"), Hold(gate), Reset()]), model="cut")

    with client.chat.completions.create(model="cut", messages=HI, stream=True) as chunks:
        while (next(chunks).choices[0].delta.content or "") != "Hello":
            pass
        gate.open()
        with pytest.raises(openai.APIError):
            for _ in chunks:
                pass

    assert ([CHAT_PATH], []) == (calls("a"), calls("b"))


def test_a_stream_that_is_gone_on_with_is_one_to_the_sdk(
    client: openai.OpenAI, upstreams: dict[str, ScriptedUpstream], calls: Calls
) -> None:
    gate = Gate()
    frames = anthropic_begun("The quick brown fox ")
    upstreams["a"].script(sse_reply([*frames, Hold(gate), Reset()]), model="claude-haiku-4-5")
    upstreams["b"].script(anthropic_stream(said("jumps.")), model="claude-haiku-4-5")
    text, reasons = "", []

    with client.chat.completions.create(model="steady", messages=HI, stream=True) as chunks:
        for chunk in chunks:
            text += chunk.choices[0].delta.content or ""
            reasons += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]
            if text:
                gate.open()

    assert ("The quick brown fox jumps.", ["stop"]) == (text, reasons)
    assert ([MESSAGES_PATH], [MESSAGES_PATH]) == (calls("a"), calls("b"))


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_anthropics_sdk_is_answered_by_another_provider(
    gateway: GatewayProcess,
    upstreams: dict[str, ScriptedUpstream],
    calls: Calls,
    is_stream: bool,
) -> None:
    upstreams["a"].script(anthropic_error(529, "overloaded_error"), model="claude-opus-5")
    upstreams["b"].script(openai_stream() if is_stream else openai_completion(), model="claude")

    with anthropic.Anthropic(
        base_url=gateway.url, api_key=CALLER_KEY, max_retries=0, timeout=20
    ) as client:
        if is_stream:
            with client.messages.stream(
                model="claude", max_tokens=9, messages=[{"role": "user", "content": "Hello?"}]
            ) as stream:
                told: anthropic.types.Message = stream.get_final_message()
        else:
            told = client.messages.create(
                model="claude", max_tokens=9, messages=[{"role": "user", "content": "Hello?"}]
            )

    (block,) = told.content
    assert isinstance(block, anthropic.types.TextBlock)
    assert (HELLO.text, "end_turn") == (block.text, told.stop_reason)
    assert ([MESSAGES_PATH], [CHAT_PATH]) == (calls("a"), calls("b"))


def test_the_files_models_are_listed_and_its_keys_are_asked_for(gateway: GatewayProcess) -> None:
    listed = exchange(f"{gateway.base_url}/models", key=CALLER_KEY).json["data"]
    assert {"plain", "streamed", "cut", "claude", "steady", "quick"} <= {
        model["id"] for model in listed
    }
    assert 401 == exchange(f"{gateway.base_url}/models", key="another-key").status
