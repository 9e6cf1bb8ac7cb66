"""The scripted upstream itself: a listening socket, an event loop in its own thread, a script."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.scripted_upstream.line import (
    ClientLeftError,
    Line,
    LineEndedError,
    MalformedRequestError,
)
from tests.scripted_upstream.reading import read_request
from tests.scripted_upstream.record import RecordedRequest
from tests.scripted_upstream.replies import json_reply
from tests.scripted_upstream.steps import Reply

CHAT_PATH = "/v1/chat/completions"
MESSAGES_PATH = "/v1/messages"
MODELS_PATH = "/v1/models"
#: How long stopping may take before it counts as a leak, in seconds.
_STOP_TIMEOUT_S = 10.0


@dataclass(slots=True)
class _Rule:
    """Replies for the requests that match; None matches everything."""

    method: str | None
    path: str | None
    model: str | None
    replies: deque[Reply]
    repeat_last: bool

    def matches(self, request: RecordedRequest) -> bool:
        return (
            self.method in (None, request.method)
            and self.path in (None, request.path)
            and self.model in (None, request.model)
        )

    def next_reply(self) -> Reply:
        if self.repeat_last and len(self.replies) == 1:
            return self.replies[0]
        return self.replies.popleft()


class ScriptedUpstream:
    """A real HTTP/1.1 server on a loopback port that answers by a script and keeps the truth.

    Use it as a context manager, with `with` or `async with`; it runs in a thread of its own, so
    that its client may live in this thread, on another event loop or in another process.

    Leaving the context closes every connection and raises the first failure of the script itself:
    a step that raised, or a `WaitForClose` whose client stayed.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rules: list[_Rule] = []
        self._requests: list[RecordedRequest] = []
        self._unexpected: list[RecordedRequest] = []
        self._malformed: list[str] = []
        self._failures: list[BaseException] = []
        self._connections = 0
        self._lines: dict[Line, asyncio.Task[None]] = {}
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scripted-upstream", daemon=True)
        self._port = 0

    # -- life

    def start(self) -> Self:
        """Listen on a free port of the loopback interface."""
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(4_096)
        self._port = int(self._listener.getsockname()[1])
        self._thread.start()
        self._started.wait()
        return self

    def stop(self) -> None:
        """Close every connection and end the thread; may be called twice.

        Raises: the first failure of the script.
        """
        self._end_thread()
        if self._failures:
            raise self._failures[0]

    def _end_thread(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP_TIMEOUT_S)
        if self._thread.is_alive():
            raise RuntimeError("the scripted upstream's thread does not end")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.stop()
        else:
            # The test's own failure is the one to show.
            self._end_thread()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, traceback)

    # -- script

    @property
    def url(self) -> str:
        """Where the upstream is, without a path or a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    def script(
        self,
        *replies: Reply,
        path: str | None = None,
        method: str | None = None,
        model: str | None = None,
        repeat_last: bool = False,
    ) -> None:
        """Answer matching requests with `replies`, one each, in order.

        A request matches when its method, its path (without the query) and the `model` of its
        JSON body are those given. Rules are tried in the order of their making, each until its
        replies are used up; with `repeat_last` the last reply is given for ever.
        """
        if not replies:
            raise ValueError("a script needs at least one reply")
        rule = _Rule(method, path, model, deque(replies), repeat_last)
        with self._changed:
            self._rules.append(rule)

    # -- truth

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far, in order of arrival."""
        with self._changed:
            return list(self._requests)

    @property
    def unexpected(self) -> list[RecordedRequest]:
        """Requests for which the script had no reply; they were answered with a 500."""
        with self._changed:
            return list(self._unexpected)

    @property
    def malformed(self) -> list[str]:
        """What was wrong with bytes that were no request; they were answered with a 400."""
        with self._changed:
            return list(self._malformed)

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        with self._changed:
            return self._connections

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        with self._changed:
            return len(self._lines)

    def wait_for_requests(self, count: int, timeout_s: float = 5.0) -> list[RecordedRequest]:
        """All requests, once there are at least `count`.

        Raises: AssertionError when there are fewer after `timeout_s`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout_s):
                raise AssertionError(f"{count} requests wanted, got {self._requests!r}")
            return list(self._requests)

    def wait_for_no_connections(self, timeout_s: float = 5.0) -> None:
        """Return once no connection is open.

        Raises: AssertionError when there still are some after `timeout_s`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._lines, timeout_s):
                raise AssertionError(f"{len(self._lines)} connections are still open")

    async def until_requests(self, count: int, timeout_s: float = 5.0) -> list[RecordedRequest]:
        """`wait_for_requests` for a test whose client lives on the same event loop."""
        return await asyncio.to_thread(self.wait_for_requests, count, timeout_s)

    async def until_no_connections(self, timeout_s: float = 5.0) -> None:
        """`wait_for_no_connections` for a test whose client lives on the same event loop."""
        await asyncio.to_thread(self.wait_for_no_connections, timeout_s)

    # -- service, in the thread

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._loop.add_reader(self._listener, self._accept)
        self._started.set()
        try:
            await self._stopping.wait()
        finally:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            lines = dict(self._lines)
            for task in lines.values():
                task.cancel()
            await asyncio.gather(*lines.values(), return_exceptions=True)
            # A task that was cancelled before it began has closed nothing.
            for line in lines:
                await line.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = Line(sock)
        with self._changed:
            self._lines[line] = self._loop.create_task(self._converse(line, self._connections))
            self._connections += 1
            self._changed.notify_all()

    async def _converse(self, line: Line, connection: int) -> None:
        try:
            while (read := await read_request(line)) is not None:
                head, body = read
                request = RecordedRequest(head, body, connection, self._changed)
                await self._answer(line, request)
                if line.owed != 0 or request.headers.get("connection", "").lower() == "close":
                    break
        except (ClientLeftError, LineEndedError):
            pass
        except MalformedRequestError as exc:
            with self._changed:
                self._malformed.append(str(exc))
            with contextlib.suppress(ClientLeftError):
                for step in json_reply(400, {"error": {"message": str(exc)}}):
                    await step.play(line)
        except Exception as exc:  # noqa: BLE001 - told to the test when the upstream stops
            self._failures.append(exc)
        finally:
            await line.close()
            with self._changed:
                del self._lines[line]
                self._changed.notify_all()

    async def _answer(self, line: Line, request: RecordedRequest) -> None:
        reply = self._record(request)
        line.method, line.owed = request.method, None
        line.on_left, line.on_sent = request.note_left, request.note_sent
        if line.left_at is not None and line.left_by is not None:
            request.note_left(line.left_at, line.left_by)
        try:
            for step in reply:
                await step.play(line)
        except LineEndedError:
            request.note_finished()
            raise
        else:
            request.note_finished()
        finally:
            line.on_left = line.on_sent = None

    def _record(self, request: RecordedRequest) -> Reply:
        """The reply to `request`, which now exists for the test."""
        with self._changed:
            self._requests.append(request)
            rule = next((rule for rule in self._rules if rule.matches(request)), None)
            if rule is None:
                self._unexpected.append(request)
                reply = _unexpected_reply(request)
            else:
                reply = rule.next_reply()
                if not rule.replies:
                    self._rules.remove(rule)
            self._changed.notify_all()
        return reply


@contextlib.contextmanager
def refusing_url() -> Iterator[str]:
    """An address of this machine that refuses every connection for as long as the context lasts."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as bound:
        bound.bind(("127.0.0.1", 0))  # bound but not listening
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def _unexpected_reply(request: RecordedRequest) -> Reply:
    reply = json_reply(
        500,
        {
            "error": {
                "message": f"No reply is scripted for {request.method} {request.path} "
                f"with model {request.model!r}.",
                "type": "scripted_upstream",
                "param": None,
                "code": "unexpected_request",
            }
        },
    )
    return reply[:1] if request.method == "HEAD" else reply
