"""Responses with the official SDK, of providers that know nothing of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import openai
import pytest
from openai.types.responses import FunctionToolParam, Response
from pydantic import BaseModel

from tests.e2e.conftest import API_KEY, CLAUDE_CREDENTIAL, OPENAI_CREDENTIAL, watched
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    CHAT_PATH,
    HELLO,
    MESSAGES_PATH,
    PARALLEL_TOOL_CALLS,
    REASONED,
    TOOL_CALL_WITHOUT_ARGUMENTS,
    Answer,
    Close,
    Reply,
    ScriptedUpstream,
    anthropic_error,
    anthropic_events,
    anthropic_frames,
    anthropic_stream,
    openai_chunks,
    openai_completion,
    openai_error,
    openai_frames,
    openai_stream,
    sse_reply,
)

TOOLS: list[FunctionToolParam] = [
    {
        "type": "function",
        "name": name,
        "description": "d",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": True},
        "strict": False,
    }
    for name in ("get_weather", "get_time", "ping")
]
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)


class ForeignScene(Scene):
    """A model whose provider has chat completions, or Anthropic's messages, and no responses."""

    @property
    def is_chat(self) -> bool:
        """Whether the provider speaks OpenAI's chat completions."""
        return self.model.startswith("vllm/")

    @property
    def path(self) -> str:
        """Where the provider is asked."""
        return CHAT_PATH if self.is_chat else MESSAGES_PATH

    def answers(self, answer: Answer, *, is_streamed: bool) -> None:
        """Answer with `answer`."""
        if not self.is_chat:
            self.script(anthropic_stream(answer))
        else:
            self.script(openai_stream(answer) if is_streamed else openai_completion(answer))

    def cut(self) -> Reply:
        """A stream that ends after its first words."""
        if self.is_chat:
            return sse_reply([*openai_frames(openai_chunks(HELLO))[:3], Close()])
        return sse_reply([*anthropic_frames(anthropic_events(HELLO))[:5], Close()])

    def refused_with(self, status: int) -> Reply:
        """An error reply."""
        return openai_error(status) if self.is_chat else anthropic_error(status)


@pytest.fixture(scope="module")
def gateway(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    providers: Mapping[str, str],
    openai_upstream: ScriptedUpstream,
) -> Iterator[GatewayProcess]:
    """A gateway with a provider that has chat completions only."""
    environment = {**providers, "VLLM_BASE_URL": f"{openai_upstream.url}/v1", "VLLM_MODELS": ""}
    with watched(pytestconfig, tmp_path_factory.mktemp("responses"), environment) as process:
        yield process


@pytest.fixture(params=["vllm", "claude"])
def foreign(
    request: pytest.FixtureRequest,
    openai_upstream: ScriptedUpstream,
    claude_upstream: ScriptedUpstream,
) -> ForeignScene:
    upstream = openai_upstream if request.param == "vllm" else claude_upstream
    return ForeignScene(upstream, request.param)


def calls_of(response: Response) -> list[tuple[str, str, Any]]:
    return [
        (item.call_id, item.name, json.loads(item.arguments))
        for item in response.output
        if item.type == "function_call"
    ]


def told_calls(answer: Answer) -> list[tuple[str, str, Any]]:
    return [
        (call.id, call.name, json.loads("".join(call.arguments) or "{}"))
        for call in answer.tool_calls
    ]


# -- echo, behind every server


def test_echo_answers_whole(any_client: openai.OpenAI) -> None:
    response = any_client.responses.create(model="echo", input="Good morning, gateway")
    assert ("Good morning, gateway", "completed") == (response.output_text, response.status)
    assert response.usage is not None
    assert (3, 3, 6) == (
        response.usage.input_tokens,
        response.usage.output_tokens,
        response.usage.total_tokens,
    )


