"""Structured answers and reasoning through the official SDK, whichever provider gives them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.e2e.conftest import API_KEY
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import REASONED, Answer

MESSAGES: Any = [{"role": "user", "content": "Where is the Eiffel tower?"}]
ANSWER = Answer(words=('{"city":', '"Paris",', '"country":"France"}'))


class Place(BaseModel):
    """What is asked for."""

    city: str
    country: str


@pytest.fixture
async def async_client(gateway: GatewayProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=gateway.base_url, api_key=API_KEY, max_retries=0
    ) as client:
        yield client


def assert_schema_reached(scene: Scene) -> None:
    body = scene.request.json
    if scene.is_openai:
        assert "json_schema" == body["response_format"]["type"]
        schema = body["response_format"]["json_schema"]["schema"]
    else:
        assert "json_schema" == body["output_config"]["format"]["type"]
        schema = body["output_config"]["format"]["schema"]
    assert {"city", "country"} == set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_an_answer_is_parsed(client: openai.OpenAI, scene: Scene) -> None:
    scene.script(scene.whole(ANSWER))
    reply = client.chat.completions.parse(
        model=scene.model, messages=MESSAGES, response_format=Place
    )
    assert Place(city="Paris", country="France") == reply.choices[0].message.parsed
    assert_schema_reached(scene)


def test_a_stream_is_parsed(client: openai.OpenAI, scene: Scene) -> None:
    scene.script(scene.streamed(ANSWER))
    with client.chat.completions.stream(
        model=scene.model, messages=MESSAGES, response_format=Place
    ) as stream:
        final = stream.get_final_completion()
    assert Place(city="Paris", country="France") == final.choices[0].message.parsed


async def test_the_async_client_parses_too(async_client: openai.AsyncOpenAI, scene: Scene) -> None:
    scene.script(scene.whole(ANSWER), scene.streamed(ANSWER))
    reply = await async_client.chat.completions.parse(
        model=scene.model, messages=MESSAGES, response_format=Place
    )
    assert Place(city="Paris", country="France") == reply.choices[0].message.parsed
    async with async_client.chat.completions.stream(
        model=scene.model, messages=MESSAGES, response_format=Place
    ) as stream:
        final = await stream.get_final_completion()
    assert Place(city="Paris", country="France") == final.choices[0].message.parsed


def test_a_parsed_answer_that_was_cut_by_its_limit_is_told(
    client: openai.OpenAI, scene: Scene
) -> None:
    scene.script(scene.whole(Answer(words=('{"city":',), finish_reason="length")))
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model=scene.model, messages=MESSAGES, response_format=Place)


def test_reasoning_is_told_under_both_names(client: openai.OpenAI, scene: Scene) -> None:
    scene.script(scene.whole(REASONED), scene.streamed(REASONED))
    reply = client.chat.completions.create(
        model=scene.model, messages=MESSAGES, reasoning_effort="high"
    )
    message: Any = reply.choices[0].message
    assert REASONED.text == message.content
    assert REASONED.reasoning_text == message.reasoning_content == message.reasoning
    chunks = client.chat.completions.create(
        model=scene.model, messages=MESSAGES, reasoning_effort="high", stream=True
    )
    deltas: list[Any] = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    for name in ("reasoning_content", "reasoning"):
        told = "".join(getattr(delta, name, None) or "" for delta in deltas)
        assert REASONED.reasoning_text == told
