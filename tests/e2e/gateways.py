"""Gateways as real processes: how each server is started, and how it ends whatever happens."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

Server = Literal["one-api", "uvicorn", "gunicorn", "flask"]
SERVERS: tuple[Server, ...] = ("one-api", "uvicorn", "gunicorn", "flask")

#: Where the programs of this environment are.
BIN = Path(sys.executable).parent
#: How long a server may take to answer, and to end when told to, in seconds.
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
#: How long what was logged may take to be written, in seconds.
LOG_TIMEOUT_S = 5.0


def clean_environment(home: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """`variables` and what any program needs: nothing of this process's own environment."""
    return {
        "PATH": f"{BIN}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(home),
        "VIRTUAL_ENV": sys.prefix,
        "LOCAL_MODELS_ENABLED": "false",  # on by itself, but seldom what a test is about
        **variables,
    }


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def serve_command(server: Server, port: int) -> list[str]:
    """The command line that an operator would use for this server."""
    match server:
        case "one-api":
            return [f"{BIN}/one-api", "serve", "--port", str(port)]
        case "uvicorn":
            app = "one_api.app:create_asgi_app"
            return [f"{BIN}/uvicorn", "--factory", app, "--port", str(port)]
        case "gunicorn":
            options = ["-k", "gthread", "--threads", "8", "-b", f"127.0.0.1:{port}"]
            return [f"{BIN}/gunicorn", "one_api:create_app()", *options]
        case "flask":
            return [f"{BIN}/flask", "--app", "one_api", "run", "--port", str(port)]


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, where `/proc` tells of them."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class GatewayProcess:
    """One gateway under one server, from its start to its exit.

    `directory` is where it runs (and looks for `.env`) and where its log is kept.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        *,
        server: Server = "one-api",
        options: Sequence[str] = (),
    ) -> None:
        self.server = server
        self.port = free_port()
        self.prefix = environment.get("API_PREFIX", "/v1")
        self._log_path = directory / f"{server}-{self.port}.log"
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*serve_command(server, self.port), *options],
                cwd=directory,
                env=clean_environment(directory, environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def url(self) -> str:
        """Where the gateway is, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What OpenAI's SDK is given."""
        return f"{self.url}{self.prefix}"

    @property
    def log(self) -> str:
        """Everything it wrote so far."""
        return self._log_path.read_text(errors="replace")

    def has_logged(self, text: str) -> bool:
        """Whether it writes `text`; the log is written beside the requests, and may come later."""
        deadline = time.monotonic() + LOG_TIMEOUT_S
        while text not in self.log:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    @property
    def pid(self) -> int:
        """The process that signals go to."""
        return self._process.pid

    def wait_until_listening(self, count: int) -> None:
        """Return once so many processes have begun to serve, those that died included."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.log.count("listening on http://") < count:
            assert time.monotonic() < deadline, self.log
            time.sleep(0.01)

    def wait_until_healthy(self) -> Self:
        """Return once `/health` answers.

        Raises: AssertionError with the log when the server ends or says nothing in time.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_healthy():
            if self._process.poll() is not None:
                raise AssertionError(f"{self.server} ended at its start:\n{self.log}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.server} does not answer:\n{self.log}")
            time.sleep(0.02)
        return self

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with (
            contextlib.closing(connection),
            contextlib.suppress(OSError, http.client.HTTPException),
        ):
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        return False

    def terminate(self) -> None:
        """Ask it to stop, as an orchestrator does; does not wait."""
        self._process.send_signal(signal.SIGTERM)

    def wait_exit(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Its exit status, once it has ended.

        Raises: AssertionError when it does not.
        """
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.server} still runs {timeout_s:g} s after being told to stop:\n{self.log}"
            ) from None

    def kill(self) -> None:
        """End it and every process it started, at once; nothing when it ended before."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def running(
    directory: Path,
    environment: Mapping[str, str],
    *,
    server: Server = "one-api",
    options: Sequence[str] = (),
) -> Iterator[GatewayProcess]:
    """A gateway that answers, and that is gone when the context ends."""
    process = GatewayProcess(directory, environment, server=server, options=options)
    try:
        yield process.wait_until_healthy()
    finally:
        process.kill()


def run_to_end(
    arguments: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What `one-api ARGUMENTS` says and how it ends.

    Raises: subprocess.TimeoutExpired when it does not.
    """
    return subprocess.run(
        [f"{BIN}/one-api", *arguments],
        cwd=directory,
        env=clean_environment(directory, environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )
