"""The table: each row is switched on by its own variables, and tells nothing twice."""

from __future__ import annotations

import logging
import re
from contextlib import AbstractAsyncContextManager

import pytest
from pydantic import SecretStr
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    Call,
    ChatCompletionRequest,
    CompatibleProvider,
    ConfigurationError,
    HTTPTransport,
    Timeouts,
    UpstreamSettings,
    UpstreamUnreachable,
    WireReply,
    WireRequest,
    normalise_base_url,
)
from one_api_openai import PROVIDERS, OpenAIAdapter
from one_api_openai.adapter import variable_prefix

CREDENTIAL = "sk-credential-of-the-operator"
ROWS = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)


class NoNetwork(HTTPTransport):
    """A transport for what must not need one."""

    @override
    def send(
        self, request: WireRequest, timeouts: Timeouts
    ) -> AbstractAsyncContextManager[WireReply]:
        raise UpstreamUnreachable("there is no network here")


@pytest.fixture
def context() -> AdapterContext:
    return AdapterContext(http=NoNetwork(), logger=logging.getLogger("openai"))


def built(context: AdapterContext, **environment: str) -> dict[str, OpenAIAdapter]:
    adapters = OpenAIAdapter.build("openai", environment, context)
    assert all(isinstance(adapter, OpenAIAdapter) for adapter in adapters.values())
    return {name: a for name, a in adapters.items() if isinstance(a, OpenAIAdapter)}


def test_nothing_is_on_by_itself(context: AdapterContext) -> None:
    assert {} == built(context)
    assert {} == built(context, OPENAI_API_KEY="", OPENAI_MODELS="gpt-4", PATH="/bin")
    assert "OPENAI_API_KEY" in OpenAIAdapter.how_to_configure()


@ROWS
def test_a_key_switches_its_row_on_and_no_other(
    context: AdapterContext, provider: CompatibleProvider
) -> None:
    (name,) = built(context, **{f"{variable_prefix(provider)}_API_KEY": CREDENTIAL})
    assert provider.name == name


@ROWS
def test_a_base_url_alone_does_where_no_key_is_needed(
    context: AdapterContext, provider: CompatibleProvider
) -> None:
    """And for the first row, which stands for any other endpoint."""
    on = built(context, **{f"{variable_prefix(provider)}_BASE_URL": "http://127.0.0.1:9"})
    assert (provider.keyless or provider.name == "openai") == (provider.name in on)


def test_rows_are_built_in_the_order_of_the_table(context: AdapterContext) -> None:
    environment = {f"{variable_prefix(row)}_API_KEY": CREDENTIAL for row in reversed(PROVIDERS)}
    assert [row.name for row in PROVIDERS] == list(built(context, **environment))


def test_names_and_variables_are_unique() -> None:
    assert len(PROVIDERS) == len({row.name for row in PROVIDERS})
    assert len(PROVIDERS) == len({variable_prefix(row) for row in PROVIDERS})


@ROWS
def test_a_row_is_sound(provider: CompatibleProvider) -> None:
    assert provider.base_url == normalise_base_url(provider.base_url)
    assert re.fullmatch(r"[a-z][a-z0-9-]*", provider.name)
    assert re.fullmatch(r"[A-Z][A-Z0-9_]*", variable_prefix(provider))
    assert re.search(r"20\d\d-\d\d|\d+\.\d+\.\d+", provider.source), "no date, no version"
    if provider.keyless:
        assert provider.base_url.startswith("http://127.0.0.1:")
    else:
        assert provider.base_url.startswith("https://")


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://api.example", "https://api.example/v1/chat/completions"),
        ("https://api.example/", "https://api.example/v1/chat/completions"),
        ("https://api.example/v1", "https://api.example/v1/chat/completions"),
        ("https://api.example/v1/", "https://api.example/v1/chat/completions"),
        ("https://api.example/v2//", "https://api.example/v2/chat/completions"),
        ("https://api.example/a/b", "https://api.example/a/b/chat/completions"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/chat/completions"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1/chat/completions"),
        ("  https://api.example/v1 ", "https://api.example/v1/chat/completions"),
    ],
)
def test_a_base_url_may_be_written_in_many_ways(
    context: AdapterContext, given: str, url: str
) -> None:
    adapter = built(context, OPENAI_BASE_URL=given)["openai"]
    assert url == wire_url(adapter)


@ROWS
def test_without_a_base_url_the_rows_own_is_asked(
    context: AdapterContext, provider: CompatibleProvider
) -> None:
    on = built(context, **{f"{variable_prefix(provider)}_API_KEY": CREDENTIAL})
    assert f"{provider.base_url}/chat/completions" == wire_url(on[provider.name])


def wire_url(adapter: OpenAIAdapter) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    return adapter.to_wire(ChatCompletionRequest.from_wire(body), Call(model="m")).url


@ROWS
@pytest.mark.parametrize(
    "value",
    [
        "api.example/v1",
        "ftp://api.example",
        "https://",
        "https:///v1",
        "https://user:secret-password@api.example/v1",
        "https://api.example/v1?key=secret-password",
        "https://api.example/v1#secret-password",
        "secret-password",
    ],
)
def test_a_wrong_base_url_is_named_by_its_variable_and_not_shown(
    context: AdapterContext, provider: CompatibleProvider, value: str
) -> None:
    variable = f"{variable_prefix(provider)}_BASE_URL"
    with pytest.raises(ConfigurationError) as caught:
        built(context, **{variable: value, f"{variable_prefix(provider)}_API_KEY": CREDENTIAL})
    assert variable == caught.value.variable
    assert provider.base_url in caught.value.expected
    assert "secret-password" not in str(caught.value)
    assert CREDENTIAL not in str(caught.value)


def upstream_of(
    context: AdapterContext, provider: str = "", base_url: str = "", key: str | None = CREDENTIAL
) -> OpenAIAdapter:
    settings = UpstreamSettings(
        provider=provider, base_url=base_url, api_key=SecretStr(key) if key else None
    )
    adapter = OpenAIAdapter.build_upstream("eu", settings, context)
    assert isinstance(adapter, OpenAIAdapter)
    return adapter


@pytest.mark.parametrize(
    ("provider", "endpoint", "row", "url"),
    [
        ("groq", "", "groq", "https://api.groq.com/openai/v1"),
        ("groq", "https://eu.example/v1", "groq", "https://eu.example/v1"),
        ("openai", "https://api.groq.com/openai/v1", "openai", "https://api.groq.com/openai/v1"),
        ("", "https://api.groq.com/openai/v1", "groq", "https://api.groq.com/openai/v1"),
        ("", "https://API.groq.com:443/other", "groq", "https://API.groq.com:443/other"),
        ("", "https://api.openai.com/v2", "openai", "https://api.openai.com/v2"),
        ("", "https://any.example", "openai", "https://any.example/v1"),
        ("", "https://notapi.groq.com/v1", "openai", "https://notapi.groq.com/v1"),
        ("", "http://127.0.0.1:11434/v1", "ollama", "http://127.0.0.1:11434/v1"),
        ("", "http://localhost:11434", "ollama", "http://localhost:11434/v1"),
        ("", "http://127.0.0.1:9/v1", "openai", "http://127.0.0.1:9/v1"),
        ("", "", "openai", "https://api.openai.com/v1"),
        ("no-row", "", "openai", "https://api.openai.com/v1"),
    ],
)
def test_upstream_gets_the_row_it_names_or_the_one_at_its_endpoint(
    context: AdapterContext, provider: str, endpoint: str, row: str, url: str
) -> None:
    adapter = upstream_of(context, provider, endpoint)

    assert row == adapter.provider.name
    assert f"{url}/chat/completions" == wire_url(adapter)
    assert (CREDENTIAL,) == adapter.settings.secrets()


@ROWS
def test_key_is_missing_only_where_the_rows_own_host_insists_on_one(
    context: AdapterContext, provider: CompatibleProvider
) -> None:
    upstream_of(context, provider.name, "https://any.example/v1", key=None)
    if provider.keyless:
        upstream_of(context, provider.name, key=None)
        return
    with pytest.raises(ConfigurationError, match=provider.name) as caught:
        upstream_of(context, provider.name, key=None)
    assert "sk" == caught.value.variable


def test_wrong_endpoint_of_an_upstream_is_told_by_its_field(context: AdapterContext) -> None:
    with pytest.raises(ConfigurationError) as caught:
        upstream_of(context, base_url="https://user:secret-password@api.example/v1")
    assert "endpoint" == caught.value.variable
    assert "secret-password" not in str(caught.value)


def test_unknown_option_is_told_with_the_adapter_that_lacks_it(context: AdapterContext) -> None:
    settings = UpstreamSettings(provider="", options={"organization": "x"})
    with pytest.raises(ConfigurationError, match="'openai' has no such setting") as caught:
        OpenAIAdapter.build_upstream("eu", settings, context)
    assert "options.organization" == caught.value.variable


def test_upstreams_ask_for_each_row_by_its_name_and_for_the_adapter_by_none() -> None:
    assert [row.name for row in PROVIDERS] == list(OpenAIAdapter.providers())
    assert OpenAIAdapter.is_default_upstream


@ROWS
def test_no_row_is_known_to_go_on_with_a_last_assistant_message(
    context: AdapterContext, provider: CompatibleProvider
) -> None:
    """Those that can want more than the message: a field in it, or another path."""
    assert not upstream_of(context, provider.name).continues("any-model")