def test_echo_answers_streamed(any_client: openai.OpenAI) -> None:
    with any_client.responses.stream(model="echo", input="Good morning, gateway") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        response = stream.get_final_response()
    assert ["Good", " morning,", " gateway"] == deltas
    assert "Good morning, gateway" == response.output_text


def test_echo_calls_a_tool_streamed(client: openai.OpenAI) -> None:
    with client.responses.stream(
        model="echo", input="Please ping", tools=TOOLS, tool_choice="auto"
    ) as stream:
        stream.until_done()
        response = stream.get_final_response()
    assert [("call_echo", "ping", {})] == calls_of(response)


def test_limit_on_tokens_leaves_the_response_incomplete(client: openai.OpenAI) -> None:
    response = client.responses.create(model="echo", input="one two three", max_output_tokens=2)
    assert ("incomplete", "one two") == (response.status, response.output_text)
    assert response.incomplete_details is not None
    assert "max_output_tokens" == response.incomplete_details.reason


def test_nothing_is_stored(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="echo", input="Hi", previous_response_id="resp_1")
    assert ("unsupported_parameter", "previous_response_id") == (
        caught.value.code,
        caught.value.param,
    )
    stored = client.responses.create(model="echo", input="Hi", store=True)
    assert stored.to_dict()["store"] is False


def test_errors_name_the_clients_parameters(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="echo", input="Hi", text={"format": {"type": "json_object"}})
    assert ("unsupported_parameter", "text.format") == (caught.value.code, caught.value.param)
    assert "'text.format'" in caught.value.message


def test_what_is_dropped_is_told_in_the_clients_terms(gateway: GatewayProcess) -> None:
    body = {"model": "echo", "input": "Hi", "reasoning": {"effort": "low"}, "truncation": "auto"}
    answer = exchange(f"{gateway.base_url}/responses", body, key=API_KEY)
    assert "reasoning.effort,truncation" == answer.headers["x-one-api-dropped-params"]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        pytest.param([], 400, "invalid_type", None, id="no object"),
        pytest.param({"input": "Hi"}, 400, "missing_required_parameter", "model", id="no model"),
        pytest.param({"model": 5, "input": "Hi"}, 400, "invalid_type", "model", id="odd model"),
        pytest.param({"model": "no", "input": "Hi"}, 404, "model_not_found", "model", id="unknown"),
        pytest.param({"model": "echo"}, 400, "missing_required_parameter", "input", id="no input"),
    ],
)
def test_p50_wrong_requests_are_told_what_is_wrong(
    gateway: GatewayProcess, body: Any, status: int, code: str, param: str | None
) -> None:
    answer = exchange(f"{gateway.base_url}/responses", body, key=API_KEY)
    assert (status, code, param) == (answer.status, answer.error["code"], answer.error["param"])


def test_strictness_refuses_what_has_no_effect(start_gateway: Any) -> None:
    strict = start_gateway({"STRICT_PARAMS": "true"})
    body = {"model": "echo", "input": "Hi", "truncation": "auto"}
    answer = exchange(f"{strict.base_url}/responses", body)
    assert (400, "truncation") == (answer.status, answer.error["param"])


def test_default_model_answers(start_gateway: Any) -> None:
    process = start_gateway({"DEFAULT_MODEL": "echo"})
    answer = exchange(f"{process.base_url}/responses", {"input": "Hi"})
    assert (200, "echo") == (answer.status, answer.json["model"])


# -- providers without responses


def test_text_arrives_whole(client: openai.OpenAI, foreign: ForeignScene) -> None:
    foreign.answers(HELLO, is_streamed=False)
    response = client.responses.create(
        model=foreign.model, input="Hello?", instructions="Be brief."
    )
    assert (HELLO.text, foreign.model) == (response.output_text, response.model)
    assert response.usage is not None
    assert (11, 7) == (response.usage.input_tokens, response.usage.output_tokens)
    assert foreign.path == foreign.request.path
    assert "Be brief." in foreign.request.body.decode()


