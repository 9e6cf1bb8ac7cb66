"""`one-api models`, `adapters`, `upstreams` and `route`: what there is, and who would be asked."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import click

from one_api.adapter.base import BaseModelAdapter
from one_api.app import load_registry, new_upstream
from one_api.cli.printing import print_table
from one_api.cli.registries import refuse_wrong_adapters, running_registry, upstreams_option
from one_api.deployment import Timeouts
from one_api.errors import GatewayError
from one_api.routing import Router
from one_api.settings import Settings
from one_api.web.admin import RouteStep, explain_route

#: How long `upstreams` waits for a provider's list of models, in seconds.
_PROBE_TIMEOUT_S = 10.0
_UPSTREAMS_HEAD = "NAME ADAPTER ENDPOINT CREDENTIAL GROUP ORDER WEIGHT MODELS HEALTH"
_ROUTE_HEAD = "# DEPLOYMENT GROUP ORDER STRATEGY WEIGHT FIRST/TOTAL IF-LAST PRICE CONTEXT WHY"


@click.command()
def models() -> None:
    """List the models of every adapter, asking the providers."""
    settings = Settings.load()

    async def listed() -> list[tuple[str, ...]]:
        async with running_registry(settings) as registry:
            found = await registry.list_all_models()
            for name, _, error in registry.adapters():
                if error:
                    click.echo(f"{name}: {error}", err=True)
            return [(model.id, model.adapter, model.info.owned_by) for model in found]

    print_table(("MODEL", "ADAPTER", "OWNED BY"), asyncio.run(listed()))


@click.command()
def adapters() -> None:
    """List the installed adapters and how each fares."""
    registry = load_registry(Settings.load(), new_upstream())
    print_table(
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
    refuse_wrong_adapters(registry)


@click.command()
@upstreams_option
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
    print_table(
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


@click.command()
@upstreams_option
@click.argument("model")
def route(model: str, upstreams_file: Path | None) -> None:
    """Say who would be asked for MODEL, in which order and why."""
    settings = Settings.load(upstreams_file=upstreams_file)

    async def explained() -> list[RouteStep]:
        async with running_registry(settings) as registry:
            return await explain_route(registry, Router(), model)

    try:
        steps = asyncio.run(explained())
    except GatewayError as exc:
        raise click.ClickException(exc.message) from exc
    print_table(_ROUTE_HEAD.split(), [_route_row(step) for step in steps])
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
