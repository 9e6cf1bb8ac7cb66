"""`one-api serve`."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from one_api._version import __version__
from one_api.cli.garbage import collector_paused
from one_api.cli.registries import (
    has_keys_in_file,
    registry_to_serve,
    require_servable,
    upstreams_option,
)
from one_api.cli.supervisor import serve as serve_forever
from one_api.registry import ModelRegistry
from one_api.settings import Settings
from one_api.telemetry import open_log

if TYPE_CHECKING:
    from one_api.runtime.asgi import ASGIBridge

_PACKAGE = Path(__file__).parent.parent


def _load_worker(settings: Settings) -> ASGIBridge:
    """What each server process runs."""
    # The web framework, the database and the HTTP client: the supervisor needs none of them.
    from one_api.app import create_asgi_app

    open_log(settings)
    return create_asgi_app(settings)


def _load_here(settings: Settings) -> tuple[Callable[[], ASGIBridge], ModelRegistry]:
    """What gives this process, which is to serve alone, its application; and the registry of that.

    Both are made by then: whoever tells of the registry and serves it needs no second one.
    """
    bridge = _load_worker(settings)
    # Imported by now, and by nobody who has workers do it.
    from one_api.services import GatewayServices

    services = bridge.app.services
    assert isinstance(services, GatewayServices), "the application is ours"  # noqa: S101
    require_servable(settings, services.registry)
    return lambda: bridge, services.registry


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on.")
@click.option("--addr", metavar="HOST:PORT", help="Both at once.")
@click.option("--workers", type=int, help="Server processes.")
@click.option("--no-auth", is_flag=True, default=None, help="Let everybody in, without API keys.")
@upstreams_option
@click.option("--reload", is_flag=True, help="Restart when the code changes (development).")
def serve(addr: str | None, reload: bool, **given: Any) -> None:
    """Serve the gateway until told to stop."""
    if reload and find_spec("watchfiles") is None:
        raise click.UsageError("--reload needs an extra: pip install 'one-api-gateway[reload]'")
    if addr is not None:
        if given["host"] is not None or given["port"] is not None:
            raise click.UsageError("--addr stands for --host and --port: give one or the other")
        given["host"], given["port"] = _split_address(addr)
    settings = Settings.load(**given)
    open_log(settings)
    load = None
    with collector_paused():
        _require_database(settings)
        if settings.workers == 1 and not reload:
            load, registry = _load_here(settings)
        else:
            registry = registry_to_serve(settings)
            if not reload:
                # Several workers share what was imported before they are forked.
                import_module("one_api.app")
        click.echo(_banner(settings, registry))
    with _shared_metrics(settings) as settings:
        serve_forever(
            load or functools.partial(_load_worker, settings),
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            drain_timeout_s=settings.drain_timeout_s,
            reload_paths=(_PACKAGE,) if reload else (),
        )


def _require_database(settings: Settings) -> None:
    """Raises: UnusableDatabase where no process could start for what has become of the file."""
    if settings.sqlite_file is not None:
        # A server process needs it all; nothing else of this module does.
        from one_api.cli.stores import require_sqlite_file

        require_sqlite_file(settings.sqlite_file)


@contextlib.contextmanager
def _shared_metrics(settings: Settings) -> Iterator[Settings]:
    """The settings of the processes to be started: with a directory to add up their metrics by."""
    if settings.workers == 1 or not settings.has_metrics or settings.metrics_dir is not None:
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix="one-api-metrics-") as directory:
        yield settings.model_copy(update={"metrics_dir": Path(directory)})


def _split_address(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise click.UsageError(f"--addr needs HOST:PORT, such as 127.0.0.1:8000, not {address!r}")
    return host.strip("[]") or "127.0.0.1", int(port)


def _banner(settings: Settings, registry: ModelRegistry) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    base = f"http://{host}:{settings.port}{settings.api_prefix}"
    lines = [f"one_api {__version__} serves {base}", ""]
    for entry in registry.entries:
        told = f"{entry.state}: {entry.reason}" if entry.reason else entry.state
        lines.append(f"  {entry.name:<10} {told}")
    if settings.upstreams_file is not None:
        count = len(registry.describe_upstreams())
        lines.append(f"  {'upstreams':<10} {count} in {settings.upstreams_file}")
    lines += ["", *_warnings(settings)]
    has_keys = bool(settings.api_keys) or has_keys_in_file(registry)
    if not has_keys:
        lines.append(_openness(settings))
    key = " -H 'Authorization: Bearer <key>'" if has_keys else ""
    lines += [
        "Try it:",
        f"  curl {base}/chat/completions{key} -H 'Content-Type: application/json' \\",
        '    -d \'{"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}\'',
    ]
    return "\n".join(lines)


def _openness(settings: Settings) -> str:
    """Who gets in without a key of the settings."""
    if settings.is_loopback:
        return "No API_KEYS are set: open to this machine, until there is a stored key."
    if settings.no_auth:
        return "No API_KEYS are set: open to EVERYBODY (--no-auth), until there is a stored key."
    return "No API_KEYS are set: nobody gets in without a stored key (one-api keys create)."


def _warnings(settings: Settings) -> list[str]:
    """What works, and might not be meant."""
    if settings.workers == 1:
        return []
    warnings = []
    if settings.sqlite_file is not None:
        warnings.append(
            f"Warning: {settings.workers} processes take turns to write one SQLite file; "
            "PostgreSQL (DATABASE_URL) lets them write at once."
        )
    if settings.storage_url is not None and settings.redis_url is None:
        warnings.append(
            "Warning: without REDIS_URL each process counts the rate limits of stored keys "
            "for itself; budgets are exact."
        )
    return warnings
