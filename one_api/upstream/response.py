"""The bytes of one reply into its status, headers and body: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import httptools
from typing_extensions import override

from one_api.upstream.errors import InvalidHTTPError

#: Bytes of a head, and of whatever else comes without any of the body, such as trailers. Node.js
#: takes as many: a provider that sends more is not heard by most of its customers.
MAX_HEAD_BYTES: Final = 16 * 1024
MAX_FIELDS: Final = 128


class Headers(Mapping[str, str]):
    """The fields of a head; look-ups ignore case, and of a repeated field the first one counts.

    What is not looked up is not decoded: of the 20 to 30 fields that a provider sends, four are.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, bytes]) -> None:
        """Those of `fields`, whose names are in lower case."""
        self._fields = fields

    @override
    def __getitem__(self, name: str) -> str:
        return _text(self._fields[name.lower()])

    @override
    def get(self, name: str, default: Any = None) -> Any:
        value = self._fields.get(name.lower())
        return default if value is None else _text(value)

    @override
    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    @override
    def __len__(self) -> int:
        return len(self._fields)

    @override
    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)!r})"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape").strip(" \t")


class Response:
    """One reply as far as it has come.

    `status` is 0 until the head is here; heads of 1xx are passed over. `pieces` are what the body
    has grown by since the last `take`. `is_reusable` says, once the reply `is_complete`, whether
    its connection may carry another one.
    """

    __slots__ = (
        "_ends_with_connection",
        "_fields",
        "_has_body",
        "_parser",
        "_room",
        "headers",
        "is_complete",
        "is_reusable",
        "on_body",
        "on_header",
        "pieces",
        "status",
    )

    def __init__(self, *, has_body: bool = True) -> None:
        """A reply to come, which has no body whatever its head says when it answers a HEAD."""
        self.status = 0
        self.headers = _NO_HEADERS
        self.pieces: list[bytes] = []
        self.is_complete = False
        self.is_reusable = False
        self._has_body = has_body
        self._ends_with_connection = False
        self._room = MAX_HEAD_BYTES
        self._fields: dict[bytes, bytes] = {}
        # The parser calls these, which are C: no frame of ours for each field and piece.
        self.on_header = self._fields.setdefault
        self.on_body = self.pieces.append
        self._parser = httptools.HttpResponseParser(self)
        # Servers that were written by hand get these wrong, and nothing can be smuggled by them.
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    def feed(self, data: bytes) -> None:
        """Take in what has arrived.

        Raises: InvalidHTTPError where it is not HTTP; what came before that is kept.
        """
        try:
            if not self.status and len(data) > self._room:
                self._parser.feed_data(data[: self._room])
                data = data[self._room :]
                if not self.status:
                    raise InvalidHTTPError("the head is too long")
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self.is_reusable = False
            if not self.is_complete:
                raise InvalidHTTPError(str(exc)) from exc
        if self.pieces or self.is_complete:
            self._room = MAX_HEAD_BYTES
            return
        self._room -= len(data)
        if self._room < 0:
            raise InvalidHTTPError("much has come, and nothing of the body")

    def feed_eof(self) -> None:
        """The provider has ended the connection, which completes a body of untold length."""
        self.is_complete = self.is_complete or (bool(self.status) and self._ends_with_connection)

    def take(self) -> bytes:
        """What the body has grown by."""
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data

    def close(self) -> None:
        """Part from the parser, which holds methods of this: the collector would have to."""
        del self._parser

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self.is_complete:
            raise InvalidHTTPError("another reply, which nobody asked for")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        status = self._parser.get_status_code()
        fields = self._fields
        if len(fields) > MAX_FIELDS or status < 100:
            raise InvalidHTTPError("the head has too many fields, or no status")
        if status < 200 and status != 101:
            return
        self.status = status
        named = _by_name(fields)
        self.headers = Headers(named)
        self.is_reusable = self._parser.should_keep_alive()
        if not self._has_body:
            self.is_complete = True
            raise InvalidHTTPError("the parser would wait for a body")
        # We never say that we take another transfer coding than "chunked".
        if not self.is_reusable:
            self._ends_with_connection = not (
                "content-length" in named or "transfer-encoding" in named
            )

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.is_complete = self.status != 0
        self._fields.clear()


def _by_name(fields: Mapping[bytes, bytes]) -> Mapping[str, bytes]:
    # In one go, without a step of ours for each field.
    names = b"\n".join(fields).decode("latin-1").lower().split("\n")
    named = dict(zip(names, fields.values(), strict=False))
    if len(named) < len(fields):  # One is there in two spellings.
        named.clear()
        for name, value in zip(names, fields.values(), strict=True):
            named.setdefault(name, value)
    return named


_NO_HEADERS: Final = Headers({})
