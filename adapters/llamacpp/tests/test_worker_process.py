"""How worker processes begin and end, and what they know of their parent's environment."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from adapters.llamacpp.tests.local_models import LOGGER
from one_api_llamacpp import worker_process
from one_api_llamacpp.frames import MalformedFrame
from one_api_llamacpp.thread_count import can_tell_waiting
from one_api_llamacpp.worker_process import WorkerProcess, worker_environment

ENDLESS = "import time; time.sleep(60)"
PARENT = """
import asyncio, logging, sys
from one_api_llamacpp.worker_process import WorkerProcess

async def main():
    process = await WorkerProcess.start(logging.getLogger())
    print(process.pid, flush=True)
    await process.receive()

asyncio.run(main())
"""


@asynccontextmanager
async def running(program: str) -> AsyncGenerator[WorkerProcess, None]:
    """A process that runs `program` in the place of a worker."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    worker = WorkerProcess(process, LOGGER)
    async with asyncio.timeout(30):
        try:
            yield worker
        finally:
            worker.kill()
            await worker.close()


def test_a_worker_knows_how_to_compute_and_no_secrets() -> None:
    given = {
        "PATH": "/bin",
        "OMP_NUM_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "0",
        "OPENAI_API_KEY": "sk-1",
        "API_KEYS": "mine",
        "DATABASE_URL": "postgres://user:password@host",
        "GGML_TOKEN": "hidden",
        "HF_TOKEN": "hidden",
    }
    known = worker_environment(given)
    assert {"PATH": "/bin", "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "0"} == {
        name: known[name] for name in given.keys() & known.keys()
    }


def test_threads_spin_long_only_where_neighbours_are_seen_unless_the_operator_says_so() -> None:
    assert worker_environment({})["GOMP_SPINCOUNT"] == ("100000" if can_tell_waiting() else "3000")
    assert worker_environment({"GOMP_SPINCOUNT": "0"})["GOMP_SPINCOUNT"] == "0"


async def test_a_process_that_sends_something_else_is_found_out() -> None:
    async with running("print('HTTP/1.1 200 OK')") as process:
        with pytest.raises(MalformedFrame):
            await process.receive()


async def test_the_last_words_of_a_process_are_heard() -> None:
    async with running("import sys; sys.exit('GGML_ASSERT failed')") as process:
        assert await process.receive() is None
        await process.close()
        assert process.post_mortem() == "exit status 1; GGML_ASSERT failed"


async def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "CLOSE_S", 0.05)
    async with running(ENDLESS) as process:
        await process.close()
        assert process.post_mortem() == "signal 9"


async def test_what_is_sent_to_a_process_that_ended_is_lost() -> None:
    async with running("") as process:
        assert await process.receive() is None
        await process.close()
        process.post({"kind": "cancel", "id": 1})
        await process.drain()


@pytest.mark.slow
async def test_a_worker_ends_with_its_input() -> None:
    process = await WorkerProcess.start(LOGGER)
    await process.close()
    assert process.post_mortem() == "exit status 0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("frame", "reason"),
    [(b"\xff\xff\xff\xff", "a frame of 4294967295 bytes"), (b"\x00\x00\x00\x01x", "no JSON")],
)
async def test_a_worker_ends_when_its_input_makes_no_sense(frame: bytes, reason: str) -> None:
    process = await WorkerProcess.start(LOGGER)
    stream = process._process.stdin
    assert stream is not None
    stream.write(frame)
    assert await process.receive() is None
    await process.close()
    assert process.post_mortem().startswith("exit status 2; The gateway sent")
    assert reason in process.post_mortem()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
async def test_a_worker_does_not_outlive_a_parent_that_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=PIPE)
    assert parent.stdout is not None
    worker = int(await parent.stdout.readline())
    os.kill(worker, 0)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    async with asyncio.timeout(20):
        while is_running(worker):  # noqa: ASYNC110 - nobody tells of the end of a grandchild
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Nobody may be there to bury it: then it is dead all the same.
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
