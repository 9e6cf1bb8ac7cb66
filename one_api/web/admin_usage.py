"""`/admin/usage`: what was used, by whom, of what, and what it cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast, get_args

import flask

from one_api.schemas import JsonObject
from one_api.storage.usage import MAX_LINES, Group, UsageLine
from one_api.web.admin_values import Query, Stores, list_response, required

_GROUPS: tuple[Group, ...] = get_args(Group)


def usage_to_wire(line: UsageLine) -> JsonObject:
    """The sums as JSON, with the names that they were grouped by."""
    fields = asdict(line)
    names = ("day", "key_id", "model", "deployment")
    absent = [name for name in names if fields[name] is None]
    return {
        "object": "usage",
        **{name: value for name, value in fields.items() if name not in absent},
    }


def add_usage_route(blueprint: flask.Blueprint, stores: Stores) -> None:
    """Serve `/usage` below the blueprint."""

    @blueprint.get("/usage")
    async def usage() -> flask.Response:
        report = required(stores.usage)
        query = Query("group_by", "since", "until", "key_id", "limit")
        groups = cast("tuple[Group, ...]", query.choices("group_by", _GROUPS))
        since, until = query.days()
        limit = query.number("limit", least=1, most=MAX_LINES) or MAX_LINES
        key_id = query.text("key_id")
        lines = await report.by(
            groups, since_day=since, until_day=until, key_id=key_id, limit=limit
        )
        return list_response(
            [usage_to_wire(line) for line in lines],
            since=since,
            until=until,
            is_complete=len(lines) < limit,
        )
