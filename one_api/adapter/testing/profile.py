"""What an adapter's package tells the suite about its provider.

The suite looks for `PROFILE` in a module `conformance` beside the adapter's own, or in the packages
around it (`one_api_acme.conformance`). There is nothing to register.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import orjson

from one_api.adapter.testing.answers import Answer
from one_api.schemas import JsonObject

#: How a reply's body ends: as it should, cut off, or not for as long as the client stays.
Ending = Literal["complete", "cut", "held"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """A request as it reached the scripted upstream; names of `headers` are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        """The decoded JSON body."""
        return orjson.loads(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamReply:
    """A reply of the provider; `pieces` are the writes in which its body leaves.

    Of a stream, one piece is one event: the suite cuts streams between pieces.
    """

    pieces: tuple[bytes, ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Ending = "complete"

    @property
    def body(self) -> bytes:
        """All pieces."""
        return b"".join(self.pieces)


def json_reply(body: Any, status: int = 200) -> UpstreamReply:
    """A reply whose body is one JSON value."""
    return UpstreamReply(
        status=status,
        headers={"content-type": "application/json"},
        pieces=(orjson.dumps(body),),
    )


def sse_reply(
    events: Iterable[Any], *, named: bool = False, last: Sequence[bytes] = ()
) -> UpstreamReply:
    """A stream of server-sent events, JSON each, then the frames `last`.

    With `named`, an event's `type` is also its name.
    """
    frames = [
        (b"event: " + event["type"].encode() + b"\n" if named else b"")
        + b"data: "
        + orjson.dumps(event)
        + b"\n\n"
        for event in events
    ]
    return UpstreamReply(headers={"content-type": "text/event-stream"}, pieces=(*frames, *last))


class ConformanceProfile(ABC):
    """How one provider says what the suite wants said; an instance per provider, without state.

    The scripted upstream speaks HTTP/1.1 and answers GET with `models`, all else with `answer`.

    `completion`, `embeddings`, `token_count` and `credential` show optional abilities: overridden,
    they have the laws of these tried on an adapter that has them.
    """

    #: The model that is asked; the most capable kind if they differ.
    model: ClassVar[str] = "conformance-model"
    #: Whether the provider tells what the model thinks before it answers.
    has_reasoning: ClassVar[bool] = False
    #: A path of the provider's own that an adapter with `passthrough` passes on.
    passthrough_path: ClassVar[str] = "/conformance"
    #: Fields that bring about an effect of a request parameter the suite does not know.
    parameters: ClassVar[Mapping[str, JsonObject]] = {}

    @abstractmethod
    def environment(self, base_url: str, credential: str) -> Mapping[str, str]:
        """The adapter's variables for a provider at `base_url` (no slash at its end)."""

    @abstractmethod
    def answer(self, answer: Answer, request: UpstreamRequest) -> UpstreamReply:
        """The provider's reply to `request`, streamed where that asks for a stream."""

    def error(self, status: int, message: str) -> UpstreamReply:
        """The provider's refusal; OpenAI's format unless overridden."""
        error = {"message": message, "type": "error", "param": None, "code": None}
        return json_reply({"error": error}, status)

    def broken(self, reply: UpstreamReply) -> UpstreamReply:
        """`reply` in bytes that follow no protocol; JSON without its colons unless overridden."""
        return replace(reply, pieces=tuple(piece.replace(b'":', b'" ') for piece in reply.pieces))

    def models(self, ids: Sequence[str], request: UpstreamRequest) -> UpstreamReply:
        """The provider's list of models, all on one page; OpenAI's format unless overridden.

        Where the adapter asks for one model by its name, as `request` tells, that one or an error.
        """
        models = [{"id": id_, "object": "model", "created": 1, "owned_by": "x"} for id_ in ids]
        return json_reply({"object": "list", "data": models})

    def completion(self, answer: Answer, request: UpstreamRequest) -> UpstreamReply | None:
        """The reply to `request`, which has a raw prompt continued; only words count."""
        return None

    def embeddings(
        self, vectors: Sequence[Sequence[float]], prompt_tokens: int, request: UpstreamRequest
    ) -> UpstreamReply | None:
        """The reply to `request`, which has texts turned into `vectors`, in this order."""
        return None

    def token_count(self, tokens: int, request: UpstreamRequest) -> UpstreamReply | None:
        """The reply to `request`, which asks how long a prompt is."""
        return None

    def credential(
        self, token: str, lifetime_s: int, request: UpstreamRequest
    ) -> UpstreamReply | None:
        """The reply to a `request` for a credential: `token`, good for so long.

        None where `request` is for something else.
        """
        return None
