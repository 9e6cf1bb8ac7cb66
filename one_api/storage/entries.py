"""What the ledger is told about a request, and the rows that it becomes.

Money is in whole micro-dollars, durations and instants in milliseconds (instants since 1970, UTC).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import orjson

from one_api.events import Usage
from one_api.schemas import JsonObject
from one_api.storage.tables import requests

#: What a later state may follow: a request that was given up may turn out to have ended well.
_RANKS = {"reserved": 0, "abandoned": 1, "settled": 2}

#: A record of the journal that is not a row of `requests`: what was said, kept apart because it is
#: given up first.
BODIES = "bodies"
#: The error code of requests whose process died, or was stopped, before it settled them.
ABANDONED = "abandoned"

#: No reply has more; providers have been seen to report 10**12.
MAX_COUNT = 2**31 - 1
#: A billion dollars: sums of costs stay far within 64 bits.
MAX_MICROUSD = 10**15
_MAX_TEXT_CHARS = 1_024
#: Combinations of names that are remembered at most.
_MAX_PLAIN_NAMES = 4_096

#: What a row has where its record says nothing.
_EMPTY_ROW = {
    column.name: None if column.nullable else column.type.python_type()
    for column in requests.columns
}


class BudgetCap(NamedTuple):
    """One budget that a request must fit into, for example `("day:2026-11-21", 5_000_000)`."""

    period: str
    cap_microusd: int


Budgets: TypeAlias = tuple[BudgetCap, ...]


class TokenCounts(NamedTuple):
    """Tokens to bill, counted as OpenAI does: details are subsets of the totals."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0

    @classmethod
    def of(cls, usage: Usage) -> TokenCounts:
        """What is billed of `usage`."""
        return cls(
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            completion_tokens=usage.completion_tokens,
            reasoning_tokens=usage.reasoning_tokens,
        )


NO_TOKENS = TokenCounts()


class Reservation(NamedTuple):
    """A request that is about to be worked on.

    `request_id` is unique for all time and chosen by the gateway, never by a client. `budgets` are
    all that it must fit into together; a key without budgets has none. `model` is the public name.
    """

    request_id: str
    key_id: str
    created_ms: int
    endpoint: str
    model: str
    estimate_microusd: int = 0
    budgets: Budgets = ()
    client_address: str | None = None


class Settlement(NamedTuple):
    """How a request ended.

    `status` is the HTTP status that the client was told, 499 when it had gone. `deployment` is the
    one that answered, or was asked last. Numbers below zero count as zero: what was spent never
    becomes less. Bodies are stored as they are given, so the caller bounds and redacts them.
    """

    status: int
    total_ms: int
    error_code: str | None = None
    deployment: str | None = None
    attempts: int = 0
    is_stream: bool = False
    first_content_ms: int | None = None
    usage: Usage | TokenCounts = NO_TOKENS
    is_estimated: bool = False
    cost_microusd: int = 0
    cache: str | None = None
    request_body: str | None = None
    reply_text: str | None = None
    is_truncated: bool = False


def reserved_record(reservation: Reservation, owner: str) -> JsonObject:
    """The row of a request that begins; `owner` is the name of the journal that answers for it."""
    budgets, estimate = reservation.budgets, reservation.estimate_microusd
    return {
        "state": "reserved",
        "request_id": reservation.request_id,
        "key_id": reservation.key_id,
        "created_ms": reservation.created_ms,
        "endpoint": reservation.endpoint,
        "model": reservation.model,
        "reserved_microusd": _bounded(estimate, MAX_MICROUSD) if estimate else 0,
        "budget_periods": ",".join(sorted(cap.period for cap in budgets)) if budgets else None,
        "client_address": reservation.client_address or "",
        "owner": owner,
    }


def settled_record(reserved: Mapping[str, Any], settlement: Settlement) -> JsonObject:
    """The whole row of a request that ended: it needs no earlier record to be understood."""
    if not _is_within(settlement):
        settlement = _cut(settlement)
    usage, total_ms = settlement.usage, settlement.total_ms
    return {
        **reserved,
        "state": "settled",
        "settled_ms": reserved["created_ms"] + total_ms,
        "deployment": settlement.deployment or "",
        "attempts": settlement.attempts,
        "status": settlement.status,
        "error_code": settlement.error_code,
        "is_stream": settlement.is_stream,
        "first_content_ms": settlement.first_content_ms,
        "total_ms": total_ms,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "is_estimated": settlement.is_estimated,
        "cost_microusd": settlement.cost_microusd,
        "cache": settlement.cache,
    }


def abandoned_record(reserved: Mapping[str, Any], now_ms: int) -> JsonObject:
    """The row of a request whose end nobody saw: it cost nothing that is known."""
    return {**reserved, "state": "abandoned", "settled_ms": now_ms, "error_code": ABANDONED}


def bodies_record(reserved: Mapping[str, Any], settlement: Settlement) -> JsonObject | None:
    """What was asked and answered, None when neither is to be kept."""
    if settlement.request_body is None and settlement.reply_text is None:
        return None
    return {
        "state": BODIES,
        "request_id": reserved["request_id"],
        "created_ms": reserved["created_ms"],
        "request": settlement.request_body,
        "reply": settlement.reply_text,
        "is_truncated": settlement.is_truncated,
    }


