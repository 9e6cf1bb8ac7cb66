"""How many tokens a text has, for providers that do not tell.

Counted with tiktoken where its rank files are on disk, else estimated: one token for every four
bytes of UTF-8, which is near the truth for English prose and high for most code. Rank files are
never downloaded: tiktoken would fetch them without a deadline. They are looked for in
`TIKTOKEN_CACHE_DIR` under the names tiktoken gives them, and loaded by a thread at the start.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from one_api.events import Usage
from one_api.schemas.chat import ChatCompletionRequest
from one_api.schemas.completions import CompletionRequest

AnyRequest = ChatCompletionRequest | CompletionRequest

logger = logging.getLogger(__name__)

#: File name (SHA-1 of the address tiktoken knows) and SHA-256 of the ranks of each encoding.
#: Source: tiktoken 0.14.0, tiktoken_ext/openai_public.py.
RANK_FILES: Mapping[str, tuple[str, str]] = {
    "o200k_base": (
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": (
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}
DEFAULT_ENCODING = "o200k_base"

#: Text longer than this is counted off the event loop, in characters.
_OFF_LOOP_CHARS = 20_000
#: Pieces in which long text is counted: runs without white space cost more than their length.
_PIECE_CHARS = 8_000
#: What the chat format adds: OpenAI cookbook, `num_tokens_from_messages`; the last is
#: an estimate.
_PER_MESSAGE, _PER_NAME, _PER_REPLY, _PER_TOOL_CALL = 3, 1, 3, 8
#: An image of 1024 x 1024 at high detail, and any at low detail.
_PER_IMAGE, _PER_LOW_IMAGE = 765, 85

_FINE_TUNED = re.compile(r"^ft:([^:]+)")


class Encoding(Protocol):
    """The part of a tiktoken encoding that counting needs."""

    def encode_ordinary(self, text: str) -> list[int]:
        """The tokens of `text`; special tokens in it are ordinary text."""


class TokenCounter:
    """Counts tokens with whatever encodings are loaded; never waits for them.

    `load` gives an encoding by name, or None; it runs in the thread that `warm` starts.
    """

    def __init__(self, load: Callable[[str], Encoding | None] | None = None) -> None:
        self._load = load or (lambda name: None)
        self._encodings: dict[str, Encoding] = {}
        self._thread: threading.Thread | None = None

    def warm(self) -> None:
        """Begin to load the encodings, once, beside the event loop."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._load_all, name="one-api-load-ranks", daemon=True
            )
            self._thread.start()

    def _load_all(self) -> None:
        for name in RANK_FILES:
            encoding = self._load(name)
            if encoding is not None:
                self._encodings[name] = encoding

    async def usage(
        self,
        request: AnyRequest,
        model: str,
        completions: Iterable[str],
        *,
        uncounted_tokens: int = 0,
    ) -> Usage:
        """Our own count of a reply whose provider told none.

        `completions` are the texts of the reply, `uncounted_tokens` what is known of it besides.
        """
        return Usage(
            prompt_tokens=await self.prompt_tokens(request, model),
            completion_tokens=uncounted_tokens + await self.count(model, list(completions)),
            estimated=True,
        )

    async def prompt_tokens(self, request: AnyRequest, model: str = "") -> int:
        """Our own count of what `request` asks with, as `model` counts it."""
        texts, extra = _prompt_texts(request)
        return extra + await self.count(model, texts)

    async def count(self, model: str, texts: list[str]) -> int:
        """The tokens of `texts` together, as `model` counts them."""
        # Asked only once there is one: the import behind the names is slow.
        encoding = self._encodings.get(encoding_name(model)) if self._encodings else None
        if sum(map(len, texts)) > _OFF_LOOP_CHARS:
            return await asyncio.to_thread(_count, encoding, texts)
        return _count(encoding, texts)


