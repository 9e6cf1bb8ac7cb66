"""Every status a caller can get, always in OpenAI's error format."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from typing_extensions import override
from werkzeug.test import TestResponse

from one_api import errors
from one_api.adapter import ParameterPolicy
from one_api.errors import (
    MAX_RETRY_AFTER_S,
    GatewayError,
    InvalidRequest,
    UpstreamOverloaded,
    UpstreamRateLimited,
)
from tests.adapters_in_test import ScriptedAdapter, registry_of
from tests.web.conftest import KEY, MakeApp, keyed

CHAT = "/v1/chat/completions"
HI: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def error_of(response: TestResponse) -> dict[str, Any]:
    """The error in a response that has the one right form."""
    assert "application/json" == response.content_type
    assert response.headers["x-request-id"]
    body = response.get_json()
    assert {"error"} == body.keys()
    error: dict[str, Any] = body["error"]
    assert {"message", "type", "param", "code"} == error.keys()
    assert isinstance(error["message"], str)
    assert error["message"]
    return error


REFUSED: list[tuple[str, str, str, Any, int, str, str | None]] = [
    ("unknown path", "GET", "/v1/nothing", None, 404, "not_found", None),
    ("unknown root path", "POST", "/chat/completions", HI, 404, "not_found", None),
    ("doubled slash", "GET", "//v1/models", None, 404, "not_found", None),
    ("method", "GET", CHAT, None, 405, "method_not_allowed", None),
    ("method of a model", "DELETE", "/v1/models/m", None, 405, "method_not_allowed", None),
    ("unknown model", "POST", CHAT, {**HI, "model": "x"}, 404, "model_not_found", "model"),
    ("unknown model's page", "GET", "/v1/models/x", None, 404, "model_not_found", "model"),
    ("no body", "POST", CHAT, b"", 400, "None", None),
    ("white space", "POST", CHAT, b" \n", 400, "None", None),
    ("no JSON", "POST", CHAT, b"{", 400, "None", None),
    ("no UTF-8", "POST", CHAT, b'{"model":"\xff"}', 400, "None", None),
    ("not a number", "POST", CHAT, b'{"temperature":NaN}', 400, "None", None),
    ("array", "POST", CHAT, [HI], 400, "invalid_type", None),
    ("no messages", "POST", CHAT, {"model": "m"}, 400, "missing_required_parameter", "messages"),
    ("empty messages", "POST", CHAT, {**HI, "messages": []}, 400, "empty_array", "messages"),
    ("type", "POST", CHAT, {**HI, "seed": "1"}, 400, "invalid_type", "seed"),
    ("no model", "POST", CHAT, {**HI, "model": None}, 400, "missing_required_parameter", "model"),
    ("unsupported", "POST", CHAT, {**HI, "n": 2}, 400, "unsupported_parameter", "n"),
    ("too large", "POST", CHAT, b"x" * 2_001, 413, "request_too_large", None),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "param"),
    [row[1:] for row in REFUSED],
    ids=[row[0] for row in REFUSED],
)
def test_wrong_request_is_told_what_is_wrong(
    make_app: MakeApp,
    method: str,
    path: str,
    body: Any,
    status: int,
    code: str,
    param: str | None,
) -> None:
    client = keyed(make_app(max_body_mb=0.002))
    data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)

    response = client.open(path, method=method, data=data)

    error = error_of(response)
    assert (status, code, param) == (response.status_code, str(error["code"]), error["param"])
    assert "invalid_request_error" == error["type"]


@pytest.mark.parametrize("depth", [100, 300, 5_000])
def test_deeply_nested_body_is_answered_or_refused(client: FlaskClient, depth: int) -> None:
    """JSON readers and writers differ in how deep they go; none may fail on a caller's body."""
    nested = b'{"x":' * depth + b"1" + b"}" * depth
    body = orjson.dumps(HI)[:-1] + b',"extra":' + nested + b"}"

    response = client.post(CHAT, data=body)

    assert (200 if depth == 100 else 400) == response.status_code


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "identity, gzip"])
def test_compressed_body_is_refused(client: FlaskClient, encoding: str) -> None:
    """A small one may be of any size inside."""
    response = client.post(CHAT, json=HI, headers={"Content-Encoding": encoding})

    assert (415, "unsupported_media_type") == (response.status_code, error_of(response)["code"])


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""]
)
def test_content_type_does_not_matter(client: FlaskClient, content_type: str) -> None:
    response = client.post(CHAT, data=orjson.dumps(HI), content_type=content_type)

    assert 200 == response.status_code


