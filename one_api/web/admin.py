"""What the operator sees and does at run time, below `/admin`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, fields, replace

import flask

from one_api.catalogue import Pattern, is_pattern
from one_api.deployment import Deployment, Price, Timeouts
from one_api.errors import ConfigurationError, InvalidRequest
from one_api.registry import ModelRegistry
from one_api.routing import RetryBudget, Router
from one_api.schemas import JsonObject
from one_api.web.admin_keys import add_key_routes
from one_api.web.admin_requests import add_request_routes
from one_api.web.admin_usage import add_usage_route
from one_api.web.admin_values import Stores, forbid_storing, list_response
from one_api.web.guard import ADMIN
from one_api.web.responses import json_response

#: Reads again what may change, in every process: one line for each change.
Reload = Callable[[], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteStep:
    """One deployment that could answer for a model, and why it is tried or not.

    `position` counts from 1, None where it is not asked now; `obstacle` says why then, or why a
    last resort is likely to fail, and `until_s` for how many seconds that is expected to hold.
    `timeouts` hold while another deployment is left to try, `last_timeouts` for the last one.
    """

    deployment: Deployment
    position: int | None
    because: str
    timeouts: Timeouts
    last_timeouts: Timeouts
    obstacle: str | None = None
    until_s: float | None = None

    def to_wire(self) -> JsonObject:
        """As JSON; prices are in US dollars per million tokens."""
        deployment = self.deployment
        price = deployment.price
        return {
            "deployment": deployment.name,
            "position": self.position,
            "because": self.because,
            "obstacle": self.obstacle,
            "until_s": None if self.until_s is None else round(self.until_s, 3),
            "group": deployment.group.name,
            "strategy": deployment.group.strategy,
            "order": deployment.order,
            "weight": deployment.weight,
            "timeouts": asdict(self.timeouts),
            "last_timeouts": asdict(self.last_timeouts),
            "price": None if price is None else _price_to_wire(price),
            "context_window": deployment.context_window,
        }


async def explain_route(registry: ModelRegistry, router: Router, model: str) -> list[RouteStep]:
    """What would be tried for `model` now, in order; then what would not, and why.

    Waits for the providers' first lists: without them everything is a guess.

    A strategy that draws lots draws them anew for each request.
    Raises: ModelNotFound, NoDeploymentAvailable as the registry does.
    """
    await registry.list_all_models()
    plan = router.plan(await registry.deployments_for(model))
    because_last = "the last resort" if plan.is_last_resort else ""

    def step(deployment: Deployment, position: int | None) -> RouteStep:
        reasons = [_because(registry, model, deployment), because_last if position else ""]
        return RouteStep(
            deployment=deployment,
            position=position,
            because="; ".join(reason for reason in reasons if reason),
            timeouts=router.timeouts(deployment, has_other=True),
            last_timeouts=router.timeouts(deployment, has_other=False),
        )

    steps = [step(deployment, at) for at, deployment in enumerate(plan.deployments, 1)]
    if plan.is_last_resort:
        (state,) = router.states(plan.deployments)
        steps = [replace(steps[0], obstacle=state.reason, until_s=state.available_in_s)]
    for skipped in plan.skipped:
        idle = step(skipped.deployment, None)
        steps.append(replace(idle, obstacle=skipped.reason, until_s=skipped.until_s))
    return steps


def admin_blueprint(
    registry: ModelRegistry, router: Router, reload: Reload, stores: Stores | None = None
) -> flask.Blueprint:
    """What is below `/admin`; the guard lets nobody but the operator in.

    `stores` is looked at anew for each request.
    """
    blueprint = flask.Blueprint(ADMIN, __name__, url_prefix="/admin")
    blueprint.after_request(forbid_storing)
    stores = Stores() if stores is None else stores
    add_key_routes(blueprint, stores)
    add_request_routes(blueprint, stores)
    add_usage_route(blueprint, stores)

    @blueprint.get("/deployments")
    async def deployments() -> flask.Response:
        return list_response(
            await _deployments(registry, router), retry_budget=_budget_to_wire(router.retry_budget)
        )

    @blueprint.get("/upstreams")
    def upstreams() -> flask.Response:
        return list_response([asdict(status) for status in registry.describe_upstreams()])

    @blueprint.get("/route")
    async def route() -> flask.Response:
        model = flask.request.args.get("model", "")
        if not model:
            raise InvalidRequest(
                "Missing required parameter: 'model'.",
                param="model",
                code="missing_required_parameter",
            )
        steps = await explain_route(registry, router, model)
        return list_response([step.to_wire() for step in steps])

    @blueprint.post("/reload")
    async def reload_everything() -> flask.Response:
        try:
            changes = await reload()
        except ConfigurationError as exc:
            raise InvalidRequest(
                f"Nothing is reloaded: {exc}.", code="invalid_configuration"
            ) from exc
        return json_response({"changes": changes})

    return blueprint


async def _deployments(registry: ModelRegistry, router: Router) -> list[JsonObject]:
    """The standing of every deployment, with the names of the models that it answers for."""
    known: dict[str, Deployment] = {}
    models: dict[str, list[str]] = {}
    for model in await registry.list_all_models():
        for deployment in await registry.deployments_for(model.id):
            known.setdefault(deployment.name, deployment)
            models.setdefault(deployment.name, []).append(model.id)
    for deployment in router.known():
        # Reached by a pattern, or by its name: no list tells of it.
        if deployment.upstream_model and deployment.name not in known:
            known[deployment.name] = deployment
            models[deployment.name] = [deployment.model]
    return [
        {
            **state.to_wire(),
            "models": models[state.name],
            "timeouts": asdict(router.timeouts(deployment, has_other=True)),
            "last_timeouts": asdict(router.timeouts(deployment, has_other=False)),
        }
        for deployment, state in zip(known.values(), router.states(known.values()), strict=True)
    ]


def _budget_to_wire(budget: RetryBudget) -> JsonObject:
    return {
        "ratio": budget.ratio,
        "min_retries": budget.min_retries,
        "requests": budget.active,
        "retries": budget.retrying,
        "limit": budget.limit,
    }


def _price_to_wire(price: Price) -> JsonObject:
    # JSON's numbers would round what money must not.
    told: JsonObject = {
        field.name: None if (amount := getattr(price, field.name)) is None else str(amount)
        for field in fields(price)
        if field.name != "tiers"
    }
    if price.tiers:
        told["tiers"] = [
            {"above_input_tokens": tier.above_input_tokens, **_price_to_wire(tier.price)}
            for tier in price.tiers
        ]
    return told


def _because(registry: ModelRegistry, model: str, deployment: Deployment) -> str:
    """What led from the name `model` to `deployment`."""
    if deployment.is_guess:
        return "a guess: it has not said which models it has"
    if deployment.model != model:
        return f"alias '{_alias_of(registry, model)}' leads to '{deployment.model}'"
    if model.startswith(f"{deployment.adapter}/"):
        return "named with its upstream"
    pattern = _pattern_of(registry, model, deployment)
    return f"pattern '{pattern}'" if pattern else "offers the model"


def _alias_of(registry: ModelRegistry, model: str) -> str:
    aliases = registry.upstreams.aliases if registry.upstreams else {}
    if model in aliases:
        return model
    patterns = [Pattern(name) for name in aliases if is_pattern(name)]
    meant = [pattern for pattern in patterns if pattern.matches(model)]
    return max(meant, key=lambda pattern: pattern.prefix_chars).text if meant else model


def _pattern_of(registry: ModelRegistry, model: str, deployment: Deployment) -> str | None:
    entries = registry.upstreams.entries if registry.upstreams else ()
    for entry in entries:
        if entry.name == deployment.adapter and model not in (
            *(entry.models or ()),
            *entry.model_map,
        ):
            patterns = (name for name in entry.models or () if is_pattern(name))
            return next((name for name in patterns if Pattern(name).matches(model)), None)
    return None
