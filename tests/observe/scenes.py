"""Exchanges as they come about, told step by step."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from one_api.deployment import Deployment
from one_api.errors import GatewayError
from one_api.events import Usage
from one_api.observe import Exchange, Observers
from one_api.observe.exposition import expose
from one_api.observe.families import Snapshot
from one_api.observe.metrics import Metrics
from one_api.observe.names import Names

A = Deployment(model="m", adapter="a", upstream_model="m")
B = Deployment(model="m", adapter="b", upstream_model="m")
KNOWN = ("m", "a/m", "b/m")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Counted:
    """Metrics that know the model `m` of two deployments, and exchanges that they are told of."""

    def __init__(self) -> None:
        self.metrics = Metrics(Names(KNOWN, (A.name, B.name)))
        self.observers = Observers([self.metrics])

    def begin(self, model: str = "m", endpoint: str = "/v1/chat/completions") -> Exchange:
        exchange = Exchange(self.observers, endpoint=endpoint)
        exchange.model = model
        return exchange

    def ask(
        self, *steps: tuple[Deployment, str | None], status: int = 200, model: str = "m"
    ) -> Exchange:
        """A request whose deployments fail with a code, or commit."""
        exchange = self.begin(model)
        for deployment, error in steps:
            exchange.end_attempt(exchange.ask(deployment), error)
        exchange.note_answered()
        exchange.note_finished()
        exchange.end(status)
        return exchange

    def refuse(self, error: GatewayError) -> None:
        """A request that is told of `error`."""
        exchange = self.begin()
        exchange.error = error
        exchange.end(error.status)

    def use(self, usage: Usage, cost_microusd: int = 0, cache: str | None = None) -> None:
        """A request of `a` that used so much."""
        exchange = self.begin()
        exchange.end_attempt(exchange.ask(A))
        exchange.usage, exchange.cost_microusd, exchange.cache = usage, cost_microusd, cache
        exchange.end(200)

    def value(self, name: str, **labels: str) -> float | None:
        """What Prometheus would read; None where there is no such sample."""
        return read(self.metrics.snapshot()).get((name, frozenset(labels.items())))

    def series(self) -> int:
        """How many samples there are."""
        return len(read(self.metrics.snapshot()))


def read(snapshot: Snapshot) -> Samples:
    """`snapshot` as Prometheus reads it."""
    body, _ = expose(snapshot)
    return samples_of(body.decode())


def samples_of(text: str) -> Samples:
    """Every sample of an exposition by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