def estimated_prompt_tokens(request: AnyRequest) -> int:
    """What `request` asks with, by length alone: good enough for a promise, and never waits."""
    texts, extra = _prompt_texts(request)
    return extra + sum(map(estimate, texts))


def estimate(text: str) -> int:
    """Tokens by length: one for every four bytes, rounded up."""
    # A text that is all ASCII need not be encoded to tell how long it would be.
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return (size + 3) // 4


def encoding_name(model: str) -> str:
    """The encoding of `model`; the newest general one for a model nobody knows."""
    try:
        from tiktoken.model import encoding_name_for_model  # optional, and slow to import
    except ImportError:
        return DEFAULT_ENCODING
    base = _FINE_TUNED.match(model)
    try:
        name = encoding_name_for_model(base.group(1) if base else model)
    except KeyError:
        return DEFAULT_ENCODING
    return name if name in RANK_FILES else DEFAULT_ENCODING


def load_from_cache(directory: Path | None, name: str) -> Encoding | None:
    """The encoding `name` from tiktoken's cache in `directory`, if its file is there and sound."""
    if directory is None:
        return None
    file_name, digest = RANK_FILES[name]
    path = directory / file_name
    try:
        # Checked here: tiktoken would delete a bad file and fetch another.
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            logger.warning("%s is not the rank file of %s; tokens are estimated", path, name)
            return None
        import tiktoken  # optional, and slow to import

        return tiktoken.get_encoding(name)
    except FileNotFoundError:
        return None
    except (OSError, ImportError, ValueError) as exc:
        logger.warning("the encoding %s cannot be loaded (%s); tokens are estimated", name, exc)
        return None


def _count(encoding: Encoding | None, texts: Iterable[str]) -> int:
    if encoding is None:
        return sum(map(estimate, texts))
    total = 0
    for text in texts:
        for start in range(0, len(text), _PIECE_CHARS):
            total += len(encoding.encode_ordinary(text[start : start + _PIECE_CHARS]))
    return total


def _prompt_texts(request: AnyRequest) -> tuple[list[str], int]:
    """The texts of a prompt, and the tokens that its form adds."""
    texts: list[str] = []
    if isinstance(request, CompletionRequest):
        texts += [prompt for prompt in request.prompts if isinstance(prompt, str)]
        return texts, sum(len(ids) for ids in request.prompts if not isinstance(ids, str))
    extra = _PER_REPLY + _PER_MESSAGE * len(request.messages)
    for message in request.messages:
        fields: Mapping[str, Any] = message
        content = fields.get("content")
        if isinstance(content, str) and len(fields) == 2:
            texts += fields.values()  # as most: a role, which every message has, and its text
            continue
        texts.append(fields["role"])
        if isinstance(content, str):
            texts.append(content)
        elif content:
            extra += _add_parts(content, texts)
        if fields.get("name"):
            texts.append(fields["name"])
            extra += _PER_NAME
        if "tool_calls" in fields:
            extra += _add_calls(fields["tool_calls"], texts)
    for tool in request.tools or ():
        texts.append(json.dumps(tool, ensure_ascii=False))
    return texts, extra


def _add_parts(parts: Iterable[Mapping[str, Any]], texts: list[str]) -> int:
    """Put the texts of a message's content into `texts`; the tokens of its other parts."""
    extra = 0
    for part in parts:
        if part.get("type") == "text":
            texts.append(part["text"])
        elif part.get("type") == "image_url":
            is_low = part["image_url"].get("detail") == "low"
            extra += _PER_LOW_IMAGE if is_low else _PER_IMAGE
    return extra


def _add_calls(calls: Sequence[Mapping[str, Any]] | None, texts: list[str]) -> int:
    """Put the texts of a message's tool calls into `texts`; the tokens that their form adds."""
    for call in calls or ():
        function = call.get("function") or call.get("custom") or {}
        texts += [function.get("name", ""), function.get("arguments") or ""]
    return _PER_TOOL_CALL * len(calls or ())
