"""Errors told inside a reply, and replies that are none."""

from __future__ import annotations

import openai
import orjson
import pytest

from one_api.errors import (
    ContextWindowExceeded,
    CredentialRejected,
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamServerError,
    UpstreamTimeout,
)
from one_api.relay import StreamRelay, relay_body
from tests.converter.digest import digest
from tests.converter.replies import form
from tests.relay.streams import ASKED, assert_digests_to, chunk_with, relayed
from tests.scripted_upstream import DONE, HELLO, openai_chunks, openai_frames, sse_frame

ERRORS: list[tuple[str, object, type[GatewayError]]] = [
    ("text", "it broke", UpstreamError),
    ("message", {"message": "it broke"}, UpstreamError),
    ("openai-server", {"message": "m", "type": "server_error", "code": None}, UpstreamError),
    ("status-429", {"message": "slow", "code": 429}, UpstreamRateLimited),
    ("status-429-text", {"message": "slow", "code": "429"}, UpstreamRateLimited),
    ("status-500", {"message": "m", "code": 500}, UpstreamServerError),
    ("status-502", {"message": "m", "code": 502}, UpstreamServerError),
    ("status-503", {"message": "m", "code": 503}, UpstreamOverloaded),
    ("status-504", {"message": "m", "code": 504}, UpstreamTimeout),
    ("status-401", {"message": "bad key", "code": 401}, CredentialRejected),
    ("status-402", {"message": "no money", "code": 402}, UpstreamQuotaExhausted),
    ("status-404", {"message": "no model", "code": 404}, ModelNotFound),
    ("status-400", {"message": "m", "code": 400}, InvalidRequest),
    ("type-400", {"message": "m", "type": "invalid_request_error"}, InvalidRequest),
    (
        "context",
        {"message": "m", "type": "invalid_request_error", "code": "context_length_exceeded"},
        ContextWindowExceeded,
    ),
    ("rate", {"message": "m", "type": "rate_limit_error"}, UpstreamRateLimited),
    ("rate-code", {"message": "m", "code": "rate_limit_exceeded"}, UpstreamRateLimited),
    ("overloaded", {"message": "m", "type": "overloaded_error"}, UpstreamOverloaded),
    ("api", {"message": "m", "type": "api_error"}, UpstreamServerError),
    ("billing", {"message": "m", "type": "billing_error"}, UpstreamQuotaExhausted),
    ("timeout", {"message": "m", "type": "timeout_error"}, UpstreamTimeout),
    ("key", {"message": "sk-1234567890", "type": "authentication_error"}, CredentialRejected),
    ("key-code", {"message": "m", "code": "invalid_api_key"}, CredentialRejected),
    ("quota", {"message": "m", "code": "insufficient_quota"}, UpstreamQuotaExhausted),
    ("model", {"message": "m", "code": "model_not_found"}, ModelNotFound),
    ("strange-code", {"message": "m", "code": [1]}, UpstreamError),
    ("strange-message", {"message": {"a": 1}}, UpstreamError),
    ("number", 5, UpstreamError),
]


def alone(error: object) -> bytes:
    return sse_frame({"error": error})


def in_a_chunk(error: object) -> bytes:
    return sse_frame({**chunk_with({"content": ""}, "error"), "error": error})


def named_event(error: object) -> bytes:
    return sse_frame({"error": error}, event="error")


def bare_named_event(error: object) -> bytes:
    return sse_frame(error, event="error")


def error_object(error: object) -> bytes:
    fields = error if isinstance(error, dict) else {"message": error}
    return sse_frame({"object": "error", **fields})


FRAMINGS = (alone, in_a_chunk, named_event, bare_named_event, error_object)


@pytest.mark.parametrize("begun", [0, 3], ids=["at-first", "under-way"])
@pytest.mark.parametrize(
    ("error", "kind"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
)
def test_error_told_in_the_stream_is_raised(
    begun: int, error: object, kind: type[GatewayError]
) -> None:
    for framing in FRAMINGS:
        relay = StreamRelay(ASKED)
        for frame in openai_frames()[:begun]:
            relay.feed(frame)

        with pytest.raises(GatewayError) as caught:
            relay.feed(framing(error))

        assert kind is type(caught.value)


@pytest.mark.parametrize(
    ("error", "kind"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
)
def test_error_told_in_a_body_is_raised(error: object, kind: type[GatewayError]) -> None:
    with pytest.raises(GatewayError) as caught:
        relay_body(orjson.dumps({"error": error}), form())

    assert kind is type(caught.value)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_content_before_an_error_in_the_same_read_is_told_first(end: bytes) -> None:
    """What arrived is the client's; where reads are cut is chance."""
    relay = StreamRelay(ASKED)
    read = b"".join([*openai_frames()[:3], alone({"message": "m", "code": 429})])

    out = relay.feed(read.replace(b"\n", end))

    assert [b"Hello", b", "] == [word for word in (b"Hello", b", ") if b'"%b"' % word in out]
    assert relay.is_done
    with pytest.raises(UpstreamRateLimited):
        relay.close()


def test_error_before_content_is_raised_even_if_a_role_came_with_it() -> None:
    relay = StreamRelay(ASKED)

    with pytest.raises(UpstreamRateLimited):
        relay.feed(openai_frames()[0] + alone({"message": "m", "code": 429}))


def test_error_that_is_null_is_none() -> None:
    chunks = [{**chunk, "error": None} for chunk in openai_chunks()]

    assert_digests_to(HELLO, relayed(openai_frames(chunks))[0])


@pytest.mark.parametrize("frames", range(1, 5))
@pytest.mark.parametrize("rest", [b"", b'data: {"id":"chatcmpl-scr', b"data: "])
def test_stream_cut_before_its_finish_is_a_disconnect(frames: int, rest: bytes) -> None:
    with pytest.raises(UpstreamDisconnected):
        relayed([*openai_frames()[:frames], rest])


@pytest.mark.parametrize("choices", [2, 3])
def test_every_choice_that_began_must_finish(choices: int) -> None:
    second = chunk_with({"role": "assistant", "content": "a"})
    second["choices"][0]["index"] = 1

    with pytest.raises(UpstreamDisconnected):
        relayed([sse_frame(second), *openai_frames()[:-1]])


@pytest.mark.parametrize(
    "stream",
    [b"", DONE, b": ping\n\n", b"<html>Bad gateway</html>", b'{"choices":[]}', b"data: {}\n\n"],
    ids=["nothing", "done", "comment", "html", "json", "empty-chunk"],
)
def test_stream_without_a_completion_is_invalid(stream: bytes) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        relayed([stream])


@pytest.mark.parametrize("piece", [b"x" * 64_000, b"data: " + b"x" * 64_000 + b"\r"])
def test_event_without_an_end_is_not_collected_for_ever(piece: bytes) -> None:
    relay = StreamRelay(ASKED)

    with pytest.raises(UpstreamInvalidResponse):
        list(map(relay.feed, [piece] * 40))


def test_sdk_raises_what_we_tell_in_band() -> None:
    """The other end of the bargain: an in-band error is an exception for the client."""
    broken = b"".join(openai_frames()[:3]) + sse_frame({"error": {"message": "m"}})

    with pytest.raises(openai.APIError, match="m"):
        digest(broken)
