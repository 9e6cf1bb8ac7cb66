"""Requests that are passed on: who is asked, and when a reply is the client's to see."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from one_api.adapter import AdapterContext, RawRequest
from one_api.deployment import Group, Timeouts
from one_api.errors import InvalidRequest, UpstreamOverloaded
from one_api.failover import Failover, RequestContext
from one_api.forwarding import ClientRequest, ForwardedReply, Forwarder
from one_api.registry import ModelRegistry
from one_api.routing import Router
from one_api.upstream import Upstream
from one_api.upstreams_file import read_upstreams
from tests.adapters_in_test import running
from tests.scripted_upstream import ScriptedUpstream, anthropic_error, json_reply, openai_error

MESSAGES = RawRequest(path="/messages")
RERANK = RawRequest(path="/rerank")


@asynccontextmanager
async def forwarder(
    directory: Path,
    adapters: Sequence[str],
    urls: Sequence[str],
    *,
    strategy: str = "ordered",
    max_attempts: int = 3,
) -> AsyncIterator[Forwarder]:
    """A forwarder to providers of `m`, called p0, p1 and so on, at `urls`."""
    path = directory / "upstreams.yaml"
    path.touch(0o600)
    entries = "".join(
        f"  - {{name: p{number}, adapter: {adapter}, sk: sk-{number}-credential, "
        f'endpoint: "{url}", models: [m]}}\n'
        for number, (adapter, url) in enumerate(zip(adapters, urls, strict=True))
    )
    path.write_text(f"groups: {{default: {{strategy: {strategy}}}}}\nupstreams:\n{entries}")
    client = Upstream(user_agent="tests")

    def context(name: str) -> AdapterContext:
        return AdapterContext(http=client, logger=logging.getLogger(name))

    registry = ModelRegistry()
    registry.load(environment={}, context=context)
    registry.set_upstreams(read_upstreams(path, {}, timeouts=Timeouts()), context)
    await client.open()
    try:
        async with running(registry):
            yield Forwarder(Failover(registry, Router(), max_attempts=max_attempts))
    finally:
        await client.close()


def asked(outline: RawRequest, *, is_stream: bool = False) -> ClientRequest:
    """A request for the model `m`."""

    def for_model(model: str | None) -> RawRequest:
        body = b'{"model":"%s"}' % (model or "").encode()
        return RawRequest(path=outline.path, headers=outline.headers, body=body)

    return ClientRequest(outline=outline, for_model=for_model, model="m", is_stream=is_stream)


async def body_of(reply: ForwardedReply | None) -> bytes:
    assert reply is not None
    return b"".join([data async for data in reply.chunks])


def chats(provider: ScriptedUpstream) -> int:
    """How many requests a provider got, those for its models left out."""
    return sum(request.method == "POST" for request in provider.requests)


async def test_an_endpoint_that_nobody_has_is_told_as_none(tmp_path: Path) -> None:
    async with forwarder(tmp_path, ["openai"], ["http://127.0.0.1:9"]) as forward:
        assert await forward.forward(asked(MESSAGES), RequestContext()) is None


async def test_those_without_the_endpoint_are_left_for_a_translation(tmp_path: Path) -> None:
    """Once: whoever translates finds in the context who was asked."""
    with ScriptedUpstream() as claude, ScriptedUpstream() as other:
        claude.script(anthropic_error(529, "overloaded_error"), repeat_last=True)
        async with forwarder(tmp_path, ["claude", "openai"], [claude.url, other.url]) as forward:
            context = RequestContext()

            assert await forward.forward(asked(MESSAGES), context) is None

        assert (1, 0) == (chats(claude), chats(other))
        assert ["p0/m"] == [record.deployment for record in context.attempts]


async def test_without_attempts_left_the_providers_own_reply_is_given(tmp_path: Path) -> None:
    """Nobody could be asked for a translation."""
    with ScriptedUpstream() as claude, ScriptedUpstream() as other:
        claude.script(anthropic_error(529, "overloaded_error", "busy"))
        urls = [claude.url, other.url]
        async with forwarder(tmp_path, ["claude", "openai"], urls, max_attempts=1) as forward:
            reply = await forward.forward(asked(MESSAGES), RequestContext())

            assert b"busy" in await body_of(reply)
            assert reply is not None
            assert 529 == reply.status


async def test_a_refused_credential_without_attempts_left_is_an_error(tmp_path: Path) -> None:
    """Its own words are never the client's."""
    with ScriptedUpstream() as one, ScriptedUpstream() as other:
        one.script(openai_error(401, "sk-0-credential"))
        other.script(openai_error(503, "busy"))
        async with forwarder(tmp_path, ["openai", "openai"], [one.url, other.url]) as forward:
            reply = await forward.forward(asked(RERANK), RequestContext())

            assert b"busy" in await body_of(reply)
        async with forwarder(tmp_path, ["openai"], [one.url]) as forward:
            one.script(openai_error(401, "sk-0-credential"))
            with pytest.raises(Exception, match="refused the gateway's credential") as caught:
                await forward.forward(asked(RERANK), RequestContext())
            assert "sk-0" not in str(caught.value)


@pytest.mark.parametrize("strategy", ["ordered", "round_robin"])
async def test_the_operators_choice_is_not_changed_by_the_format(
    tmp_path: Path, strategy: str
) -> None:
    """Where another provider's turn may come first, all are asked in a translation."""
    with ScriptedUpstream() as claude, ScriptedUpstream() as other:
        claude.script(json_reply(200, {"type": "message"}), repeat_last=True)
        urls = [claude.url, other.url]
        async with forwarder(tmp_path, ["claude", "openai"], urls, strategy=strategy) as forward:
            reply = await forward.forward(asked(MESSAGES), RequestContext())

            assert (reply is not None) == (strategy == Group().strategy)
            if reply is not None:
                await body_of(reply)


async def test_a_translated_model_that_comes_first_stays_first(tmp_path: Path) -> None:
    with ScriptedUpstream() as claude, ScriptedUpstream() as other:
        urls = [other.url, claude.url]
        async with forwarder(tmp_path, ["openai", "claude"], urls) as forward:
            assert await forward.forward(asked(MESSAGES), RequestContext()) is None
        assert (0, 0) == (chats(claude), chats(other))


async def test_a_request_that_names_no_model_needs_an_adapter() -> None:
    forward = Forwarder(Failover(ModelRegistry(), Router()))
    request = ClientRequest(outline=RERANK, for_model=lambda _: RERANK)
    with pytest.raises(InvalidRequest, match="names no model"):
        await forward.forward(request, RequestContext())


async def test_the_reply_tells_the_router_how_it_ended(tmp_path: Path) -> None:
    """Five failures that the client saw open the breaker as five that it did not see."""
    with ScriptedUpstream() as one:
        one.script(openai_error(503, "busy"), repeat_last=True)
        async with forwarder(tmp_path, ["openai"], [one.url]) as forward:
            for _ in range(3):
                await body_of(await forward.forward(asked(RERANK), RequestContext()))
            router = forward._failover.router
            (state,) = router.states(await forward._failover.deployments("m", RequestContext()))

            assert (3, UpstreamOverloaded.code) == (
                state.consecutive_failures,
                state.last_error_code,
            )
            assert 0 == state.in_flight
