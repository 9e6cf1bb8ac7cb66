"""The stage of a benchmark: providers and contenders that run side by side."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

from benchmarks import nginx, wrk
from benchmarks.contenders import ROOT, Contender, NotInstallable, Site, Work
from benchmarks.paced_load import RateOutcome, RatePlan
from benchmarks.processes import Launch, ProgramFailed, Running, pinned, running
from benchmarks.stream_load import StreamOutcome, StreamPlan
from benchmarks.wrk import Target, Throughput

#: The processor of contenders, and that of providers and clients.
CONTENDER_CPU, LOAD_CPU = "0", "1"
_GRACE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Of the paced provider: pieces in a stream, and seconds between two."""

    pieces: int
    interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """A contender that runs, and the provider of paced streams that it asks."""

    contender: Contender
    site: Site
    running: Running
    paced_provider: Running

    @property
    def name(self) -> str:
        """The contender's."""
        return self.contender.name

    def throughput(self, work: Work, *, connections: int, duration_s: float) -> Throughput:
        """As much of `work` as it does."""
        return wrk.run(
            self.contender.target(self.site, work),
            connections=connections,
            duration_s=duration_s,
            cpus=LOAD_CPU,
            directory=self.site.directory,
        )

    def at_rate(self, *, per_s: float, duration_s: float, connections: int) -> RateOutcome:
        """Small chats at a rate."""
        target = self.contender.target(self.site, Work.CHAT)
        plan = RatePlan(
            host="127.0.0.1",
            port=self.site.port,
            request=http_request(target),
            per_s=per_s,
            duration_s=duration_s,
            connections=connections,
        )
        with _client("paced_load", asdict(plan), duration_s) as client:
            output, _ = client.communicate(timeout=duration_s + _GRACE_S)
        return RateOutcome(**json.loads(output))

    @contextmanager
    def streams(self, count: int, *, ramp_s: float, duration_s: float) -> Iterator[OpenStreams]:
        """Paced streams, all of them open."""
        target = self.contender.target(self.site, Work.PACED)
        plan = StreamPlan(
            host="127.0.0.1",
            port=urlsplit(target.url).port or 80,
            request=http_request(target),
            streams=count,
            ramp_s=ramp_s,
            duration_s=duration_s,
        )
        with _client("stream_load", asdict(plan), ramp_s + duration_s) as client:
            assert client.stdout is not None  # noqa: S101 - it is a pipe
            if client.stdout.readline().strip() != "open":
                raise ProgramFailed("the client of streams ended before they were open")
            yield OpenStreams(client, duration_s)


class OpenStreams:
    """Streams that a client of ours reads."""

    def __init__(self, client: subprocess.Popen[str], duration_s: float) -> None:
        self._client = client
        self._duration_s = duration_s

    def wait(self) -> StreamOutcome:
        """What came of them, once their time is over."""
        output, _ = self._client.communicate(timeout=self._duration_s + _GRACE_S)
        return StreamOutcome(**json.loads(output.splitlines()[-1]))


class Stage:
    """Providers that serve, and a place to start contenders at."""

    def __init__(
        self, directory: Path, provider_port: int, paced_port: int, paced_provider: Running
    ) -> None:
        self._directory = directory
        self._provider_port = provider_port
        self._paced_port = paced_port
        self._paced_provider = paced_provider
        self._count = 0

    @contextmanager
    def play(self, contender: Contender, *, workers: int = 1, cpus: str = "") -> Iterator[Player]:
        """Start `contender`; every start is a new one, with nothing kept of those before.

        Raises: NotInstallable, ProgramFailed.
        """
        contender.install()
        self._count += 1
        site = Site(
            port=free_port(),
            provider_port=self._provider_port,
            paced_port=self._paced_port,
            directory=self._directory / f"contender-{self._count}",
            workers=workers,
        )
        launch = contender.launch(site)
        with running(launch, cpus=cpus or CONTENDER_CPU, directory=site.directory) as program:
            yield Player(
                contender=contender,
                site=site,
                running=program,
                paced_provider=self._paced_provider,
            )


@contextmanager
def set_up(pace: Pace) -> Iterator[Stage]:
    """The providers, in a directory that is gone afterwards.

    Raises: NotInstallable, ProgramFailed.
    """
    if not (nginx.is_installed() and wrk.is_installed()):
        raise NotInstallable("nginx and wrk are needed (Debian: apt-get install nginx-light wrk)")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="one-api-bench-")))
        provider_port, paced_port = free_port(), free_port()
        provider = nginx.provider(provider_port, directory / "provider")
        stack.enter_context(running(provider, cpus=LOAD_CPU, directory=directory / "provider"))
        launch = _paced_provider(paced_port, pace)
        paced = stack.enter_context(running(launch, cpus=LOAD_CPU, directory=directory / "paced"))
        yield Stage(directory, provider_port, paced_port, paced)


@contextmanager
def playing(
    stage: Stage, contenders: Sequence[Contender]
) -> Iterator[tuple[list[Player], dict[str, str]]]:
    """Those of `contenders` that can be had, running; and why the others cannot."""
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        players = []
        for contender in contenders:
            try:
                players.append(stack.enter_context(stage.play(contender)))
            except (NotInstallable, ProgramFailed) as exc:
                missing[contender.name] = str(exc)
        yield players, missing


def http_request(target: Target) -> str:
    """All of a request for `target`."""
    url = urlsplit(target.url)
    headers = {
        "Host": url.netloc,
        "Content-Type": "application/json",
        "Content-Length": str(len(target.body)),
        **target.headers,
    }
    lines = [f"POST {url.path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
    return "\r\n".join(lines) + "\r\n\r\n" + target.body.decode()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("int", probe.getsockname()[1])


def _paced_provider(port: int, pace: Pace) -> Launch:
    return Launch(
        command=[
            *(sys.executable, "-m", "benchmarks.paced_provider", "--port", str(port)),
            *("--pieces", str(pace.pieces), "--interval-s", str(pace.interval_s)),
        ],
        ready_url=f"http://127.0.0.1:{port}/ready",
        environment={"PYTHONPATH": str(ROOT)},
    )


@contextmanager
def _client(module: str, told: object, duration_s: float) -> Iterator[subprocess.Popen[str]]:
    """A client of ours that was told what to do; it is ended when it is still there."""
    command = [sys.executable, "-m", f"benchmarks.{module}"]
    client = subprocess.Popen(  # noqa: S603 - a command of ours
        pinned(command, LOAD_CPU),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert client.stdin is not None  # noqa: S101 - it is a pipe
        client.stdin.write(json.dumps(told))
        client.stdin.close()
        client.stdin = None  # or `communicate` would flush it
        yield client
    finally:
        if client.poll() is None:
            client.kill()
        client.wait()
        if client.stdout is not None:
            client.stdout.close()
