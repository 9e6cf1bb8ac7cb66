"""A PostgreSQL server of the tests' own, which can also be stopped and frozen."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Nothing in here has to outlive a power cut, and there is little of it.
SETTINGS = (
    "fsync=off",
    "full_page_writes=off",
    "listen_addresses=127.0.0.1",
    "max_connections=40",
    "shared_buffers=16MB",
)


def program(name: str) -> str:
    """The newest `name` of Debian's packages, or the one on the path."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3])
    )
    found = str(installed[-1]) if installed else shutil.which(name)
    assert found is not None, f"{name} is needed (Debian: apt-get install postgresql)"
    return found


class PostgresServer:
    """A server on a loopback port; a stopped one starts again at the same port."""

    def __init__(self, directory: Path) -> None:
        """`directory` can be entered by everybody, since the server refuses to be root."""
        self._data = directory / "data"
        self._log = directory / "log"
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = _unprivileged()
            os.chown(directory, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._names = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", str(self._data), "-U", "one_api", "-A", "trust", "-N",
                  "-E", "UTF8", "--locale=C")  # fmt: skip

    def start(self) -> None:
        """Start and wait until it answers."""
        options = [f"port={self.port}", f"unix_socket_directories={self._data}", *SETTINGS]
        given = [part for option in options for part in ("-c", option)]
        # A test run that is killed takes the server along, where there is a program to see to it.
        leash = ["setpriv", "--pdeathsig", "QUIT"] if shutil.which("setpriv") else []
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*leash, program("postgres"), "-D", str(self._data), *given],
                cwd=self._data.parent,
                stdout=log,
                stderr=log,
                **self._as_user,
            )
        ask = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + 30
        while subprocess.run(ask, timeout=10, check=False).returncode != 0:
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """End all processes at once, as a crash does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def url(self, name: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://one_api@127.0.0.1:{self.port}/{name}"

    def create_database(self, template: str = "template0") -> str:
        """The name of a new copy of `template`."""
        self._names += 1
        name = f"test_{self._names}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove it, whoever is still connected: each takes several megabytes."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> str:
        """What psql prints for `statement`, without its ornaments."""
        return self._run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "one_api",
                         "-d", database, "-XAtqc", statement)  # fmt: skip

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All its processes stand still, and the kernel goes on taking connections for it."""
        pids = self._pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        assert self._process is not None
        postmaster = self._process.pid
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]

    def _run(self, name: str, *arguments: str) -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [program(name), *arguments],
            cwd=self._data.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
            **self._as_user,
        )
        assert 0 == done.returncode, f"{name}: {done.stdout}"
        return done.stdout.strip()


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("root needs a user to run PostgreSQL as")
