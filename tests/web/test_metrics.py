"""Metrics under WSGI, where requests end on threads and numbers are gathered on the loop."""

from __future__ import annotations

from tests.observe.scenes import samples_of
from tests.web.conftest import AUTH, MakeApp, keyed

CHAT = "/v1/chat/completions"
TOKEN = "a-token-for-metrics"


def test_what_threads_served_is_told(make_app: MakeApp) -> None:
    app = make_app(metrics_token=TOKEN)
    client = keyed(app)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with client.post(CHAT, json=body, headers=AUTH) as reply:
        assert reply.data.endswith(b"data: [DONE]\n\n")

    text = app.test_client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text

    samples = samples_of(text)
    asked = {"endpoint": CHAT, "model": "m", "deployment": "a/m", "status": "200"}
    assert 1 == samples[("one_api_requests_total", frozenset(asked.items()))]
    assert 0 == samples[("one_api_streams_open", frozenset())]
