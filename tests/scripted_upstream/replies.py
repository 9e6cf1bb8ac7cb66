"""Well-formed replies as sequences of steps, and ways to cut and bend the bytes of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from tests.scripted_upstream.steps import Chunk, EndChunks, Head, HeaderPairs, Send, Step

JsonObject = dict[str, Any]


def dump(value: object) -> bytes:
    """`value` as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def bytes_reply(
    status: int,
    body: bytes,
    content_type: str,
    headers: Mapping[str, str] | HeaderPairs = (),
) -> tuple[Step, ...]:
    """A reply of known length."""
    more = tuple(headers.items()) if isinstance(headers, Mapping) else headers
    told = (("Content-Type", content_type), ("Content-Length", str(len(body))), *more)
    return Head(status, told), Send(body)


def json_reply(
    status: int, body: object, headers: Mapping[str, str] | HeaderPairs = ()
) -> tuple[Step, ...]:
    """A JSON reply of known length."""
    return bytes_reply(status, dump(body), "application/json", headers)


def sse_reply(
    pieces: Iterable[bytes | Step],
    headers: Mapping[str, str] | HeaderPairs = (),
    framing: Literal["chunked", "until_close"] = "chunked",
) -> tuple[Step, ...]:
    """A stream of server-sent events; each piece of bytes is written on its own.

    Steps between the pieces are played where they stand: `(*frames[:2], Reset())` is a cut stream.
    """
    more = tuple(headers.items()) if isinstance(headers, Mapping) else headers
    chunked = framing == "chunked"
    kind = ("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")
    head = Head(200, (("Content-Type", "text/event-stream"), kind, *more))
    write = Chunk if chunked else Send
    body = [piece if isinstance(piece, Step) else write(piece) for piece in pieces]
    return (head, *body, EndChunks()) if chunked else (head, *body)


def sse_frame(data: object, event: str | None = None) -> bytes:
    """One server-sent event; `data` is bytes as they are or anything JSON."""
    name = b"" if event is None else b"event: %b\n" % event.encode()
    return b"%bdata: %b\n\n" % (name, data if isinstance(data, bytes) else dump(data))


def split(data: bytes | Sequence[bytes], size: int) -> list[bytes]:
    """`data` in pieces of `size` bytes, whatever pieces it came in."""
    whole = data if isinstance(data, bytes) else b"".join(data)
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def with_line_end(frames: Sequence[bytes], end: Literal[b"\r\n", b"\r"]) -> list[bytes]:
    r"""The frames with another line end than `\n`."""
    return [frame.replace(b"\n", end) for frame in frames]
