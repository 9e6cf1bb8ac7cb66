import pytest

from benchmarks import nginx, wrk
from benchmarks.contenders import Nginx, OneApi, Work
from benchmarks.results import OURS, Results
from benchmarks.scenarios import (
    Effort,
    measure_latency,
    measure_rest,
    measure_streams,
    measure_throughput,
)
from benchmarks.stage import Pace, playing, set_up

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (nginx.is_installed() and wrk.is_installed()), reason="needs nginx and wrk"
    ),
]


def test_a_scenario_runs_from_end_to_end() -> None:
    effort = Effort(repetitions=1, duration_s=1, warm_up_s=1, streams=5, stream_runs=2, streams_s=1)
    results = Results()

    with (
        set_up(Pace(pieces=100, interval_s=0.05)) as stage,
        playing(stage, (Nginx(), OneApi())) as (players, missing),
    ):
        assert {} == missing
        measure_rest(players, results)
        for work in (Work.CHAT, Work.STREAM, Work.CLAUDE):
            measure_throughput(players, work, effort, results)
        measure_latency(players, effort, results)
        measure_streams(players, effort, results)

    assert {} == results.missing
    for name in ("chat_cpu_us", "stream_cpu_us", "claude_cpu_us"):
        ratio = results.ratio(name)
        assert ratio is not None
        assert ratio > 0
    assert (results.get(OURS, "idle_mb") or 0) > 10
    assert results.get(OURS, "added_p99_ms") is not None
    for player in players:
        assert (results.get(player.name, "half_load_p99_ms") or 0) > 0
        assert 0 == results.get(player.name, "streams_broken"), player.name
        assert (results.get(player.name, "streams_gap_p99_ms") or 0) > 0
        assert (results.get(player.name, "half_load_client_cpus") or 0) > 0
    assert 0 < results.told.machine_s <= results.measured.machine_s
