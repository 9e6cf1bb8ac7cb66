"""What requests about the stored say, and how answers tell the time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

import flask

from one_api.errors import InvalidRequest
from one_api.schemas import JsonObject
from one_api.storage.budgets import BudgetReport
from one_api.storage.keys import KeyStore
from one_api.storage.request_log import RequestLog
from one_api.storage.usage import UsageReport
from one_api.web.responses import json_response

#: The longest page of a list.
MAX_PAGE = 200
MAX_TEXT_CHARS = 200

_PAGE = 100
_DAYS = 30

T = TypeVar("T")


@dataclass(slots=True)
class Stores:
    """What is stored; filled in when the gateway starts, and left None where nothing is stored."""

    keys: KeyStore | None = None
    log: RequestLog | None = None
    usage: UsageReport | None = None
    budgets: BudgetReport | None = None


def required(store: T | None) -> T:
    """`store`, if there is one.

    Raises: InvalidRequest.
    """
    if store is None:
        raise InvalidRequest(
            "This gateway has no database (DATABASE_URL=none): nothing is stored.",
            code="nothing_is_stored",
        )
    return store


class Query:
    """The parameters of the current request's URL, of which only `allowed` may be there.

    All methods raise InvalidRequest that names the parameter; an empty value is none.
    """

    def __init__(self, *allowed: str) -> None:
        for name in flask.request.args:
            if name not in allowed:
                raise InvalidRequest(
                    f"Unknown parameter: '{name[:MAX_TEXT_CHARS]}'.",
                    param=name[:MAX_TEXT_CHARS],
                    code="unknown_parameter",
                )
        self._values = flask.request.args

    def text(self, name: str) -> str | None:
        """A name or an id, which is compared and nothing else."""
        value = self._values.get(name) or None
        if value is not None and (len(value) > MAX_TEXT_CHARS or not value.isprintable()):
            raise wrong(name, f"up to {MAX_TEXT_CHARS} printable characters are needed")
        return value

    def number(self, name: str, *, least: int, most: int) -> int | None:
        """A whole number from `least` to `most`."""
        value = self._values.get(name) or None
        if value is None:
            return None
        is_number = value.isascii() and value.isdecimal() and len(value) <= len(str(most))
        if not is_number or not least <= int(value) <= most:
            raise wrong(name, f"a whole number from {least} to {most} is needed")
        return int(value)

    def limit(self) -> int:
        """How long the page may be."""
        return self.number("limit", least=1, most=MAX_PAGE) or _PAGE

    def time_ms(self, name: str) -> int | None:
        """A time, in UTC epoch milliseconds."""
        value = self._values.get(name) or None
        if value is None:
            return None
        time_ms = instant_ms(value)
        if time_ms is None:
            raise wrong(name, "a time such as 2026-11-21T08:30:00Z is needed")
        return time_ms

    def days(self) -> tuple[str, str]:
        """The first and the last day asked for; the last 30 if none are named."""
        until = self._day("until") or datetime.now(UTC).date()
        since = self._day("since") or until - min(timedelta(_DAYS - 1), until - date.min)
        if since > until:
            raise wrong("since", "it is after 'until'")
        return since.isoformat(), until.isoformat()

    def choices(self, name: str, among: Collection[str]) -> tuple[str, ...]:
        """Some of `among`, separated by commas."""
        value = self._values.get(name) or ""
        chosen = tuple(dict.fromkeys(part.strip() for part in value.split(","))) if value else ()
        if not set(chosen) <= set(among):
            raise wrong(name, f"a comma-separated list of {', '.join(among)} is needed")
        return chosen

    def _day(self, name: str) -> date | None:
        value = self._values.get(name) or None
        if value is None:
            return None
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise wrong(name, "a day such as 2026-11-21 is needed") from None


def wrong(name: str, problem: str) -> InvalidRequest:
    """The error for a parameter or field whose value will not do."""
    return InvalidRequest(
        f"Invalid value for '{name}': {problem}.", param=name, code="invalid_value"
    )


def instant(time_ms: int | None) -> str | None:
    """UTC epoch milliseconds in ISO 8601; None for none."""
    if time_ms is None:
        return None
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant_ms(text: str) -> int | None:
    """A time in ISO 8601, in UTC unless it says otherwise, or a day's beginning; else None."""
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def list_response(data: list[JsonObject], **more: object) -> flask.Response:
    """`data` as OpenAI lists things."""
    return json_response({"object": "list", "data": data, **more})


def forbid_storing(response: flask.Response) -> flask.Response:
    """Keep what is told to one caller out of everybody's caches."""
    response.headers["Cache-Control"] = "no-store"
    return response
