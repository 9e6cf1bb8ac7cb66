"""Leaving in good order: no new work, short replies finish, long ones are cut in the open."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping

import pytest

from tests.e2e.conftest import API_KEY, StartGateway
from tests.e2e.exchanges import Answer, exchange, raw_request, sent, stream
from tests.e2e.gateways import GatewayProcess, Server
from tests.e2e.scenes import Scene
from tests.scripted_upstream import HELLO, Gate, Hang, Hold, ScriptedUpstream, sse_reply

# Each starts gateways of its own, to stop them.
pytestmark = pytest.mark.slow

#: How a server's process ends after SIGTERM: uvicorn passes the signal on once it is done.
EXIT_STATUS: dict[Server, int] = {"one-api": 0, "uvicorn": -15, "gunicorn": 0, "flask": -15}


@pytest.fixture(params=["one-api", "uvicorn"])
def leaving_gateway(
    request: pytest.FixtureRequest, start_gateway: StartGateway, providers: Mapping[str, str]
) -> GatewayProcess:
    """A gateway of the test's own, whose requests get a second to end."""
    return start_gateway({**providers, "DRAIN_TIMEOUT_S": "1"}, server=request.param)


class Talk:
    """A stream under way."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self._arrived = b""

    def hear_first_words(self) -> None:
        while HELLO.words[-1].encode() not in self._arrived:
            piece = self._response.read1()
            assert piece, "the stream ended before its last word"
            self._arrived += piece

    def hear_the_rest(self) -> Answer:
        self._arrived += self._response.read()
        return Answer(self._response.status, {}, self._arrived)


def wait_until_refusing(gateway: GatewayProcess) -> None:
    """Return once new work is refused, by an answer or by the listening socket."""
    is_refusing = False
    while not is_refusing:
        try:
            ready = exchange(f"{gateway.url}/health/ready")
            work = exchange(f"{gateway.base_url}/models", key=API_KEY)
        except ConnectionError:
            return
        if ready.status != 200:
            assert (503, "draining") == (ready.status, ready.json["status"])
        if work.status != 200:
            assert (503, "server_is_shutting_down") == (work.status, work.error["code"])
            assert "1" == work.headers["retry-after"]
            is_refusing = True


def test_short_replies_end_well_and_long_ones_are_cut_in_the_open(
    leaving_gateway: GatewayProcess, openai_upstream: ScriptedUpstream
) -> None:
    short, long, whole = (Scene(openai_upstream, "openai") for _ in range(3))
    gate = Gate()
    words = short.begun()
    short.script(sse_reply([*words, Hold(gate), *short.frames()[len(words) :]]))
    long.script(sse_reply([*long.begun(), Hang()]))
    whole.script((Hang(),))
    url = f"{leaving_gateway.base_url}/chat/completions"
    request = raw_request("/v1/chat/completions", json.dumps(whole.ask()).encode(), API_KEY)
    with (
        stream(url, short.ask(stream=True), key=API_KEY) as first,
        stream(url, long.ask(stream=True), key=API_KEY) as second,
        sent(leaving_gateway.url, request) as third,
    ):
        talks = Talk(first), Talk(second)
        for talk in talks:
            talk.hear_first_words()
        whole.wait_for_request()
        leaving_gateway.terminate()
        wait_until_refusing(leaving_gateway)
        gate.open()
        finished, cut = (talk.hear_the_rest() for talk in talks)
        refused = http.client.HTTPResponse(third)
        refused.begin()
        told = json.loads(refused.read())
    assert "[DONE]" == finished.events[-1]
    assert "server_is_shutting_down" == cut.events[-1]["error"]["code"]
    assert b"[DONE]" not in cut.body
    assert (503, "server_is_shutting_down") == (refused.status, told["error"]["code"])
    assert refused.headers["retry-after"]
    for scene in (long, whole):
        scene.request.wait_closed()
    assert EXIT_STATUS[leaving_gateway.server] == leaving_gateway.wait_exit()


@pytest.mark.parametrize("server", list(EXIT_STATUS))
def test_an_idle_gateway_leaves_at_once(
    start_gateway: StartGateway, providers: Mapping[str, str], server: Server
) -> None:
    gateway = start_gateway({**providers, "DRAIN_TIMEOUT_S": "60"}, server=server)
    assert 200 == exchange(f"{gateway.base_url}/models", key=API_KEY).status
    gateway.terminate()
    assert EXIT_STATUS[server] == gateway.wait_exit()
    assert "Traceback" not in gateway.log
