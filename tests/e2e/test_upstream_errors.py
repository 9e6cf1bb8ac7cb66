"""What goes wrong at a provider before its first content: one HTTP status, and no secrets."""

from __future__ import annotations

from collections.abc import Callable

import openai
import pytest

from tests.e2e.conftest import API_KEY, CLAUDE_CREDENTIAL, OPENAI_CREDENTIAL, UNREACHABLE_MODEL
from tests.e2e.exchanges import Answer, exchange
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    DONE,
    BadChunkSize,
    Close,
    Hang,
    Head,
    Reply,
    Reset,
    Send,
    bytes_reply,
    json_reply,
    openai_completion,
    openai_completion_body,
    openai_error,
    openai_error_body,
    sse_frame,
    sse_reply,
)

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
QUOTING = f"the key {OPENAI_CREDENTIAL} or {CLAUDE_CREDENTIAL} is wrong"


def ask(gateway: GatewayProcess, scene: Scene, *, stream: bool) -> Answer:
    """The gateway's answer, after a check that it tells no credential."""
    body = scene.ask(stream=stream)
    answer = exchange(f"{gateway.base_url}/chat/completions", body, key=API_KEY)
    text = answer.body.decode() + repr(answer.headers)
    assert OPENAI_CREDENTIAL not in text
    assert CLAUDE_CREDENTIAL not in text
    assert API_KEY not in text
    return answer


@STREAMED
@pytest.mark.parametrize(
    ("told", "status", "code"),
    [
        (400, 400, None),
        (401, 502, "upstream_authentication_error"),
        (402, 503, "no_available_channel"),
        (403, 502, "upstream_authentication_error"),
        (404, 404, "model_not_found"),
        (408, 504, "timeout"),
        (409, 409, "conflict"),
        (413, 413, "request_too_large"),
        (422, 422, None),
        (429, 429, "rate_limit_exceeded"),
        (500, 500, "upstream_server_error"),
        (502, 500, "upstream_server_error"),
        (503, 503, "server_is_overloaded"),
        (504, 504, "timeout"),
        (529, 503, "server_is_overloaded"),
    ],
)
def test_a_providers_status_becomes_one_of_ours(
    gateway: GatewayProcess, scene: Scene, told: int, status: int, code: str | None, stream: bool
) -> None:
    scene.script(scene.refused(told, QUOTING))
    answer = ask(gateway, scene, stream=stream)
    assert (status, code) == (answer.status, answer.error["code"])
    assert "application/json" == answer.headers["content-type"]


@pytest.mark.parametrize("status", [400, 500])
def test_a_providers_words_are_passed_on_where_they_help(
    gateway: GatewayProcess, scene: Scene, status: int
) -> None:
    scene.script(scene.refused(status, "the images are too many"))
    answer = ask(gateway, scene, stream=False)
    assert "the images are too many" == answer.error["message"]


