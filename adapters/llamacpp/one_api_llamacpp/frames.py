"""The frames between the gateway and a worker: a length of four bytes, then that much JSON.

Neither side believes the other blindly: a worker's memory is at the mercy of the file it loaded.
A frame that is too long, is no JSON or names what the tables below do not have ends the exchange.

To a worker, in this order: its settings, then requests and cancellations until the pipe is closed.
From a worker: `loaded` or `failed`, then what the requests are answered. Log lines may come at any
time. Every frame is an object with its `kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, BinaryIO, Final

import orjson

from one_api.adapter import (
    Annotation,
    ContextWindowExceeded,
    Event,
    Finish,
    GatewayError,
    InternalError,
    InvalidRequest,
    JsonObject,
    KeepAlive,
    NoDeploymentAvailable,
    ReasoningDelta,
    RefusalDelta,
    RequestTooLarge,
    Start,
    TextDelta,
    ToolCallDelta,
    UnsupportedParameter,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamServerError,
    Usage,
    UsageReport,
)

#: Room for the longest request that a gateway takes by default, and for one batch of vectors.
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
HEAD_BYTES: Final = 4

_EVENTS: Final[dict[str, Callable[..., Event]]] = {
    kind.__name__: kind
    for kind in (
        Annotation,
        Finish,
        KeepAlive,
        ReasoningDelta,
        RefusalDelta,
        Start,
        TextDelta,
        ToolCallDelta,
    )
}
_ERRORS: Final[dict[str, type[GatewayError]]] = {
    kind.__name__: kind
    for kind in (
        ContextWindowExceeded,
        InternalError,
        InvalidRequest,
        NoDeploymentAvailable,
        RequestTooLarge,
        UnsupportedParameter,
        UpstreamDisconnected,
        UpstreamError,
        UpstreamRateLimited,
        UpstreamServerError,
    )
}


class MalformedFrame(Exception):
    """The other side does not keep to the protocol; the message says in what."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """More of an embedding request's vectors, in the order of its inputs."""

    vectors: Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Count:
    """How many tokens the prompt of a request has."""

    tokens: int


#: What the fields of events are.
_FIELDS: Final[dict[str, tuple[type, ...]]] = {
    "annotation": (dict,),
    "arguments": (str,),
    "choice": (int,),
    "id": (str, NoneType),
    "index": (int,),
    "logprobs": (dict, NoneType),
    "name": (str, NoneType),
    "reason": (str,),
    "service_tier": (str, NoneType),
    "stop_sequence": (str, NoneType),
    "system_fingerprint": (str, NoneType),
    "text": (str,),
}


@dataclass(frozen=True, slots=True)
class Degraded:
    """Fields of the request that the model is told of in another way than by its template."""

    parameters: Sequence[str]


#: One part of the answer to a request.
Item = Event | Vectors | Count | Degraded


@dataclass(frozen=True, slots=True)
class Answered:
    """Parts of the answer to request `id`; after `is_last` no more come, an `error` says why."""

    id: int
    items: Sequence[Item] = ()
    is_last: bool = False
    error: GatewayError | None = None


def encode(message: JsonObject) -> bytes:
    """`message` as a frame.

    Raises: MalformedFrame when it is too long.
    """
    body = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
    if len(body) > MAX_FRAME_BYTES:
        raise MalformedFrame(f"a frame of {len(body)} bytes")
    return len(body).to_bytes(HEAD_BYTES, "big") + body


def length_of(head: bytes) -> int:
    """How many bytes follow a frame's first four.

    Raises: MalformedFrame when they are too many.
    """
    length = int.from_bytes(head, "big")
    if length > MAX_FRAME_BYTES:
        raise MalformedFrame(f"a frame of {length} bytes")
    return length


def decode(body: bytes) -> JsonObject:
    """The message in a frame's `body`.

    Raises: MalformedFrame.
    """
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise MalformedFrame("a frame that is no JSON") from exc
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise MalformedFrame("a frame without a kind")
    return message


def read(stream: BinaryIO) -> JsonObject | None:
    """The next message in `stream`; None at its end, also in the middle of a frame. Blocking.

    Raises: MalformedFrame.
    """
    head = stream.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        return None
    length = length_of(head)
    body = stream.read(length)
    return decode(body) if len(body) == length else None


def answers_to_wire(answers: Sequence[Answered]) -> JsonObject:
    """All of `answers` as one message."""
    return {"kind": "answers", "answers": [_answer_to_wire(answer) for answer in answers]}


def answers_from_wire(message: JsonObject) -> list[Answered]:
    """The answers in a message that `answers_to_wire` made.

    Raises: MalformedFrame.
    """
    try:
        return [
            Answered(
                int(id_),
                [_item_from_wire(*item) for item in items],
                bool(is_last),
                None if error is None else error_from_wire(error),
            )
            for id_, items, is_last, error in message["answers"]
        ]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as exc:
        raise MalformedFrame(f"an answer that cannot be read ({type(exc).__name__})") from exc


def error_to_wire(error: GatewayError) -> JsonObject:
    """`error` as a JSON object; one that the table lacks becomes the nearest it has."""
    known = (kind for kind in type(error).__mro__ if kind.__name__ in _ERRORS)
    kind = next(known, InternalError)
    return {
        "kind": kind.__name__,
        "message": error.message,
        "param": error.param,
        "code": error.code,
        "retry_after_s": error.retry_after_s,
    }


def error_from_wire(error: JsonObject) -> GatewayError:
    """The error in an object that `error_to_wire` made.

    Raises: MalformedFrame.
    """
    try:
        kind = _ERRORS[error["kind"]]
        return kind(
            str(error["message"]),
            param=_text_or_none(error["param"]),
            code=_text_or_none(error["code"]),
            retry_after_s=None if error["retry_after_s"] is None else float(error["retry_after_s"]),
        )
    except (KeyError, OverflowError, TypeError, ValueError) as exc:
        raise MalformedFrame(f"an error that cannot be read ({type(exc).__name__})") from exc


def _answer_to_wire(answer: Answered) -> list[Any]:
    error = None if answer.error is None else error_to_wire(answer.error)
    # Items are dataclasses, which orjson writes as objects of their fields.
    items = [(type(item).__name__, item) for item in answer.items]
    return [answer.id, items, answer.is_last, error]


def _item_from_wire(kind: str, fields: JsonObject) -> Item:
    if kind == "UsageReport":
        return UsageReport(Usage(**fields["usage"]))
    if kind == "Vectors":
        return Vectors([list(vector) for vector in fields["vectors"]])
    if kind == "Count":
        return Count(int(fields["tokens"]))
    if kind == "Degraded":
        return Degraded([str(name) for name in fields["parameters"]])
    if not all(isinstance(value, _FIELDS[name]) for name, value in fields.items()):
        raise TypeError
    return _EVENTS[kind](**fields)


def _text_or_none(value: object) -> str | None:
    if not isinstance(value, str | None):
        raise TypeError
    return value
