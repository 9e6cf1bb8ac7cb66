"""`one-api models`, `upstreams` and `route`: what there is, and who would be asked."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from one_api.adapter.base import BaseModelAdapter
from one_api.app import new_upstream
from one_api.cli.model_lists import ask_for_models
from one_api.cli.printing import print_table
from one_api.cli.registries import upstreams_option
from one_api.cli.running import running_registry
from one_api.deployment import Timeouts
from one_api.errors import GatewayError
from one_api.provision import load_registry
from one_api.routing import Router
from one_api.settings import Settings
from one_api.web.admin import RouteStep, explain_route

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
    told = await ask_for_models(adapter)
    if told.error:
        return False, told.error
    return True, f"ok {len(told.ids)} models {told.took_s * 1000:.0f} ms"


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
