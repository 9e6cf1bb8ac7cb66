"""Providers with a format of their own, Gemini and Ollama, as OpenAI's official SDK sees them."""

from __future__ import annotations

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall
from pydantic import BaseModel
from typing_extensions import override

from one_api.adapter.testing import (
    Answer,
    ConformanceProfile,
    ToolCall,
    UpstreamReply,
    UpstreamRequest,
    sse_reply,
)
from one_api_gemini.conformance import PROFILE as GEMINI
from one_api_ollama.conformance import PROFILE as OLLAMA
from tests.e2e.conftest import API_KEY, watched
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess
from tests.scripted_upstream import (
    Chunk,
    EndChunks,
    Head,
    RecordedRequest,
    Reply,
    ScriptedUpstream,
    json_reply,
)

CREDENTIAL = "credential-of-the-operator"
HELLO = Answer(("Grüße, ", "世界"))
REASONED = Answer(("Forty-", "two"), reasoning=("Let me ", "think."))
CALLS = Answer(
    ("I look.",),
    tool_calls=(
        ToolCall("get_weather", ('{"city":"Oslo"}',), "call_1"),
        ToolCall("get_weather", ('{"city":"Rome"}',), "call_2"),
    ),
    end="tool_calls",
)
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
IMAGE: Any = {
    "role": "user",
    "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ],
}


class Place(BaseModel):
    """What is asked for."""

    city: str
    country: str


def steps_of(reply: UpstreamReply) -> Reply:
    """What a profile says, for a scripted upstream to say."""
    headers = (*reply.headers.items(), ("Transfer-Encoding", "chunked"))
    return (Head(reply.status, headers), *map(Chunk, reply.pieces), EndChunks())


class NativeScene(ABC):
    """A model with a name of its own at a provider that all tests share."""

    adapter: str
    profile: ConformanceProfile

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.upstream = upstream
        self.name = f"model-{secrets.token_hex(6)}"
        self.model = f"{self.adapter}/{self.name}"

    @abstractmethod
    def path(self, *, is_streamed: bool) -> str:
        """Where the provider is asked for an answer."""

    def answers(self, *answers: Answer, is_streamed: bool = False) -> None:
        """Answer the next requests with `answers`."""
        path = self.path(is_streamed=is_streamed)
        asked = UpstreamRequest(
            method="POST", path=path, body=json.dumps({"model": self.name}).encode()
        )
        replies = [steps_of(self.profile.answer(answer, asked)) for answer in answers]
        self.script(*replies, path=path)

    def script(self, *replies: Reply, path: str) -> None:
        """Answer requests for `path` and this model with `replies`."""
        self.upstream.script(*replies, path=path)

    @property
    @abstractmethod
    def requests(self) -> list[RecordedRequest]:
        """The requests for this model, in their order."""

    @property
    def told(self) -> Any:
        """The body of the newest one."""
        return self.requests[-1].json


class GeminiScene(NativeScene):
    """A model of Google's: it is named in the path."""

    adapter = "gemini"
    profile = GEMINI

    @override
    def path(self, *, is_streamed: bool) -> str:
        method = "streamGenerateContent" if is_streamed else "generateContent"
        return f"/v1beta/models/{self.name}:{method}"

    @property
    @override
    def requests(self) -> list[RecordedRequest]:
        return [each for each in self.upstream.requests if f"/{self.name}:" in each.path]


class OllamaScene(NativeScene):
    """A model of Ollama's: it is named in the body, and always asked for a stream."""

    adapter = "ollama"
    profile = OLLAMA

    @override
    def path(self, *, is_streamed: bool) -> str:
        return "/api/chat"

    @override
    def script(self, *replies: Reply, path: str) -> None:
        self.upstream.script(*replies, path=path, model=self.name)

    @property
    @override
    def requests(self) -> list[RecordedRequest]:
        posts = [each for each in self.upstream.requests if each.method == "POST"]
        return [each for each in posts if each.json.get("model") == self.name]


@pytest.fixture(scope="module")
def google() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        entry = {"name": "models/gemini-listed", "supportedGenerationMethods": ["generateContent"]}
        models = json_reply(200, {"models": [entry]})
        upstream.script(models, path="/v1beta/models", repeat_last=True)
        yield upstream


