"""Request headers that say how long to try and whom to ask, as a `RequestContext`.

`x-request-timeout` and `x-one-api-session` are for everybody; what steers routing is for callers
who may.
"""

from __future__ import annotations

import asyncio
import re
from typing import Protocol, get_args

import flask

from one_api.deployment import StrategyName
from one_api.errors import InvalidRequest, PermissionDenied
from one_api.failover import RequestContext
from one_api.policy.auth import ApiKey
from one_api.policy.cache import CacheUse

#: Key in the application's configuration: how many attempts a request may ask for.
MAX_ATTEMPTS = "MAX_ATTEMPTS"

TIMEOUT = "x-request-timeout"
SESSION = "x-one-api-session"
DEPLOYMENT = "x-one-api-deployment"
STRATEGY = "x-one-api-strategy"
FALLBACKS = "x-one-api-fallbacks"
ATTEMPTS = "x-one-api-max-attempts"
_STEERING = (DEPLOYMENT, STRATEGY, FALLBACKS, ATTEMPTS)
#: All that `routed` looks for: a request with none of them asks for nothing.
ASKING = frozenset({"cache-control", TIMEOUT, SESSION, *_STEERING})

_MAX_TIMEOUT_S = 86_400.0
_MAX_FALLBACKS = 8
_MAX_CHARS = 256
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s)?")
_STRATEGIES: dict[str, StrategyName] = {name: name for name in get_args(StrategyName)}


class Headers(Protocol):
    """Request headers; names are asked for in lower case."""

    def get(self, name: str, /) -> str | None:
        """The value under `name`, None without."""


def request_context(caller: ApiKey) -> RequestContext:
    """What the headers of Flask's current request ask for; as `routed`."""
    context = RequestContext(request_id=flask.g.request_id, account=flask.g.get("account"))
    most: int = flask.current_app.config[MAX_ATTEMPTS]
    return routed(context, flask.request.headers, caller, max_attempts=most)


def routed(
    context: RequestContext, headers: Headers, caller: ApiKey, *, max_attempts: int
) -> RequestContext:
    """`context` with what `headers` ask for; called on the event loop.

    Raises: InvalidRequest and PermissionDenied, whose `param` is the header.
    """
    cache_control = headers.get("cache-control")
    if cache_control is not None:
        context.cache_use = CacheUse.of(cache_control)
    timeout = headers.get(TIMEOUT)
    if timeout is not None:
        context.deadline = asyncio.get_running_loop().time() + _seconds(timeout)
    session = headers.get(SESSION)
    if session is not None:
        context.affinity = _name(SESSION, session)
    steering = {name: value for name in _STEERING if (value := headers.get(name)) is not None}
    if steering:
        _steer(context, steering, caller, max_attempts)
    return context


def _steer(
    context: RequestContext, steering: dict[str, str], caller: ApiKey, max_attempts: int
) -> None:
    for name, value in steering.items():
        if not caller.may_route:
            raise PermissionDenied(
                f"This API key may not choose deployments: leave '{name}' out, or have the "
                "operator set ROUTING_HEADERS=true.",
                param=name,
            )
        match name:
            case "x-one-api-deployment":
                context.deployment = _name(DEPLOYMENT, value)
            case "x-one-api-strategy":
                context.strategy = _strategy(value)
            case "x-one-api-fallbacks":
                context.fallbacks = _models(value)
            case _:
                context.max_attempts = _attempts(value, max_attempts)


def _seconds(value: str) -> float:
    match = _DURATION.fullmatch(value)
    seconds = float(match[1]) / (1_000 if match[2] == "ms" else 1) if match else 0.0
    if not 0 < seconds <= _MAX_TIMEOUT_S:
        raise _wrong(TIMEOUT, "seconds from more than 0 to 86400, such as 30, 30s or 500ms")
    return seconds


def _name(header: str, value: str) -> str:
    if not value or len(value) > _MAX_CHARS or not value.isprintable():
        raise _wrong(header, f"1 to {_MAX_CHARS} printable characters")
    return value


def _strategy(value: str) -> StrategyName:
    strategy = _STRATEGIES.get(value)
    if strategy is None:
        raise _wrong(STRATEGY, f"one of {', '.join(_STRATEGIES)}")
    return strategy


def _models(value: str) -> tuple[str, ...]:
    models = tuple(model.strip() for model in value.split(","))
    are_names = all(model.isprintable() and 0 < len(model) <= _MAX_CHARS for model in models)
    if len(models) > _MAX_FALLBACKS or not are_names:
        raise _wrong(FALLBACKS, f"1 to {_MAX_FALLBACKS} models, comma-separated")
    return models


def _attempts(value: str, most: int) -> int:
    attempts = int(value) if re.fullmatch("[0-9]{1,3}", value) else 0
    if not 1 <= attempts <= most:
        raise _wrong(ATTEMPTS, f"a whole number from 1 to {most}")
    return attempts


def _wrong(header: str, expected: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid header '{header}': expected {expected}.", param=header, code="invalid_value"
    )
