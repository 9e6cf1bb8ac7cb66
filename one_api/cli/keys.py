"""`one-api keys`: the keys in the database, by which clients call."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, TypeVar, cast

import click
import orjson

from one_api.cli.printing import dollars, instant, number, print_table
from one_api.cli.stores import with_database
from one_api.settings import Settings
from one_api.storage import Database
from one_api.storage.keys import MAX_LISTED, KeyChanges, KeySpec, KeyStore, StoredKey
from one_api.storage.secret import key_secret
from one_api.web.admin_keys import MAX_AMOUNT, MAX_NAME_CHARS, key_to_wire

T = TypeVar("T")

_HEAD = "ID STATE NAME OWNER MODELS REQ/MIN TOK/MIN AT-ONCE DAY-USD MONTH-USD TOTAL-USD EXPIRES"
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"([0-9]{1,6})([smhdw])")
_AMOUNT = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
_MICROUSD = 1_000_000


def _span_ms(text: str) -> int:
    """A time from now on, such as 12h or 30d, in milliseconds."""
    span = _SPAN.fullmatch(text)
    if span is None or int(span[1]) == 0:
        raise click.BadParameter("a number and a unit are needed, such as 90m, 12h, 30d or 8w")
    return int(span[1]) * _UNITS_S[span[2]] * 1000


def _microusd(text: str) -> int:
    """US dollars in micro-dollars."""
    if _AMOUNT.fullmatch(text) is None:
        raise click.BadParameter("an amount such as 1.50, with six decimals at most, is needed")
    return int(Decimal(text) * _MICROUSD)


def _line(text: str) -> str:
    """A name of one line."""
    if not text.strip() or len(text) > MAX_NAME_CHARS or not text.isprintable():
        raise click.BadParameter(f"one line of up to {MAX_NAME_CHARS} characters is needed")
    return text


_COUNT = click.IntRange(1, MAX_AMOUNT)
_OPTIONS = (
    click.option("--owner", type=_line, help="Who answers for it."),
    click.option("--tag", "tags", type=_line, multiple=True, help="May be given several times."),
    click.option("--expires-in", "expires_in_ms", type=_span_ms, help="90m, 12h, 30d, 8w."),
    click.option("--model", "models", type=_line, multiple=True, help="Allowed name or pattern."),
    click.option("--requests-per-minute", type=_COUNT),
    click.option("--tokens-per-minute", type=_COUNT),
    click.option("--concurrent", "concurrent_requests", type=_COUNT, help="Requests at once."),
    click.option("--budget-day-usd", "budget_day_microusd", type=_microusd, help="Per UTC day."),
    click.option("--budget-month-usd", "budget_month_microusd", type=_microusd),
    click.option("--budget-total-usd", "budget_total_microusd", type=_microusd),
    click.option("--max-tokens", type=_COUNT, help="Completion limit of one request."),
)
#: Options whose values can be taken away, without their dashes, and what they are called here.
_CLEARABLE = {
    "owner": "owner",
    "tag": "tags",
    "expires-in": "expires_in_ms",
    "model": "models",
    "requests-per-minute": "requests_per_minute",
    "tokens-per-minute": "tokens_per_minute",
    "concurrent": "concurrent_requests",
    "budget-day-usd": "budget_day_microusd",
    "budget-month-usd": "budget_month_microusd",
    "budget-total-usd": "budget_total_microusd",
    "max-tokens": "max_tokens",
}
#: What stands for nothing where that is not None.
_NOTHING: dict[str, Any] = {"owner": "", "tags": ()}


def _key_options(command: Callable[..., None]) -> Callable[..., None]:
    """What can be said of a key, as options of `command`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@click.group()
def keys() -> None:
    """Make, list, change and revoke the keys that the database keeps."""


