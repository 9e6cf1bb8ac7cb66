"""`one-api local`: the local models from the command line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from one_api.adapter import GatewayError, SystemClock
from one_api_llamacpp.catalogue import DEMO, Catalogue, ModelFile
from one_api_llamacpp.footprint import footprint_bytes
from one_api_llamacpp.gguf_header import InvalidGGUF, read_header
from one_api_llamacpp.hub import CannotFetch, download_from_hub, fetch_model
from one_api_llamacpp.settings import LocalSettings
from one_api_llamacpp.speed import Load, Speed, measure
from one_api_llamacpp.worker_client import Worker

_MIB: Final = 1024 * 1024
_HEAD: Final = ("MODEL", "KIND", "PARAMETERS", "STORED", "CONTEXT", "FILE", "MEMORY")
_SPEED_HEAD: Final = ("STREAMS", "TOKENS/S", "FIRST", "WORST FIRST", "BETWEEN P99")
#: Longer values of a header are cut when it is shown.
_SHOWN_CHARS: Final = 200
_logger = logging.getLogger("one_api.local")


@click.group()
@click.pass_context
def local(ctx: click.Context) -> None:
    """Look at local models, measure them, and fetch new ones."""
    environment: Mapping[str, str] = ctx.obj or {}
    ctx.obj = LocalSettings.from_environment(environment)


@local.command("list")
@click.pass_obj
def list_models(settings: LocalSettings) -> None:
    """List the models and what each takes of the machine."""
    inventory = _catalogue(settings).scan()
    _print_table(_HEAD, [_row(file, settings) for file in inventory.models])
    for name, reason in inventory.refused.items():
        click.echo(f"{_printable(name)}.gguf is ignored: {reason}", err=True)
    click.echo(f"Together they may take {_size(settings.memory_bytes)}.", err=True)


@local.command()
@click.argument("model")
@click.option("--template", is_flag=True, help="Print the whole chat template, and nothing else.")
@click.pass_obj
def inspect(settings: LocalSettings, model: str, template: bool) -> None:
    """Show what the file of MODEL says of itself; MODEL is an id or a path."""
    file = _find(settings, model)
    if template:
        if file.header.chat_template is None:
            raise click.ClickException(f"{_printable(model)} has no chat template")
        click.echo(_printable(file.header.chat_template, keep="\n\t"))
        return
    for title, cell in zip(_HEAD, _row(file, settings), strict=True):
        click.echo(f"{title.capitalize()}: {cell}")
    click.echo(f"Path: {_printable(str(file.path))}")
    lengths = {key: f"({count} values)" for key, count in file.header.lengths.items()}
    for key, value in sorted({**file.header.metadata, **lengths}.items()):
        shown = _printable(str(value))
        cut = f"{shown[:_SHOWN_CHARS]}…" if len(shown) > _SHOWN_CHARS else shown
        click.echo(f"  {_printable(key)} = {cut}")


@local.command()
@click.argument("model")
@click.option("--streams", multiple=True, type=click.IntRange(1, 256), help="Answers at once.")
@click.option("--prompt-tokens", type=click.IntRange(1), default=128, show_default=True)
@click.option("--tokens", type=click.IntRange(2), default=64, show_default=True)
@click.pass_obj
def bench(
    settings: LocalSettings, model: str, streams: Sequence[int], prompt_tokens: int, tokens: int
) -> None:
    """Measure how fast MODEL answers, by itself and together with others.

    --streams may be given several times; left out, one answer and LOCAL_PARALLEL at once are
    measured. With the settings of the server, but in processes of its own.
    """
    file = _find(settings, model)
    if file.header.is_embedding:
        raise click.ClickException(f"{_printable(model)} makes vectors, no text")
    loads = [
        Load(count, prompt_tokens, tokens) for count in streams or sorted({1, settings.parallel})
    ]
    try:
        speeds = asyncio.run(_bench(settings, file, loads))
    except GatewayError as exc:
        raise click.ClickException(exc.message) from exc
    _print_table(
        _SPEED_HEAD,
        [_speed_row(load, speed) for load, speed in zip(loads, speeds, strict=True)],
    )


@local.command()
@click.argument("repo")
@click.argument("file")
@click.option("--revision", help="A branch, a tag or a commit.")
@click.pass_obj
def pull(settings: LocalSettings, repo: str, file: str, revision: str | None) -> None:
    """Fetch FILE of REPO from the Hugging Face hub into LOCAL_MODELS_DIR.

    Of a model in parts, FILE is the first. Needs: pip install 'one-api-llamacpp[hub]'
    """
    try:
        path = fetch_model(
            repo, file, settings.directory, revision=revision, download=download_from_hub
        )
    except CannotFetch as exc:
        raise click.ClickException(f"{file} was not fetched: {exc}") from exc
    click.echo(f"{path.stem} is there: {path}")


async def _bench(settings: LocalSettings, file: ModelFile, loads: Sequence[Load]) -> list[Speed]:
    worker = await Worker.open(
        settings.for_worker(file.id, file.path, is_embedding=False),
        clock=SystemClock(),
        notify=lambda notice: click.echo(notice.message, err=True),
        logger=_logger,
    )
    try:
        await measure(worker, file.header, Load(1, 16, 8), seed=0)  # to read the file in
        return [
            await measure(worker, file.header, load, seed=seed)
            for seed, load in enumerate(loads, start=1)
        ]
    finally:
        await worker.close()


def _catalogue(settings: LocalSettings) -> Catalogue:
    return Catalogue(settings.directory, _logger, demo=DEMO, is_needed=settings.is_directory_given)


def _find(settings: LocalSettings, model: str) -> ModelFile:
    """The model of this id or in this file.

    Raises: ClickException.
    """
    path = Path(model)
    if path.suffix == ".gguf" and path.is_file():
        try:
            header, status = read_header(path), path.stat()
        except (InvalidGGUF, OSError) as exc:
            raise click.ClickException(f"{_printable(model)} cannot be used: {exc}") from exc
        return ModelFile(
            id=path.stem,
            path=path.resolve(),
            header=header,
            created=int(status.st_mtime),
            size_bytes=status.st_size,
            parameters=header.parameters,
        )
    try:
        return _catalogue(settings).find(model)
    except GatewayError as exc:
        raise click.ClickException(_printable(exc.message)) from exc


def _row(file: ModelFile, settings: LocalSettings) -> tuple[str, ...]:
    header = file.header
    return (
        _printable(file.id),
        "embedding" if header.is_embedding else "chat",
        f"{file.parameters / 1e6:,.1f} M",
        header.quantisation or "?",
        str(header.context_tokens or "?"),
        _size(file.size_bytes),
        _size(footprint_bytes(file, settings)),
    )


def _speed_row(load: Load, speed: Speed) -> tuple[str, ...]:
    times = (speed.first_median_s, speed.first_worst_s, speed.between_s)
    return (
        str(load.streams),
        f"{speed.tokens_per_s:.1f}",
        *(f"{time_s * 1000:.0f} ms" for time_s in times),
    )


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _size(count: int) -> str:
    return f"{count / _MIB:,.0f} MiB"


def _printable(text: str, *, keep: str = "") -> str:
    """`text` with everything that could steer a terminal spelled out."""
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )
