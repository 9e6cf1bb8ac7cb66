"""A Redis of the tests' own, without files, that can be stopped, frozen and filled."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis


class RedisServer:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is needed (Debian: apt-get install redis-server)"
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            [program, *arguments], cwd=self._directory, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        log = []
        for line in self._process.stdout:  # ends when the program does
            log.append(line.decode())
            if b"Ready to accept connections" in line:
                return
        self.stop()
        raise RuntimeError("Redis did not start: " + "".join(log))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str | int) -> Any:  # whatever the command replies
        with Redis(port=self.port) as client:
            return client.execute_command(*words)

    def age(self, seconds: float) -> None:
        """Let every key be as if it had lain for so much longer."""
        with Redis(port=self.port) as client:
            for key in client.scan_iter():
                ttl_ms = client.pttl(key)
                assert ttl_ms > 0, f"{key!r} would be kept for ever"
                if ttl_ms <= seconds * 1000:
                    client.delete(key)
                else:
                    client.pexpire(key, int(ttl_ms - seconds * 1000))


@contextmanager
def running_redis(directory: Path) -> Iterator[RedisServer]:
    server = RedisServer(directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()