def latest_of_each(records: Iterable[JsonObject]) -> dict[str, JsonObject]:
    """The record that counts for each request, by its id; bodies are left out."""
    latest: dict[str, JsonObject] = {}
    for record in records:
        if record["state"] != BODIES and follows(record, latest.get(record["request_id"])):
            latest[record["request_id"]] = record
    return latest


def follows(record: Mapping[str, Any], known: Mapping[str, Any] | None) -> bool:
    """Whether `record` says more about a request than the row that is `known`."""
    return known is None or _RANKS[record["state"]] > _RANKS[known["state"]]


def row_of(record: JsonObject) -> JsonObject:
    """`record` as a row of `requests`, with all columns and only text that databases take.

    Names that clients chose are not stored at any length.
    """
    # A settled record has all columns, and none has others: those of journals are left out.
    row = record if len(record) == len(_EMPTY_ROW) else {**_EMPTY_ROW, **record}
    if _are_plain(_names_in(row)):
        return row
    return {
        name: _mended(value)[:_MAX_TEXT_CHARS] if isinstance(value, str) else value
        for name, value in row.items()
    }


#: Texts of a row that come from outside.
_names_in = itemgetter(
    "model", "deployment", "error_code", "endpoint", "client_address", "key_id", "cache"
)


#: Those that can be stored as they are, as far as they were looked at: mostly the same ones.
_plain_names: set[tuple[str | None, ...]] = set()


def _are_plain(names: tuple[str | None, ...]) -> bool:
    """Whether all `names` can be stored as they are: nearly always."""
    if names in _plain_names:  # To look at the texts takes four times as long.
        return True
    text = "".join([name for name in names if name is not None])
    if len(text) > _MAX_TEXT_CHARS or not text.isascii() or not text.isprintable():
        return False
    if len(_plain_names) >= _MAX_PLAIN_NAMES:  # Clients may come from anywhere.
        _plain_names.clear()
    _plain_names.add(names)
    return True


def bodies_row_of(record: JsonObject) -> JsonObject:
    """`record` as a row of `request_bodies`, with only text that databases take."""
    return {
        name: _mended(value) if isinstance(value, str) else value for name, value in record.items()
    }


def to_line(record: JsonObject) -> bytes:
    """`record` as a line of a journal, whatever text it holds."""
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # Halves of surrogate pairs, which JSON can name and UTF-8 cannot.
        printable = {
            key: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
            for key, value in record.items()
        }
        return orjson.dumps(printable, option=orjson.OPT_APPEND_NEWLINE)


def from_line(line: bytes) -> JsonObject | None:
    """The record that `line` holds, None when it holds none."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict):
        return None
    is_known = record.get("state") in (*_RANKS, BODIES)
    if not is_known or not isinstance(record.get("request_id"), str):
        return None
    if record["state"] == BODIES:
        return record
    # Journals of earlier versions say null where a name is missing, those of later ones may say
    # more than there is a column for.
    return {
        name: value for name, value in record.items() if value is not None and name in _EMPTY_ROW
    }


def _mended(text: str) -> str:
    """`text` without what PostgreSQL, or UTF-8, cannot say."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def _is_within(settlement: Settlement) -> bool:
    """Whether a database can hold its numbers, and add them up."""
    usage = settlement.usage
    # All bits of all counts: one below zero makes that negative, and one above too large, since
    # `MAX_COUNT` has all bits that a count may have.
    counts = (
        settlement.total_ms
        | (settlement.first_content_ms or 0)
        | settlement.status
        | settlement.attempts
        | usage.prompt_tokens
        | usage.cached_tokens
        | usage.cache_write_tokens
        | usage.completion_tokens
        | usage.reasoning_tokens
    )
    return 0 <= counts <= MAX_COUNT and 0 <= settlement.cost_microusd <= MAX_MICROUSD


def _cut(settlement: Settlement) -> Settlement:
    """`settlement` with numbers that a database can hold and add up."""
    usage, first_ms = settlement.usage, settlement.first_content_ms
    return settlement._replace(
        total_ms=_bounded(settlement.total_ms, MAX_COUNT),
        first_content_ms=None if first_ms is None else _bounded(first_ms, MAX_COUNT),
        status=_bounded(settlement.status, MAX_COUNT),
        attempts=_bounded(settlement.attempts, MAX_COUNT),
        cost_microusd=_bounded(settlement.cost_microusd, MAX_MICROUSD),
        usage=TokenCounts(
            prompt_tokens=_bounded(usage.prompt_tokens, MAX_COUNT),
            cached_tokens=_bounded(usage.cached_tokens, MAX_COUNT),
            cache_write_tokens=_bounded(usage.cache_write_tokens, MAX_COUNT),
            completion_tokens=_bounded(usage.completion_tokens, MAX_COUNT),
            reasoning_tokens=_bounded(usage.reasoning_tokens, MAX_COUNT),
        ),
    )


def _bounded(number: int, most: int) -> int:
    return 0 if number < 0 else min(number, most)
