"""The corpus of the demo model is right, and the demo model is what its scripts make."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api_llamacpp.catalogue import DEMO
from one_api_llamacpp.gguf_header import read_header
from one_api_llamacpp.template import ChatTemplate

TRAINING = Path(__file__).parents[1] / "training"
DRAWS = st.randoms(use_true_random=False)
TEMPLATE = (TRAINING / "chat_template.jinja").read_text("utf-8")


@pytest.fixture(scope="module")
def scripts() -> Iterator[Any]:
    """Gives the training's modules, which are scripts and no package, by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TRAINING))
        yield import_module


@pytest.fixture(scope="module")
def renderers(scripts: Any) -> tuple[Any, ChatTemplate]:
    """The training's and ours."""
    return scripts("rendering").Renderer(), ChatTemplate(TEMPLATE, bos="", eos="")


def test_the_demo_has_the_template_of_the_training() -> None:
    assert TEMPLATE == read_header(DEMO).chat_template


@given(draw=DRAWS)
def test_sums_are_right(scripts: Any, draw: Random) -> None:
    asked, answer = scripts("topics").arithmetic(draw)
    ((left, sign, right, result),) = re.findall(r"^(\d+) ([+*-]) (\d+) = (\d+)$", answer)
    expected = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[sign](int(left), int(right))
    assert expected == int(result)
    assert {left, right} == set(re.findall(r"\d+", asked))


@given(draw=DRAWS)
def test_json_is_json_of_what_was_said(scripts: Any, draw: Random) -> None:
    asked, answer = scripts("topics").json_object(draw)
    assert all(str(value) in asked for value in json.loads(answer).values())


@given(draw=DRAWS)
def test_every_conversation_is_rendered_here_as_in_training(
    scripts: Any, renderers: tuple[Any, ChatTemplate], draw: Random
) -> None:
    conversation = scripts("corpus").converse(draw)
    last = conversation.messages[-1]
    assert "assistant" == last["role"]
    prompt, answer = renderers[0].split(conversation)
    assert prompt == renderers[1].render(conversation.messages[:-1], conversation.tools).text
    assert answer.startswith(last["content"])


@given(draw=DRAWS)
def test_calls_fit_the_tools_that_there_are(scripts: Any, draw: Random) -> None:
    conversation = scripts("corpus").with_tools(draw)
    required = {
        tool["function"]["name"]: tool["function"]["parameters"]["required"]
        for tool in conversation.tools
    }
    asked = " ".join(m["content"] for m in conversation.messages if m["role"] == "user")
    for message in conversation.messages:
        for call in message.get("tool_calls", ()):
            arguments = call["function"]["arguments"]
            assert required[call["function"]["name"]] == list(arguments)
            assert all(value in asked for value in arguments.values())
