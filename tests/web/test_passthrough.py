"""Whatever a client sends, it is the operator's provider that is asked, with the operator's key."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from hypothesis import example, given
from hypothesis import strategies as st
from typing_extensions import override
from yarl import URL

from one_api.adapter import (
    AdapterContext,
    CompatibleProvider,
    HTTPTransport,
    OpenAICompatibleAdapter,
    OpenAICompatibleSettings,
    Timeouts,
    WireReply,
    WireRequest,
)
from one_api.app import create_app
from one_api.registry import ModelRegistry
from one_api.settings import Settings
from one_api.web.multipart import find_model, form_boundary

KEY = "gateway-key-of-a-caller"
CREDENTIAL = "the-operators-credential"
BASE = "https://provider.example:8443/base/v1"
BOUNDARY = "b0undary"


class EmptyReply(WireReply):
    @property
    @override
    def status(self) -> int:
        return 200

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return {"content-type": "application/json"}

    @override
    async def read(self, limit: int) -> bytes:
        return b"{}"

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield b"{}"


class Recorder(HTTPTransport):
    """Keeps what would have been sent, with its body read to the end."""

    def __init__(self) -> None:
        self.sent: list[tuple[WireRequest, bytes]] = []

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        body = request.body
        if body is not None and not isinstance(body, bytes):
            body = b"".join([piece async for piece in body])
        self.sent.append((request, body or b""))
        yield EmptyReply()


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def client(recorder: Recorder) -> Iterator[FlaskClient]:
    registry = ModelRegistry()
    registry.register_adapter(
        "provider",
        OpenAICompatibleAdapter(
            OpenAICompatibleSettings.from_environment({"API_KEY": CREDENTIAL, "MODELS": "m"}),
            AdapterContext(http=recorder, logger=logging.getLogger("provider")),
            CompatibleProvider(name="provider", base_url=BASE),
        ),
    )
    settings = Settings.load(api_keys=(KEY,), passthrough_adapter="provider", database_url="none")
    app = create_app(settings, registry=registry)
    yield app.test_client()
    app.close()


def form(*fields: tuple[str, str]) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields
    ]
    return "".join([*parts, f"--{BOUNDARY}--\r\n"]).encode()


HOSTILE = [
    "@evil.example",
    "//evil.example/",
    "https://evil.example",
    "..",
    "../../admin",
    "%2e%2e/%2e%2e",
    "..%2f..",
    "\\evil.example",
    "a?b#c",
    "x:y@evil.example:1/z",
    ":80@evil.example",
    "a\r\nHost: evil.example",
    ";x=1",
    "a%00b",
    "\uff45vil",
]
NASTY = st.sampled_from(HOSTILE) | st.text(max_size=20)
PATHS = st.lists(NASTY | st.sampled_from(["files", "a", "v1"]), min_size=1, max_size=4).map(
    "/".join
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Host", "X-Forwarded-Host", "X-Api-Key", "Cookie", "Proxy", "Range", "OpenAI-Beta", "Via"]
    ),
    st.sampled_from(["evil.example", "//evil.example", KEY, "https://evil.example/"]),
)
VALUES = st.sampled_from([*HOSTILE, "m", "provider/m", "provider/@evil.example/x"])


def assert_safe(request: WireRequest, body: bytes) -> None:
    asked = URL(request.url)  # as the HTTP client reads it
    assert ("https", "provider.example", 8443) == (asked.scheme, asked.host, asked.port)
    assert asked.user is None
    assert asked.raw_path.startswith("/base/v1/")
    assert ("https", "provider.example:8443") == urlsplit(request.url)[:2]
    assert f"Bearer {CREDENTIAL}" == request.headers["Authorization"]
    allowed = {
        "accept", "content-type", "content-length", "idempotency-key", "openai-beta", "range"
    }  # fmt: skip
    assert {name.lower() for name in request.headers} - {"authorization"} <= allowed
    assert KEY not in request.url
    assert "\r" not in request.url


@given(
    path=PATHS,
    query=st.dictionaries(st.sampled_from(["model", "host", "url", "a"]), VALUES),
    headers=HEADERS,
    kind=st.sampled_from(["json", "form", "none"]),
    model=VALUES,
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
)
@example("files", {}, {"Host": "evil.example"}, "json", "provider/m", "POST")
@example("files/a@evil.example", {"model": "provider/m"}, {}, "none", "m", "GET")
@example("audio/transcriptions", {}, {}, "form", "provider/m", "POST")
def test_no_request_changes_the_host_that_is_asked(
    client: FlaskClient,
    recorder: Recorder,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    kind: str,
    model: str,
    method: str,
) -> None:
    recorder.sent.clear()
    content: dict[str, object] = {}
    if kind == "json":
        fields = {"model": model, "base_url": "https://evil.example", "host": model}
        content = {"data": json.dumps(fields), "content_type": "application/json"}
    elif kind == "form":
        content_type = f"multipart/form-data; boundary={BOUNDARY}"
        content = {"data": form(("url", model), ("model", model)), "content_type": content_type}
    try:
        client.open(
            f"/v1/{path}",
            base_url="http://gateway.example",
            method=method,
            query_string=query,
            headers={**headers, "Authorization": f"Bearer {KEY}"},
            **content,  # type: ignore[arg-type]  # werkzeug's signature has no room for a mapping
        )
    except ValueError:
        return  # the test client itself cannot say this in HTTP
    for request, body in recorder.sent:
        assert_safe(request, body)


def test_the_property_above_is_about_something(client: FlaskClient, recorder: Recorder) -> None:
    """A request that is in order does reach the provider."""
    recorder.sent.clear()
    answer = client.post(
        "/v1/rerank?a=1",
        json={"model": "provider/m", "n": 1},
        headers={"Authorization": f"Bearer {KEY}"},
    )
    assert 200 == answer.status_code
    ((request, body),) = recorder.sent
    assert f"{BASE}/rerank?a=1" == request.url
    assert {"model": "m", "n": 1} == json.loads(body)


# -- forms


def found(body: bytes) -> str | None:
    field = find_model(body, BOUNDARY.encode())
    return field.model if field else None


@pytest.mark.parametrize("size", [*range(0, 200, 7), 10_000])
def test_a_model_is_found_once_it_is_complete(size: int) -> None:
    body = form(("language", "en"), ("model", "whisper"), ("prompt", "x" * 500))
    end = body.index(b"whisper") + len(b"whisper\r\n--" + BOUNDARY.encode())
    assert (None if size < end else "whisper") == found(body[:size])


@pytest.mark.parametrize(
    "body",
    [
        form(("language", "en")),
        form(("prompt", 'name="model"\r\n\r\nwhisper')),
        form(("file", 'Content-Disposition: form-data; name="model"')),
        form(("model", "x")).replace(b'name="model"', b'name="model"; filename="model"'),
        form(("model", "x")).replace(b"form-data", b"attachment"),
        b"",
        b"--",
        b"no form at all",
    ],
    ids=["none", "in a value", "a header in a value", "a file", "not a field", "empty", "cut", "-"],
)
def test_what_only_looks_like_a_model_is_none(body: bytes) -> None:
    assert found(body) is None


@given(st.text(max_size=20), st.text(max_size=20), st.binary(max_size=50))
def test_renaming_changes_the_name_and_nothing_else(before: str, after: str, tail: bytes) -> None:
    head = form(("language", before.replace("\r", "").replace(BOUNDARY, "")), ("model", "whisper"))
    field = find_model(head + tail, BOUNDARY.encode())
    assert field is not None
    renamed = field.renamed(head + tail, after)
    at = head.index(b"whisper")
    assert head[:at] + after.encode() + head[at + 7 :] + tail == renamed


@given(st.binary(max_size=300))
def test_no_bytes_break_the_search(body: bytes) -> None:
    separator = f"--{BOUNDARY}\r\n".encode()
    find_model(separator + body, BOUNDARY.encode())
    find_model(body.join([separator] * 3), BOUNDARY.encode())


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (f"multipart/form-data; boundary={BOUNDARY}", BOUNDARY.encode()),
        (f'Multipart/Form-Data; charset=utf-8; boundary="{BOUNDARY}"', BOUNDARY.encode()),
        ("application/octet-stream", None),
    ],
)
def test_a_boundary_is_read_from_the_content_type(
    content_type: str, boundary: bytes | None
) -> None:
    assert boundary == form_boundary(content_type)
