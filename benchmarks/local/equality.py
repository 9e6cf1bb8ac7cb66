"""Whether a greedy answer is the same alone and among fifteen others, and where it is not, why.

    .venv/bin/python -m benchmarks.local.equality [--model PATH.gguf] [--prompts 64]

Asks the demo model, or the one at PATH, first one prompt after the other and then sixteen at a
time, and compares tokens. Where two answers part, it tells by how much the likeliest token was
ahead of the second when it was alone: sums are computed in another order in another batch, and
what is that close may turn over.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from one_api.adapter import AdapterContext, Call, ChatCompletionRequest, TextDelta
from one_api.upstream import Upstream
from one_api_llamacpp.adapter import LlamaCppAdapter

AT_ONCE: Final = 16
#: Seconds for one answer, waiting for others included.
PATIENCE_S: Final = 120
_SUBJECTS: Final = ("France", "Japan", "Peru", "Norway", "Kenya", "Egypt", "Canada", "India")
_QUESTIONS: Final = (
    "What is the capital of {}?",
    "Tell me a story about a cat in {}.",
    "Say {} five times.",
    "Who lives in {}?",
    "Count from 3 to 12, then say {}.",
    "Write a poem about {}.",
    "What is the opposite of {}?",
    "Tell me a story.",
)

#: One token of an answer: its text, and how far it was ahead of the second likeliest.
Token = tuple[str, float]


def prompts(count: int) -> list[str]:
    """Questions, some of which the model was trained on and some not."""
    asked = [question.format(subject) for question in _QUESTIONS for subject in _SUBJECTS]
    return [asked[number % len(asked)] for number in range(count)]


@asynccontextmanager
async def opened(directory: Path) -> AsyncGenerator[LlamaCppAdapter, None]:
    """The adapter for the models in `directory`, or else its demo model."""
    context = AdapterContext(
        http=Upstream(user_agent="one_api-benchmark"), logger=logging.getLogger("equality")
    )
    variables = {"LOCAL_MODELS_DIR": str(directory), "LOCAL_PARALLEL": str(AT_ONCE)}
    adapter = LlamaCppAdapter.build("llamacpp", variables, context)["llamacpp"]
    assert isinstance(adapter, LlamaCppAdapter)  # noqa: S101 - that is what it builds
    try:
        yield adapter
    finally:
        await adapter.close()


async def ask(adapter: LlamaCppAdapter, model: str, prompt: str) -> list[Token]:
    """The greedy answer to `prompt`, token by token."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 96,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 2,
    }
    tokens: list[Token] = []
    request = ChatCompletionRequest.from_wire(body)
    async with asyncio.timeout(PATIENCE_S):
        events = adapter.generate_completion(request, Call(model=model))
        async with aclosing(events):
            async for event in events:
                if isinstance(event, TextDelta) and event.logprobs is not None:
                    tokens += [_token(entry) for entry in event.logprobs["content"]]
    return tokens


def _token(entry: dict[str, Any]) -> Token:
    first, second = (top["logprob"] for top in entry["top_logprobs"])
    return entry["token"], first - second


def parting(alone: Sequence[Token], among: Sequence[Token]) -> float | None:
    """How far ahead the first differing token was when it was alone; None where none differs."""
    for one, other in zip(alone, among, strict=False):
        if one[0] != other[0]:
            return one[1]
    return None if len(alone) == len(among) else 0.0


async def compare(directory: Path, count: int) -> list[float]:
    """The margins at which answers parted, of `count` prompts."""
    async with opened(directory) as adapter:
        model = (await adapter.list_models())[0].id
        asked = prompts(count)
        alone = [await ask(adapter, model, prompt) for prompt in asked]
        among: list[list[Token]] = []
        for start in range(0, count, AT_ONCE):
            some = asked[start : start + AT_ONCE]
            among += await asyncio.gather(*(ask(adapter, model, prompt) for prompt in some))
    margins = [parting(*pair) for pair in zip(alone, among, strict=True)]
    return [margin for margin in margins if margin is not None]


def main() -> None:
    """Compare and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, help="another .gguf file than the demo model")
    parser.add_argument("--prompts", type=int, default=64, choices=range(1, 1001), metavar="N")
    arguments = parser.parse_args()
    with TemporaryDirectory() as name:
        directory = Path(name)
        if arguments.model is not None:
            # A hard link or a copy would do as well; links out of a directory are refused.
            (directory / arguments.model.name).write_bytes(arguments.model.read_bytes())
        margins = asyncio.run(compare(directory, arguments.prompts))
    same = arguments.prompts - len(margins)
    sys.stdout.write(f"{same} of {arguments.prompts} answers are the same\n")
    for margin in sorted(margins):
        ahead = f"{100 * math.expm1(margin):.1f} % likelier than the second"
        sys.stdout.write(f"  parted where the first token was {ahead}\n")


if __name__ == "__main__":
    main()
