"""Laws of connections and tasks: what is left when an answer ends, and who waits for whom."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Final

from one_api.adapter.testing.answers import HELLO, Answer
from one_api.adapter.testing.bench import (
    PATIENCE,
    Bench,
    Subject,
    open_bench,
)
from one_api.adapter.testing.exchange import as_generator
from one_api.adapter.testing.law import Chapter
from one_api.adapter.testing.profile import UpstreamReply, UpstreamRequest
from one_api.adapter.testing.verdict import require, require_equal

#: How long a provider may be left with a client that has gone, in seconds.
MAX_LINGER_S: Final = 1.0
#: What an answer that nobody reads may fill: the buffers of the gateway and the operating system.
MAX_UNREAD_BYTES: Final = 8 * 1024 * 1024
_LONG: Final = Answer(words=("x" * 16 * 1024,) * 1024)
_QUIET_S: Final = 0.25
_MANY: Final = 6
_KEYS: Final = ("First.Credential.A1", "Second.Credential.B2")

chapter = Chapter()


@chapter.law("cancel-streaming", need="profile")
async def closes_the_upstream(subject: Subject) -> None:
    """Closing an answer in its middle closes the upstream within 1 s."""
    async with open_bench(subject) as bench:
        bench.upstream.script = lambda request: _held(bench, request)
        await _leave_early(bench)
        is_left = await bench.upstream.all_left(MAX_LINGER_S)
        require(is_left, f"the connection is still open {MAX_LINGER_S:g} s after the answer's end")


@chapter.law("cancel-waiting", need="profile")
async def closes_a_waiting_upstream(subject: Subject) -> None:
    """Cancelling before the reply begins closes the upstream within 1 s."""
    async with open_bench(subject) as bench:
        bench.upstream.script = lambda request: None
        request = bench.request()
        events = bench.adapter.generate_completion(request, bench.call())
        task = asyncio.ensure_future(anext(events))
        async with asyncio.timeout(PATIENCE.total_s):
            asked = asyncio.ensure_future(bench.upstream.asked())
            await asyncio.wait({asked, task}, return_when=asyncio.FIRST_COMPLETED)
            require(asked.done(), "the request did not reach the provider")
        task.cancel()
        await asyncio.wait({task}, timeout=MAX_LINGER_S)
        require(task.cancelled(), "the cancellation was swallowed, or is still under way")
        is_left = await bench.upstream.all_left(MAX_LINGER_S)
        require(is_left, f"the connection is still open {MAX_LINGER_S:g} s after the cancellation")


@chapter.law("closed-early", need="answers")
async def answers_after_an_early_end(subject: Subject) -> None:
    """An answer closed after its first event ends within 1 s; the next one is whole."""
    async with open_bench(subject) as bench:
        before = await bench.hear()
        await _leave_early(bench)
        after = await bench.hear()
        require_equal(before.text, after.text, "the answer after one that was closed early")


@chapter.law("back-pressure", need="profile")
async def feels_back_pressure(subject: Subject) -> None:
    """A client that stops reading stops the provider: little is kept."""
    async with open_bench(subject) as bench:
        bench.answer = _LONG
        events = as_generator(bench.adapter.generate_completion(bench.request(), bench.call()))
        async with asyncio.timeout(PATIENCE.total_s):
            await anext(events)
            connection = await bench.upstream.asked()
            sent = await bench.upstream.settled_bytes(connection, _QUIET_S)
        await events.aclose()
        require(sent < MAX_UNREAD_BYTES, f"the provider could send {sent} bytes to nobody")


@chapter.law("tasks-ended", need="answers")
async def ends_its_tasks(subject: Subject) -> None:
    """No task outlives the adapter."""
    before = asyncio.all_tasks()
    async with open_bench(subject) as bench:
        await bench.hear()
        await _leave_early(bench)
        if subject.profile is not None:
            bench.upstream.script = lambda request: bench.profile.error(500, "scripted failure")
            await bench.ask()
    left = await _tasks_besides(before)
    require_equal([], left, "tasks after close()")


@chapter.law("sockets-closed", need="profile")
async def closes_its_sockets(subject: Subject) -> None:
    """No connection outlives the adapter."""
    async with open_bench(subject) as bench:
        await bench.hear(stream=True)
        await bench.hear(stream=False)
        await bench.adapter.list_models()
        await bench.adapter.close()
        is_left = await bench.upstream.all_left(MAX_LINGER_S)
        require(is_left, "a connection to the provider is still open")


@chapter.law("instances-apart", need="answers")
async def keeps_instances_apart(subject: Subject) -> None:
    """Two instances share nothing."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_bench(subject, _KEYS[0]))
        second = await stack.enter_async_context(open_bench(subject, _KEYS[1]))
        if subject.profile is not None:
            first.answer = Answer(("from the ", "first"))
            second.answer = Answer(("from the ", "second"))
        alone = await first.hear()
        other = await second.hear()
        again = await first.hear()
        require_equal(alone.text, again.text, "the first instance's answer, asked again")
        if subject.profile is not None:
            heard = (alone.text, other.text)
            require_equal((first.answer.text, second.answer.text), heard, "the answers")
            _require_own_credential(first, foreign=_KEYS[1])
            _require_own_credential(second, foreign=_KEYS[0])


@chapter.law("requests-apart", need="profile")
async def keeps_requests_apart(subject: Subject) -> None:
    """Requests at the same time do not disturb each other."""
    async with open_bench(subject) as bench:
        questions = [f"question-{at}." for at in range(_MANY)]

        def reply(request: UpstreamRequest) -> UpstreamReply:
            asked = [q for q in questions if q.encode() in request.body]
            answer = Answer(("You asked ", *asked))
            return bench.profile.answer(answer, request)

        bench.upstream.script = reply
        messages = [[{"role": "user", "content": question}] for question in questions]
        told = await asyncio.gather(*(bench.hear(messages=each) for each in messages))
        expected = [f"You asked {question}" for question in questions]
        require_equal(expected, [each.text for each in told], "the answers")


def _held(bench: Bench, request: UpstreamRequest) -> UpstreamReply:
    """The whole answer, but for its end."""
    reply = bench.profile.answer(HELLO, request)
    kept = reply.pieces[: max(1, len(reply.pieces) - 2)]
    return replace(reply, pieces=kept, ending="held")


async def _leave_early(bench: Bench) -> None:
    """Take the first event of an answer, and close it."""
    events = as_generator(bench.adapter.generate_completion(bench.request(), bench.call()))
    try:
        async with asyncio.timeout(MAX_LINGER_S * 2):
            await anext(events)
    except TimeoutError:
        require(False, "no event came before the reply was complete")
    try:
        async with asyncio.timeout(MAX_LINGER_S):
            await events.aclose()
    except TimeoutError:
        require(False, f"closing the answer took over {MAX_LINGER_S:g} s")


async def _tasks_besides(known: set[asyncio.Task[object]]) -> list[str]:
    """Tasks that run although all that started them has ended."""
    for _ in range(10):
        # What was just told to end needs a few rounds of the loop for it.
        await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() if not task.done()} - known
    for task in left:
        task.cancel()
    with suppress(TimeoutError):
        async with asyncio.timeout(MAX_LINGER_S):
            await asyncio.gather(*left, return_exceptions=True)
    return sorted(str(task.get_coro()) for task in left)


def _require_own_credential(bench: Bench, *, foreign: str) -> None:
    told = [value for request in bench.upstream.requests for value in request.headers.values()]
    require(not any(foreign in value for value in told), "the other instance's credential was sent")
