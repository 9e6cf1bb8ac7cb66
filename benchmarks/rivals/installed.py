"""Rivals that are installed on demand, by the package clients as they are configured here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from typing_extensions import override

from benchmarks.contenders import KEY, ROOT, WORK, Contender, NotInstallable, Site, Work
from benchmarks.processes import Launch
from benchmarks.wrk import Target

#: How long one rival may take to install, in seconds.
_INSTALL_S: Final = 900.0


class Quart(Contender):
    """The bare least: see `quart_app`."""

    name = "Quart + aiohttp 0.20.0"
    lacks = frozenset({Work.CLAUDE})
    _packages = (
        "quart==0.20.0",
        "aiohttp==3.14.5",
        "granian==2.8.7",
        "uvloop==0.23.0",
        "orjson==3.13.0",
    )

    @override
    def install(self) -> None:
        _install_python("quart", self._packages)

    @override
    def launch(self, site: Site) -> Launch:
        endpoints = {work.value: site.endpoint(work) for work in Work}
        return Launch(
            command=[
                str(WORK / "quart/bin/granian"),
                *("--interface", "asgi", "--loop", "uvloop", "--backpressure", "16384"),
                *("--port", str(site.port), "benchmarks.rivals.quart_app:app"),
            ],
            ready_url=f"http://127.0.0.1:{site.port}/ready",
            environment={"ENDPOINTS": json.dumps(endpoints), "PYTHONPATH": str(ROOT)},
        )


class LiteLLM(Contender):
    """LiteLLM's proxy with a master key and no database: it writes nothing down."""

    name = "LiteLLM 1.106.2"
    carries_load = False
    _packages = ("litellm[proxy]==1.106.2",)

    @override
    def install(self) -> None:
        _install_python("litellm", self._packages)

    @override
    def launch(self, site: Site) -> Launch:
        site.directory.mkdir(parents=True, exist_ok=True)
        models = [
            {
                "model_name": work.value,
                "litellm_params": {
                    "model": "anthropic/bench" if work is Work.CLAUDE else "openai/bench",
                    "api_base": site.endpoint(work) + ("" if work is Work.CLAUDE else "/v1"),
                    "api_key": "sk-benchmark-upstream",
                },
            }
            for work in Work
        ]
        config = {"model_list": models, "general_settings": {"master_key": KEY}}
        path = site.directory / "config.yaml"
        path.write_text(json.dumps(config))
        return Launch(
            command=[
                str(WORK / "litellm/bin/litellm"),
                *("--config", str(path), "--host", "127.0.0.1", "--port", str(site.port)),
            ],
            ready_url=f"http://127.0.0.1:{site.port}/health/liveliness",
            environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
        )


class Portkey(Contender):
    """Portkey's gateway, which is told with each request whom to ask; it has no keys of its own."""

    name = "Portkey 1.15.2"
    carries_load = False
    _package = "@portkey-ai/gateway@1.15.2"

    @override
    def install(self) -> None:
        if shutil.which("node") is None or shutil.which("npm") is None:
            raise NotInstallable("node and npm are not installed")
        if not self._program().exists():
            command = ["npm", "install", "--prefix", str(WORK / "portkey"), "--no-audit"]
            _install([*command, "--no-fund", "--silent", self._package])

    @override
    def launch(self, site: Site) -> Launch:
        node = shutil.which("node") or "node"
        return Launch(
            command=[node, str(self._program()), f"--port={site.port}", "--headless"],
            ready_url=f"http://127.0.0.1:{site.port}/",
            environment={"NODE_ENV": "production"},
        )

    @override
    def target(self, site: Site, work: Work) -> Target:
        usual = super().target(site, work)
        provider = "anthropic" if work is Work.CLAUDE else "openai"
        headers = {
            "x-portkey-provider": provider,
            "x-portkey-custom-host": f"{site.endpoint(work)}/v1",
        }
        return Target(url=usual.url, body=usual.body, headers={**usual.headers, **headers})

    def _program(self) -> Path:
        return WORK / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"


RIVALS: Final[tuple[Contender, ...]] = (Quart(), Portkey(), LiteLLM())


def _install_python(name: str, packages: tuple[str, ...]) -> None:
    """An environment below `WORK` with `packages`; a stamp in it says that it is complete."""
    directory = WORK / name
    stamp = directory / "installed"
    wanted = "\n".join((sys.version, *packages))
    if stamp.exists() and stamp.read_text() == wanted:
        return
    _install([sys.executable, "-m", "venv", "--clear", str(directory)])
    pip = [str(directory / "bin/python"), "-m", "pip", "install", "--quiet", "--no-input"]
    _install([*pip, *packages])
    stamp.write_text(wanted)


def _install(command: list[str]) -> None:
    try:
        subprocess.run(  # noqa: S603 - a command of ours
            command, check=True, capture_output=True, text=True, timeout=_INSTALL_S
        )
    except subprocess.CalledProcessError as exc:
        said = [line for line in exc.stderr.splitlines() if line.strip()]
        raise NotInstallable(said[-1][:200] if said else f"{command[0]} failed") from exc
    except (subprocess.TimeoutExpired, OSError) as exc:
        raise NotInstallable(f"{Path(command[0]).name}: {exc}"[:200]) from exc
