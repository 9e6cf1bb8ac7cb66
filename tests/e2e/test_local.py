"""Local GGUF files through every door: the official SDKs against a real llama.cpp."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from adapters.llamacpp.tests.make_gguf import write_bert, write_scripted
from tests.e2e.conftest import watched
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess

pytestmark = pytest.mark.llamacpp

ON = {"LOCAL_MODELS_ENABLED": "true"}
SAID = "Grüße from a file 🎉!"
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n</tool_call>'
HI: Any = [{"role": "user", "content": "Hi"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {**PARAMETERS, "required": ["city"]},
    },
}
TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}


@pytest.fixture(scope="module")
def local(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    models = tmp_path_factory.mktemp("models")
    write_scripted(models / "talker.gguf", SAID)
    write_scripted(models / "caller.gguf", CALL, context=2048)
    write_bert(models / "embedder.gguf", ["red", "green", "blue"])
    environment = {**ON, "LOCAL_MODELS_DIR": str(models)}
    directory = tmp_path_factory.mktemp("local")
    with watched(pytestconfig, directory, environment) as process:
        yield process


@pytest.fixture
def client(local: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=local.base_url, api_key="none needed", max_retries=0) as found:
        yield found


@pytest.fixture
def claude(local: GatewayProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=local.url, api_key="none needed", max_retries=0) as found:
        yield found


def test_files_are_listed_as_models(client: openai.OpenAI) -> None:
    assert {"talker", "caller", "embedder", "echo"} == {model.id for model in client.models.list()}


def test_a_chat_whole_and_streamed_says_the_same(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="talker", messages=HI)
    assert SAID == whole.choices[0].message.content
    assert "stop" == whole.choices[0].finish_reason
    with client.chat.completions.stream(
        model="talker", messages=HI, stream_options={"include_usage": True}
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert SAID == "".join(deltas)
    assert "�" not in "".join(deltas)
    assert whole.usage is not None
    assert final.usage is not None
    assert whole.usage.completion_tokens == final.usage.completion_tokens


def test_a_tool_is_called(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="caller", messages=HI, tools=[TOOL]) as stream:
        final = stream.get_final_completion()
    assert "tool_calls" == final.choices[0].finish_reason
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    (call,) = calls
    assert ("get_weather", {"city": "Zürich"}) == (
        call.function.name,
        json.loads(call.function.arguments),
    )


def test_a_prompt_that_does_not_fit_is_a_400(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="talker", messages=[{"role": "user", "content": "word " * 2_000}]
        )
    assert "context_length_exceeded" == caught.value.code


def test_a_response_whole_and_streamed_says_the_same(client: openai.OpenAI) -> None:
    assert SAID == client.responses.create(model="talker", input="Hi").output_text
    with client.responses.stream(model="talker", input="Hi") as stream:
        assert SAID == stream.get_final_response().output_text


def test_a_text_is_completed(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="talker", prompt="Hi", max_tokens=200)
    assert SAID == whole.choices[0].text
    chunks = client.completions.create(model="talker", prompt="Hi", max_tokens=200, stream=True)
    assert SAID == "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)


def test_p43_vectors_are_equal_in_either_encoding(client: openai.OpenAI) -> None:
    texts = ["red", "green"]
    default = client.embeddings.create(model="embedder", input=texts)
    floats = client.embeddings.create(model="embedder", input=texts, encoding_format="float")
    for one, other in zip(default.data, floats.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert 1 == pytest.approx(sum(x * x for x in one.embedding))


def test_anthropics_sdk_hears_the_same(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(model="talker", max_tokens=200, messages=HI)
    assert [SAID] == [block.text for block in whole.content if block.type == "text"]
    assert "end_turn" == whole.stop_reason
    with claude.messages.stream(model="talker", max_tokens=200, messages=HI) as stream:
        assert SAID == "".join(stream.text_stream)
        final = stream.get_final_message()
    assert whole.usage.output_tokens == final.usage.output_tokens > 0


def test_anthropics_sdk_gets_its_tool_called(claude: anthropic.Anthropic) -> None:
    tool: Any = {"name": "get_weather", "input_schema": PARAMETERS}
    with claude.messages.stream(
        model="caller", max_tokens=200, messages=HI, tools=[tool]
    ) as stream:
        final = stream.get_final_message()
    assert "tool_use" == final.stop_reason
    (call,) = (block for block in final.content if block.type == "tool_use")
    assert ("get_weather", {"city": "Zürich"}) == (call.name, call.input)


def test_anthropics_sdk_has_tokens_counted(claude: anthropic.Anthropic) -> None:
    assert claude.messages.count_tokens(model="talker", messages=HI).input_tokens > 0


def test_a_client_that_leaves_frees_the_model(local: GatewayProcess) -> None:
    url = f"{local.base_url}/chat/completions"
    body = {"model": "talker", "messages": HI, "stream": True}
    with contextlib.closing(openai.OpenAI(base_url=local.base_url, api_key="x")) as client:
        stream = client.chat.completions.create(model="talker", messages=HI, stream=True)
        next(iter(stream))
        stream.close()
    assert 200 == exchange(url, body).status


@pytest.fixture(scope="module")
def demo(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    with watched(pytestconfig, tmp_path_factory.mktemp("newcomer"), ON) as process:
        yield process


@pytest.fixture
def newcomer(demo: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=demo.base_url, api_key="none needed", max_retries=0) as found:
        yield found


class TestNewcomer:
    """Nothing is configured, and there is no folder of models."""

    def test_the_demo_model_is_there(self, newcomer: openai.OpenAI) -> None:
        assert {"tiny-chat", "echo"} == {model.id for model in newcomer.models.list()}

    def test_several_are_answered_at_a_time_and_each_gets_its_own(
        self, demo: GatewayProcess
    ) -> None:
        words = "apple river stone cloud garden window yellow purple music paper summer winter"

        async def ask(client: openai.AsyncOpenAI, word: str) -> str | None:
            said: Any = [{"role": "user", "content": f"Say: {word}"}]
            reply = await client.chat.completions.create(
                model="tiny-chat", messages=said, temperature=0
            )
            return reply.choices[0].message.content

        async def ask_all() -> list[str | None]:
            async with openai.AsyncOpenAI(base_url=demo.base_url, api_key="none") as client:
                return await asyncio.gather(*(ask(client, word) for word in words.split()))

        assert words.split() == asyncio.run(ask_all())

    def test_an_answer_has_the_shape_that_was_asked_for(self, newcomer: openai.OpenAI) -> None:
        asked = "Extract the person as JSON: Ben is 44 years old and lives in Paris."
        schema = {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "age": {"type": "integer"},
                "city": {"type": "string"},
            },
            "required": ["name", "age", "city"],
            "additionalProperties": False,
        }
        shape: Any = {
            "type": "json_schema",
            "json_schema": {"name": "person", "schema": schema, "strict": True},
        }
        said: Any = [{"role": "user", "content": asked}]
        reply = newcomer.chat.completions.create(
            model="tiny-chat", messages=said, temperature=0, response_format=shape
        )
        assert {"name": "Ben", "age": 44, "city": "Paris"} == json.loads(
            reply.choices[0].message.content or ""
        )

    def test_a_tool_is_called_and_its_result_told(self, newcomer: openai.OpenAI) -> None:
        said: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
        first = newcomer.chat.completions.create(
            model="tiny-chat", messages=said, temperature=0, tools=[WEATHER]
        )
        assert "tool_calls" == first.choices[0].finish_reason
        calls = first.choices[0].message.tool_calls
        assert calls is not None
        (call,) = calls
        assert "function" == call.type
        assert ("get_weather", {"city": "Paris"}) == (
            call.function.name,
            json.loads(call.function.arguments),
        )
        result = json.dumps({"weather": "sunny", "temperature": 21})
        said += [
            first.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": result},
        ]
        second = newcomer.chat.completions.create(
            model="tiny-chat", messages=said, temperature=0, tools=[WEATHER]
        )
        assert "The weather in Paris is sunny with 21 degrees." == (
            second.choices[0].message.content
        )
