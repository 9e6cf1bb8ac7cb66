"""`GET {prefix}/usage`: what the calling key has used, and what it may."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import flask

from one_api.policy.auth import NO_KEY_LIMITS, ApiKey, KeyLimits
from one_api.schemas import JsonObject
from one_api.storage.budgets import BudgetReport, BudgetStanding
from one_api.storage.usage import MAX_LINES
from one_api.web.admin_usage import usage_to_wire
from one_api.web.admin_values import Query, Stores, forbid_storing, list_response, required

_BUDGETS = ("budget_day_microusd", "budget_month_microusd", "budget_total_microusd")


def usage_blueprint(stores: Stores, limits: KeyLimits = NO_KEY_LIMITS) -> flask.Blueprint:
    """The calling key's own numbers, and nobody else's; `limits` are those of every key.

    `stores` is looked at anew for each request.
    """
    blueprint = flask.Blueprint("usage", __name__)
    blueprint.after_request(forbid_storing)

    @blueprint.get("/usage")
    async def usage() -> flask.Response:
        report, budgets = required(stores.usage), required(stores.budgets)
        since, until = Query("since", "until").days()
        caller: ApiKey = flask.g.caller
        lines = await report.by(
            ("day", "model"), since_day=since, until_day=until, key_id=caller.id
        )
        return list_response(
            [usage_to_wire(line) for line in lines],
            since=since,
            until=until,
            is_complete=len(lines) < MAX_LINES,
            key=await _standing(budgets, caller, caller.limits.over(limits)),
        )

    return blueprint


async def _standing(budgets: BudgetReport, caller: ApiKey, limits: KeyLimits) -> JsonObject:
    """What the caller may use, and what it has left of its budgets."""
    amounts = asdict(limits)
    now = datetime.now(UTC)
    periods = (f"day:{now:%Y-%m-%d}", f"month:{now:%Y-%m}", "total")
    caps = {
        period: amounts[name]
        for period, name in zip(periods, _BUDGETS, strict=True)
        if amounts[name] is not None
    }
    return {
        "id": caller.id,
        "models": None if caller.models is None else list(caller.models),
        "limits": {name: value for name, value in amounts.items() if name not in _BUDGETS},
        "budgets": [_budget(caps[one.period], one) for one in await budgets.of(caller.id, caps)],
    }


def _budget(cap_microusd: int, standing: BudgetStanding) -> JsonObject:
    taken = standing.spent_microusd + standing.reserved_microusd
    return {
        "object": "budget",
        "period": standing.period,
        "budget_microusd": cap_microusd,
        "spent_microusd": standing.spent_microusd,
        "reserved_microusd": standing.reserved_microusd,
        "left_microusd": max(cap_microusd - taken, 0),
    }
