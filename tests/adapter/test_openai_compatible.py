"""Providers of OpenAI's own format: what is changed on the way, and that nothing else is."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    Call,
    ChatCompletionRequest,
    CompatibleProvider,
    ConfigurationError,
    CredentialRejected,
    HTTPTransport,
    ModelInfo,
    OpenAICompatibleAdapter,
    OpenAICompatibleSettings,
    RawRequest,
    Relay,
    SupportsPassthrough,
    Timeouts,
    UpstreamInvalidResponse,
    WireReply,
    WireRequest,
    normalise_base_url,
)

BASIC = CompatibleProvider(name="basic", base_url="https://api.basic.test/v1")
FULL = replace(BASIC, max_completion_tokens=True, developer_role=True)
CALL = Call(model="their-name")


class StaticReply(WireReply):
    """A reply of one piece."""

    def __init__(self, body: bytes, status: int) -> None:
        self._body = body
        self._status = status

    @property
    @override
    def status(self) -> int:
        return self._status

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return {}

    @override
    async def read(self, limit: int) -> bytes:
        return self._body

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield self._body


class StaticTransport(HTTPTransport):
    """Always the same reply."""

    def __init__(self, body: object = b"", status: int = 200) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._reply = StaticReply(raw, status)
        self.sent: list[WireRequest] = []

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        self.sent.append(request)
        yield self._reply


def adapter(
    provider: CompatibleProvider = BASIC,
    transport: StaticTransport | None = None,
    **settings: Any,
) -> OpenAICompatibleAdapter:
    context = AdapterContext(http=transport or StaticTransport(), logger=logging.getLogger("tests"))
    return OpenAICompatibleAdapter(OpenAICompatibleSettings(**settings), context, provider)


def request(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.from_wire(
        {"model": "public-name", "messages": [{"role": "user", "content": "Hi"}], **fields}
    )


def wire_body(provider: CompatibleProvider = BASIC, **fields: Any) -> Any:
    body = adapter(provider).to_wire(request(**fields), CALL).body
    assert isinstance(body, bytes)
    return json.loads(body)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://api.test", "https://api.test/v1"),
        ("https://api.test/", "https://api.test/v1"),
        ("https://api.test/v1", "https://api.test/v1"),
        ("https://api.test/v1/", "https://api.test/v1"),
        ("https://api.test/v1//", "https://api.test/v1"),
        ("https://api.test/v2", "https://api.test/v2"),
        ("https://api.test/openai/v1", "https://api.test/openai/v1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("HTTPS://api.test", "https://api.test/v1"),
        ("  https://api.test \n", "https://api.test/v1"),
    ],
)
def test_base_url_gets_a_version_path_and_loses_its_slash(value: str, expected: str) -> None:
    assert expected == normalise_base_url(value)
    assert expected == normalise_base_url(expected)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "api.test",
        "api.test/v1",
        "//api.test",
        "ftp://api.test",
        "file:///etc/passwd",
        "http://",
        "http:///v1",
        "http://:8080/v1",
        "http://[::1/v1",
        "https://api.test/v1?key=1",
        "https://api.test/v1#top",
        "https://user@api.test/v1",
        "https://user:canary@api.test/v1",
        "https://:canary@api.test/v1",
    ],
)
def test_what_is_no_base_url_is_refused_without_being_quoted(value: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are checked next
        normalise_base_url(value)
    assert "canary" not in str(caught.value)


@given(st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp"))))
@settings(deadline=None)
def test_any_text_is_a_base_url_or_a_value_error(text: str) -> None:
    try:
        url = normalise_base_url(f"https://{text}")
    except ValueError:
        return
    assert url.startswith("https://")
    assert not url.endswith("/")
    assert url == normalise_base_url(url)


class TestSettings:
    def test_base_url_is_normalised(self) -> None:
        settings = OpenAICompatibleSettings(base_url="https://api.test/")
        assert "https://api.test/v1" == settings.base_url

    def test_wrong_base_url_is_a_configuration_error(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            OpenAICompatibleSettings.from_environment({"BASE_URL": "https://u:canary@api.test"})
        assert "BASE_URL" == caught.value.variable
        assert "canary" not in str(caught.value)

    @pytest.mark.parametrize(
        ("models", "names"),
        [("", ()), (" , ,", ()), ("a", ("a",)), (" a ,b,, c:7b ", ("a", "b", "c:7b"))],
    )
    def test_model_names(self, models: str, names: tuple[str, ...]) -> None:
        assert names == OpenAICompatibleSettings(models=models).model_names


class TestToWire:
    def test_only_the_model_changes(self) -> None:
        fields: dict[str, Any] = {
            "temperature": 0.5,
            "seed": 7,
            "of_its_own": {"deep": [1, None, "é"]},
        }
        assert {
            "model": "their-name",
            "messages": [{"role": "user", "content": "Hi"}],
            **fields,
        } == wire_body(**fields)

    def test_destination_and_credential_come_from_the_settings_alone(self) -> None:
        hostile = {
            "base_url": "http://evil.test",
            "api_base": "http://evil.test",
            "api_key": "theirs",
            "headers": {"Authorization": "theirs"},
            "extra_headers": {"Host": "evil.test"},
        }
        wire = adapter(api_key=SecretStr("ours")).to_wire(request(**hostile), CALL)
        assert ("POST", "https://api.basic.test/v1/chat/completions") == (wire.method, wire.url)
        assert {
            "Content-Type": "application/json",
            "Authorization": "Bearer ours",
        } == wire.headers

    def test_settings_may_move_the_provider(self) -> None:
        moved = adapter(base_url="http://127.0.0.1:8080/")
        assert "http://127.0.0.1:8080/v1/chat/completions" == moved.to_wire(request(), CALL).url

    def test_no_credential_no_header(self) -> None:
        assert "Authorization" not in adapter().to_wire(request(), CALL).headers

    def test_same_request_gives_the_same_bytes(self) -> None:
        one = adapter().to_wire(request(seed=1, top_p=0.5, of_its_own=1), CALL)
        two = adapter().to_wire(request(of_its_own=1, top_p=0.5, seed=1), CALL)
        assert one.body == two.body

    def test_request_itself_is_left_alone(self) -> None:
        original = request(
            stream=True,
            stream_options={"include_obfuscation": False},
            max_completion_tokens=5,
            messages=[{"role": "developer", "content": "d"}],
        )
        before = json.dumps(original.to_wire())
        adapter().to_wire(original, CALL)
        assert before == json.dumps(original.to_wire())

    @pytest.mark.parametrize(
        ("provider", "sent", "expected"),
        [
            (BASIC, {"max_completion_tokens": 5}, {"max_tokens": 5}),
            (BASIC, {"max_tokens": 5}, {"max_tokens": 5}),
            (FULL, {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
            (FULL, {"max_tokens": 5}, {"max_tokens": 5}),
            (BASIC, {}, {}),
        ],
    )
    def test_completion_limit_goes_under_a_name_the_provider_knows(
        self, provider: CompatibleProvider, sent: dict[str, int], expected: dict[str, int]
    ) -> None:
        body = wire_body(provider, **sent)
        assert expected == {key: value for key, value in body.items() if key.startswith("max_")}

    @pytest.mark.parametrize(("provider", "role"), [(BASIC, "system"), (FULL, "developer")])
    def test_developer_is_system_where_unknown(
        self, provider: CompatibleProvider, role: str
    ) -> None:
        messages = [
            {"role": "developer", "content": "d", "name": "n"},
            {"role": "user", "content": "u"},
        ]
        body = wire_body(provider, messages=messages)
        assert [{**messages[0], "role": role}, messages[1]] == body["messages"]

    @pytest.mark.parametrize(
        ("sent", "expected"),
        [
            ({}, None),
            ({"stream": False}, None),
            ({"stream": True}, {"include_usage": True}),
            ({"stream": True, "stream_options": {"include_usage": False}}, {"include_usage": True}),
            (
                {"stream": True, "stream_options": {"include_obfuscation": False}},
                {"include_obfuscation": False, "include_usage": True},
            ),
        ],
    )
    def test_usage_is_always_asked_of_a_stream(
        self, sent: dict[str, Any], expected: dict[str, bool] | None
    ) -> None:
        assert expected == wire_body(**sent).get("stream_options")

    @pytest.mark.parametrize("options", [None, {"include_usage": True}])
    def test_usage_is_not_asked_where_it_comes_unasked(
        self, options: dict[str, bool] | None
    ) -> None:
        provider = replace(BASIC, stream_usage=False)
        assert "stream_options" not in wire_body(provider, stream=True, stream_options=options)


async def test_reply_is_relayed_byte_for_byte() -> None:
    body = b'data: {"anything":  [1]}\r\n\r\n\xff'
    events = adapter(transport=StaticTransport(body)).generate_completion(request(), CALL)
    assert [Relay(body)] == [event async for event in events]


async def test_error_is_told_before_any_byte_is_relayed() -> None:
    transport = StaticTransport({"error": {"message": "no"}}, 401)
    events = adapter(transport=transport).generate_completion(request(), CALL)
    with pytest.raises(CredentialRejected):
        await anext(events)


def test_provider_judges_every_parameter() -> None:
    assert () == adapter().parameters("any").settle(request(n=2, of_its_own=1), strict=True)


class TestPassthrough:
    def test_adapter_has_the_ability(self) -> None:
        assert isinstance(adapter(), SupportsPassthrough)

    @pytest.mark.parametrize(
        ("path", "query", "url"),
        [
            ("/embeddings", "", "https://api.basic.test/v1/embeddings"),
            (
                "/files/f-1/content",
                "a=1&b=%20",
                "https://api.basic.test/v1/files/f-1/content?a=1&b=%20",
            ),
        ],
    )
    def test_request_goes_below_the_version_path(self, path: str, query: str, url: str) -> None:
        wire = adapter().passthrough(RawRequest(path=path, query=query, body=b"x"), CALL)
        assert WireRequest(url=url, body=b"x") == wire

    def test_credential_is_ours_and_other_headers_pass(self) -> None:
        raw = RawRequest(path="/x", method="DELETE", headers={"OpenAI-Beta": "a"})
        wire = adapter(api_key=SecretStr("ours")).passthrough(raw, CALL)
        assert wire is not None
        assert ("DELETE", {"OpenAI-Beta": "a", "Authorization": "Bearer ours"}, None) == (
            wire.method,
            wire.headers,
            wire.body,
        )

    @given(path=st.text(max_size=30), query=st.text(max_size=10))
    @settings(deadline=None)
    def test_no_path_decides_which_host_is_called(self, path: str, query: str) -> None:
        wire = adapter().passthrough(RawRequest(path=path, query=query), CALL)
        assert wire is not None
        assert urlsplit(wire.url).netloc == "api.basic.test"

    @pytest.mark.parametrize(
        "path", ["@evil.test/", ".evil.test/", "//evil.test/", ":80@evil.test"]
    )
    def test_hostile_path_stays_with_the_provider(self, path: str) -> None:
        wire = adapter(base_url="https://api.basic.test").passthrough(RawRequest(path=path), CALL)
        assert wire is not None
        assert urlsplit(wire.url).netloc == "api.basic.test"


class TestListModels:
    async def test_list_is_asked_with_the_credential(self) -> None:
        transport = StaticTransport({"data": []})
        assert [] == await adapter(transport=transport, api_key=SecretStr("ours")).list_models()
        (sent,) = transport.sent
        assert ("GET", "https://api.basic.test/v1/models", "Bearer ours", None) == (
            sent.method,
            sent.url,
            sent.headers["Authorization"],
            sent.body,
        )

    async def test_named_models_need_no_question(self) -> None:
        transport = StaticTransport()
        models = await adapter(transport=transport, models="a, b").list_models()
        assert [
            ModelInfo(id="a", owned_by="basic"),
            ModelInfo(id="b", owned_by="basic"),
        ] == models
        assert [] == transport.sent

    @pytest.mark.parametrize(
        ("model", "expected"),
        [
            ({"id": "m"}, ModelInfo(id="m", owned_by="basic")),
            (
                {"id": "m", "created": 5, "owned_by": "them", "object": "model"},
                ModelInfo(id="m", owned_by="them", created=5),
            ),
            (
                {"id": "m", "created": "2026", "owned_by": ""},
                ModelInfo(id="m", owned_by="basic"),
            ),
            ({"id": "m", "created": -1}, ModelInfo(id="m", owned_by="basic")),
            ({"id": "m", "created": 10**12}, ModelInfo(id="m", owned_by="basic")),
            (
                {"id": "m", "created": None, "owned_by": None},
                ModelInfo(id="m", owned_by="basic"),
            ),
            *(
                (
                    {"id": "m", name: 8_192},
                    ModelInfo(id="m", owned_by="basic", context_window=8_192),
                )
                for name in ("context_window", "context_length", "max_model_len")
            ),
            (
                {"id": "m", "context_window": None, "context_length": 4_096},
                ModelInfo(id="m", owned_by="basic", context_window=4_096),
            ),
            ({"id": "m", "context_window": "8k"}, ModelInfo(id="m", owned_by="basic")),
        ],
    )
    @pytest.mark.parametrize("bare", [False, True], ids=["object", "bare list"])
    async def test_model_is_read_whatever_the_provider_leaves_out(
        self, model: dict[str, Any], expected: ModelInfo, bare: bool
    ) -> None:
        listed = [model] if bare else {"object": "list", "data": [model]}
        assert [expected] == await adapter(transport=StaticTransport(listed)).list_models()

    async def test_entries_without_an_id_are_left_out(self) -> None:
        listed = {"data": [{"id": "a"}, {}, {"id": None}, {"id": 5}, "b", None, {"id": "c"}]}
        models = await adapter(transport=StaticTransport(listed)).list_models()
        assert ["a", "c"] == [model.id for model in models]

    @pytest.mark.parametrize("listed", [{}, {"data": None}, {"data": {}}, "models", 5, None])
    async def test_what_is_no_list_is_told(self, listed: object) -> None:
        with pytest.raises(UpstreamInvalidResponse, match="'data'"):
            await adapter(transport=StaticTransport(listed)).list_models()
