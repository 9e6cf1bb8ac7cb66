"""The command line: `one-api serve | models | adapters | upstreams | route | chat | config`."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import orjson
from typing_extensions import override

from one_api._version import __version__
from one_api.adapter.base import BaseModelAdapter
from one_api.app import create_asgi_app, load_registry, new_upstream
from one_api.deployment import Timeouts
from one_api.errors import ConfigurationError, GatewayError
from one_api.failover import Failover, RequestContext
from one_api.gateway import Gateway, GatewayOptions, StreamedReply
from one_api.registry import ModelRegistry
from one_api.routing import Router
from one_api.runtime.asgi import ASGIBridge
from one_api.runtime.server import serve as serve_forever
from one_api.runtime.server import tune_garbage_collector
from one_api.schemas.chat import ChatCompletionRequest
from one_api.settings import Settings, explain
from one_api.web.admin import RouteStep, explain_route

#: How long `upstreams` waits for a provider's list of models, in seconds.
_PROBE_TIMEOUT_S = 10.0
_UPSTREAMS_HEAD = "NAME ADAPTER ENDPOINT CREDENTIAL GROUP ORDER WEIGHT MODELS HEALTH"
_ROUTE_HEAD = "# DEPLOYMENT GROUP ORDER STRATEGY WEIGHT FIRST/TOTAL IF-LAST PRICE CONTEXT WHY"


class SettingsError(click.ClickException):
    """A wrong setting, told without a traceback; the exit status is 2."""

    exit_code = 2

    def __init__(self, error: ConfigurationError) -> None:
        expected = f"\n  expected: {error.expected}" if error.expected else ""
        super().__init__(f"{error.variable}: {error.problem}{expected}")

    @override
    def show(self, file: Any = None) -> None:
        click.echo(f"Wrong setting {self.format_message()}", err=True)


class _Commands(click.Group):
    """Commands that may raise ConfigurationErrors."""

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigurationError as exc:
            raise SettingsError(exc) from exc


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="one-api")
def main() -> None:
    """An OpenAI-compatible LLM gateway."""


_upstreams_option = click.option(
    "--upstreams", "upstreams_file", metavar="FILE", type=Path, help="Wins over UPSTREAMS_FILE."
)


def _registry_to_serve(settings: Settings) -> ModelRegistry:
    """Raises: ConfigurationError for whatever a server would not start with."""
    registry = load_registry(settings, new_upstream())
    settings.require_keys_in_public(extra_keys=_has_keys_in_file(registry))
    _refuse_wrong_adapters(registry)
    return registry


def _has_keys_in_file(registry: ModelRegistry) -> bool:
    return registry.upstreams is not None and bool(registry.upstreams.authorization)


def _refuse_wrong_adapters(registry: ModelRegistry) -> None:
    for entry in registry.entries:
        if entry.configuration_error:
            raise entry.configuration_error


@asynccontextmanager
async def _running_registry(settings: Settings) -> AsyncIterator[ModelRegistry]:
    upstream = new_upstream()
    registry = load_registry(settings, upstream)
    await upstream.open()
    await registry.start()
    try:
        yield registry
    finally:
        await registry.close()
        await upstream.close()


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
@_upstreams_option
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
    _configure_logging(settings)
    registry = _registry_to_serve(settings)
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
    if settings.upstreams_file is not None:
        count = len(registry.describe_upstreams())
        lines.append(f"  {'upstreams':<10} {count} in {settings.upstreams_file}")
    lines.append("")
    has_keys = bool(settings.api_keys) or _has_keys_in_file(registry)
    if not has_keys:
        reach = "this machine" if settings.is_loopback else "EVERYBODY (--no-auth)"
        lines.append(f"No API_KEYS are set: open to {reach}.")
    key = " -H 'Authorization: Bearer <key>'" if has_keys else ""
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
    settings = Settings.load()

    async def listed() -> list[tuple[str, ...]]:
        async with _running_registry(settings) as registry:
            found = await registry.list_all_models()
            for name, _, error in registry.adapters():
                if error:
                    click.echo(f"{name}: {error}", err=True)
            return [(model.id, model.adapter, model.info.owned_by) for model in found]

    _print_table(("MODEL", "ADAPTER", "OWNED BY"), asyncio.run(listed()))


@main.command()
def adapters() -> None:
    """List the installed adapters and how each fares."""
    registry = load_registry(Settings.load(), new_upstream())
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
    _refuse_wrong_adapters(registry)


@main.command()
@_upstreams_option
@click.option("--no-probe", is_flag=True, help="Ask no provider.")
def upstreams(upstreams_file: Path | None, no_probe: bool) -> None:
    """List the upstreams of the file, asking each for its models."""
    settings = Settings.load(upstreams_file=upstreams_file)
    upstream = new_upstream()
    registry = load_registry(settings, upstream)
    statuses = registry.describe_upstreams()
    if not statuses:
        raise click.ClickException("There are no upstreams: set UPSTREAMS_FILE or --upstreams.")

    async def probe_all() -> list[tuple[bool, str]]:
        await upstream.open()
        try:
            adapters = [registry.adapter(status.name) for status in statuses]
            return await asyncio.gather(*map(_probe, adapters))
        finally:
            await upstream.close()

    healths = [(True, "-")] * len(statuses) if no_probe else asyncio.run(probe_all())
    _print_table(
        _UPSTREAMS_HEAD.split(),
        [
            (
                *(status.name, status.adapter, status.endpoint or "-", status.credential or "-"),
                *(status.group, str(status.order), f"{status.weight:g}"),
                ",".join(status.models) or "as listed",
                health,
            )
            for status, (_, health) in zip(statuses, healths, strict=True)
        ],
    )
    if not any(is_healthy for is_healthy, _ in healths):
        sys.exit(1)


async def _probe(adapter: BaseModelAdapter) -> tuple[bool, str]:
    """Whether a provider lists its models now, and what it said."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            await adapter.start()
            try:
                found = await adapter.list_models()
            finally:
                await adapter.close()
    except TimeoutError:
        return False, f"no answer within {_PROBE_TIMEOUT_S:g} s"
    except GatewayError as exc:
        exc.conceal(adapter.settings.secrets())
        return False, f"{exc.code}: {exc.message}"
    except Exception as exc:  # noqa: BLE001 - a plugin's failure is its state, not ours
        return False, f"its adapter raised {type(exc).__name__}"
    return True, f"ok {len(found)} models {(time.perf_counter() - started) * 1000:.0f} ms"


