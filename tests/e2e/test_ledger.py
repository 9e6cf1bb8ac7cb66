"""One row for each request, whatever became of it, with what its provider says that it took."""

from __future__ import annotations

import http.client
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.account_scenes import (
    PRICED,
    Bank,
    Row,
    bank,
    calls,
    cost_of,
    counted,
    ended_rows,
    office,
    provider,
    until_true,
)
from tests.e2e.exchanges import exchange, raw_request, sent, stream
from tests.e2e.failover_scenes import (
    CALLER_KEY,
    EMBEDDINGS_PATH,
    RESPONSES_PATH,
    chat,
    streamed,
    whole,
)
from tests.scripted_upstream import (
    CHAT_PATH,
    MESSAGES_PATH,
    Gate,
    Hang,
    Hold,
    Reply,
    TokenCount,
    anthropic_events,
    anthropic_message,
    anthropic_stream,
    json_reply,
    openai_chunks,
    openai_completion,
    openai_error,
    openai_frames,
    openai_stream,
    sse_frame,
    sse_reply,
)
from tests.scripted_upstream import Answer as Said

COUNT = TokenCount(prompt=23, completion=5)
SAID = counted(COUNT.prompt, COUNT.completion)
COMPLETIONS_PATH = "/v1/completions"
ANOTHER_PATH = "/v1/rerank"

CLAUDE = PRICED.replace("adapter: openai", "adapter: claude")
TWO = """
upstreams:
  - {name: a, adapter: openai, sk: sk-credential-of-a, endpoint: "${A_URL}", models: [m],
     price: {input: 2, output: 10}}
  - {name: b, adapter: openai, sk: sk-credential-of-b, endpoint: "${B_URL}", models: [m],
     price: {input: 200, output: 1000}}
"""
DRAINED = PRICED.replace("price:", "on_hang_up: drain, price:")

MESSAGE = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello?"}]}
RESPONSE = {"model": "m", "input": "Hello?"}
RESPONSE_USAGE = {
    "input_tokens": COUNT.prompt,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": COUNT.completion,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": COUNT.prompt + COUNT.completion,
}
RESPONSE_OBJECT: dict[str, Any] = {
    "id": "resp_scripted",
    "object": "response",
    "status": "completed",
    "model": "m",
    "output": [],
    "usage": RESPONSE_USAGE,
}
VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
    "model": "m",
    "usage": {"prompt_tokens": COUNT.prompt, "total_tokens": COUNT.prompt},
}
TEXT: dict[str, Any] = {
    "id": "cmpl-scripted",
    "object": "text_completion",
    "created": 1_790_000_000,
    "model": "m",
    "choices": [{"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": COUNT.prompt,
        "completion_tokens": COUNT.completion,
        "total_tokens": COUNT.prompt + COUNT.completion,
    },
}


def response_stream() -> Reply:
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**RESPONSE_OBJECT, "usage": None}},
        {"type": "response.output_text.delta", "delta": "Hello", "item_id": "msg_1"},
        {"type": "response.completed", "response": RESPONSE_OBJECT},
    ]
    return sse_reply([sse_frame(event, event=event["type"]) for event in events])


def text_stream() -> Reply:
    usage = TEXT["usage"]
    part = {**TEXT, "usage": None}
    return sse_reply([sse_frame(part), sse_frame({**TEXT, "choices": [], "usage": usage}),
                      b"data: [DONE]\n\n"])  # fmt: skip


DOORS = {
    "chat": (PRICED, CHAT_PATH, chat(), openai_completion(SAID), openai_stream(SAID)),
    "completions": (PRICED, COMPLETIONS_PATH, {"model": "m", "prompt": "Hello"},
                    json_reply(200, TEXT), text_stream()),
    "messages translated": (PRICED, MESSAGES_PATH, MESSAGE, openai_completion(SAID),
                            openai_stream(SAID)),
    "messages relayed": (CLAUDE, MESSAGES_PATH, MESSAGE, anthropic_message(SAID),
                         anthropic_stream(SAID)),
    "chat at Claude": (CLAUDE, CHAT_PATH, chat(), anthropic_stream(SAID), anthropic_stream(SAID)),
    "responses relayed": (PRICED, RESPONSES_PATH, RESPONSE, json_reply(200, RESPONSE_OBJECT),
                          response_stream()),
    "responses translated": (CLAUDE, RESPONSES_PATH, RESPONSE, anthropic_stream(SAID),
                             anthropic_stream(SAID)),
    "passed through": (PRICED, ANOTHER_PATH, {"model": "m", "query": "Hello?"},
                       json_reply(200, TEXT), text_stream()),
}  # fmt: skip


