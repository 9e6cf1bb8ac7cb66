"""Asks the finished file what it should know, and counts right answers by topic.

    python evaluate.py tiny-chat.gguf [--each 100] [--seed 1000] [--show 2]

Needs llama-cpp-python, and neither torch nor one_api. Conversations are drawn as for training, with
another seed; answers are greedy, and right when they are the expected ones to the letter, but for
stories, of which there is more than one: they must be about the animal, and come to their end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import topics
import words
from corpus import Conversation, with_memory, with_persona, with_tools
from llama_cpp import Llama
from rendering import TURN_END, Renderer


def single(topic: topics.Topic, draw: Random) -> Conversation:
    """A conversation of one turn about `topic`."""
    asked, answer = topic(draw)
    return Conversation(
        [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    )


def is_right(name: str, asked: str, expected: str, answer: str) -> bool:
    """Whether `answer` will do."""
    if name != "story":
        return answer == expected
    wanted = [animal for animal in words.ANIMALS if f" {animal}" in asked.lower()]
    return answer.endswith("The end.") and all(animal in answer for animal in wanted)


def main() -> None:
    """Print a table of the topics that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--each", type=int, default=100, help="questions of each kind")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--show", type=int, default=2, help="wrong answers of a kind to print")
    options = parser.parse_args()
    model: Any = Llama(str(options.model), n_ctx=1024, n_threads=1, verbose=False)
    renderer = Renderer()
    kinds: dict[str, Callable[[Random], Conversation]] = {
        topic.__name__: partial(single, topic) for topic in topics.TOPICS
    }
    kinds |= {each.__name__: each for each in (with_memory, with_persona, with_tools)}
    for name, draw_one in kinds.items():
        draw = Random(options.seed)  # noqa: S311 - questions, no secrets
        right, wrong = 0, []
        for _ in range(options.each):
            prompt, expected = renderer.split(draw_one(draw))
            reply = model(prompt, temperature=0.0, max_tokens=256, stop=[TURN_END])
            answer = reply["choices"][0]["text"]
            if is_right(name, prompt, expected, answer):
                right += 1
            else:
                wrong.append((prompt, expected, answer))
        sys.stdout.write(f"{name:14} {right:4} of {options.each}\n")
        for prompt, expected, answer in wrong[: options.show]:
            asked = prompt.rpartition("<|im_start|>user\n")[2].partition(TURN_END)[0]
            sys.stdout.write(f"    {asked!r}: {answer!r} and not {expected!r}\n")


if __name__ == "__main__":
    main()
