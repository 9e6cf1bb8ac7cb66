"""Snapshots as text that Prometheus reads; by its own library, whose grammar has many corners."""

from __future__ import annotations

import logging
import platform
import re
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from typing_extensions import override

from one_api.adapter.readings import Reading
from one_api.observe import catalogue
from one_api.observe.families import Family, Labels, Snapshot, Value

logger = logging.getLogger(__name__)

_ADAPTER_PREFIX = "one_api_adapter_"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
#: An adapter that tells more is not heard out.
_MAX_READINGS = 1_000


def expose(snapshot: Snapshot, accept: str = "") -> tuple[bytes, str]:
    """`snapshot` as text and its content type: OpenMetrics where `accept` prefers it."""
    encode, content_type = choose_encoder(accept)
    return encode(_Told(snapshot)), content_type


def add_process(snapshot: Snapshot, version: str) -> None:
    """Add what this process uses, and that it is one; `version` is the gateway's."""
    for metric in ProcessCollector(registry=None).collect():
        for sample in metric.samples:
            family = catalogue.PROCESS.get(sample.name)
            if family is not None:
                snapshot.add(family, (), sample.value)
    snapshot.add(catalogue.WORKERS, (), 1)
    snapshot.add(catalogue.BUILD_INFO, (version, platform.python_version()), 1)


def add_readings(snapshot: Snapshot, readings: Iterable[tuple[str, Reading]]) -> None:
    """Add what adapters tell of themselves, each with the adapter's name."""
    told: dict[str, int] = {}
    for adapter, reading in readings:
        told[adapter] = told.get(adapter, 0) + 1
        family = _family_of(reading)
        if told[adapter] > _MAX_READINGS or family is None or not snapshot.declare(family):
            logger.debug("adapter %s: the reading %r is left out", adapter, reading.name)
            continue
        values = [str(reading.labels[name]) for name in family.labels[1:]]
        snapshot.add(family, (adapter, *values), reading.value)


def _family_of(reading: Reading) -> Family | None:
    """The metric of a reading; None for one that Prometheus could not read."""
    names = sorted(reading.labels)
    if not all(_NAME.fullmatch(name) for name in (reading.name, *names)) or "adapter" in names:
        return None
    name = f"{_ADAPTER_PREFIX}{reading.name}"
    if reading.kind == "counter":
        name = f"{name.removesuffix('_total')}_total"
    labels = ("adapter", *names)
    return Family(name=name, kind=reading.kind, help=reading.help, labels=labels)


class _Told(Collector):
    """A snapshot as the library's own families."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @override
    def collect(self) -> Iterator[Metric]:
        for family, samples in self._snapshot:
            yield _metric(family, samples)


def _metric(family: Family, samples: dict[Labels, Value]) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, buckets in samples.items():
            assert isinstance(buckets, list), "samples of histograms are lists"  # noqa: S101
            histogram.add_metric(labels, _running(family.bounds, buckets), buckets[-1])
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in samples.items():
        assert isinstance(value, float | int), "other samples are numbers"  # noqa: S101
        metric.add_metric(labels, value)
    return metric


def _running(bounds: tuple[float, ...], buckets: list[float]) -> list[tuple[str, float]]:
    """The counts as Prometheus has them: each with those of the buckets below it."""
    told, total = [], 0.0
    for bound, count in zip((*map(repr, bounds), "+Inf"), buckets, strict=False):
        total += count
        told.append((bound, total))
    return told