@pytest.fixture
async def teller(tmp_path: Path) -> AsyncIterator[Bank]:
    async with bank(tmp_path) as made:
        yield made


def told(row: Row) -> tuple[int, int, int]:
    """Tokens of the prompt, tokens of the completion, and what they cost."""
    return row["prompt_tokens"], row["completion_tokens"], row["cost_microusd"]


TRUTH = (COUNT.prompt, COUNT.completion, cost_of(COUNT))


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
async def test_each_door_writes_down_what_the_provider_told(
    tmp_path: Path, door: tuple[str, str, dict[str, Any], Reply, Reply], is_stream: bool
) -> None:
    text, path, body, reply, stream_reply = door
    async with bank(tmp_path, text) as teller:
        teller.script(a=stream_reply if is_stream else reply)
        answer = await teller.ask({**body, "stream": True} if is_stream else body, path)
        (row,) = await teller.ended(1)
        days = await teller.table("usage_days")
    assert 200 == answer.status, answer.body
    assert TRUTH == told(row)
    assert ("settled", 200, "a/m", 1) == (
        row["state"], row["status"], row["deployment"], row["attempts"]
    )  # fmt: skip
    assert is_stream == bool(row["is_stream"])
    assert not row["is_estimated"]
    assert is_stream == (row["first_content_ms"] is not None)
    assert ("m", None) == (row["model"], row["error_code"])
    assert [(1, 0, *TRUTH)] == [(day["requests"], day["errors"], *told(day)) for day in days]


async def test_vectors_cost_their_prompt(teller: Bank) -> None:
    teller.script(a=json_reply(200, VECTORS))
    answer = await teller.ask({"model": "m", "input": "Hello"}, EMBEDDINGS_PATH)
    (row,) = await teller.ended(1)
    assert 200 == answer.status
    assert (COUNT.prompt, 0, 2 * COUNT.prompt) == told(row)


async def test_parts_of_the_prompt_have_prices_of_their_own(tmp_path: Path) -> None:
    price = "{input: 2, output: 10, cached_input: 0.5, cache_write: 4, reasoning: 20}"
    count = TokenCount(prompt=100, completion=10, cached=40, cache_write=20, reasoning=3)
    text = PRICED.replace("{input: 2, output: 10}", price)
    async with bank(tmp_path, text) as teller:
        teller.script(a=openai_completion(Said(usage=count)))
        await teller.ask(chat())
        (row,) = await teller.ended(1)
    assert (40, 20, 3) == (row["cached_tokens"], row["cache_write_tokens"], row["reasoning_tokens"])
    assert 40 * 2 + 40 // 2 + 20 * 4 + 7 * 10 + 3 * 20 == row["cost_microusd"]


async def test_a_provider_without_usage_is_estimated(teller: Bank) -> None:
    teller.script(a=openai_stream(Said(usage=None)))
    await teller.ask(streamed())
    (row,) = await teller.ended(1)
    assert row["is_estimated"]
    assert row["prompt_tokens"] > 0
    assert row["completion_tokens"] > 0
    assert row["cost_microusd"] > 0


# -- errors


async def test_an_error_is_written_down_and_costs_nothing(teller: Bank) -> None:
    teller.script(a=openai_error(400, "no such thing"))
    answer = await teller.ask(chat())
    (row,) = await teller.ended(1)
    assert 400 == answer.status
    assert (400, (0, 0, 0)) == (row["status"], told(row))
    assert row["error_code"]
    (day,) = await teller.table("usage_days")
    assert (1, 1) == (day["requests"], day["errors"])


async def test_the_price_is_that_of_who_answered(tmp_path: Path) -> None:
    async with bank(tmp_path, TWO) as teller:
        teller.script(a=openai_error(503), b=openai_completion(SAID))
        answer = await teller.ask(chat())
        (row,) = await teller.ended(1)
    assert 200 == answer.status
    assert ("b/m", 2, 100 * cost_of(COUNT)) == (
        row["deployment"], row["attempts"], row["cost_microusd"]
    )  # fmt: skip


