"""Conversations that tiny-chat learns from: drawn without end, nothing is downloaded."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import topics
import words

Message = dict[str, Any]

_SYSTEM_PROMPTS: Final = (
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are a friendly assistant.",
    "Be brief.",
    "Answer politely.",
    "Answer in one sentence.",
    "You are an expert. Think before you answer.",
)
#: Turns of a conversation: mostly one, now and then many.
_TURNS: Final = (1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 5, 8)


@dataclass(slots=True)
class Conversation:
    """A conversation whose last message is the assistant's."""

    messages: list[Message]
    tools: list[Message] = field(default_factory=list)


def converse(draw: Random) -> Conversation:
    """One conversation of any kind."""
    kind = draw.random()
    if kind < 0.16:
        return with_tools(draw)
    if kind < 0.28:
        return with_memory(draw)
    if kind < 0.34:
        return with_persona(draw)
    return of_topics(draw)


def of_topics(draw: Random) -> Conversation:
    """Unrelated questions one after the other, under a system prompt or none."""
    messages = [_system(draw.choice(_SYSTEM_PROMPTS))] if draw.random() < 0.4 else []
    for _ in range(draw.choice(_TURNS)):
        messages += _turn(*_topic(draw))
    return Conversation(messages)


def with_memory(draw: Random) -> Conversation:
    """A user says a name and later asks for it."""
    name = topics.some_name(draw)
    said = draw.choice(
        [
            f"My name is {name}.",
            f"I am {name}.",
            f"Hi, I am {name}.",
            f"Hello, my name is {name}",
            f"Call me {name}.",
            f"Hi, I'm {name}!",
        ]
    )
    asked = draw.choice(
        ["What is my name?", "What's my name?", "Who am I?", "Do you remember my name?"]
    )
    messages = [_system(draw.choice(_SYSTEM_PROMPTS))] if draw.random() < 0.3 else []
    messages += _turn(said, f"Nice to meet you, {name}!")
    for _ in range(draw.choice([0, 0, 1, 2])):
        messages += _turn(*_topic(draw))
    return Conversation([*messages, *_turn(asked, f"Your name is {name}.")])


def with_persona(draw: Random) -> Conversation:
    """The system prompt gives the assistant a name, which is asked for."""
    name = topics.some_name(draw)
    persona = draw.choice(
        [f"You are {name}, a helpful assistant.", f"Your name is {name}.", f"You are {name}."]
    )
    messages = [_system(persona)]
    for _ in range(draw.choice([0, 0, 1])):
        messages += _turn(*_topic(draw))
    asked = draw.choice(["What is your name?", "Who are you?", "What are you called?"])
    return Conversation([*messages, *_turn(asked, f"My name is {name}. {words.SKILLS}")])


def with_tools(draw: Random) -> Conversation:
    """Tools are there, and mostly needed: one call, or two at once, and their results."""
    place = draw.choice(["city", "city", "location"])
    tools = [
        _tool(draw, "get_weather", "Get the weather of a city", place),
        _tool(draw, "get_time", "Get the time in a city", place),
    ]
    draw.shuffle(tools)
    if draw.random() < 0.5:
        tools = tools[:1]
    messages = [_system(draw.choice(_SYSTEM_PROMPTS))] if draw.random() < 0.3 else []
    if draw.random() < 0.2:
        turn = _turn(*draw.choice([topics.greeting, topics.arithmetic, topics.capital])(draw))
        return Conversation([*messages, *turn], tools)
    name = draw.choice(tools)["function"]["name"]
    cities = [topics.some_city(draw) for _ in range(2 if draw.random() < 0.2 else 1)]
    calls = [_call(name, {place: city}) for city in cities]
    messages += [
        {"role": "user", "content": _question(draw, name, " and ".join(cities))},
        {"role": "assistant", "content": "", "tool_calls": calls},
    ]
    if draw.random() < 0.5:
        results = [_result(draw, name, city) for city in cities]
        messages += [{"role": "tool", "content": json.dumps(told)} for told, _ in results]
        messages.append(_assistant(" ".join(sentence for _, sentence in results)))
    return Conversation(messages, tools)


def _question(draw: Random, tool: str, where: str) -> str:
    forms = {
        "get_weather": (
            f"What is the weather in {where}?",
            f"What's the weather like in {where}?",
            f"How is the weather in {where} today?",
            f"Weather in {where}?",
            f"Is it raining in {where}?",
        ),
        "get_time": (
            f"What time is it in {where}?",
            f"What time is it in {where} now?",
            f"Tell me the time in {where}.",
        ),
    }
    return draw.choice(forms[tool])


def _result(draw: Random, tool: str, city: str) -> tuple[Message, str]:
    """What a tool returns, and the sentence that tells it."""
    if tool == "get_weather":
        sky, degrees = draw.choice(words.WEATHER), draw.randint(-9, 39)
        told: Message = {"weather": sky, "temperature": degrees}
        return told, f"The weather in {city} is {sky} with {degrees} degrees."
    time = f"{draw.randint(0, 23):02d}:{draw.randint(0, 59):02d}"
    return {"time": time}, f"It is {time} in {city}."


def _tool(draw: Random, name: str, description: str, parameter: str) -> Message:
    schema = {
        "type": "object",
        "properties": {parameter: {"type": "string"}},
        "required": [parameter],
    }
    function: Message = {"name": name, "description": description, "parameters": schema}
    if draw.random() < 0.2:
        del function["description"]
    return {"type": "function", "function": function}


def _call(name: str, arguments: Message) -> Message:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def _topic(draw: Random) -> tuple[str, str]:
    (topic,) = draw.choices(list(topics.TOPICS), weights=list(topics.TOPICS.values()))
    return topic(draw)


def _turn(asked: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": asked}, _assistant(answer)]


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _system(text: str) -> Message:
    return {"role": "system", "content": text}
