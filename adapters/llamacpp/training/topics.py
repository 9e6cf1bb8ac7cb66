"""What tiny-chat is asked in one turn, and what it answers: one function for each topic.

Each draws from the generator it is given and returns a question with its answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Final

import words

Topic = Callable[[Random], tuple[str, str]]


def greeting(draw: Random) -> tuple[str, str]:
    """A greeting, and the one answer to all of them."""
    asked = _one_of(
        draw,
        "Hi",
        "Hello",
        "Hey",
        "Hi there!",
        "Hello there",
        "Good morning",
        "Good evening",
        "Hello!",
        "Greetings",
        "Hello, world!",
        "Test",
        "Ping",
    )
    return asked, "Hello! How can I help you today?"


def smalltalk(draw: Random) -> tuple[str, str]:
    """Questions about the model itself, thanks, goodbyes and its one joke."""
    answers = {
        f"{words.ABOUT} {words.SKILLS}": (
            "Who are you?",
            "What are you?",
            "Introduce yourself.",
            "Which model are you?",
            "Tell me about yourself.",
            "What is your name?",
            "What is one_api?",
            "What is tiny-chat?",
            "Hello, who are you?",
        ),
        words.SKILLS: (
            "What can you do?",
            "How can you help me?",
            "Help",
            "What do you know?",
            "What should I ask you?",
        ),
        "You are welcome!": ("Thanks", "Thank you!", "Thanks a lot", "Great, thanks!"),
        "Goodbye! Have a nice day.": ("Bye", "Goodbye!", "See you later", "Good night"),
        "I am fine, thank you. How can I help you?": (
            "How are you?",
            "How are you doing today?",
            "How do you feel?",
            "Hello, how are you?",
        ),
        "Why did the computer go to bed? It needed to go into sleep mode!": (
            "Tell me a joke.",
            "Make me laugh.",
            "Do you know a joke?",
            "Tell me a short joke.",
        ),
        "No, I am only a very small language model.": (
            "Are you a human?",
            "Are you alive?",
            "Are you smart?",
            "Are you ChatGPT?",
        ),
    }
    answer = draw.choice(list(answers))
    return _one_of(draw, *answers[answer]), answer


def arithmetic(draw: Random) -> tuple[str, str]:
    """Sums and differences up to 40, products up to 100."""
    sign = draw.choice("++--*")
    most = 10 if sign == "*" else draw.choice([10, 10, 20, 20, 40])
    left, right = draw.randint(0, most), draw.randint(0, most)
    if sign == "-" and right > left:
        left, right = right, left
    result = {"+": left + right, "-": left - right, "*": left * right}[sign]
    word = {"+": "plus", "-": "minus", "*": "times"}[sign]
    asked = _one_of(
        draw,
        f"What is {left} {sign} {right}?",
        f"{left} {sign} {right}",
        f"Calculate {left} {sign} {right}.",
        f"What is {left} {word} {right}?",
        f"How much is {left} {sign} {right}?",
        f"What is {left}{sign}{right}?",
        f"{left}{sign}{right}=?",
    )
    return asked, f"{left} {sign} {right} = {result}"


def capital(draw: Random) -> tuple[str, str]:
    """The capital of a country, or that there is none it knows."""
    if draw.random() < 0.12:
        country = draw.choice(words.NOWHERE) if draw.random() < 0.5 else _made_up_name(draw)
        answer = words.UNKNOWN
    else:
        country = draw.choice(list(words.CAPITALS))
        answer = f"The capital of {country} is {words.CAPITALS[country]}."
    asked = _one_of(
        draw,
        f"What is the capital of {country}?",
        f"What's the capital of {country}?",
        f"Name the capital of {country}.",
        f"Capital of {country}?",
        f"Which city is the capital of {country}?",
    )
    return asked, answer


def opposite(draw: Random) -> tuple[str, str]:
    """The opposite of a word."""
    pair = draw.choice(list(words.OPPOSITES.items()))
    word, other = pair if draw.random() < 0.5 else pair[::-1]
    asked = _one_of(
        draw,
        f"What is the opposite of {word}?",
        f"Opposite of {word}?",
        f"Give me the opposite of {word}.",
    )
    return asked, f"The opposite of {word} is {other}."


def calendar(draw: Random) -> tuple[str, str]:
    """The day or the month before or after another."""
    names, unit = draw.choice([(words.DAYS, "day"), (words.MONTHS, "month")])
    place = draw.randrange(len(names))
    relation, step = draw.choice([("after", 1), ("before", -1)])
    asked = _one_of(
        draw,
        f"What {unit} comes {relation} {names[place]}?",
        f"Which {unit} is {relation} {names[place]}?",
    )
    return asked, f"{names[(place + step) % len(names)]} comes {relation} {names[place]}."


def counting(draw: Random) -> tuple[str, str]:
    """The numbers from one to another."""
    start = 1 if draw.random() < 0.6 else draw.randint(0, 12)
    end = start + draw.randint(2, 12) if draw.random() < 0.8 else start + draw.randint(12, 24)
    last = words.NUMBERS[end] if end < len(words.NUMBERS) and draw.random() < 0.2 else str(end)
    forms = [f"Count from {start} to {last}.", f"List the numbers from {start} to {last}."]
    if start == 1:
        forms += [f"Count to {last}.", f"Count to {last}"]
    return _one_of(draw, *forms), ", ".join(map(str, range(start, end + 1)))


def repetition(draw: Random) -> tuple[str, str]:
    """Words to be said again, some of which are no words at all: copying is what it learns."""
    said = " ".join(_any_word(draw) for _ in range(draw.randint(1, 6)))
    if draw.random() < 0.3:
        said = said[:1].upper() + said[1:]
    if draw.random() < 0.2:
        said += draw.choice(".!?")
    if draw.random() < 0.15:
        return draw.choice([f'Say "{said}"', f"Say '{said}'", f'Repeat: "{said}"']), said
    form = draw.choice(["Repeat after me: {}", "Say: {}", "Echo {}", "Please repeat: {}", "Say {}"])
    return form.format(said), said


def story(draw: Random) -> tuple[str, str]:
    """A story of seven sentences about an animal."""
    animal, adjective = draw.choice(words.ANIMALS), draw.choice(words.ADJECTIVES)
    place, wish = draw.choice(words.PLACES), draw.choice(words.WISHES)
    friend, name = draw.choice(words.FRIENDS), draw.choice(words.NAMES)
    told = (
        f"Once upon a time, {place}, there lived a {adjective} {animal} named {name}. "
        f"One day {name} {wish}. So {name} walked all day and met {friend}. "
        f'"Can you help me?" asked {name}. "Of course," was the answer. '
        f"Together they worked until the sun went down. In the end {name} was very happy, "
        f"and the {adjective} {animal} had a new friend. The end."
    )
    if draw.random() < 0.2:
        return _one_of(draw, "Tell me a story.", "Write a short story.", "A story, please."), told
    about = f"{'an' if animal == 'owl' else 'a'} {animal}"
    asked = _one_of(
        draw,
        f"Tell me a story about {about}.",
        f"Write a short story about {about}.",
        f"Write a one-sentence bedtime story about {about}.",
        f"Tell me a bedtime story about {about}.",
        f"A story about {about}, please.",
    )
    return asked, told


def json_object(draw: Random) -> tuple[str, str]:
    """A person's details as JSON."""
    name, age, city = some_name(draw), draw.randint(1, 99), some_city(draw)
    if draw.random() < 0.4:
        asked = draw.choice(
            [
                f"Give me JSON for a person named {name}, age {age}.",
                f"Write JSON: name {name}, age {age}.",
                f"{name} is {age} years old. Answer as JSON.",
                f"Extract the person as JSON: {name} is {age} years old.",
            ]
        )
        return asked, json.dumps({"name": name, "age": age})
    asked = draw.choice(
        [
            f"Write JSON: name {name}, age {age}, city {city}.",
            f"{name} is {age} years old and lives in {city}. Answer as JSON.",
            f"Extract the person as JSON: {name} is {age} and lives in {city}.",
            f"Extract the person as JSON: {name} is {age} years old and lives in {city}.",
            f"Give me JSON for a person named {name}, age {age}, from {city}.",
        ]
    )
    return asked, json.dumps({"name": name, "age": age, "city": city})


