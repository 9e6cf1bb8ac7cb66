"""`one-api alerts`: whether alerts would arrive."""

from __future__ import annotations

import asyncio
from random import Random

import click

from one_api.adapter.clock import SystemClock
from one_api.alerting import host_name, require_channel
from one_api.app import new_upstream
from one_api.cli.printing import printable
from one_api.observe.alerts import Alert, News
from one_api.observe.alerts.channels import Channel, NotSentError
from one_api.observe.alerts.message import compose
from one_api.observe.alerts.outbox import Post, deliver
from one_api.settings import Settings

_CHANNELS = ("feishu", "matrix", "slack", "webhook", "all")


@click.group()
def alerts() -> None:
    """Look after the channels for alerts (ALERT_*)."""


@alerts.command()
@click.argument("channel", type=click.Choice(_CHANNELS))
def test(channel: str) -> None:
    """Send a test message to CHANNEL; the exit status is 1 where one does not arrive."""
    settings = Settings.load()
    outcomes = asyncio.run(_send_each(require_channel(settings, channel), settings))
    for name, problem in outcomes:
        click.echo(f"{name}: {'sent' if problem is None else f'not sent: {printable(problem)}'}")
    if any(problem is not None for _, problem in outcomes):
        raise SystemExit(1)


async def _send_each(channels: list[Channel], settings: Settings) -> list[tuple[str, str | None]]:
    """What each channel made of a test: None where it took it, else why not."""
    upstream = new_upstream()
    await upstream.open()
    # Spreads retries, of which there are none here.
    post = Post(upstream, SystemClock(), Random())  # noqa: S311
    outcomes: list[tuple[str, str | None]] = []
    try:
        for channel in channels:
            alert = Alert(News("test", channel.name))
            message = compose([alert], host_name(), settings.alert_language)
            try:
                await deliver(channel, message, post)
            except NotSentError as exc:
                outcomes.append((channel.name, str(exc)))
            else:
                outcomes.append((channel.name, None))
    finally:
        await upstream.close()
    return outcomes