@pytest.fixture(scope="module")
def ollama() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        models = json_reply(200, {"models": [{"name": "listed:latest"}]})
        upstream.script(models, path="/api/tags", repeat_last=True)
        yield upstream


@pytest.fixture(scope="module")
def gateway(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    google: ScriptedUpstream,
    ollama: ScriptedUpstream,
) -> Iterator[GatewayProcess]:
    """A gateway with no other provider."""
    environment = {
        "API_KEYS": API_KEY,
        "MAX_ATTEMPTS": "1",
        "ONE_API_ADAPTERS": "gemini,ollama",
        "GEMINI_API_KEY": CREDENTIAL,
        "GEMINI_BASE_URL": google.url,
        "OLLAMA_BASE_URL": f"{ollama.url}/v1",
        "OLLAMA_API_KEY": CREDENTIAL,
    }
    with watched(pytestconfig, tmp_path_factory.mktemp("native"), environment) as process:
        yield process


@pytest.fixture(params=["gemini", "ollama"])
def scene(
    request: pytest.FixtureRequest, google: ScriptedUpstream, ollama: ScriptedUpstream
) -> NativeScene:
    return GeminiScene(google) if request.param == "gemini" else OllamaScene(ollama)


@pytest.fixture
def gemini_scene(google: ScriptedUpstream) -> GeminiScene:
    return GeminiScene(google)


@pytest.fixture
def ollama_scene(ollama: ScriptedUpstream) -> OllamaScene:
    return OllamaScene(ollama)


def asking(text: str = "Hello?") -> Any:
    return [{"role": "user", "content": text}]


def test_both_are_ready_and_list_what_they_have(
    gateway: GatewayProcess, client: openai.OpenAI
) -> None:
    ready = exchange(f"{gateway.url}/health/ready")
    listed = {model.id for model in client.models.list()}

    assert 200 == ready.status
    assert {"gemini-listed", "listed:latest"} <= listed


# -- answers