def test_a_providers_param_and_code_are_passed_on(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    body = openai_error_body(
        "Unsupported value", kind="invalid_request_error", code="unsupported_value", param="effort"
    )
    openai_scene.script(json_reply(400, body))
    error = ask(gateway, openai_scene, stream=True).error
    assert ("effort", "unsupported_value") == (error["param"], error["code"])


def test_a_prompt_that_does_not_fit_is_told_as_openai_does(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script(openai_error(400, "This model's maximum context length is 8192 tokens."))
    assert "context_length_exceeded" == ask(gateway, openai_scene, stream=False).error["code"]


def test_an_account_without_credit_is_not_the_callers_rate_limit(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script(openai_error(429, "You exceeded your quota", code="insufficient_quota"))
    answer = ask(gateway, openai_scene, stream=False)
    assert (503, "no_available_channel") == (answer.status, answer.error["code"])


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry_After": "7"}, "7"),
        ({"Retry_After": "2.2"}, "3"),
        ({"retry_after_ms": "1500"}, "2"),
        ({"Retry_After": "86400"}, "60"),
        ({"Retry_After": "soon"}, None),
        ({}, None),
    ],
    ids=["seconds", "fraction", "milliseconds", "a day", "nonsense", "none"],
)
def test_a_providers_wait_is_passed_on_within_reason(
    gateway: GatewayProcess, scene: Scene, headers: dict[str, str], wait: str | None
) -> None:
    """An SDK sleeps for whatever it is told, so it is told a minute at most."""
    scene.script(scene.refused(429, "slow down", **headers))
    assert wait == ask(gateway, scene, stream=True).headers.get("retry-after")


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.InternalServerError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
def test_the_sdk_makes_the_right_class_of_it(
    any_client: openai.OpenAI, openai_scene: Scene, told: int, error: type[openai.APIStatusError]
) -> None:
    openai_scene.script(openai_error(told, "scripted", headers={"Retry-After": "1"}))
    with pytest.raises(error) as caught:
        any_client.chat.completions.create(
            model=openai_scene.model, messages=[{"role": "user", "content": "Hello?"}], stream=True
        )
    assert isinstance(caught.value.body, dict)
    assert {"message", "type", "param", "code"} == set(caught.value.body)


@STREAMED
def test_an_unreachable_provider_is_a_502(any_gateway: GatewayProcess, stream: bool) -> None:
    messages = [{"role": "user", "content": "Hello?"}]
    body = {"model": UNREACHABLE_MODEL, "messages": messages, "stream": stream}
    answer = exchange(f"{any_gateway.base_url}/chat/completions", body, key=API_KEY)
    assert (502, "upstream_unreachable") == (answer.status, answer.error["code"])


@STREAMED
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(
    gateway: GatewayProcess, scene: Scene, status: int, stream: bool
) -> None:
    """It would take the credential and the prompt to another host."""
    target = (("Location", f"{scene.upstream.url}/elsewhere"), ("Content-Length", "0"))
    scene.script((Head(status, target),))
    answer = ask(gateway, scene, stream=stream)
    assert (502, "upstream_invalid_response") == (answer.status, answer.error["code"])
    assert 1 == len(scene.requests)
    assert "/elsewhere" not in [request.path for request in scene.upstream.requests]


# -- replies of status 200 that are none

OPENAI_ONLY: dict[str, Callable[[Scene], Reply]] = {
    "error in JSON": lambda scene: json_reply(200, openai_error_body(QUOTING)),
    "error as text": lambda scene: json_reply(200, {"error": QUOTING}),
    "no choices": lambda scene: json_reply(200, {**openai_completion_body(), "choices": []}),
    "cut JSON": lambda scene: bytes_reply(200, b'{"choices": [', "application/json"),
    "only [DONE]": lambda scene: sse_reply([DONE]),
    "an error, then [DONE]": lambda scene: sse_reply([scene.error_frame(QUOTING), DONE]),
}
ANYWHERE: dict[str, Callable[[Scene], Reply]] = {
    "HTML": lambda scene: bytes_reply(200, b"<html>Login</html>", "text/html"),
    "empty body": lambda scene: bytes_reply(200, b"", "application/json"),
    "empty stream": lambda scene: sse_reply([]),
    "only comments": lambda scene: sse_reply([b": hello\n\n", b": still here\n\n"]),
    "only the opening": lambda scene: sse_reply(scene.opening()),
    "no JSON": lambda scene: sse_reply([sse_frame(b"{oops"), sse_frame(b"oops}")]),
    "an error first": lambda scene: sse_reply([scene.error_frame(QUOTING)]),
    "an error after the opening": lambda scene: sse_reply(
        [*scene.opening(), scene.error_frame(QUOTING)]
    ),
    "reset at once": lambda scene: (Reset(),),
    "closed at once": lambda scene: (Close(),),
    "reset after the head": lambda scene: sse_reply([Reset()]),
    "reset after the opening": lambda scene: sse_reply([*scene.opening(), Reset()]),
    "closed after the opening": lambda scene: sse_reply([*scene.opening(), Close()]),
    "no HTTP": lambda scene: (Send(b"+OK POP3 ready\r\n"), Close()),
}


@STREAMED
@pytest.mark.parametrize("fault", ANYWHERE)
def test_a_reply_without_content_is_an_error(
    gateway: GatewayProcess, scene: Scene, fault: str, stream: bool
) -> None:
    scene.script(ANYWHERE[fault](scene))
    answer = ask(gateway, scene, stream=stream)
    assert answer.status in (500, 502)
    assert answer.error["type"] == "server_error"


@STREAMED
@pytest.mark.parametrize("fault", OPENAI_ONLY)
def test_a_reply_that_is_no_completion_is_an_error(
    gateway: GatewayProcess, openai_scene: Scene, fault: str, stream: bool
) -> None:
    openai_scene.script(OPENAI_ONLY[fault](openai_scene))
    answer = ask(gateway, openai_scene, stream=stream)
    assert answer.status in (500, 502)
    assert answer.error["type"] == "server_error"


def test_a_rate_limit_told_inside_a_stream_is_still_a_429(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    """OpenRouter tells the status of the provider behind it as a number in `code`."""
    error = {"error": {"message": "slow down", "code": 429}}
    openai_scene.script(sse_reply([*openai_scene.opening(), sse_frame(error)]))
    answer = ask(gateway, openai_scene, stream=True)
    assert (429, "rate_limit_exceeded") == (answer.status, answer.error["code"])


def test_a_whole_reply_that_is_cut_is_no_success(
    any_gateway: GatewayProcess, openai_scene: Scene
) -> None:
    head, body = openai_completion()
    assert isinstance(body, Send)
    openai_scene.script((head, Send(body.data[:-20]), Close()))
    answer = ask(any_gateway, openai_scene, stream=False)
    assert (502, "upstream_disconnected") == (answer.status, answer.error["code"])


def test_a_stream_cut_midway_is_no_success_for_a_client_that_wants_no_stream(
    gateway: GatewayProcess, claude_scene: Scene
) -> None:
    claude_scene.script(sse_reply([*claude_scene.begun(), Close()]))
    answer = ask(gateway, claude_scene, stream=False)
    assert (502, "upstream_disconnected") == (answer.status, answer.error["code"])


# -- patience


@STREAMED
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda scene: (Hang(),), id="before the head"),
        pytest.param(lambda scene: sse_reply([Hang()]), id="after the head"),
        pytest.param(lambda scene: sse_reply([*scene.opening(), Hang()]), id="after the opening"),
    ],
)
def test_a_provider_that_says_nothing_is_a_504(
    impatient_gateway: GatewayProcess, scene: Scene, fault: Callable[[Scene], Reply], stream: bool
) -> None:
    scene.script(fault(scene))
    answer = ask(impatient_gateway, scene, stream=stream)
    assert (504, "timeout") == (answer.status, answer.error["code"])
    scene.request.wait_closed()


@STREAMED
def test_a_provider_that_breaks_the_framing_does_not_hold_the_caller(
    impatient_gateway: GatewayProcess, scene: Scene, stream: bool
) -> None:
    """The HTTP parser may stop without a word (aiohttp 3.14.5 does): patience ends all the same."""
    scene.script(sse_reply([*scene.opening(), BadChunkSize(), Hang()]))
    assert ask(impatient_gateway, scene, stream=stream).status in (502, 504)