async def test_a_stream_that_is_cut_costs_what_came(teller: Bank) -> None:
    frames = [sse_frame(chunk) for chunk in _word_chunks(20)]
    teller.script(a=(*sse_reply(frames)[:-1],))
    answer = await teller.ask(streamed())
    (row,) = await teller.ended(1)
    assert "error" in answer.events[-1]
    assert row["error_code"]
    assert row["completion_tokens"] >= 10
    assert row["cost_microusd"] > 0


def _word_chunks(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": "chatcmpl-scripted",
            "object": "chat.completion.chunk",
            "created": 1_790_000_000,
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": f"word{n} "}, "finish_reason": None}],
        }
        for n in range(count)
    ]


# -- clients that leave


def _response_words(count: int) -> list[dict[str, Any]]:
    first = {"type": "response.created", "response": {**RESPONSE_OBJECT, "usage": None}}
    words = [{"type": "response.output_text.delta", "delta": f"word{n} "} for n in range(count)]
    return [first, *words]


def _message_words(count: int) -> list[dict[str, Any]]:
    words = tuple(f"word{n} " for n in range(count))
    events = anthropic_events(counted(COUNT.prompt, count, *words))
    stops_at = [event["type"] for event in events].index("content_block_stop")
    return events[:stops_at]


LEFT = {
    "chat": (PRICED, CHAT_PATH, chat(), [sse_frame(one) for one in _word_chunks(20)]),
    "chat at Claude": (CLAUDE, CHAT_PATH, chat(),
                       [sse_frame(one, event=one["type"]) for one in _message_words(20)]),
    "messages translated": (PRICED, MESSAGES_PATH, MESSAGE,
                            [sse_frame(one) for one in _word_chunks(20)]),
    "messages relayed": (CLAUDE, MESSAGES_PATH, MESSAGE,
                         [sse_frame(one, event=one["type"]) for one in _message_words(20)]),
    "responses relayed": (PRICED, RESPONSES_PATH, RESPONSE,
                          [sse_frame(one, event=one["type"]) for one in _response_words(20)]),
    "passed through": (PRICED, ANOTHER_PATH, {"model": "m"},
                       [sse_frame(one) for one in _word_chunks(20)]),
}  # fmt: skip


@pytest.mark.parametrize("door", LEFT.values(), ids=LEFT)
async def test_who_leaves_midway_pays_for_what_was_relayed(
    tmp_path: Path, door: tuple[str, str, dict[str, Any], list[bytes]]
) -> None:
    text, path, body, frames = door
    async with bank(tmp_path, text) as teller:
        teller.script(a=sse_reply([*frames, Hang()]))
        line = teller.begin({**body, "stream": True}, path)
        await line.until(lambda: b"word19" in line.body)
        line.leave()
        (row,) = await teller.ended(1)
    assert ("settled", 499) == (row["state"], row["status"])
    assert 15 <= row["completion_tokens"] <= 60
    assert row["prompt_tokens"] > 0
    assert row["cost_microusd"] > 0


async def test_a_provider_that_is_heard_out_tells_the_exact_bill(tmp_path: Path) -> None:
    gate = Gate()
    *words, finish, usage = openai_frames_of(counted(COUNT.prompt, COUNT.completion, "one", "two"))
    async with bank(tmp_path, DRAINED) as teller:
        teller.script(a=sse_reply([*words, Hold(gate), finish, usage]))
        line = teller.begin(streamed())
        await line.until(lambda: b"two" in line.body)
        line.leave()
        await line.until_served()
        gate.open()
        (row,) = await teller.ended(1)
    assert (499, TRUTH, False) == (row["status"], told(row), bool(row["is_estimated"]))


def openai_frames_of(answer: Said) -> list[bytes]:
    """The events of a stream, the last of which is its usage and end."""
    frames = openai_frames(openai_chunks(answer))
    return [*frames[:-2], frames[-2] + frames[-1]]


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
async def test_who_leaves_before_the_first_word_is_in_the_ledger(
    teller: Bank, is_stream: bool
) -> None:
    teller.script(a=(Hang(),))
    line = teller.begin({**chat(), "stream": is_stream})
    await until_true(lambda: bool(teller.requests("a")))
    line.leave()
    (row,) = await teller.ended(1)
    assert ("settled", 499) == (row["state"], row["status"])


# -- servers that leave


