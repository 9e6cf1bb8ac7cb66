from __future__ import annotations

import pytest

from adapters.ollama.tests.scripted import Scripted, as_json, connect
from one_api.adapter import (
    CredentialRejected,
    GatewayError,
    SupportsHealthProbe,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
)


async def test_a_server_that_tells_its_version_is_alive() -> None:
    adapter, script = connect(as_json({"version": "0.40.12"}))
    assert isinstance(adapter, SupportsHealthProbe)
    await adapter.probe("qwen3", 1.0)

    assert [("/api/version", None)] == script.asked
    assert "GET" == script.requests[0].method


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (as_json({"error": "busy"}, 503), UpstreamOverloaded),
        (as_json({"error": "unauthorized"}, 401), CredentialRejected),
        (as_json({"status": "ok"}), UpstreamInvalidResponse),
        (as_json([]), UpstreamInvalidResponse),
        (Scripted(b"<html>", fields={"content-type": "text/html"}), UpstreamInvalidResponse),
    ],
    ids=["busy", "key", "something else", "no object", "a page"],
)
async def test_anything_else_is_no_sign_of_life(reply: Scripted, error: type[GatewayError]) -> None:
    adapter, _ = connect(reply)

    with pytest.raises(error):
        await adapter.probe("qwen3", 1.0)
