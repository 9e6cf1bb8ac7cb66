"""Which deployment is asked next: a pure decision, from what each one has shown so far.

`Router.plan` puts the deployments of a request in order, `Router.begin` takes the permission to ask
one of them, and the `Trial` it gives is told what came of it. Nothing here does I/O or waits; the
clock and the randomness are passed in. One router belongs to one event loop.
"""

from __future__ import annotations

from one_api.routing.events import RoutingEvent
from one_api.routing.options import RouterOptions
from one_api.routing.plan import Plan, Skipped
from one_api.routing.retry_budget import RetryBudget
from one_api.routing.router import Router
from one_api.routing.state import DeploymentState
from one_api.routing.strategies import STRATEGIES
from one_api.routing.trial import Trial

__all__ = [
    "STRATEGIES",
    "DeploymentState",
    "Plan",
    "RetryBudget",
    "Router",
    "RouterOptions",
    "RoutingEvent",
    "Skipped",
    "Trial",
]
