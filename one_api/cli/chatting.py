"""`one-api chat`."""

from __future__ import annotations

import asyncio
import sys

import click
import orjson

from one_api.cli.running import running_registry
from one_api.errors import GatewayError
from one_api.failover import Failover, RequestContext
from one_api.gateway import Gateway, GatewayOptions, StreamedReply
from one_api.routing import Router
from one_api.schemas.chat import ChatCompletionRequest
from one_api.settings import Settings


@click.command()
@click.argument("model")
@click.argument("text")
def chat(model: str, text: str) -> None:
    """Ask MODEL one question and print its answer as it comes."""
    settings = Settings.load()
    request = ChatCompletionRequest.from_wire(
        {"model": model, "messages": [{"role": "user", "content": text}], "stream": True}
    )

    async def ask() -> None:
        async with running_registry(settings) as registry:
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