@keys.command()
@click.option("--name", type=_line, required=True, help="Whom or what the key is for.")
@_key_options
@click.option("--may-route", is_flag=True, help="Allow x-one-api-* headers that steer routing.")
def create(
    owner: str | None,
    expires_in_ms: int | None,
    models: tuple[str, ...],
    **given: Any,
) -> None:
    """Make a key and print it, once."""
    spec = KeySpec(
        owner=owner or "",
        models=models or None,
        expires_ms=None if expires_in_ms is None else _now_ms() + expires_in_ms,
        **given,
    )
    plaintext, stored = _with_keys(lambda store: store.create(spec))
    _print_once(plaintext, stored.id)


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--name", type=_line, help="Whom or what the key is for.")
@_key_options
@click.option("--may-route/--no-may-route", default=None, help="Allow x-one-api-* headers or not.")
@click.option(
    "--clear",
    "cleared",
    type=click.Choice(list(_CLEARABLE)),
    multiple=True,
    help="Take this away from the key; may be given several times.",
)
def update(key_id: str, cleared: tuple[str, ...], **given: Any) -> None:
    """Change what the key with this ID may do; what is not named stays as it is.

    Tags and models that are named take the place of all that there were.
    """
    changes = {field: value for field, value in given.items() if value not in (None, ())}
    for option in cleared:
        field = _CLEARABLE[option]
        if field in changes:
            raise click.UsageError(f"--{option} and --clear {option} exclude each other")
        changes[field] = _NOTHING.get(field)
    if not changes:
        raise click.UsageError("nothing to change: name what is to be another")
    if "expires_in_ms" in changes:
        expires_in_ms = changes.pop("expires_in_ms")
        changes["expires_ms"] = None if expires_in_ms is None else _now_ms() + expires_in_ms
    changed = _with_keys(lambda store: store.update(key_id, cast("KeyChanges", changes)))
    print_table(_HEAD.split(), [_row(changed, _now_ms())])


@keys.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_keys(as_json: bool) -> None:
    """List all keys, oldest first; the keys themselves nobody has."""
    found = _with_keys(_all_keys)
    if as_json:
        for key in found:
            click.echo(orjson.dumps(key_to_wire(key)))
    else:
        now_ms = _now_ms()
        print_table(_HEAD.split(), [_row(key, now_ms) for key in found])


@keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """Let the key with this ID open nothing any more."""
    revoked = _with_keys(lambda store: store.revoke(key_id))
    click.echo(f"{revoked.id} is revoked since {instant(revoked.revoked_ms)}.")


@keys.command()
@click.argument("key_id", metavar="ID")
def rotate(key_id: str) -> None:
    """Give the key with this ID new characters; with the old ones nobody gets in any more."""
    _print_once(_with_keys(lambda store: store.rotate(key_id)), key_id)


def _print_once(plaintext: str, key_id: str) -> None:
    # On its own on the standard output, for scripts.
    click.echo(plaintext)
    click.echo(f"This is {key_id}. Keep it: it is not shown again.", err=True)


def _with_keys(work: Callable[[KeyStore], Awaitable[T]]) -> T:
    settings = Settings.load()
    configured = settings.key_secret.get_secret_value() if settings.key_secret else None

    async def prepared(database: Database) -> T:
        return await work(KeyStore(database, await key_secret(database, configured)))

    return with_database(settings, prepared)


async def _all_keys(store: KeyStore) -> list[StoredKey]:
    found: list[StoredKey] = []
    while page := await store.list(MAX_LISTED, after=found[-1].id if found else None):
        found += page
    return found


def _row(key: StoredKey, now_ms: int) -> tuple[str, ...]:
    state = "good" if key.is_good_at(now_ms) else "expired"
    return (
        key.id,
        state if key.revoked_ms is None else "revoked",
        key.name,
        key.owner or "-",
        "all" if key.models is None else ",".join(key.models),
        number(key.requests_per_minute),
        number(key.tokens_per_minute),
        number(key.concurrent_requests),
        dollars(key.budget_day_microusd),
        dollars(key.budget_month_microusd),
        dollars(key.budget_total_microusd),
        instant(key.expires_ms),
    )
