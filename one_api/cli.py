"""The command line: `one-api serve | models | adapters | chat | config`."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import orjson
from typing_extensions import override

from one_api._version import __version__
from one_api.app import create_asgi_app, load_registry, new_upstream
from one_api.errors import ConfigurationError, GatewayError
from one_api.gateway import Gateway, GatewayOptions, StreamedReply
from one_api.registry import ModelRegistry
from one_api.runtime.asgi import ASGIBridge
from one_api.runtime.server import serve as serve_forever
from one_api.runtime.server import tune_garbage_collector
from one_api.schemas.chat import ChatCompletionRequest
from one_api.settings import Settings, explain


class SettingsError(click.ClickException):
    """A wrong setting, told without a traceback; the exit status is 2."""

    exit_code = 2

    def __init__(self, error: ConfigurationError) -> None:
        expected = f"\n  expected: {error.expected}" if error.expected else ""
        super().__init__(f"{error.variable}: {error.problem}{expected}")

    @override
    def show(self, file: Any = None) -> None:
        click.echo(f"Wrong setting {self.format_message()}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="one-api")
def main() -> None:
    """An OpenAI-compatible LLM gateway."""


def _load_settings(*, to_serve: bool = False, **overrides: Any) -> Settings:
    try:
        settings = Settings.load(**overrides)
        if to_serve:
            settings.require_keys_in_public()
    except ConfigurationError as exc:
        raise SettingsError(exc) from exc
    return settings


def _loaded_registry(settings: Settings) -> tuple[ModelRegistry, list[ConfigurationError]]:
    registry = load_registry(settings, new_upstream())
    errors = [e.configuration_error for e in registry.entries if e.configuration_error]
    return registry, errors


def _configure_logging(settings: Settings) -> None:
    logging.basicConfig(
        level=logging.DEBUG if settings.debug else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )


def _load_worker(settings: Settings) -> ASGIBridge:
    """What each server process runs."""
    _configure_logging(settings)
    app = create_asgi_app(settings)
    tune_garbage_collector()
    return app


@main.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on.")
@click.option("--addr", metavar="HOST:PORT", help="Both at once.")
@click.option("--workers", type=int, help="Server processes.")
@click.option("--no-auth", is_flag=True, default=None, help="Let everybody in, without API keys.")
@click.option("--reload", is_flag=True, help="Restart when the code changes (development).")
def serve(
    host: str | None,
    port: int | None,
    addr: str | None,
    workers: int | None,
    no_auth: bool | None,
    reload: bool,
) -> None:
    """Serve the gateway until told to stop."""
    if reload and find_spec("watchfiles") is None:
        raise click.UsageError("--reload needs an extra: pip install 'one-api-gateway[reload]'")
    if addr is not None:
        if host is not None or port is not None:
            raise click.UsageError("--addr stands for --host and --port: give one or the other")
        host, port = _split_address(addr)
    overrides = {"host": host, "port": port, "workers": workers, "no_auth": no_auth}
    settings = _load_settings(to_serve=True, **overrides)
    _configure_logging(settings)
    registry, errors = _loaded_registry(settings)
    if errors:
        raise SettingsError(errors[0])
    click.echo(_banner(settings, registry))
    serve_forever(
        functools.partial(_load_worker, settings),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        drain_timeout_s=settings.drain_timeout_s,
        reload_paths=(Path(__file__).parent,) if reload else (),
    )


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
    lines.append("")
    if not settings.api_keys:
        reach = "this machine" if settings.is_loopback else "EVERYBODY (--no-auth)"
        lines.append(f"No API_KEYS are set: open to {reach}.")
    key = " -H 'Authorization: Bearer <key>'" if settings.api_keys else ""
    lines += [
        "Try it:",
        f"  curl {base}/chat/completions{key} -H 'Content-Type: application/json' \\",
        '    -d \'{"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}\'',
    ]
    if settings.database_url is not None:
        lines.append("DATABASE_URL is set, but this version stores nothing yet.")
    return "\n".join(lines)


@main.command()
def models() -> None:
    """List the models of every adapter, asking the providers."""
    settings = _load_settings()

    async def listed() -> list[tuple[str, ...]]:
        upstream = new_upstream()
        registry = load_registry(settings, upstream)
        await upstream.open()
        await registry.start()
        try:
            found = await registry.list_all_models()
            for name, _, error in registry.adapters():
                if error:
                    click.echo(f"{name}: {error}", err=True)
            return [(model.id, model.adapter, model.info.owned_by) for model in found]
        finally:
            await registry.close()
            await upstream.close()

    _print_table(("MODEL", "ADAPTER", "OWNED BY"), asyncio.run(listed()))


@main.command()
def adapters() -> None:
    """List the installed adapters and how each fares."""
    registry, errors = _loaded_registry(_load_settings())
    _print_table(
        ("ADAPTER", "DISTRIBUTION", "VERSION", "STATE", "IMPORT", "DETAIL"),
        [
            (
                entry.name,
                entry.distribution,
                entry.version,
                entry.state,
                f"{entry.import_s * 1000:.0f} ms",
                entry.reason or ", ".join(entry.adapters),
            )
            for entry in registry.entries
        ],
    )
    if errors:
        raise SettingsError(errors[0])


@main.command()
@click.argument("model")
@click.argument("text")
def chat(model: str, text: str) -> None:
    """Ask MODEL one question and print its answer as it comes."""
    settings = _load_settings()
    request = ChatCompletionRequest.from_wire(
        {"model": model, "messages": [{"role": "user", "content": text}], "stream": True}
    )

    async def ask() -> None:
        upstream = new_upstream()
        registry = load_registry(settings, upstream)
        await upstream.open()
        await registry.start()
        try:
            gateway = Gateway(registry, GatewayOptions(reasoning_field="reasoning_content"))
            reply = await gateway.chat(request, request_id="cli")
            assert isinstance(reply, StreamedReply), "the request asked for a stream"  # noqa: S101
            async for data in reply.chunks:
                _print_chunks(data)
            click.echo()
        finally:
            await registry.close()
            await upstream.close()

    try:
        asyncio.run(ask())
    except GatewayError as exc:
        raise click.ClickException(f"{exc.code}: {exc.message}") from exc


def _print_chunks(data: bytes) -> None:
    """Print what whole server-sent events add to the answer.

    Raises: ClickException for an error told inside the stream.
    """
    for line in data.split(b"\n"):
        if not line.startswith(b"data: {"):
            continue
        chunk = orjson.loads(line.removeprefix(b"data: "))
        if "error" in chunk:
            raise click.ClickException(chunk["error"]["message"])
        for choice in chunk["choices"]:
            delta = choice["delta"]
            click.echo(delta.get("content") or delta.get("refusal") or "", nl=False)
    sys.stdout.flush()


@main.group()
def config() -> None:
    """Look at the settings."""


@config.command()
def check() -> None:
    """Say whether the settings are right, without serving."""
    settings = _load_settings(to_serve=True)
    registry, errors = _loaded_registry(settings)
    if errors:
        raise SettingsError(errors[0])
    lacking = [e for e in registry.entries if e.is_required and e.state != "loaded"]
    if lacking:
        raise click.ClickException(
            "; ".join(f"adapter {e.name} is {e.state}: {e.reason}" for e in lacking)
        )
    loaded = ", ".join(e.name for e in registry.entries if e.state == "loaded") or "none"
    click.echo(f"The settings are right. Adapters: {loaded}.")


@config.command(name="explain")
def explain_command() -> None:
    """Show every setting, its value and where it comes from."""
    settings = _load_settings()
    _print_table(("SETTING", "VALUE", "FROM"), explain(settings))


def _print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
