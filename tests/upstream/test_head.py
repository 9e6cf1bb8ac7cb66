"""The bytes of a request's head."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from one_api.adapter.http import WireRequest
from one_api.errors import UpstreamUnreachable
from one_api.upstream.head import HeadWriter

URL = "http://h/v1"


async def pieces() -> AsyncIterator[bytes]:
    yield b""


def lines(request: WireRequest) -> list[str]:
    head = HeadWriter("tests").write(request).data.decode()
    assert head.endswith("\r\n\r\n")
    return head.removesuffix("\r\n\r\n").split("\r\n")


def fields(request: WireRequest) -> dict[str, str]:
    told = [line.partition(": ") for line in lines(request)[1:]]
    found = {name.lower(): value for name, _, value in told}
    assert len(told) == len(found)
    return found


OURS = {"host": "h", "user-agent": "tests", "accept": "*/*", "accept-encoding": "identity"}
OCTETS = {"content-type": "application/octet-stream"}


def test_first_line_is_the_method_and_the_target() -> None:
    assert "PATCH /v1?a=%20 HTTP/1.1" == lines(WireRequest(method="patch", url=f"{URL}?a= "))[0]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (WireRequest(url=URL, method="GET"), {}),
        (WireRequest(url=URL, method="POST"), {"content-length": "0"}),
        (WireRequest(url=URL, method="DELETE"), {"content-length": "0"}),
        (WireRequest(url=URL, body=b"{}"), {"content-length": "2", **OCTETS}),
        (WireRequest(url=URL, body=b""), {"content-length": "0", **OCTETS}),
        (
            WireRequest(
                url=URL, headers={"Content-Length": "9", "Content-Type": "a/b"}, body=b"{}"
            ),
            {"content-length": "2", "content-type": "a/b"},
        ),
        (WireRequest(url=URL, body=pieces()), {"transfer-encoding": "chunked", **OCTETS}),
        (
            WireRequest(url=URL, headers={"content-length": "7"}, body=pieces()),
            {"content-length": "7", **OCTETS},
        ),
        (
            WireRequest(url=URL, headers={"content-length": "+7"}, body=pieces()),
            {"transfer-encoding": "chunked", **OCTETS},
        ),
        (
            WireRequest(url=URL, headers={"Transfer-Encoding": "chunked"}, method="GET"),
            {},
        ),
        (
            WireRequest(url=URL, headers={"HOST": "other", "Accept": "a/b"}, method="GET"),
            {"host": "other", "accept": "a/b"},
        ),
        (WireRequest(url=URL, headers={"X-A": "é"}, method="GET"), {"x-a": "é"}),
        (
            WireRequest(url="http://u:p@h/", method="GET"),
            {"authorization": "Basic dTpw"},
        ),
    ],
    ids=[
        *("GET", "POST", "DELETE", "bytes", "no bytes", "wrong length", "pieces"),
        *("pieces of told length", "odd length", "framing without a body", "defaults replaced"),
        *("beyond ASCII", "user of the URL"),
    ],
)
def test_fields_are_the_requests_and_ours(request_: WireRequest, expected: dict[str, str]) -> None:
    assert {**OURS, **expected} == fields(request_)


@pytest.mark.parametrize(
    "request_",
    [
        WireRequest(url=f"{URL}\r\nX: 1"),
        WireRequest(url=URL, headers={"X-A": "a\r\nX-B: b"}),
        WireRequest(url=URL, headers={"X-A": "a\n"}),
        WireRequest(url=URL, headers={"X-A": "a\r"}),
        WireRequest(url=URL, headers={"X-A": "a\0"}),
        WireRequest(url=URL, headers={"X-A": "\ud800"}),
        WireRequest(url=URL, headers={"X-A\r\n": "a"}),
        WireRequest(url=URL, headers={"X A": "a"}),
        WireRequest(url=URL, headers={"X-A:": "a"}),
        WireRequest(url=URL, headers={"": "a"}),
        WireRequest(url=URL, method="GET / HTTP/1.1\r\nX-A:"),
        WireRequest(url=URL, method=""),
        WireRequest(url="http://u:p@h/", headers={"Authorization": "Bearer x"}),
    ],
    ids=repr,
)
def test_what_could_say_more_than_it_should_is_refused(request_: WireRequest) -> None:
    with pytest.raises(UpstreamUnreachable):
        HeadWriter("tests").write(request_)
