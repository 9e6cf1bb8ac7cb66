"""Who is measured: how each is installed, started and asked for the same work."""

from __future__ import annotations

import compileall
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Final

from typing_extensions import override

from benchmarks import nginx, payloads
from benchmarks.processes import Launch
from benchmarks.wrk import Target

ROOT: Final = Path(__file__).parent.parent
#: Where all is kept that a benchmark installs or writes.
WORK: Final = ROOT / ".bench"
#: The key of the gateways' client, and of the admin of their metrics.
KEY: Final = "sk-benchmark-key-0001"
_METRICS_TOKEN: Final = "benchmark-metrics-token"  # noqa: S105 - it opens nothing


class Work(StrEnum):
    """What a contender may be asked for; the value names the model."""

    CHAT = "bench-chat"
    STREAM = "bench-stream"
    CLAUDE = "bench-claude"
    PACED = "bench-paced"

    @property
    def is_stream(self) -> bool:
        """Whether the reply is one."""
        return self is not Work.CHAT

    @property
    def base(self) -> str:
        """The path of the provider that does it."""
        return _BASES[self]


_BASES: Final[Mapping[Work, str]] = {
    Work.CHAT: nginx.CHAT_BASE,
    Work.STREAM: nginx.STREAM_BASE,
    Work.CLAUDE: nginx.CLAUDE_BASE,
    Work.PACED: nginx.PACED_BASE,
}


class NotInstallable(RuntimeError):
    """A contender cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a contender is started: its port, those of the providers, a directory of its own."""

    port: int
    provider_port: int
    paced_port: int
    directory: Path
    workers: int = 1

    def endpoint(self, work: Work) -> str:
        """The provider that does `work`, without the version of its API."""
        port = self.paced_port if work is Work.PACED else self.provider_port
        return f"http://127.0.0.1:{port}{work.base}"


class Contender(ABC):
    """One gateway."""

    name: ClassVar[str]
    #: Streams that it is not asked for: it would not do the same work.
    lacks: ClassVar[frozenset[Work]] = frozenset()
    #: Whether it bears the rate and the streams that ours does; others would only queue.
    carries_load: ClassVar[bool] = True

    @abstractmethod
    def install(self) -> None:
        """Have it here, in an environment of its own below `WORK`; quick when it is.

        Raises: NotInstallable.
        """

    @abstractmethod
    def launch(self, site: Site) -> Launch:
        """How it is started; what it needs is written to the site's directory."""

    def target(self, site: Site, work: Work) -> Target:
        """What is asked of it for `work`."""
        return Target(
            url=f"http://127.0.0.1:{site.port}/v1/chat/completions",
            body=payloads.chat_request(work, stream=work.is_stream),
            headers={"Authorization": f"Bearer {KEY}"},
        )


class Nginx(Contender):
    """nginx that does nothing but pass on: the limit."""

    name = "nginx"

    @override
    def install(self) -> None:
        if not nginx.is_installed():
            raise NotInstallable("it is not installed (Debian: apt-get install nginx-light)")

    @override
    def launch(self, site: Site) -> Launch:
        return nginx.proxy(site.port, site.provider_port, site.paced_port, site.directory)

    @override
    def target(self, site: Site, work: Work) -> Target:
        path = "messages" if work is Work.CLAUDE else "chat/completions"
        return Target(
            url=f"http://127.0.0.1:{site.port}{work.base}/v1/{path}",
            body=payloads.chat_request(work, stream=work.is_stream),
        )


class OneApi(Contender):
    """This gateway as users run it: with keys, limits, ledger, request log and metrics."""

    name = "one_api"

    def __init__(self, **settings: str) -> None:
        """With `settings` beside those of every measurement."""
        self._settings = settings

    @override
    def install(self) -> None:
        """It is what this environment is for; compiled, as an installed package is from the first.

        A start that compiles it takes half as long again.
        """
        for directory in (ROOT / "one_api", *ROOT.glob("adapters/*/one_api_*")):
            compileall.compile_dir(directory, quiet=1)

    @override
    def launch(self, site: Site) -> Launch:
        site.directory.mkdir(parents=True, exist_ok=True)
        entries = [
            {
                "name": f"provider-{work.name.lower()}",
                "adapter": "claude" if work is Work.CLAUDE else "openai",
                "sk": "sk-benchmark-upstream",
                "endpoint": site.endpoint(work) + ("" if work is Work.CLAUDE else "/v1"),
                "models": [work.value],
                "price": {"input": 0.25, "output": 2},
            }
            for work in Work
        ]
        # JSON is YAML.
        path = site.directory / "upstreams.yaml"
        path.write_text(json.dumps({"upstreams": entries}))
        path.chmod(0o600)
        base_url = f"http://127.0.0.1:{site.port}"
        return Launch(
            command=[
                str(Path(sys.executable).with_name("one-api")),
                *("serve", "--port", str(site.port), "--workers", str(site.workers)),
            ],
            ready_url=f"{base_url}/health/ready",
            environment=self._environment(site),
        )

    def _environment(self, site: Site) -> dict[str, str]:
        # As many as nobody reaches: limits are counted, and never the end of a measurement.
        plenty = "1000000000"
        limits = {
            "RATE_LIMIT_ENABLED": "true",
            "RATE_LIMIT_REQUESTS": plenty,
            "RATE_LIMIT_TOKENS": plenty,
            "MAX_CONCURRENT_REQUESTS": plenty,
        }
        # Named adapters must be configured; what these offer beside the upstreams is not asked for.
        adapters = {
            "ONE_API_ADAPTERS": "echo,openai,claude",
            "OPENAI_BASE_URL": f"{site.endpoint(Work.CHAT)}/v1",
            "OPENAI_MODELS": "spare",
            "CLAUDE_API_KEY": "sk-benchmark-upstream",
            "CLAUDE_BASE_URL": site.endpoint(Work.CLAUDE),
            "CLAUDE_MODELS": "claude-spare",
        }
        return {
            **adapters,
            "UPSTREAMS_FILE": str(site.directory / "upstreams.yaml"),
            "API_KEYS": KEY,
            "METRICS_TOKEN": _METRICS_TOKEN,
            # Several processes would need Redis to count together.
            **(limits if site.workers == 1 else {}),
            **self._settings,
        }