@main.command()
@_upstreams_option
@click.argument("model")
def route(model: str, upstreams_file: Path | None) -> None:
    """Say who would be asked for MODEL, in which order and why."""
    settings = Settings.load(upstreams_file=upstreams_file)

    async def explained() -> list[RouteStep]:
        async with _running_registry(settings) as registry:
            return await explain_route(registry, Router(), model)

    try:
        steps = asyncio.run(explained())
    except GatewayError as exc:
        raise click.ClickException(exc.message) from exc
    _print_table(_ROUTE_HEAD.split(), [_route_row(step) for step in steps])
    click.echo(f"At most {settings.max_attempts} of them are asked for one request.")


def _route_row(step: RouteStep) -> tuple[str, ...]:
    deployment, price = step.deployment, step.deployment.price
    return (
        "-" if step.position is None else str(step.position),
        deployment.name,
        deployment.group.name,
        str(deployment.order),
        deployment.group.strategy,
        f"{deployment.weight:g}",
        _waits(step.timeouts),
        _waits(step.last_timeouts),
        "-" if price is None else f"{price.input_usd}/{price.output_usd}",
        str(deployment.context_window or "-"),
        "; ".join(reason for reason in (step.because, step.obstacle) if reason),
    )


def _waits(timeouts: Timeouts) -> str:
    return f"{timeouts.first_content_s:g}/{timeouts.total_s:g} s"


@main.command()
@click.argument("model")
@click.argument("text")
def chat(model: str, text: str) -> None:
    """Ask MODEL one question and print its answer as it comes."""
    settings = Settings.load()
    request = ChatCompletionRequest.from_wire(
        {"model": model, "messages": [{"role": "user", "content": text}], "stream": True}
    )

    async def ask() -> None:
        async with _running_registry(settings) as registry:
            failover = Failover(registry, Router(), max_attempts=settings.max_attempts)
            gateway = Gateway(failover, GatewayOptions(reasoning_field="reasoning_content"))
            reply = await gateway.chat(request, RequestContext(request_id="cli"))
            assert isinstance(reply, StreamedReply), "the request asked for a stream"  # noqa: S101
            async for data in reply.chunks:
                _print_chunks(data)
            click.echo()

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
@_upstreams_option
def check(upstreams_file: Path | None) -> None:
    """Say whether the settings and the file of upstreams are right, without serving."""
    settings = Settings.load(upstreams_file=upstreams_file)
    registry = _registry_to_serve(settings)
    lacking = [e for e in registry.entries if e.is_required and e.state != "loaded"]
    if lacking:
        raise click.ClickException(
            "; ".join(f"adapter {e.name} is {e.state}: {e.reason}" for e in lacking)
        )
    loaded = ", ".join(e.name for e in registry.entries if e.state == "loaded") or "none"
    count = len(registry.describe_upstreams())
    told = f" Upstreams: {count}." if settings.upstreams_file else ""
    click.echo(f"The settings are right. Adapters: {loaded}.{told}")


@config.command(name="explain")
def explain_command() -> None:
    """Show every setting, its value and where it comes from."""
    _print_table(("SETTING", "VALUE", "FROM"), explain(Settings.load()))


def _print_table(head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