@pytest.mark.slow
def test_a_server_that_is_told_to_stop_writes_down_what_it_cut(tmp_path: Path) -> None:
    with provider() as upstream:
        gate = Gate()
        frames = [sse_frame(chunk) for chunk in _word_chunks(20)]
        upstream.script(sse_reply([*frames, Hang()]), model="m")
        upstream.script((Hold(gate), *whole()), model="other")
        front = office(tmp_path, upstream, DRAIN_TIMEOUT_S="1")
        with front.open() as gateway:
            url = f"{gateway.base_url}/chat/completions"
            with stream(url, streamed(), key=CALLER_KEY) as response:
                arrived = b""
                while b"word19" not in arrived:
                    arrived += response.read1()
                gateway.terminate()
                assert b"server_is_shutting_down" in arrived + response.read()
            assert 0 == gateway.wait_exit()
        gate.open()
        (row,) = front.rows()
    assert "settled" == row["state"]
    assert 15 <= row["completion_tokens"] <= 60
    assert [] == list(tmp_path.glob("journal-*.jsonl"))
    assert 1 == calls(upstream)


class Load:
    """Callers who ask as fast as they are answered, until their gateway is gone."""

    CALLERS = 6

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys
        #: The ids of requests that were answered to their end, whole and as streams.
        self.finished: set[str] = set()
        self._serial = itertools.count()

    def run(self, url: str, kill: Callable[[], None]) -> None:
        """Ask until `kill`, which is called under load, has ended the gateway."""
        enough = len(self.finished) + 40
        with ThreadPoolExecutor(self.CALLERS) as callers:
            asking = [callers.submit(self._ask, url, n) for n in range(self.CALLERS)]
            deadline = time.monotonic() + 15
            while len(self.finished) < enough and time.monotonic() < deadline:
                time.sleep(0.01)
            kill()
            for one in asking:
                one.result()

    def _ask(self, url: str, caller: int) -> None:
        key, is_stream = self._keys[caller % len(self._keys)], caller % 3 == 0
        while True:
            request_id = f"load-{next(self._serial)}"
            body = chat(max_tokens=10, stream=is_stream) | {"model": "flow" if is_stream else "m"}
            try:
                answer = exchange(url, body, key=key, headers={"X-Request-Id": request_id})
            except (OSError, http.client.HTTPException):
                return
            assert 200 == answer.status, answer.body
            self.finished.add(request_id)


@pytest.mark.slow
def test_a_server_that_is_killed_forgets_nothing_that_it_had_answered(tmp_path: Path) -> None:
    kills = 4
    with provider() as upstream, ExitStack() as hanging:
        upstream.script((Hang(),), model="other", repeat_last=True)
        upstream.script(openai_completion(SAID), model="m", repeat_last=True)
        upstream.script(openai_stream(SAID), model="flow", repeat_last=True)
        front = office(tmp_path, upstream)
        keys = [front.make_key("--budget-total-usd", "1000"), front.make_key()]
        load = Load(keys)
        for _ in range(kills):
            with front.open() as gateway:
                url = f"{gateway.base_url}/chat/completions"
                body = json.dumps({**chat(), "model": "other"}).encode()
                raw = raw_request("/v1/chat/completions", body, keys[0])
                before = calls(upstream)
                hanging.enter_context(sent(gateway.url, raw))
                upstream.wait_for_requests(before + 1)
                load.run(url, gateway.kill)
        with front.open():
            rows = ended_rows(front.rows, len(load.finished))
            budget = wait_for_release(front.rows)
    # The client's own id begins that of the row.
    of_load = {row["request_id"].rpartition(".")[0]: row for row in rows if row["model"] != "other"}
    assert len(of_load) + kills == len(rows), "a request is there twice"
    assert {"settled": len(load.finished)} == Counter(
        of_load[one]["state"] for one in load.finished
    )
    assert set() == {row["state"] for row in rows} - {"settled", "abandoned"}
    given_up = [row for row in rows if row["model"] == "other"]
    assert ["abandoned"] * kills == [row["state"] for row in given_up]
    assert 0 == budget["reserved_microusd"]
    assert budget["spent_microusd"] == sum(
        row["cost_microusd"] for row in rows if row["key_id"] == budget["key_id"]
    )


def wait_for_release(rows: Callable[[str], list[Row]]) -> Row:
    """The one budget, once nothing of it is reserved any more."""
    deadline = time.monotonic() + 10
    while True:
        (budget,) = rows("budgets")
        if not budget["reserved_microusd"] or time.monotonic() > deadline:
            return budget
        time.sleep(0.05)