def test_body_of_untold_length_has_the_same_limit(make_app: MakeApp) -> None:
    client = keyed(make_app(max_body_mb=0.001))
    pieces = [b'{"model":"m",', b" " * 1_000, b'"messages":[]}']

    response = client.post(
        CHAT,
        input_stream=io.BytesIO(b"".join(pieces)),
        environ_overrides={"wsgi.input_terminated": True},
        headers={"Transfer-Encoding": "chunked"},
    )

    assert 413 == response.status_code


def test_method_that_a_path_lacks_names_those_it_has(client: FlaskClient) -> None:
    allowed = client.get(CHAT).headers["Allow"]

    assert {"OPTIONS", "POST"} == set(allowed.split(", "))


def kinds(root: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from kinds(kind)


KINDS = sorted(kinds(), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_error_of_an_adapter_has_its_own_status(
    make_app: MakeApp, kind: type[GatewayError], stream: bool
) -> None:
    adapter = ScriptedAdapter([kind("it failed")])

    response = keyed(make_app(registry_of(a=adapter))).post(CHAT, json={**HI, "stream": stream})

    assert kind.status == response.status_code
    error = error_of(response)
    assert ("it failed", kind.type, kind.code) == (error["message"], error["type"], error["code"])


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (UpstreamRateLimited("slow", retry_after_s=0.2), "1"),
        (UpstreamRateLimited("slow", retry_after_s=7), "7"),
        (UpstreamOverloaded("busy", retry_after_s=86_400), f"{MAX_RETRY_AFTER_S:.0f}"),
        (UpstreamOverloaded("busy", retry_after_s=-5), "0"),
        (UpstreamOverloaded("busy"), "1"),
    ],
    ids=repr,
)
def test_wait_is_told_and_bounded(
    make_app: MakeApp, error: GatewayError, header: str | None
) -> None:
    client = keyed(make_app(registry_of(a=ScriptedAdapter([error]))))

    assert header == client.post(CHAT, json=HI).headers.get("Retry-After")


def test_bug_of_an_adapter_is_a_502_without_its_words(make_app: MakeApp) -> None:
    client = keyed(make_app(registry_of(a=ScriptedAdapter([RuntimeError("sk-secret")]))))

    response = client.post(CHAT, json=HI)

    assert (502, "upstream_error") == (response.status_code, error_of(response)["code"])
    assert "sk-secret" not in response.text


def test_bug_of_ours_is_a_500_without_its_words(make_app: MakeApp) -> None:
    class Broken(ScriptedAdapter):
        @override
        def parameters(self, model_id: str) -> ParameterPolicy:
            raise RuntimeError("sk-secret")

    response = keyed(make_app(registry_of(a=Broken()))).post(CHAT, json=HI)

    error = error_of(response)
    assert (500, "internal_error") == (response.status_code, error["code"])
    assert response.headers["x-request-id"] in error["message"]
    assert "sk-secret" not in response.text


def test_keys_in_messages_are_redacted(make_app: MakeApp) -> None:
    told = InvalidRequest("Incorrect API key provided: sk-abcdef123456.")
    client = keyed(make_app(registry_of(a=ScriptedAdapter([told]))))

    assert "sk-abcdef123456" not in client.post(CHAT, json=HI).text


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        KEY,
        f"Basic {KEY}",
        "Bearer",
        "Bearer wrong",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", CHAT])
def test_request_without_a_good_key_is_a_401(
    make_app: MakeApp, header: str | None, path: str
) -> None:
    adapter = ScriptedAdapter()
    client = make_app(registry_of(a=adapter)).test_client()
    headers = {} if header is None else {"Authorization": header}

    response = client.open(path, method="GET" if path == "/v1/models" else "POST", headers=headers)

    assert (401, "invalid_api_key") == (response.status_code, error_of(response)["code"])
    assert [] == adapter.calls


def test_every_error_of_the_tree_can_be_told() -> None:
    """The classes alone decide: none lacks what the wire needs."""
    for kind in KINDS:
        assert 400 <= kind.status < 600
        assert kind.type
        assert errors.GatewayError.to_wire(kind("m"))["error"]["message"] == "m"