def test_p50_text_arrives_streamed(client: openai.OpenAI, foreign: ForeignScene) -> None:
    foreign.answers(HELLO, is_streamed=True)
    with client.responses.stream(model=foreign.model, input="Hello?") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        response = stream.get_final_response()
    assert list(HELLO.words) == deltas
    assert HELLO.text == response.output_text
    assert response.usage is not None
    assert 18 == response.usage.total_tokens


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(PARALLEL_TOOL_CALLS, id="parallel"),
        pytest.param(TOOL_CALL_WITHOUT_ARGUMENTS, id="without arguments"),
    ],
)
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_p50_tool_calls_arrive(
    client: openai.OpenAI, foreign: ForeignScene, answer: Answer, is_streamed: bool
) -> None:
    foreign.answers(answer, is_streamed=is_streamed)
    if is_streamed:
        with client.responses.stream(model=foreign.model, input="?", tools=TOOLS) as stream:
            response: Response = stream.get_final_response()
    else:
        response = client.responses.create(model=foreign.model, input="?", tools=TOOLS)
    assert (told_calls(answer), answer.text) == (calls_of(response), response.output_text)


def test_output_sent_back_with_results_is_the_next_turn(
    client: openai.OpenAI, foreign: ForeignScene
) -> None:
    foreign.answers(PARALLEL_TOOL_CALLS, is_streamed=False)
    foreign.answers(HELLO, is_streamed=False)
    first = client.responses.create(model=foreign.model, input="?", tools=TOOLS)
    items: Any = [{"role": "user", "content": "?"}, *first.output]
    items += [
        {"type": "function_call_output", "call_id": call_id, "output": "done"}
        for call_id, _, _ in calls_of(first)
    ]
    second = client.responses.create(model=foreign.model, input=items, tools=TOOLS)
    assert HELLO.text == second.output_text
    sent = foreign.requests[1].json["messages"]
    if foreign.is_chat:
        assert ["user", "assistant", "tool", "tool"] == [message["role"] for message in sent]
        assert 2 == len(sent[1]["tool_calls"])
    else:
        assert ["user", "assistant", "user"] == [message["role"] for message in sent]
        assert ["tool_result"] * 2 == [block["type"] for block in sent[2]["content"]]


@pytest.mark.parametrize("asks", [False, True], ids=["as it is", "as a summary"])
def test_reasoning_arrives(client: openai.OpenAI, foreign: ForeignScene, asks: bool) -> None:
    foreign.answers(REASONED, is_streamed=True)
    with client.responses.stream(
        model=foreign.model,
        input="?",
        reasoning={"effort": "low", "summary": "auto"} if asks else {"effort": "low"},
    ) as stream:
        events: list[Any] = list(stream)
        response = stream.get_final_response()
    item = response.output[0]
    assert item.type == "reasoning"
    kind = f"response.reasoning_{'summary_text' if asks else 'text'}.delta"
    assert REASONED.reasoning_text == "".join(e.delta for e in events if e.type == kind)
    assert [REASONED.reasoning_text] == [
        part.text for part in (item.summary if asks else item.content or ())
    ]
    assert response.usage is not None
    assert 3 == response.usage.output_tokens_details.reasoning_tokens


def test_signed_reasoning_comes_back_to_its_provider(
    client: openai.OpenAI, claude_upstream: ScriptedUpstream
) -> None:
    scene = ForeignScene(claude_upstream, "claude")
    thought = Answer(words=(), reasoning=("hm",), tool_calls=PARALLEL_TOOL_CALLS.tool_calls[:1])
    scene.answers(thought, is_streamed=True)
    scene.answers(HELLO, is_streamed=True)
    first = client.responses.create(
        model=scene.model, input="?", tools=TOOLS, reasoning={"effort": "high"}
    )
    call_id = calls_of(first)[0][0]
    items: Any = [{"role": "user", "content": "?"}, *first.output]
    items.append({"type": "function_call_output", "call_id": call_id, "output": "done"})
    client.responses.create(
        model=scene.model, input=items, tools=TOOLS, reasoning={"effort": "high"}
    )
    blocks = scene.requests[1].json["messages"][1]["content"]
    assert ["thinking", "tool_use"] == [block["type"] for block in blocks]
    assert "hm" == blocks[0]["thinking"]
    assert blocks[0]["signature"]


