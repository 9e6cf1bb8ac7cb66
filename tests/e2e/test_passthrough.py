"""Paths that are the provider's own: what goes there, what comes back, and what stays here."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from tests.e2e.conftest import API_KEY, OPENAI_CREDENTIAL, StartGateway, watched
from tests.e2e.exchanges import Answer, exchange, sent, stream
from tests.e2e.gateways import GatewayProcess, Server
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    Chunk,
    Close,
    Gate,
    Hang,
    Head,
    Hold,
    RecordedRequest,
    ScriptedUpstream,
    Send,
    Step,
    bytes_reply,
    json_reply,
    openai_error,
)

FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 1,
    "created_at": 1_790_000_000,
    "filename": "a.bin",
    "purpose": "user_data",
    "status": "processed",
}
MP3 = bytes(range(256)) * 64
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def environment(upstream: ScriptedUpstream) -> dict[str, str]:
    return {
        "API_KEYS": API_KEY,
        "OPENAI_API_KEY": OPENAI_CREDENTIAL,
        "OPENAI_BASE_URL": f"{upstream.url}/v1",
        "OPENAI_MODELS": "gpt-scripted",  # not listed: every request seen is one of a test's
        "PASSTHROUGH_ADAPTER": "openai",
        "MAX_UPLOAD_MB": "24",
    }


@pytest.fixture(scope="module")
def start(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    environment: dict[str, str],
) -> Iterator[Callable[[Server], GatewayProcess]]:
    """The gateway of each server that all tests here share; an adapter is named in it."""
    with contextlib.ExitStack() as stack:
        started: dict[Server, GatewayProcess] = {}

        def start(server: Server) -> GatewayProcess:
            if server not in started:
                directory = tmp_path_factory.mktemp(server)
                context = watched(pytestconfig, directory, environment, server)
                started[server] = stack.enter_context(context)
            return started[server]

        yield start


@pytest.fixture
def passing(start: Callable[[Server], GatewayProcess]) -> GatewayProcess:
    return start("one-api")


@pytest.fixture(params=["one-api", "uvicorn", "gunicorn"])
def any_passing(
    request: pytest.FixtureRequest, start: Callable[[Server], GatewayProcess]
) -> GatewayProcess:
    return start(request.param)


@pytest.fixture
def any_sdk(
    any_passing: GatewayProcess, sdk: Callable[[GatewayProcess], openai.OpenAI]
) -> openai.OpenAI:
    return sdk(any_passing)


def last_request(upstream: ScriptedUpstream, path: str) -> RecordedRequest:
    return [request for request in upstream.requests if request.path == path][-1]


# -- what SDKs ask for


def test_speech_comes_back_as_its_bytes(any_sdk: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(bytes_reply(200, MP3, "audio/mpeg"), path="/v1/audio/speech")
    speech = any_sdk.audio.speech.create(model="openai/tts-1", voice="alloy", input="Hello")
    assert MP3 == speech.content
    assert "audio/mpeg" == speech.response.headers["content-type"]
    request = last_request(upstream, "/v1/audio/speech")
    assert {"model": "tts-1", "voice": "alloy", "input": "Hello"} == request.json
    assert f"Bearer {OPENAI_CREDENTIAL}" == request.headers["authorization"]


def test_an_image_is_generated(any_sdk: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    body = {"created": 1_790_000_000, "data": [{"b64_json": "aGk="}]}
    upstream.script(json_reply(200, body), path="/v1/images/generations")
    images = any_sdk.images.generate(model="openai/dall-e-3", prompt="A cat")
    assert images.data is not None
    assert "aGk=" == images.data[0].b64_json


def test_text_is_moderated(any_sdk: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    body = {"id": "modr-1", "model": "omni", "results": []}
    upstream.script(json_reply(200, body), path="/v1/moderations")
    assert "modr-1" == any_sdk.moderations.create(model="openai/omni", input="Hello").id


def test_a_form_names_its_model_by_a_field(
    any_sdk: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    """The field is renamed, and nothing else of the form is."""
    upstream.script(json_reply(200, {"text": "Hello"}), path="/v1/audio/transcriptions")
    heard = any_sdk.audio.transcriptions.create(
        model="openai/whisper-1", file=("a.mp3", MP3, "audio/mpeg")
    )
    assert "Hello" == heard.text
    request = last_request(upstream, "/v1/audio/transcriptions")
    assert re.search(rb'name="model"\r\n(?:[^\r]+\r\n)*\r\nwhisper-1\r\n--', request.body)
    assert MP3 in request.body
    assert str(len(request.body)) == request.headers["content-length"]


def peak_growth_mb(group: int, work: Callable[[], object]) -> float:
    """How much more memory the processes of `group` held at a time while `work` was done."""
    statuses = [
        path / "status"
        for path in Path("/proc").iterdir()
        if path.name.isdigit() and _group_of(path) == str(group)
    ]
    for status in statuses:
        status.with_name("clear_refs").write_text("5")  # the peak is from now on
    before = [_kilobytes(status, "VmRSS") for status in statuses]
    work()
    after = [_kilobytes(status, "VmHWM") for status in statuses]
    return max(b - a for a, b in zip(before, after, strict=True)) / 1_000


def _group_of(process: Path) -> str | None:
    """The process group; None for a process that ended since it was listed."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[2]
    except (FileNotFoundError, ProcessLookupError):
        return None


