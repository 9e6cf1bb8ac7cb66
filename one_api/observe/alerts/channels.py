"""Where alerts go: a message into one HTTP request, and the reply into whether it arrived."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import quote

import orjson
from typing_extensions import override

from one_api.adapter.http import WireRequest
from one_api.observe.alerts.message import Message

#: What the first bytes of a webhook's secret are where the rest is in base64.
_ENCODED: Final = "whsec_"
#: Longest part of a reply that an error quotes, in characters.
_MAX_QUOTED_CHARS: Final = 200


class NotSentError(Exception):
    """A message did not arrive.

    It is of no use to send it again where the channel `is_final`; else after `retry_after_s`, where
    the channel said so.
    """

    def __init__(
        self, reason: str, *, is_final: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason)
        self.is_final = is_final
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Answer:
    """What a channel replied; `retry_after_s` is what its header said, None without one."""

    status: int
    body: bytes
    retry_after_s: float | None = None

    def json(self) -> dict[str, Any]:
        """The body as an object; empty where it is none."""
        try:
            told = orjson.loads(self.body)
        except ValueError:
            return {}
        return told if isinstance(told, dict) else {}


class Channel(Protocol):
    """One place where people look. Does no I/O."""

    #: What operators call it.
    name: str

    def request(self, message: Message, now_s: float) -> WireRequest:
        """What to send at `now_s`, in seconds since the epoch; made anew for each attempt."""

    def check(self, answer: Answer) -> None:
        """Raises: NotSentError where the message did not arrive."""


def check_status(answer: Answer) -> None:
    """Raises: NotSentError for any status but a success."""
    status = answer.status
    if 200 <= status < 300:
        return
    quoted = " ".join(answer.body.decode("utf-8", "replace").split())[:_MAX_QUOTED_CHARS]
    raise NotSentError(
        f"HTTP {status}{f': {quoted}' if quoted else ''}",
        is_final=status < 500 and status not in (408, 425, 429),
        retry_after_s=answer.retry_after_s,
    )


@dataclass(frozen=True, slots=True)
class Feishu(Channel):
    """A custom bot of a Feishu or Lark group, with `secret` where the bot verifies signatures.

    Source: Feishu's guide for custom bots; its example of a signature, seen 2026-11-21.
    """

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    name: str = "feishu"

    @override
    def request(self, message: Message, now_s: float) -> WireRequest:
        # The texts of a post are taken literally; that of a plain message may mention everybody.
        body: dict[str, Any] = {
            "msg_type": "post",
            "content": {
                "post": {
                    "zh_cn": {
                        "title": message.title,
                        "content": [[{"tag": "text", "text": line}] for line in message.lines],
                    }
                }
            },
        }
        if self.secret is not None:
            timestamp = int(now_s)
            body = {
                "timestamp": str(timestamp),
                "sign": feishu_signature(timestamp, self.secret),
                **body,
            }
        return _json_request(self.url, body)

    @override
    def check(self, answer: Answer) -> None:
        told = answer.json()
        code = told.get("code", told.get("StatusCode", 0))
        if code == _FEISHU_TOO_OFTEN:
            raise NotSentError(f"code {code}: too many messages", retry_after_s=60.0)
        if code == 0 or not told:
            check_status(answer)
            return
        said = str(told.get("msg", ""))[:_MAX_QUOTED_CHARS]
        # Wrong token, signature, keyword or address: the same tomorrow.
        raise NotSentError(f"code {code}: {said}", is_final=answer.status < 500)


#: "frequency limited".
_FEISHU_TOO_OFTEN: Final = 11232


def feishu_signature(timestamp: int, secret: str) -> str:
    """The signature of a message sent at `timestamp`: time and secret are the key, of no text."""
    key = f"{timestamp}\n{secret}".encode()
    return base64.b64encode(hmac.digest(key, b"", "sha256")).decode()


@dataclass(frozen=True, slots=True)
class Matrix(Channel):
    """A room of the homeserver at `url`, for the bearer of `token`, who is in the room.

    Source: Matrix client-server API v3, PUT /rooms/{roomId}/send/{eventType}/{txnId}.
    """

    url: str
    room: str
    token: str = field(repr=False)
    name: str = "matrix"

    @override
    def request(self, message: Message, now_s: float) -> WireRequest:
        lines = "<br>".join(html.escape(line) for line in message.lines)
        body = {
            "msgtype": "m.notice",
            "body": message.text,
            "format": "org.matrix.custom.html",
            "formatted_body": f"<strong>{html.escape(message.title)}</strong><br>{lines}",
            # Without it a name such as "@room" would wake everybody.
            "m.mentions": {},
        }
        room, transaction = quote(self.room, safe=""), quote(message.id, safe="")
        path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{transaction}"
        # The same transaction twice is one message.
        request = _json_request(
            self.url.rstrip("/") + path, body, {"Authorization": f"Bearer {self.token}"}
        )
        return WireRequest(
            url=request.url, method="PUT", headers=request.headers, body=request.body
        )

    @override
    def check(self, answer: Answer) -> None:
        told_ms = answer.json().get("retry_after_ms")
        # Homeservers of before 1.10 have no header for it.
        if answer.status == 429 and answer.retry_after_s is None and isinstance(told_ms, int):
            raise NotSentError("HTTP 429: too many messages", retry_after_s=told_ms / 1000)
        check_status(answer)


@dataclass(frozen=True, slots=True)
class Slack(Channel):
    """An incoming webhook. Source: Slack's pages on webhooks and on escaping text."""

    url: str = field(repr=False)
    name: str = "slack"

    @override
    def request(self, message: Message, now_s: float) -> WireRequest:
        body = {
            "text": html.escape(message.text, quote=False),
            "mrkdwn": False,
            "unfurl_links": False,
            "unfurl_media": False,
        }
        return _json_request(self.url, body)

    @override
    def check(self, answer: Answer) -> None:
        check_status(answer)


@dataclass(frozen=True, slots=True)
class Webhook(Channel):
    """Any endpoint; signed as Standard Webhooks says where there is a `secret`.

    A secret that begins with `whsec_` is base64 after that, any other is taken as it is.
    Source: standardwebhooks.com, specification 1.0, 2026-11-21.
    """

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    name: str = "webhook"

    @override
    def request(self, message: Message, now_s: float) -> WireRequest:
        body = orjson.dumps(message.to_wire())
        timestamp = int(now_s)
        headers = {"webhook-id": message.id, "webhook-timestamp": str(timestamp)}
        if self.secret is not None:
            headers["webhook-signature"] = webhook_signature(
                self.secret, message.id, timestamp, body
            )
        return _json_request(self.url, body, headers)

    @override
    def check(self, answer: Answer) -> None:
        check_status(answer)


def webhook_signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`.

    Raises: ValueError for a `whsec_` secret that is not base64.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.digest(webhook_key(secret), signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def webhook_key(secret: str) -> bytes:
    """The bytes that sign. Raises: ValueError for a `whsec_` secret that is not base64."""
    if not secret.startswith(_ENCODED):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_ENCODED), validate=True)
    except binascii.Error as exc:
        raise ValueError("what follows 'whsec_' is not base64") from exc


def _json_request(
    url: str, body: bytes | dict[str, Any], headers: Mapping[str, str] | None = None
) -> WireRequest:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return WireRequest(
        url=url, headers={"Content-Type": "application/json", **(headers or {})}, body=data
    )
