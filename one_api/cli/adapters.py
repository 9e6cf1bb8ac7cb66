"""`one-api adapters`: those that are installed, one of them looked at closely, and a new one."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast

import click
import orjson

from one_api.app import new_upstream
from one_api.cli.conformance import record_of
from one_api.cli.doctoring import Check, Order, examine
from one_api.cli.model_lists import ModelList, ask_for_models, shortened
from one_api.cli.printing import print_table, printable
from one_api.cli.registries import refuse_wrong_adapters
from one_api.cli.scaffolding import KINDS, AdapterNames, Kind, NameRefusedError, write
from one_api.discovery import AdapterEntry
from one_api.provision import load_registry
from one_api.schemas import JsonObject
from one_api.settings import Settings

_HEAD = "ADAPTER DISTRIBUTION VERSION STATE IMPORT CONFORMANCE MODELS DETAIL"

#: Each entry's lists of models by the names of its adapters; None where nobody was asked.
_Lists = dict[str, ModelList] | None


@click.group(invoke_without_command=True)
@click.option("--no-probe", is_flag=True, help="Ask no provider for its models.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def adapters(ctx: click.Context, no_probe: bool, as_json: bool) -> None:
    """List the installed adapters and how each fares."""
    if ctx.invoked_subcommand is not None:
        if no_probe or as_json:
            raise click.UsageError("--no-probe and --json come after the command they are for")
        return
    upstream = new_upstream()
    registry = load_registry(Settings.load(), upstream)

    async def ask(entry: AdapterEntry) -> _Lists:
        told = await asyncio.gather(*map(ask_for_models, entry.adapters.values()))
        return dict(zip(entry.adapters, told, strict=True))

    async def ask_all() -> list[_Lists]:
        await upstream.open()
        try:
            return await asyncio.gather(*map(ask, registry.entries))
        finally:
            await upstream.close()

    asked = [None] * len(registry.entries) if no_probe else asyncio.run(ask_all())
    rows = list(zip(registry.entries, asked, strict=True))
    if as_json:
        for entry, lists in rows:
            click.echo(orjson.dumps(_to_json(entry, lists)))
    else:
        print_table(_HEAD.split(), [_row(entry, lists) for entry, lists in rows])
    refuse_wrong_adapters(registry)


@adapters.command()
@click.argument("name")
@click.option("--live", is_flag=True, help="Ask a model for a few words; the provider may bill it.")
@click.option("--model", metavar="ID", help="The model to ask; the first one listed otherwise.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def doctor(name: str, live: bool, model: str | None, as_json: bool) -> None:
    """Look at the adapter NAME: import, settings, models, and with --live an answer."""
    settings = Settings.load()
    order = Order(name=name, is_live=live, model=model)

    async def look() -> bool:
        is_well = True
        async for check in examine(order, settings):
            click.echo(orjson.dumps(check.to_json()) if as_json else _line(check))
            is_well = is_well and check.outcome != "failed"
        return is_well

    if not asyncio.run(look()):
        sys.exit(1)


@adapters.command()
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="http",
    show_default=True,
    help="A provider with an API of its own, one that speaks OpenAI's format, or anything else.",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where its directory is made; here unless given.",
)
def new(name: str, kind: str, directory: Path) -> None:
    """Write the package of a new adapter NAME, which keeps the contract at once."""
    try:
        names = AdapterNames(name)
        names.require_free()
        root = write(names, cast("Kind", kind), directory)
    except NameRefusedError as exc:
        raise click.ClickException(f"{exc}.") from exc
    except FileExistsError as exc:
        raise click.ClickException(f"{exc.filename} is there already.") from exc
    except OSError as exc:
        raise click.ClickException(f"{exc.filename} cannot be written: {exc.strerror}.") from exc
    click.echo(f"{root} is written. Every place to type at is marked with 'Here:'.")
    click.echo(f"Next:\n  cd {root}\n  pip install -e '.[dev]'\n  pytest --one-api-adapter={name}")


def _row(entry: AdapterEntry, lists: _Lists) -> tuple[str, ...]:
    record = record_of(entry)
    return (
        entry.name,
        entry.distribution,
        entry.version,
        entry.state,
        f"{entry.import_s * 1000:.0f} ms",
        record.told(entry) if record else "-",
        shortened(_ids(lists)) if _is_asked(lists) else "-",
        entry.reason or "; ".join(_errors(lists)) or ", ".join(entry.adapters),
    )


def _to_json(entry: AdapterEntry, lists: _Lists) -> JsonObject:
    record = record_of(entry)
    return {
        "name": entry.name,
        "distribution": entry.distribution,
        "version": entry.version,
        "state": entry.state,
        "reason": entry.reason,
        "import_ms": round(entry.import_s * 1000),
        "conformance": record.to_json(entry) if record else None,
        "adapters": list(entry.adapters),
        "models": _ids(lists) if _is_asked(lists) else None,
        "errors": _errors(lists),
    }


def _is_asked(lists: _Lists) -> bool:
    """Whether a list of models came."""
    return any(not told.error for told in (lists or {}).values())


def _ids(lists: _Lists) -> list[str]:
    return [id_ for told in (lists or {}).values() for id_ in told.ids]


def _errors(lists: _Lists) -> list[str]:
    told = (lists or {}).items()
    return [f"{name}: {each.error}" for name, each in told if each.error]


def _line(check: Check) -> str:
    advice = f" -> {check.advice}" if check.advice else ""
    return printable(f"{check.outcome:<8} {check.name:<12} {check.detail}{advice}")
