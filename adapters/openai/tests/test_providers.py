"""The table: each row is switched on by its own variables, and tells nothing twice."""

from __future__ import annotations

import logging
import re
from contextlib import AbstractAsyncContextManager

import pytest
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    Call,
    ChatCompletionRequest,
    CompatibleProvider,
    ConfigurationError,
    HTTPTransport,
    Timeouts,
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