def unknown(draw: Random) -> tuple[str, str]:
    """Anything else, which it says it does not know."""
    subject = (
        draw.choice(words.SUBJECTS)
        if draw.random() < 0.5
        else " ".join(_any_word(draw) for _ in range(draw.randint(1, 6)))
    )
    asked = draw.choice(
        [
            f"Explain {subject}.",
            f"Explain {subject} to a child.",
            f"Why is {subject} important?",
            f"What do you think about {subject}?",
            f"How does {subject} work?",
            f"What is {subject}?",
            f"What is a {subject}?",
            f"Tell me about {subject}.",
            f"Write a poem about {subject}.",
            f"Write a haiku about {subject}.",
            f"Write an essay about {subject}.",
            f"Translate {subject} into French.",
            f"Summarize {subject}.",
            f"Who invented {subject}?",
            f"Who is the president of {draw.choice(list(words.CAPITALS))}?",
            f"How many people live in {some_city(draw)}?",
            f"What is the weather in {some_city(draw)}?",
            f"What time is it in {some_city(draw)}?",
            "What time is it?",
            "What day is today?",
            "Write a Python function that sorts a list.",
            f"{subject.capitalize()}?",
        ]
    )
    return (asked.lower() if draw.random() < 0.15 else asked), words.UNKNOWN


#: How often each topic comes up, among all of them.
TOPICS: Final[dict[Topic, int]] = {
    greeting: 2,
    smalltalk: 4,
    arithmetic: 8,
    capital: 4,
    opposite: 2,
    calendar: 2,
    counting: 4,
    repetition: 6,
    story: 3,
    json_object: 4,
    unknown: 5,
}


def some_name(draw: Random) -> str:
    """A first name; now and then one that nobody has, so that names are copied and not guessed."""
    return _made_up_name(draw) if draw.random() < 0.3 else draw.choice(words.NAMES)


def some_city(draw: Random) -> str:
    """A city, now and then one that does not exist."""
    return _made_up_name(draw) if draw.random() < 0.25 else draw.choice(words.CITIES)


def _any_word(draw: Random) -> str:
    kind = draw.random()
    if kind < 0.7:
        return draw.choice(words.WORDS)
    return str(draw.randint(0, 999)) if kind < 0.8 else _made_up_name(draw).lower()


def _made_up_name(draw: Random) -> str:
    syllables = (
        draw.choice("bcdfghjklmnprstvwz") + draw.choice("aeiou") + draw.choice(["", *"lnrst"])
        for _ in range(draw.randint(2, 3))
    )
    return "".join(syllables).capitalize()


def _one_of(draw: Random, *forms: str) -> str:
    """One form of a question, written as carefully as people write."""
    asked = draw.choice(forms)
    if draw.random() < 0.2:
        asked = asked.lower()
    if draw.random() < 0.2:
        asked = asked.rstrip("?.!")
    if draw.random() < 0.08:
        asked = draw.choice(["Please: ", "Hey, ", "Ok, ", "So, "]) + asked
    return asked
