"""What Prometheus is told can be read by it, and is what the documentation and deploy/ name."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from one_api.adapter import Reading
from one_api.observe.catalogue import FAMILIES
from one_api.observe.exposition import add_process, add_readings, expose
from one_api.observe.families import Snapshot
from one_api_llamacpp.worker_readings import READINGS
from tests.observe.scenes import A, B, Counted, read

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus-rules.yml"
CASES = DEPLOY / "prometheus-rules-test.yml"
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
#: Names in PromQL: what is no function, label or number.
NAME = re.compile(r"\b(?:one_api|process)_[a-z0-9_]+\b")
HISTOGRAM_ENDINGS = ("_bucket", "_count", "_sum")
# CI has promtool; elsewhere it may be missing (Debian, Ubuntu: apt-get install prometheus).
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ,  # noqa: TID251 - it says what it is
    reason="promtool was not found",
)


def everything() -> Snapshot:
    """What a gateway tells that has served something."""
    counted = Counted()
    counted.ask((A, "timeout"), (B, None))
    snapshot = counted.metrics.snapshot()
    add_process(snapshot, "1.0")
    return snapshot


def test_plain_text_can_be_read() -> None:
    body, content_type = expose(everything())

    told = {family.name: family.type for family in plain_families(body.decode())}

    assert content_type.startswith("text/plain; version=0.0.4")
    assert {one.name.removesuffix("_total"): one.kind for one in FAMILIES} == told


def test_open_metrics_can_be_read_where_they_are_asked_for() -> None:
    body, content_type = expose(everything(), OPENMETRICS)

    families = text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call] # it has no types
    told = {family.name: family.type for family in families}

    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    assert {one.name.removesuffix("_total"): one.kind for one in FAMILIES} == told


def test_the_process_is_told() -> None:
    samples = read(everything())

    assert 1 == samples[("one_api_workers", frozenset())]
    for name in ("resident_memory_bytes", "cpu_seconds_total", "open_fds", "start_time_seconds"):
        assert samples[(f"process_{name}", frozenset())] > 0


def test_adapters_numbers_are_told_under_their_name() -> None:
    snapshot = Snapshot()
    add_readings(
        snapshot,
        [
            ("a", Reading(name="batch_sequences", value=3, help="Batch", labels={"model": "m"})),
            ("b", Reading(name="batch_sequences", value=4, help="Batch", labels={"model": "m"})),
            ("a", Reading(name="loads_total", value=7, help="Loads", kind="counter")),
        ],
    )

    assert {
        ("one_api_adapter_batch_sequences", frozenset({("adapter", "a"), ("model", "m")})): 3,
        ("one_api_adapter_batch_sequences", frozenset({("adapter", "b"), ("model", "m")})): 4,
        ("one_api_adapter_loads_total", frozenset({("adapter", "a")})): 7,
    } == read(snapshot)


BAD_READINGS = {
    "name": Reading(name="tokens/s", value=1, help=""),
    "label": Reading(name="sound", value=1, help="", labels={"a-b": "x"}),
    "label taken": Reading(name="sound", value=1, help="", labels={"adapter": "x"}),
    "other labels": Reading(name="known", value=1, help="", labels={"model": "x"}),
    "another kind": Reading(name="known", value=1, help="", kind="counter", labels={"model": "x"}),
}


@pytest.mark.parametrize("reading", BAD_READINGS.values(), ids=BAD_READINGS)
def test_a_number_that_nobody_could_read_spoils_no_others(reading: Reading) -> None:
    snapshot = Snapshot()
    known = Reading(name="known", value=2, help="")

    add_readings(snapshot, [("a", known), ("b", reading)])

    sample = ("one_api_adapter_known", frozenset({("adapter", "a")}))
    counter = ("one_api_adapter_known_total", frozenset({("adapter", "b"), ("model", "x")}))
    others = {counter: 1.0} if reading.kind == "counter" else {}
    assert {sample: 2.0, **others} == read(snapshot)


def test_an_adapter_that_tells_too_much_is_not_heard_out() -> None:
    snapshot = Snapshot()

    def told(adapter: str, number: int) -> tuple[str, Reading]:
        return adapter, Reading(name="n", value=1, help="", labels={"id": str(number)})

    add_readings(snapshot, [*(told("a", number) for number in range(5_000)), told("b", 0)])

    assert 1_001 == len(read(snapshot))


def test_the_documentation_names_every_metric_as_it_is() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| (.*?) \| (.*?) \|$", page(), re.M)
    documented = [
        (name, kind, tuple(re.findall(r"`(\w+)`", labels)), text)
        for name, kind, labels, text in rows
    ]

    assert [(one.name, one.kind, one.labels, one.help) for one in FAMILIES] == documented


def page() -> str:
    return (ROOT / "docs/metrics.md").read_text()


def known_names() -> set[str]:
    names = {one.name for one in FAMILIES}
    for one in FAMILIES:
        if one.kind == "histogram":
            names |= {f"{one.name}{ending}" for ending in HISTOGRAM_ENDINGS}
    return names | {f"one_api_adapter_{name}" for name in READINGS}


def labels_of(name: str) -> set[str]:
    """The labels of a metric, with those that Prometheus adds."""
    family = next((one for one in FAMILIES if name.startswith(one.name)), None)
    own = set(family.labels) if family else {"adapter", "model"}
    return own | {"instance", "job", "le"}


def expressions() -> dict[str, str]:
    """Every query of what is deployed, by where it stands."""
    rules = [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    found = {rule["alert"]: rule["expr"] for rule in rules}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    return found


@pytest.mark.parametrize(("where", "query"), expressions().items(), ids=list(expressions()))
def test_what_is_deployed_asks_for_metrics_that_exist(where: str, query: str) -> None:
    names = NAME.findall(query)

    assert {"up"} & {query.partition("{")[0]} or names
    assert set() == set(names) - known_names()
    for name, selectors in re.findall(rf"({NAME.pattern})\{{([^}}]*)\}}", query):
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', selectors)))
        assert set() == used - labels_of(name)


def test_panels_of_the_dashboard_lie_beside_each_other() -> None:
    panels = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    taken = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]

    assert len(panels) == len({panel["id"] for panel in panels})
    assert len(taken) == len(set(taken))
    assert all(0 <= x < 24 for x, _ in taken)


def promtool(*arguments: str, text: bytes | None = None) -> str:
    """What promtool says. Raises: AssertionError unless it is content."""
    done = subprocess.run(
        ["promtool", *arguments], input=text, capture_output=True, timeout=30, check=False
    )
    said = (done.stdout + done.stderr).decode()
    assert 0 == done.returncode, said
    return said


@needs_promtool
def test_promtool_takes_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", "--syntax-only", str(DEPLOY / "prometheus.yml"))


@pytest.mark.slow
@needs_promtool
def test_each_alert_fires_when_it_should_and_no_earlier() -> None:
    promtool("test", "rules", str(CASES))


def test_each_alert_is_tried_firing_and_not() -> None:
    alerts = {
        rule["alert"]
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
    }
    tried = [
        (trial["alertname"], "exp_alerts" in trial)
        for case in yaml.safe_load(CASES.read_text())["tests"]
        for trial in case["alert_rule_test"]
    ]

    assert {(alert, fires) for alert in alerts for fires in (True, False)} == set(tried)


def test_alerts_are_tried_on_metrics_as_they_are() -> None:
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for series in case["input_series"]:
            name, _, labels = series["series"].rstrip("}").partition("{")
            assert name == "up" or name in known_names()
            assert set() == set(re.findall(r"(\w+)=", labels)) - labels_of(name)


@needs_promtool
def test_promtool_finds_no_fault_with_the_names() -> None:
    body, _ = expose(everything())

    assert "" == promtool("check", "metrics", text=body).strip()


@needs_promtool
def test_promtool_takes_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """Grafana's own variables are none of PromQL's."""
    panels = {
        where: query.replace("$__rate_interval", "5m") for where, query in expressions().items()
    }
    rules = [{"record": "q", "expr": query, "labels": {"of": of}} for of, query in panels.items()]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))

    promtool("check", "rules", "--lint=none", str(file))