def test_an_answer(client: openai.OpenAI, scene: NativeScene) -> None:
    scene.answers(HELLO)
    reply = client.chat.completions.create(model=scene.model, messages=asking())
    (choice,) = reply.choices

    assert (HELLO.text, "stop") == (choice.message.content, choice.finish_reason)
    assert reply.usage is not None
    assert reply.usage.prompt_tokens_details is not None
    usage = reply.usage
    assert (11, 7, 18) == (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    assert 4 == reply.usage.prompt_tokens_details.cached_tokens
    assert CREDENTIAL in str(scene.requests[0].headers)
    assert CREDENTIAL not in scene.requests[0].target


def test_a_stream(client: openai.OpenAI, scene: NativeScene) -> None:
    scene.answers(HELLO, is_streamed=True)
    chunks = list(
        client.chat.completions.create(
            model=scene.model,
            messages=asking(),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]

    assert HELLO.text == "".join(choice.delta.content or "" for choice in choices)
    assert ["stop"] == [choice.finish_reason for choice in choices if choice.finish_reason]
    assert chunks[-1].usage is not None
    assert 18 == chunks[-1].usage.total_tokens


def test_an_answer_cut_at_the_limit(client: openai.OpenAI, scene: NativeScene) -> None:
    scene.answers(Answer(("Once",), end="length"))
    reply = client.chat.completions.create(
        model=scene.model, messages=asking(), max_completion_tokens=1
    )

    assert "length" == reply.choices[0].finish_reason


# -- thoughts


def let_it_think(scene: NativeScene) -> None:
    if isinstance(scene, OllamaScene):
        shown = {"thinking": {"values": ["low", "medium", "high"], "default": "medium"}}
        scene.script(json_reply(200, shown), path="/api/show")


def assert_asked_to_think(scene: NativeScene) -> None:
    if isinstance(scene, OllamaScene):
        assert "low" == scene.told["think"]
    else:
        config = scene.told["generationConfig"]["thinkingConfig"]
        assert {"includeThoughts": True, "thinkingLevel": "LOW"} == config


def test_thoughts_stay_apart(client: openai.OpenAI, scene: NativeScene) -> None:
    let_it_think(scene)
    scene.answers(REASONED)
    reply = client.chat.completions.create(
        model=scene.model, messages=asking(), reasoning_effort="low"
    )
    message = reply.choices[0].message

    assert REASONED.text == message.content
    assert REASONED.reasoning_text == (message.model_extra or {})["reasoning_content"]
    assert_asked_to_think(scene)


def test_thoughts_stay_apart_in_a_stream(client: openai.OpenAI, scene: NativeScene) -> None:
    let_it_think(scene)
    scene.answers(REASONED, is_streamed=True)
    chunks = client.chat.completions.create(
        model=scene.model, messages=asking(), reasoning_effort="low", stream=True
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]

    assert REASONED.text == "".join(delta.content or "" for delta in deltas)
    assert REASONED.reasoning_text == "".join(
        (delta.model_extra or {}).get("reasoning_content") or "" for delta in deltas
    )


# -- tools


def called(message: Any) -> list[tuple[str, Any]]:
    """Name and arguments of each call."""
    calls = message.tool_calls or []
    assert all(isinstance(call, ChatCompletionMessageFunctionToolCall) for call in calls)
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


def results_told(scene: NativeScene) -> list[str]:
    """The results of tools that the provider was told, in their order."""
    if isinstance(scene, OllamaScene):
        return [each["content"] for each in scene.told["messages"] if each["role"] == "tool"]
    parts = [part for content in scene.told["contents"] for part in content["parts"]]
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    return [result["response"]["output"] for result in results]


def test_tools_are_called_and_their_results_told(client: openai.OpenAI, scene: NativeScene) -> None:
    scene.answers(CALLS, HELLO)
    question = asking("How is the weather in Oslo and Rome?")
    first = client.chat.completions.create(model=scene.model, messages=question, tools=TOOLS)
    (choice,) = first.choices
    calls = choice.message.tool_calls or []
    results: Any = [
        {"role": "tool", "tool_call_id": call.id, "content": f"result {number}"}
        for number, call in enumerate(calls)
    ]
    message: Any = choice.message.to_dict()
    # The second result comes first: which is whose must not get lost.
    second = client.chat.completions.create(
        model=scene.model, messages=[*question, message, *results[::-1]], tools=TOOLS
    )

    assert "tool_calls" == choice.finish_reason
    weather = [("get_weather", {"city": city}) for city in ("Oslo", "Rome")]
    assert weather == called(choice.message)
    assert 2 == len({call.id for call in calls})
    assert HELLO.text == second.choices[0].message.content
    assert ["result 0", "result 1"] == results_told(scene)


def test_tools_are_called_in_a_stream(client: openai.OpenAI, scene: NativeScene) -> None:
    scene.answers(CALLS, is_streamed=True)
    with client.chat.completions.stream(
        model=scene.model, messages=asking(), tools=TOOLS
    ) as stream:
        (choice,) = stream.get_final_completion().choices

    assert (CALLS.text, "tool_calls") == (choice.message.content, choice.finish_reason)
    assert ["Oslo", "Rome"] == [arguments["city"] for _, arguments in called(choice.message)]


# -- images and structure


def test_an_image_reaches_the_provider(client: openai.OpenAI, scene: NativeScene) -> None:
    scene.answers(HELLO)
    client.chat.completions.create(model=scene.model, messages=[IMAGE])

    if isinstance(scene, OllamaScene):
        assert [PIXEL] == scene.told["messages"][0]["images"]
    else:
        inline = {"mimeType": "image/png", "data": PIXEL}
        assert {"inlineData": inline} in scene.told["contents"][0]["parts"]


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "stream"])
def test_an_answer_keeps_to_a_schema(
    client: openai.OpenAI, scene: NativeScene, is_streamed: bool
) -> None:
    scene.answers(Answer(('{"city":"Paris",', '"country":"France"}')), is_streamed=is_streamed)
    asked: Any = {"model": scene.model, "messages": asking(), "response_format": Place}
    if is_streamed:
        with client.chat.completions.stream(**asked) as stream:
            reply = stream.get_final_completion()
    else:
        reply = client.chat.completions.parse(**asked)

    assert Place(city="Paris", country="France") == reply.choices[0].message.parsed
    told = scene.told
    is_ollama = isinstance(scene, OllamaScene)
    schema = told["format"] if is_ollama else told["generationConfig"]["responseJsonSchema"]
    assert {"city", "country"} == set(schema["properties"])