def test_images_arrive(client: openai.OpenAI, foreign: ForeignScene) -> None:
    foreign.answers(HELLO, is_streamed=False)
    client.responses.create(
        model=foreign.model,
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is this?"},
                    {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
                ],
            }
        ],
    )
    content = foreign.request.json["messages"][0]["content"]
    assert ["text", "image_url" if foreign.is_chat else "image"] == [p["type"] for p in content]
    assert PIXEL.partition(",")[2] in foreign.request.body.decode()


class City(BaseModel):
    """A city."""

    name: str


CITY = Answer(words=('{"name"', ':"Paris"}'))


def test_answers_are_parsed(client: openai.OpenAI, foreign: ForeignScene) -> None:
    foreign.answers(CITY, is_streamed=False)
    response = client.responses.parse(model=foreign.model, input="?", text_format=City)
    assert City(name="Paris") == response.output_parsed
    asked = foreign.request.json
    form = asked["response_format" if foreign.is_chat else "output_config"]
    assert '"properties"' in json.dumps(form)


async def test_async_client_streams_and_parses(
    gateway: GatewayProcess, foreign: ForeignScene
) -> None:
    foreign.answers(CITY, is_streamed=True)
    async with (
        openai.AsyncOpenAI(
            base_url=gateway.base_url, api_key=API_KEY, max_retries=0, timeout=20
        ) as client,
        client.responses.stream(model=foreign.model, input="?", text_format=City) as stream,
    ):
        kinds = [event.type async for event in stream]
        response = await stream.get_final_response()
    assert ("response.created", "response.completed") == (kinds[0], kinds[-1])
    assert City(name="Paris") == response.output_parsed


@pytest.mark.parametrize(
    ("status", "error"),
    [
        pytest.param(429, openai.RateLimitError, id="429"),
        pytest.param(400, openai.BadRequestError, id="400"),
        pytest.param(401, openai.InternalServerError, id="401"),
    ],
)
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_errors_before_the_first_event_have_a_status(
    client: openai.OpenAI,
    foreign: ForeignScene,
    status: int,
    error: type[openai.APIStatusError],
    is_streamed: bool,
) -> None:
    foreign.script(foreign.refused_with(status), repeat_last=True)
    with pytest.raises(error) as caught:
        client.responses.create(model=foreign.model, input="?", stream=is_streamed)
    assert (502 if status == 401 else status) == caught.value.status_code


def test_a_cut_stream_ends_in_an_error_that_the_sdk_raises(
    client: openai.OpenAI, foreign: ForeignScene
) -> None:
    foreign.script(foreign.cut())
    with (
        pytest.raises(openai.APIError) as caught,
        client.responses.stream(model=foreign.model, input="?") as stream,
    ):
        stream.until_done()
    assert "upstream_disconnected" == caught.value.code
    assert OPENAI_CREDENTIAL not in caught.value.message
    assert CLAUDE_CREDENTIAL not in caught.value.message


def test_a_cut_stream_says_that_the_response_failed(
    gateway: GatewayProcess, foreign: ForeignScene
) -> None:
    foreign.script(foreign.cut())
    body = {"model": foreign.model, "input": "?", "stream": True}
    answer = exchange(f"{gateway.base_url}/responses", body, key=API_KEY)
    frames = answer.body.decode().split("\n\n")
    names = [frame.partition("\n")[0] for frame in frames if frame.startswith("event: ")]
    assert ["event: response.failed", "event: error"] == names[-2:]
    assert "[DONE]" not in answer.body.decode()
