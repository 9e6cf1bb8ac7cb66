"""Starting and stopping with an ASGI server, and leaving on SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from one_api.errors import ConfigurationError, StorageUnavailable
from one_api.runtime import Drain
from one_api.runtime.asgi import ASGIBridge
from tests.runtime.apps import RecordedServices, new_app
from tests.runtime.line import served


@pytest.fixture(autouse=True)
def sigterms() -> Iterator[list[int]]:
    """The SIGTERMs that reach whoever listened before the gateway."""
    caught: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    yield caught
    signal.signal(signal.SIGTERM, previous)


class Life:
    """A server's lifespan conversation."""

    def __init__(self, bridge: ASGIBridge) -> None:
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._outbox: asyncio.Queue[Any] = asyncio.Queue()
        scope = {"type": "lifespan"}
        self.task = asyncio.ensure_future(bridge(scope, self._inbox.get, self._outbox.put))

    async def say(self, kind: str) -> Any:
        """What the application answers to `lifespan.<kind>`."""
        self._inbox.put_nowait({"type": f"lifespan.{kind}"})
        async with asyncio.timeout(5):
            return await self._outbox.get()


async def test_services_live_as_long_as_the_server() -> None:
    services = RecordedServices()
    bridge = ASGIBridge(new_app(services))
    life = Life(bridge)

    assert {"type": "lifespan.startup.complete"} == await life.say("startup")
    await served(bridge)
    await served(bridge)
    assert ["start"] == services.events
    assert {"type": "lifespan.shutdown.complete"} == await life.say("shutdown")

    await life.task
    assert ["start", "stop"] == services.events
    assert {asyncio.get_running_loop()} == set(services.loops)


@pytest.mark.parametrize(
    ("failure", "has_traceback"),
    [
        (ConfigurationError("DATABASE_URL", "it is not a URL", "sqlite:///FILE"), False),
        (StorageUnavailable("The database does not answer."), False),
        (RuntimeError("no room"), True),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_an_operator_can_mend_is_told_in_a_line(
    failure: Exception, has_traceback: bool, caplog: pytest.LogCaptureFixture
) -> None:
    life = Life(ASGIBridge(new_app(RecordedServices(failure))))
    await life.say("startup")
    await life.task

    (record,) = caplog.records
    assert f"the gateway could not start: {failure}" == record.getMessage()
    assert has_traceback == bool(record.exc_info)


async def test_failure_to_start_is_told_to_the_server() -> None:
    services = RecordedServices(RuntimeError("no room"))
    life = Life(ASGIBridge(new_app(services)))

    answer = await life.say("startup")

    assert {"type": "lifespan.startup.failed", "message": "no room"} == answer
    await life.task


async def test_failed_start_is_tried_again_not_skipped() -> None:
    """Without services a request could only fail in a stranger way."""
    services = RecordedServices(RuntimeError("no room"))
    bridge = ASGIBridge(new_app(services))
    with pytest.raises(RuntimeError, match="no room"):
        await served(bridge)

    services.failure = None
    await served(bridge)

    assert ["start", "start"] == services.events


async def test_server_without_lifespan_is_served_too() -> None:
    services = RecordedServices()
    bridge = ASGIBridge(new_app(services))

    await served(bridge)
    await served(bridge)

    assert ["start"] == services.events


def test_second_loop_is_refused() -> None:
    """Connections belong to the loop that made them."""
    bridge = ASGIBridge(new_app())
    asyncio.run(served(bridge))

    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(served(bridge))


async def test_application_can_start_again_after_it_stopped() -> None:
    services = RecordedServices()
    app = new_app(services)

    await app.start()
    await app.stop()
    await app.stop()
    await app.start()

    assert ["start", "stop", "start"] == services.events


async def test_sigterm_begins_the_drain_and_reaches_the_server(sigterms: list[int]) -> None:
    bridge = ASGIBridge(new_app())
    life = Life(bridge)
    await life.say("startup")
    assert not bridge.app.drain.is_draining

    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        while not bridge.app.drain.is_draining:  # noqa: ASYNC110 - nobody tells of a signal
            await asyncio.sleep(0)

    assert [signal.SIGTERM] == sigterms
    await life.say("shutdown")


async def test_thread_that_cannot_listen_does_not() -> None:
    before = signal.getsignal(signal.SIGTERM)

    await asyncio.to_thread(Drain(1).listen, asyncio.get_running_loop())

    assert before is signal.getsignal(signal.SIGTERM)


async def test_drain_begins_once() -> None:
    drain = Drain(0)
    task = asyncio.ensure_future(asyncio.Event().wait())
    drain.enter(task)

    drain.begin(asyncio.get_running_loop())
    drain.begin(asyncio.get_running_loop())
    await asyncio.wait([task])

    assert drain.is_cut(task)
    assert 1 == task.cancelling()
    drain.leave(task)
    assert (0, False) == (drain.running, drain.is_cut(task))


async def test_request_that_left_in_time_is_not_cut() -> None:
    drain = Drain(0)
    task = asyncio.ensure_future(asyncio.Event().wait())
    drain.enter(task)
    drain.leave(task)

    drain.begin(asyncio.get_running_loop())
    await asyncio.sleep(0.001)

    assert not task.done()
    task.cancel()
