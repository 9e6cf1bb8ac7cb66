"""WSGI servers may answer each request in a thread of its own."""

from __future__ import annotations

import pytest
from greenlet import greenlet

from tests.web.conftest import MakeApp, keyed, make_app

__all__ = ["make_app"]


def refuse() -> greenlet:
    raise AssertionError("a thread that ends must not be known to greenlet")


def test_threads_of_requests_ask_greenlet_nothing(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = keyed(make_app())
    monkeypatch.setattr("one_api.runtime.application.getcurrent", refuse)

    answer = client.post(
        "/v1/chat/completions",
        json={"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    )

    assert 200 == answer.status_code
