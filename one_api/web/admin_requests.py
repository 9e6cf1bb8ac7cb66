"""`/admin/requests`: the log of requests."""

from __future__ import annotations

from dataclasses import asdict

import flask

from one_api.errors import NotFound
from one_api.schemas import JsonObject
from one_api.storage.request_log import Bodies, Cursor, LoggedRequest, RequestFilter
from one_api.web.admin_values import Query, Stores, instant, list_response, required, wrong
from one_api.web.responses import json_response

_NAMES = ("key_id", "endpoint", "model", "deployment", "client_address")
#: Digits of the largest time that 64 bits hold.
_TIME_DIGITS = 18


def request_to_wire(request: LoggedRequest, bodies: Bodies | None = None) -> JsonObject:
    """The request as JSON: names that are missing are null, money is in micro-dollars."""
    fields = asdict(request)
    wire = {
        "object": "request",
        "id": fields.pop("request_id"),
        "created_at": instant(fields.pop("created_ms")),
        "settled_at": instant(fields.pop("settled_ms")),
        **fields,
        **{name: fields[name] or None for name in _NAMES},
    }
    return {**wire, "bodies": None if bodies is None else asdict(bodies)}


def add_request_routes(blueprint: flask.Blueprint, stores: Stores) -> None:
    """Serve `/requests` below the blueprint."""

    @blueprint.get("/requests")
    async def list_requests() -> flask.Response:
        log = required(stores.log)
        query = Query("key_id", "model", "status", "since", "until", "before", "limit")
        wanted = RequestFilter(
            key_id=query.text("key_id"),
            model=query.text("model"),
            status=query.number("status", least=100, most=599),
            since_ms=query.time_ms("since"),
            until_ms=query.time_ms("until"),
        )
        before, limit = query.text("before"), query.limit()
        cursor = None if before is None else _cursor(before)
        found = await log.list(wanted, before=cursor, limit=limit)
        next_before = _text(found[-1].cursor) if len(found) == limit else None
        return list_response(
            [request_to_wire(request) for request in found], next_before=next_before
        )

    @blueprint.get("/requests/<request_id>")
    async def get_request(request_id: str) -> flask.Response:
        log = required(stores.log)
        found = await log.get(request_id) if request_id.isprintable() else None
        if found is None:
            raise NotFound("There is no request with this id in the log.")
        return json_response(request_to_wire(*found))


def _text(cursor: Cursor) -> str:
    return f"{cursor.created_ms}-{cursor.request_id}"


def _cursor(text: str) -> Cursor:
    created, dash, request_id = text.partition("-")
    is_time = created.isascii() and created.isdecimal() and len(created) <= _TIME_DIGITS
    if not (dash and is_time and request_id):
        raise wrong("before", "the 'next_before' of a page is needed")
    return Cursor(int(created), request_id)
