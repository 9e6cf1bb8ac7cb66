"""Messages into requests: signatures by their own specifications, and nothing to break out of."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html.parser
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from one_api.observe.alerts import Alert, News
from one_api.observe.alerts.channels import (
    Answer,
    Channel,
    Feishu,
    Matrix,
    NotSentError,
    Slack,
    Webhook,
    feishu_signature,
    webhook_signature,
)
from one_api.observe.alerts.message import Message, compose

DOCS = Path(__file__).parents[3] / "docs"
NOW_S = 1_790_000_000.7
EVIL = "<!channel> <@U1> @room <b>x</b><at user_id=\"all\"></at> & 'q'"

CHANNELS: tuple[Channel, ...] = (
    Feishu("https://f.example/hook/sk-secret-path", "the-secret"),
    Matrix("https://m.example/", "!r/1:m.example", "the-token"),
    Slack("https://s.example/services/T/B/sk-secret-path"),
    Webhook("https://w.example/sk-secret-path", "the-secret-of-the-webhook"),
)


def message(subject: str = "a/m") -> Message:
    return compose([Alert(News("model_down", subject))], "host")


def body_of(channel: Channel, told: Message) -> Any:
    body = channel.request(told, NOW_S).body
    assert isinstance(body, bytes)
    return json.loads(body)


class TestFeishu:
    def test_it_is_signed_as_the_guide_says(self) -> None:
        """Its own example in Python: the key is `timestamp\\nsecret`, and nothing is signed."""
        code = hmac.new(b"1599360473\nthe-secret", b"", digestmod=hashlib.sha256).digest()
        assert base64.b64encode(code).decode() == feishu_signature(1599360473, "the-secret")

    def test_time_and_signature_are_in_the_body(self) -> None:
        body = body_of(CHANNELS[0], message())
        assert "1790000000" == body["timestamp"]
        assert feishu_signature(1_790_000_000, "the-secret") == body["sign"]

    def test_without_a_secret_it_is_not_signed(self) -> None:
        assert {"msg_type", "content"} == body_of(Feishu("https://f.example"), message()).keys()

    def test_what_others_named_is_literal_text(self) -> None:
        post = body_of(CHANNELS[0], message(EVIL))["content"]["post"]["zh_cn"]
        assert [[{"tag": "text", "text": message(EVIL).lines[0]}]] == post["content"]

    @pytest.mark.parametrize(
        ("status", "body", "is_final"),
        [
            (200, b'{"code": 0, "msg": "success"}', None),
            (200, b'{"StatusCode": 0, "StatusMessage": "success"}', None),
            (200, b'{"code": 19021, "msg": "sign match fail"}', True),
            (400, b'{"code": 9499, "msg": "Bad Request"}', True),
            (200, b'{"code": 11232, "msg": "frequency limited"}', False),
            (502, b"<html>", False),
        ],
    )
    def test_codes(self, status: int, body: bytes, is_final: bool | None) -> None:
        assert is_final == verdict(CHANNELS[0], Answer(status, body))


class TestMatrix:
    def test_the_same_message_is_the_same_transaction(self) -> None:
        told = message()
        first, second = (CHANNELS[1].request(told, at_s) for at_s in (NOW_S, NOW_S + 60))
        path = f"/_matrix/client/v3/rooms/%21r%2F1%3Am.example/send/m.room.message/{told.id}"
        assert f"https://m.example{path}" == first.url == second.url
        assert "PUT" == first.method
        assert "Bearer the-token" == first.headers["Authorization"]

    def test_what_others_named_is_neither_html_nor_a_mention(self) -> None:
        class Tags(html.parser.HTMLParser):
            def __init__(self) -> None:
                super().__init__()
                self.found: list[str] = []

            @override
            def handle_starttag(self, tag: str, attrs: object) -> None:
                self.found.append(tag)

        body, tags = body_of(CHANNELS[1], message(EVIL)), Tags()
        tags.feed(body["formatted_body"])
        assert ["strong", "br"] == tags.found
        assert {} == body["m.mentions"]
        assert "m.notice" == body["msgtype"]

    def test_old_homeservers_tell_the_wait_in_the_body(self) -> None:
        body = b'{"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2500}'
        with pytest.raises(NotSentError) as caught:
            CHANNELS[1].check(Answer(429, body))
        assert (2.5, False) == (caught.value.retry_after_s, caught.value.is_final)


class TestSlack:
    def test_what_others_named_mentions_nobody(self) -> None:
        body = body_of(CHANNELS[2], message(EVIL))
        assert not re.search(r"[<>]|&(?!lt;|gt;|amp;)", body["text"])
        assert "&lt;!channel&gt;" in body["text"]
        assert (False, False, False) == (
            body["mrkdwn"], body["unfurl_links"], body["unfurl_media"],
        )  # fmt: skip


class TestWebhook:
    def test_the_example_of_standard_webhooks(self) -> None:
        """From their reference libraries' tests: the same input, the same signature."""
        signature = webhook_signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330,
            b'{"test": 2432232314}',
        )
        assert "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" == signature

    @pytest.mark.parametrize("secret", ["a-plain-secret-of-24-chars", "whsec_" + "QUJD" * 8])
    def test_the_function_in_the_documentation_verifies_it(self, secret: str) -> None:
        page = (DOCS / "alerts.md").read_text()
        scope: dict[str, Any] = {}
        exec(page.split("```python\n")[1].split("```")[0], scope)  # noqa: S102 - our own page
        request = Webhook("https://w.example", secret).request(message(), time.time())
        headers, body = dict(request.headers), request.body
        assert isinstance(body, bytes)
        assert scope["verify"](secret, headers, body)
        assert not scope["verify"](secret, headers, body + b" ")
        assert not scope["verify"]("another-secret-of-24-ch", headers, body)
        assert not scope["verify"](secret, {**headers, "webhook-timestamp": "1"}, body)

    def test_it_tells_programs_what_it_tells_people(self) -> None:
        told = message()
        body = body_of(CHANNELS[3], told)
        assert "one_api.alerts" == body["type"]
        assert [
            {
                "kind": "model_down",
                "subject": "a/m",
                "state": "open",
                "severity": "critical",
                "text": told.lines[0],
                "facts": {},
            }
        ] == body["alerts"]


def verdict(channel: Channel, answer: Answer) -> bool | None:
    """None where it arrived, else whether there is no use in trying again."""
    try:
        channel.check(answer)
    except NotSentError as exc:
        return exc.is_final
    return None


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
class TestEach:
    @pytest.mark.parametrize(
        ("status", "is_final"),
        [(200, None), (204, None), (302, True), (401, True), (404, True), (408, False),
         (429, False), (500, False), (503, False)],
    )  # fmt: skip
    def test_statuses(self, channel: Channel, status: int, is_final: bool | None) -> None:
        assert is_final == verdict(channel, Answer(status, b""))

    def test_the_wait_is_heeded(self, channel: Channel) -> None:
        with pytest.raises(NotSentError) as caught:
            channel.check(Answer(429, b"", retry_after_s=7.0))
        assert 7.0 == caught.value.retry_after_s

    @pytest.mark.parametrize("secret", ["sk-secret-path", "the-secret", "the-token"])
    def test_its_secrets_are_not_shown(self, channel: Channel, secret: str) -> None:
        assert secret not in repr(channel)
