"""Every metric there is but adapters' own: docs/metrics.md has the same list for operators."""

from __future__ import annotations

from typing import Final

from one_api.observe.families import Family, Kind, Merge
from one_api.observe.pace import CHUNK_BOUNDS_S

#: Bounds of histograms in seconds: of whole requests, of first contents, and of our own work.
REQUEST_BOUNDS_S: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
)
FIRST_CONTENT_BOUNDS_S: Final = (
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    1.5,
    2.5,
    5.0,
    10.0,
    20.0,
    60.0,
    120.0,
)
OVERHEAD_BOUNDS_S: Final = (
    0.00025,
    0.0005,
    0.00075,
    0.001,
    0.0015,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.5,
    2.5,
)


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(name=f"one_api_{name}_total", kind="counter", help=text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> Family:
    return Family(name=f"one_api_{name}", kind="gauge", help=text, labels=labels)


def _histogram(name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Family:
    return Family(
        name=f"one_api_{name}_seconds", kind="histogram", help=text, labels=labels, bounds=bounds
    )


def _process(name: str, kind: Kind, text: str) -> Family:
    merge: Merge = "min" if name == "start_time_seconds" else "sum"
    return Family(name=f"process_{name}", kind=kind, help=text, merge=merge)


# -- requests

REQUESTS = _counter(
    "requests",
    "Requests by the status the client was told; 499 where it did not wait.",
    "endpoint",
    "model",
    "deployment",
    "status",
)
REQUEST_SECONDS = _histogram(
    "request",
    "From a request to the end of its response.",
    REQUEST_BOUNDS_S,
    "endpoint",
    "model",
)
FIRST_CONTENT_SECONDS = _histogram(
    "first_content",
    "From a request to the first content of its stream.",
    FIRST_CONTENT_BOUNDS_S,
    "model",
    "deployment",
)
INTER_CHUNK_SECONDS = _histogram(
    "inter_chunk",
    "Between two chunks of a stream.",
    CHUNK_BOUNDS_S,
    "model",
    "deployment",
)
OVERHEAD_SECONDS = _histogram(
    "overhead",
    "The gateway's own part: before a deployment is asked, and from its answer to the response.",
    OVERHEAD_BOUNDS_S,
    "endpoint",
)
IN_FLIGHT = _gauge("requests_in_flight", "Requests under way.")
STREAMS_OPEN = _gauge("streams_open", "Streams under way.")
STREAMS_BROKEN = _counter(
    "streams_broken", "Streams that ended in an error told inside them.", "deployment", "reason"
)
LIMIT_REFUSALS = _counter("limit_refusals", "Requests refused for a limit of ours.", "limit")
TURNED_AWAY = _counter(
    "turned_away", "Requests refused unread, for there were as many under way as are let in."
)
TOKENS = _counter(
    "tokens",
    "Tokens used; the kinds exclude one another, and add up to all.",
    "model",
    "deployment",
    "kind",
)
COST_USD = _counter("cost_usd", "What requests cost, in US dollars.", "model", "deployment")
CACHE_LOOKUPS = _counter("cache_lookups", "Requests that were looked for in the cache.")
CACHE_HITS = _counter("cache_hits", "Requests that were answered from the cache.")

# -- deployments

ATTEMPTS = _counter(
    "attempts",
    "Deployments asked; `committed`, `abandoned` with its client, or why it failed.",
    "deployment",
    "outcome",
)
FAILOVERS = _counter(
    "failovers", "Failed attempts after which another deployment was asked.", "deployment", "reason"
)
RETRIES = _counter(
    "retries", "Failed attempts after which the same was asked again.", "deployment", "reason"
)
ROUTING_EVENTS = _counter(
    "routing_events", "Changes of a deployment's standing.", "deployment", "kind"
)
DEPLOYMENT_IN_FLIGHT = _gauge(
    "deployment_in_flight", "Attempts under way at a deployment.", "deployment"
)
DEPLOYMENT_AVAILABLE = _gauge(
    "deployment_available",
    "Processes that would ask the deployment, of those that have asked it.",
    "deployment",
)
BREAKER = _gauge(
    "deployment_breaker",
    "Processes in which the deployment's breaker is in this state.",
    "deployment",
    "state",
)
CREDENTIAL = _gauge(
    "deployment_credential",
    "Processes in which the breaker of the deployment's credential is in this state.",
    "deployment",
    "state",
)
RETRIES_IN_FLIGHT = _gauge("retries_in_flight", "Retries under way.")
RETRIES_ALLOWED = _gauge("retries_allowed", "Retries that may be under way at once now.")

# -- what the gateway stands on

LEDGER_PENDING = _gauge(
    "ledger_pending_records", "Records in the journal that the database does not have yet."
)
LEDGER_LOST = _counter(
    "ledger_lost_records", "Records that will never be in the database, for want of room."
)
STORAGE_DEGRADED = _gauge(
    "storage_degraded",
    "Processes whose journal cannot be written, or whose database did not take the last batch.",
)
REDIS_DEGRADED = _gauge(
    "redis_degraded", "Processes whose Redis failed when last asked; none without Redis."
)
ALERT_NEWS = _counter(
    "alert_news",
    "Troubles and ends of troubles that were noticed, and whether operators were told.",
    "kind",
    "outcome",
)
ALERTS = _counter(
    "alerts", "Alerts by channel and what became of them.", "channel", "kind", "outcome"
)
WORKERS = _gauge("workers", "Processes of the gateway.")
DRAINING = _gauge("draining", "Processes that take no new work.")
BUILD_INFO = Family(
    name="one_api_build_info",
    kind="gauge",
    help="1; its labels say what runs.",
    labels=("version", "python"),
    merge="max",
)

# -- the processes; standard names, added up over all of them

PROCESS: Final = {
    family.name: family
    for family in (
        _process("resident_memory_bytes", "gauge", "Resident memory."),
        _process("virtual_memory_bytes", "gauge", "Virtual memory."),
        _process("cpu_seconds_total", "counter", "CPU time, of users and the system."),
        _process("open_fds", "gauge", "Open file descriptors."),
        _process("max_fds", "gauge", "File descriptors that may be open."),
        _process("start_time_seconds", "gauge", "When the oldest process began, since 1970."),
    )
}

FAMILIES: Final = (
    *(value for value in vars().copy().values() if isinstance(value, Family)),
    *PROCESS.values(),
)
