"""Whole exchanges: the adapter in a gateway, over real sockets, against a scripted Google."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.gemini.tests.exchange.scripted_google import KEY, MODEL, MODELS, REPLIES, TOOL, told
from one_api.adapter import CredentialRejected, GatewayError, UpstreamRateLimited
from one_api.failover import RequestContext
from one_api.gateway import CompleteReply, StreamedReply
from one_api_gemini import GeminiAdapter
from tests.adapters_in_test import asked, gateway_of, registry_of, running
from tests.scripted_upstream import (
    RecordedRequest,
    Reply,
    Reset,
    ScriptedUpstream,
    json_reply,
    split,
    sse_frame,
    sse_reply,
)


def streamed(name: str) -> Reply:
    return sse_reply(split((REPLIES / f"{name}.sse").read_bytes(), 17))


def list_models(google: ScriptedUpstream) -> None:
    google.script(told("models_2"), path=MODELS, repeat_last=True)


def posts(google: ScriptedUpstream) -> list[RecordedRequest]:
    """The requests but those for the list of models, which come when they like."""
    return [request for request in google.requests if request.method == "POST"]


async def chat(adapter: GeminiAdapter, **fields: Any) -> CompleteReply | StreamedReply:
    async with running(registry_of(gemini=adapter)) as registry:
        request = asked(**{"model": f"gemini/{MODEL}", **fields})
        return await gateway_of(registry).chat(request, RequestContext(request_id="req_1"))


async def completion(adapter: GeminiAdapter, **fields: Any) -> Any:
    reply = await chat(adapter, **fields)
    assert isinstance(reply, CompleteReply)
    return orjson.loads(reply.body)


async def chunks(adapter: GeminiAdapter, **fields: Any) -> list[Any]:
    reply = await chat(adapter, stream=True, **fields)
    assert isinstance(reply, StreamedReply)
    data = b"".join([piece async for piece in reply.chunks])
    frames = [frame.removeprefix(b"data: ") for frame in data.split(b"\n\n") if frame]
    assert b"[DONE]" == frames[-1]
    return [orjson.loads(frame) for frame in frames[:-1]]


async def test_a_completion_is_answered(adapter: GeminiAdapter, google: ScriptedUpstream) -> None:
    list_models(google)
    google.script(told("thought_text"), path=f"{MODELS}/{MODEL}:generateContent")

    body = await completion(adapter, reasoning_effort="low")

    (choice,) = body["choices"]
    assert ("Four.", "stop") == (choice["message"]["content"], choice["finish_reason"])
    assert "**Adding**\n\nTwo and two." == choice["message"]["reasoning_content"]
    assert (11, 36, 47) == tuple(
        body["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    assert 7 == body["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert 34 == body["usage"]["completion_tokens_details"]["reasoning_tokens"]
    (request,) = posts(google)
    assert KEY == request.headers["x-goog-api-key"]
    assert KEY not in request.target
    level = {"includeThoughts": True, "thinkingLevel": "LOW"}
    assert {"thinkingConfig": level} == request.json["generationConfig"]


async def test_a_stream_is_answered(adapter: GeminiAdapter, google: ScriptedUpstream) -> None:
    list_models(google)
    google.script(streamed("text"), path=f"{MODELS}/{MODEL}:streamGenerateContent")

    told_chunks = await chunks(adapter)

    deltas = [chunk["choices"][0]["delta"] for chunk in told_chunks if chunk["choices"]]
    assert "Hello, wörld \u2028🙂" == "".join(delta.get("content") or "" for delta in deltas)
    assert "stop" == told_chunks[-1]["choices"][0]["finish_reason"]
    (request,) = posts(google)
    assert "alt=sse" == request.query


TIERS = {"standard": "default", "flex": "flex", "PRIORITY": "priority", "dedicated": None}


@pytest.mark.parametrize(("theirs", "ours"), TIERS.items(), ids=TIERS)
async def test_the_tier_that_it_was_served_in_is_told(
    adapter: GeminiAdapter, google: ScriptedUpstream, theirs: str, ours: str | None
) -> None:
    """Google serves a request for a better one in the standard tier where that is full."""
    list_models(google)
    body = orjson.loads((REPLIES / "thought_text.json").read_bytes())
    headers = {"X-Gemini-Service-Tier": theirs}
    google.script(json_reply(200, body, headers), path=f"{MODELS}/{MODEL}:generateContent")
    google.script(
        sse_reply([sse_frame(body)], headers), path=f"{MODELS}/{MODEL}:streamGenerateContent"
    )

    whole = await completion(adapter, service_tier="priority")
    told_chunks = await chunks(adapter, service_tier="priority")

    assert ours == whole.get("service_tier") == told_chunks[0].get("service_tier")
    assert ["priority", "priority"] == [one.json["serviceTier"] for one in posts(google)]


@pytest.mark.parametrize("case", ["parallel_calls", "call_after_thought"])
async def test_calls_go_back_signed_as_they_came(
    adapter: GeminiAdapter, google: ScriptedUpstream, case: str
) -> None:
    """The law of Gemini 3: what the model said comes back with its signatures where they were."""
    list_models(google)
    path = f"{MODELS}/{MODEL}:generateContent"
    google.script(told(case), told("text"), path=path)
    question = {"role": "user", "content": "How is the weather?"}

    first = await completion(adapter, messages=[question], tools=[TOOL])
    message = first["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "rain"}
        for call in message["tool_calls"]
    ]
    await completion(adapter, messages=[question, message, *results], tools=[TOOL])

    assert "tool_calls" == first["choices"][0]["finish_reason"]
    given = orjson.loads((REPLIES / f"{case}.json").read_bytes())
    said = given["candidates"][0]["content"]["parts"]
    sent = posts(google)[-1].json["contents"][1]
    assert [part for part in said if not part.get("thought")] == sent["parts"]


async def test_a_call_without_an_id_gets_one(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    list_models(google)
    google.script(told("call_without_id"), path=f"{MODELS}/{MODEL}:generateContent")

    body = await completion(adapter, tools=[TOOL])

    (call,) = body["choices"][0]["message"]["tool_calls"]
    assert call["id"]
    assert {"name": "get_news", "arguments": "{}"} == call["function"]


@pytest.mark.parametrize("case", ["safety", "blocked_prompt"])
async def test_a_filtered_answer_says_so(
    adapter: GeminiAdapter, google: ScriptedUpstream, case: str
) -> None:
    list_models(google)
    google.script(told(case), path=f"{MODELS}/{MODEL}:generateContent")

    body = await completion(adapter)

    (choice,) = body["choices"]
    assert "content_filter" == choice["finish_reason"]
    assert choice["message"]["refusal"]


@pytest.mark.parametrize(
    ("case", "status", "kind"),
    [("key_invalid", 400, CredentialRejected), ("rate_limited", 429, UpstreamRateLimited)],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_refusal_is_told_without_the_credential(
    adapter: GeminiAdapter,
    google: ScriptedUpstream,
    case: str,
    status: int,
    kind: type[GatewayError],
    stream: bool,
) -> None:
    list_models(google)
    method = "streamGenerateContent" if stream else "generateContent"
    google.script(told(f"error_{case}", status), path=f"{MODELS}/{MODEL}:{method}")

    with pytest.raises(kind) as caught:
        await chat(adapter, stream=stream)

    assert KEY not in str(caught.value)


async def test_a_cut_stream_is_told_as_an_error(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    list_models(google)
    frames = (REPLIES / "text.sse").read_bytes().split(b"\r\n\r\n")
    cut = sse_reply([frames[0] + b"\r\n\r\n", Reset()])
    google.script(cut, path=f"{MODELS}/{MODEL}:streamGenerateContent")

    reply = await chat(adapter, stream=True)

    assert isinstance(reply, StreamedReply)
    data = b"".join([piece async for piece in reply.chunks])
    assert b"Hello" in data
    assert b'"error"' in data
