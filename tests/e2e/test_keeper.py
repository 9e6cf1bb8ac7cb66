"""The process that has another one serve: what it holds, and what it does when that one ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import API_KEY, StartGateway
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import BIN, GatewayProcess, children_of, run_to_end

# Each starts gateways of its own, to end them.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc"),
]

#: How long what a signal brings about may take, in seconds.
PATIENCE_S = 20.0


def serving_child(gateway: GatewayProcess, *, other_than: int = 0) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while (children := children_of(gateway.pid)) in ([], [other_than]):
        assert time.monotonic() < deadline, gateway.log
        time.sleep(0.01)
    (child,) = children
    return child


def files_of(pid: int) -> set[str]:
    """The libraries that a process has in its memory."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split()[-1]).name for line in lines if ".so" in line}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_process_that_ends_untold_is_replaced(
    start_gateway: StartGateway, number: signal.Signals
) -> None:
    gateway = start_gateway({"API_KEYS": API_KEY})
    first = serving_child(gateway)

    os.kill(first, number)

    assert first != serving_child(gateway, other_than=first)
    gateway.wait_until_healthy()
    assert 200 == exchange(f"{gateway.base_url}/models", key=API_KEY).status
    status = 0 if number == signal.SIGTERM else 128 + number
    assert gateway.has_logged(f"the process that served ended with status {status}: ")
    gateway.terminate()
    assert 0 == gateway.wait_exit()


def test_each_of_several_is_replaced_and_all_end_together(start_gateway: StartGateway) -> None:
    gateway = start_gateway({"API_KEYS": API_KEY, "WORKERS": "2"})
    supervisor = serving_child(gateway)
    workers = children_of(supervisor)
    assert 2 == len(workers)
    gateway.wait_until_listening(2)

    os.kill(workers[0], signal.SIGKILL)

    gateway.wait_until_listening(3)
    assert gateway.has_logged("the process that served ended with status 137: ")
    successors = children_of(supervisor)
    assert 2 == len(successors)
    assert {workers[1]} == set(workers) & set(successors)
    assert 200 == exchange(f"{gateway.base_url}/models", key=API_KEY).status
    gateway.terminate()
    assert 0 == gateway.wait_exit()
    assert not any(Path(f"/proc/{pid}").exists() for pid in (supervisor, *successors))


def test_an_address_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_to_end(["serve", "--port", port], tmp_path, {})

    assert 1 == done.returncode
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("step_s", "lives"),
    [
        pytest.param(0.0, 2, id="the successor dies at once"),
        pytest.param(60.0, 5, id="each lives for a while, and the last does not serve"),
    ],
)
def test_whoever_dies_at_once_in_anothers_place_is_the_last(
    tmp_path: Path, step_s: float, lives: int
) -> None:
    program = f"""
import itertools, os, signal
from one_api.cli.keeper import Keeper

def serve():
    os.write(1, b"x")
    if os.fstat(1).st_size < 5:
        Keeper.mine.note_serving(1)
    os.kill(os.getpid(), signal.SIGKILL)

times = itertools.count(0, {step_s})
raise SystemExit(Keeper(clock=lambda: next(times)).keep(serve))
"""
    with Path(tmp_path, "lives").open("w+b") as counted:
        done = subprocess.run([f"{BIN}/python", "-c", program], stdout=counted, check=False)

        assert 128 + signal.SIGKILL == done.returncode
        assert lives == os.fstat(counted.fileno()).st_size


def test_a_wrong_setting_is_told_once(tmp_path: Path) -> None:
    done = run_to_end(["serve"], tmp_path, {"PORT": "many"})

    assert 2 == done.returncode
    assert 1 == done.stderr.count("Wrong setting PORT")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_whoever_is_told_to_end_takes_its_child_along(
    start_gateway: StartGateway, number: signal.Signals
) -> None:
    gateway = start_gateway({"API_KEYS": API_KEY})
    child = serving_child(gateway)

    os.kill(gateway.pid, number)

    assert 0 == gateway.wait_exit()
    assert not Path(f"/proc/{child}").exists()
    assert gateway.has_logged("draining: 0 requests under way")


def test_the_keeper_holds_nothing_of_what_serves(start_gateway: StartGateway) -> None:
    gateway = start_gateway({"API_KEYS": API_KEY})

    held, needed = files_of(gateway.pid), files_of(serving_child(gateway))

    libraries = ("loop.", "parser.", "_pydantic_core", "orjson", "_ssl", "_sqlite3")
    for library in libraries:
        assert any(name.startswith(library) for name in needed), library
        assert not any(name.startswith(library) for name in held), library