# -- what a filter stops; Ollama has none


def filtered(scene: GeminiScene, *, is_streamed: bool) -> None:
    """Words, then a stop for safety: ai.google.dev, "Safety settings", stored copy of 2026-09."""
    usage = {"promptTokenCount": 6, "candidatesTokenCount": 2, "totalTokenCount": 8}
    words = {"index": 0, "content": {"role": "model", "parts": [{"text": "First you"}]}}
    end = {"index": 0, "finishReason": "SAFETY"}
    if is_streamed:
        events = [{"candidates": [each], "usageMetadata": usage} for each in (words, end)]
        reply = steps_of(sse_reply(events))
    else:
        reply = json_reply(200, {"candidates": [{**words, **end}], "usageMetadata": usage})
    scene.script(reply, path=scene.path(is_streamed=is_streamed))


def test_a_safety_stop_is_a_content_filter(
    client: openai.OpenAI, gemini_scene: GeminiScene
) -> None:
    filtered(gemini_scene, is_streamed=False)
    reply = client.chat.completions.create(model=gemini_scene.model, messages=asking())
    (choice,) = reply.choices

    assert ("First you", "content_filter") == (choice.message.content, choice.finish_reason)
    assert "SAFETY" in (choice.message.refusal or "")
    assert reply.usage is not None
    assert 8 == reply.usage.total_tokens


def test_a_safety_stop_ends_a_stream_as_a_content_filter(
    client: openai.OpenAI, gemini_scene: GeminiScene
) -> None:
    filtered(gemini_scene, is_streamed=True)
    chunks = client.chat.completions.create(
        model=gemini_scene.model, messages=asking(), stream=True
    )
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]

    assert "First you" == "".join(choice.delta.content or "" for choice in choices)
    assert "SAFETY" in "".join(choice.delta.refusal or "" for choice in choices)
    assert "content_filter" == choices[-1].finish_reason


# -- faults


@pytest.mark.parametrize(
    ("status", "error", "told_status"),
    [
        (400, openai.BadRequestError, 400),
        (401, openai.InternalServerError, 502),
        (404, openai.NotFoundError, 404),
        (429, openai.RateLimitError, 429),
        (503, openai.InternalServerError, 503),
    ],
)
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "stream"])
def test_a_refusal_is_the_error_that_the_sdk_knows(
    client: openai.OpenAI,
    scene: NativeScene,
    status: int,
    error: type[openai.APIStatusError],
    told_status: int,
    is_streamed: bool,
) -> None:
    reply = scene.profile.error(status, f"no, {CREDENTIAL}")
    scene.script(steps_of(reply), path=scene.path(is_streamed=is_streamed))

    with pytest.raises(error) as caught:
        client.chat.completions.create(model=scene.model, messages=asking(), stream=is_streamed)
    assert told_status == caught.value.status_code
    assert CREDENTIAL not in str(caught.value.body)


# -- the other doors


def test_embeddings(client: openai.OpenAI, scene: NativeScene) -> None:
    vectors = [[0.5, -0.25], [1.0, 0.0]]
    path = f"/v1beta/models/{scene.name}:batchEmbedContents"
    if isinstance(scene, OllamaScene):
        path = "/api/embed"
    asked = UpstreamRequest(method="POST", path=path)
    told = scene.profile.embeddings(vectors, 5, asked)
    assert told is not None
    scene.script(steps_of(told), path=path)
    reply = client.embeddings.create(model=scene.model, input=["a", "b"])

    assert vectors == [each.embedding for each in reply.data]
    assert 5 == reply.usage.prompt_tokens


def test_a_prompt_is_counted_by_google_itself(
    gateway: GatewayProcess, gemini_scene: GeminiScene
) -> None:
    path = f"/v1beta/models/{gemini_scene.name}:countTokens"
    gemini_scene.script(json_reply(200, {"totalTokens": 123}), path=path)
    body = {"model": gemini_scene.model, "messages": asking()}
    reply = exchange(f"{gateway.base_url}/messages/count_tokens", body, key=API_KEY)

    assert (200, {"input_tokens": 123}) == (reply.status, reply.json)