def _kilobytes(status: Path, field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", status.read_text())
    return int(found.group(1)) if found else 0


@pytest.mark.slow
def test_an_upload_takes_little_memory(
    any_passing: GatewayProcess, any_sdk: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    upstream.script(json_reply(200, FILE), path="/v1/files", repeat_last=True)
    any_sdk.files.create(file=("a.bin", MP3), purpose="user_data")  # first use costs memory too
    content = MP3 * (20 * MEGABYTE // len(MP3))
    growth_mb = peak_growth_mb(
        any_passing.pid,
        lambda: any_sdk.files.create(file=("a.bin", content), purpose="user_data"),
    )
    assert content in last_request(upstream, "/v1/files").body
    assert growth_mb < 10


@pytest.mark.slow
def test_a_file_comes_back_as_its_bytes(
    any_passing: GatewayProcess, any_sdk: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    content = MP3 * (20 * MEGABYTE // len(MP3))
    path = "/v1/files/file-1/content"
    reply = bytes_reply(200, content, "application/octet-stream")
    upstream.script(bytes_reply(200, MP3, "application/octet-stream"), reply, path=path)
    assert MP3 == any_sdk.files.content("file-1").content

    def download() -> None:
        with any_sdk.files.with_streaming_response.content("file-1") as response:
            assert len(content) == sum(map(len, response.iter_bytes(65_536)))

    assert peak_growth_mb(any_passing.pid, download) < 10


# -- requests as they are


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_method_query_status_and_body_go_through(
    passing: GatewayProcess, upstream: ScriptedUpstream, method: str
) -> None:
    path = f"/v1/rerank/{method.lower()}"
    upstream.script(json_reply(418, {"no": "coffee"}, {"Retry-After": "7"}), path=path)
    body = {"query": "q", "documents": ["a", "b"]} if method != "GET" else None
    answer = exchange(f"{passing.url}{path}?top_n=2&b=%26%20c", body, method=method, key=API_KEY)
    assert (418, {"no": "coffee"}, "7") == (
        answer.status,
        answer.json,
        answer.headers["retry-after"],
    )
    assert "openai" == answer.headers["x-one-api-deployment"]
    request = last_request(upstream, path)
    assert (method, "top_n=2&b=%26%20c") == (request.method, request.query)
    assert body == (request.json if body else None)


def test_a_query_names_the_model(
    gateway: GatewayProcess, openai_upstream: ScriptedUpstream
) -> None:
    openai_upstream.script(json_reply(200, {}), path="/v1/voices")
    url = f"{gateway.base_url}/voices?model=openai/tts-1&limit=3"
    assert 200 == exchange(url, key=API_KEY).status
    assert "model=tts-1&limit=3" == last_request(openai_upstream, "/v1/voices").query


def test_a_head_has_no_body(passing: GatewayProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(
        (Head(200, (("Content-Length", "5"), ("Content-Type", "text/plain"))),),
        path="/v1/head",
    )
    answer = exchange(f"{passing.base_url}/head", method="HEAD", key=API_KEY)
    assert (200, b"", "text/plain") == (answer.status, answer.body, answer.headers["content-type"])


def test_only_listed_headers_go_either_way(
    passing: GatewayProcess, upstream: ScriptedUpstream
) -> None:
    secret = {"Set-Cookie": "session=1", "Server": "theirs", "openai-organization": "org-ours"}
    upstream.script(json_reply(200, {}, secret), path="/v1/batches")
    answer = exchange(
        f"{passing.base_url}/batches",
        {"input_file_id": "file-1"},
        headers={
            "Authorization": f"Bearer {API_KEY}",
            "x-api-key": API_KEY,
            "Cookie": "session=2",
            "OpenAI-Beta": "assistants=v2",
            "Idempotency-Key": "once",
            "OpenAI-Organization": "org-theirs",
            "X-Forwarded-Host": "elsewhere",
            "Connection": "X-Hop",
            "X-Hop": "1",
        },
    )
    assert 200 == answer.status
    assert {"set-cookie", "openai-organization"}.isdisjoint(answer.headers)
    request = last_request(upstream, "/v1/batches")
    told = {"authorization", "content-length", "content-type", "idempotency-key", "openai-beta"}
    automatic = {"accept", "accept-encoding", "host", "user-agent"}
    assert told | automatic == set(request.headers)
    assert API_KEY not in repr(request.raw_headers)


# -- refusals


def error_of(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.error["code"]


def test_without_a_model_an_adapter_must_be_configured(gateway: GatewayProcess) -> None:
    answer = exchange(f"{gateway.base_url}/batches", {"input_file_id": "file-1"}, key=API_KEY)
    assert (400, "missing_required_parameter") == error_of(answer)
    assert "PASSTHROUGH_ADAPTER" in answer.error["message"]


@pytest.mark.parametrize("path", ["/v1/files", "/v1/audio/speech"])
def test_a_key_is_needed(passing: GatewayProcess, upstream: ScriptedUpstream, path: str) -> None:
    before = len(upstream.requests)
    answer = exchange(f"{passing.url}{path}", {"model": "openai/x"}, key="wrong-key")
    assert (401, "invalid_api_key") == error_of(answer)
    assert before == len(upstream.requests)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_is_a_502_without_the_providers_words(
    passing: GatewayProcess, upstream: ScriptedUpstream, status: int
) -> None:
    upstream.script(openai_error(status, f"bad key {OPENAI_CREDENTIAL}"), path="/v1/refused")
    answer = exchange(f"{passing.base_url}/refused", key=API_KEY)
    assert (502, "upstream_authentication_error") == error_of(answer)
    assert OPENAI_CREDENTIAL not in answer.body.decode()


def test_redirects_are_not_followed(passing: GatewayProcess, upstream: ScriptedUpstream) -> None:
    head = Head(302, (("Location", "http://127.0.0.1:1/"), ("Content-Length", "0")))
    upstream.script((head,), path="/v1/moved")
    answer = exchange(f"{passing.base_url}/moved", key=API_KEY)
    assert (502, "upstream_invalid_response") == error_of(answer)
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/admin/keys", 404),
        ("/v1/Metrics", 404),
        ("/v1/files/../admin", 400),
        ("/v1/files/%2e%2e/admin", 400),
        ("/v1/files/..%2fadmin", 400),
        ("/v1/files%2Fa", 400),
        ("/v1/files//a", 400),
        ("/v1//files", 404),
        ("/v1/files/", 400),
        ("/v1/files/%5c", 400),
        ("/v1/files/%252e", 400),
        ("/v1/files/a%0d%0aHost:x", 404),
        ("/v1/files/%3Fa", 400),
        ("/v1/files/%23a", 400),
        ("/v1/files/a@b:c", 200),
    ],
)
def test_a_path_stays_where_it_is(
    any_passing: GatewayProcess, upstream: ScriptedUpstream, path: str, status: int
) -> None:
    """Servers may tidy a path up; what is passed on is what was asked for, or nothing."""
    upstream.script(json_reply(200, {}), path="/v1/files/a@b:c")
    before = len(upstream.requests)
    answer = exchange(f"{any_passing.url}{path}", key=API_KEY)
    assert status == answer.status
    assert (1 if status == 200 else 0) == len(upstream.requests) - before


def test_a_provider_without_such_paths_is_a_404(gateway: GatewayProcess) -> None:
    answer = exchange(f"{gateway.base_url}/audio/speech", {"model": "echo"}, key=API_KEY)
    assert (404, "not_found") == error_of(answer)


def test_stored_completions_are_a_404_without_an_adapter(
    gateway: GatewayProcess, passing: GatewayProcess, upstream: ScriptedUpstream
) -> None:
    path = "/v1/chat/completions"
    for tail in ("?model=openai/x", "/chatcmpl-1", "/chatcmpl-1/messages"):
        answer = exchange(f"{gateway.url}{path}{tail}", key=API_KEY)
        assert (404, "not_found") == error_of(answer)
    upstream.script(json_reply(200, {"object": "list"}), path=path, method="GET")
    assert 200 == exchange(f"{passing.url}{path}?model=openai/x", key=API_KEY).status
    assert "model=openai/x" == last_request(upstream, path).query


def test_it_can_be_switched_off(
    start_gateway: StartGateway, environment: dict[str, str], upstream: ScriptedUpstream
) -> None:
    gateway = start_gateway({**environment, "PASSTHROUGH_ENABLED": "false"})
    answer = exchange(f"{gateway.base_url}/images/generations", {"model": "openai/x"}, key=API_KEY)
    assert (404, "not_found") == error_of(answer)


# -- uploads that go wrong


def upload_head(path: str, length: int | None, content_type: str = "image/png") -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {API_KEY}\r\n"
        f"Content-Type: {content_type}\r\n{framing}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("length", [25 * MEGABYTE, None], ids=["declared", "chunked"])
def test_an_upload_over_the_limit_is_a_413(any_passing: GatewayProcess, length: int | None) -> None:
    chunk = b"%x\r\n" % MEGABYTE + bytes(MEGABYTE) + b"\r\n"
    with sent(any_passing.url, upload_head("/v1/big", length)) as sock:
        with contextlib.suppress(OSError):  # it may hang up before it has heard all
            for _ in range(26 if length is None else 0):
                sock.sendall(chunk)
        with contextlib.suppress(ConnectionResetError):
            assert b" 413 " in sock.recv(65_536).partition(b"\r\n")[0]


def test_the_wrong_key_is_told_before_the_upload_came(passing: GatewayProcess) -> None:
    head = upload_head("/v1/files", MEGABYTE).replace(API_KEY.encode(), b"wrong-key")
    with sent(passing.url, head) as sock:
        assert b" 401 " in sock.recv(65_536).partition(b"\r\n")[0]


def becomes(is_true: Callable[[], object], timeout_s: float = 5) -> bool:
    deadline = time.monotonic() + timeout_s
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(is_true())


def test_leaving_within_an_upload_ends_it_at_the_provider(
    start_gateway: StartGateway, environment: dict[str, str]
) -> None:
    with ScriptedUpstream() as alone:
        gateway = start_gateway({**environment, "OPENAI_BASE_URL": f"{alone.url}/v1"})
        with sent(gateway.url, upload_head("/v1/left", MEGABYTE) + bytes(70_000)):
            assert becomes(lambda: alone.connections)
        assert becomes(lambda: alone.malformed)
        assert re.search(r"of 1000000 bytes arrived", alone.malformed[0])


def test_leaving_while_the_provider_works_frees_it(
    passing: GatewayProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script((Hang(),), path="/v1/slow")
    seen = len(upstream.requests)
    with sent(passing.url, upload_head("/v1/slow", 4) + b"abcd"):
        upstream.wait_for_requests(seen + 1)
    last_request(upstream, "/v1/slow").wait_closed(1)


def test_a_pausing_upload_is_a_408(
    start_gateway: StartGateway, environment: dict[str, str], upstream: ScriptedUpstream
) -> None:
    gateway = start_gateway({**environment, "BODY_TIMEOUT_S": "0.2"})
    with sent(gateway.url, upload_head("/v1/paused", MEGABYTE) + bytes(70_000)) as sock:
        assert b" 408 " in sock.recv(65_536).partition(b"\r\n")[0]


def test_a_chunked_upload_stays_chunked(
    any_passing: GatewayProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script(json_reply(200, {}), path="/v1/images/edits")
    raw = upload_head("/v1/images/edits", None) + b"5\r\nhello\r\n0\r\n\r\n"
    with sent(any_passing.url, raw) as sock:
        assert b" 200 " in sock.recv(65_536).partition(b"\r\n")[0]
    request = last_request(upstream, "/v1/images/edits")
    assert (b"hello", "chunked") == (request.body, request.headers["transfer-encoding"])


# -- replies


def test_a_reply_arrives_as_it_is_sent(
    any_passing: GatewayProcess, upstream: ScriptedUpstream
) -> None:
    gate = Gate()
    head = Head(200, (("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")))
    reply = (head, Chunk(b"data: 1\n\n"), Hold(gate), Chunk(b"data: 2\n\n"), Send(b"0\r\n\r\n"))
    upstream.script(reply, path="/v1/events")
    with stream(f"{any_passing.base_url}/events", {}, key=API_KEY) as response:
        assert b"data: 1\n\n" == response.read1()
        gate.open()
        assert b"data: 2\n\n" == response.read()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_cut_reply_does_not_look_complete(
    any_passing: GatewayProcess, upstream: ScriptedUpstream, framing: str
) -> None:
    gate = Gate()
    reply: tuple[Step, ...] = (Head(200, (("Content-Length", "100"),)), Send(b"half"))
    if framing == "chunked":
        reply = (Head(200, (("Transfer-Encoding", "chunked"),)), Chunk(b"half"))
    upstream.script((*reply, Hold(gate), Close()), path="/v1/cut")
    with stream(f"{any_passing.base_url}/cut", {}, key=API_KEY) as response:
        assert b"half" == response.read(4)
        gate.open()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()


def test_a_models_own_path_is_not_shadowed(gateway: GatewayProcess, openai_scene: Scene) -> None:
    openai_scene.script(openai_scene.whole())
    url = f"{gateway.base_url}/chat/completions"
    answer = exchange(url, json.dumps(openai_scene.ask()).encode(), key=API_KEY)
    assert "chat.completion" == answer.json["object"]
