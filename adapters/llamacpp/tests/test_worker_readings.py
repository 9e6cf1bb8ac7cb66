from __future__ import annotations

from typing import Any

import pytest

from one_api_llamacpp.frames import MalformedFrame
from one_api_llamacpp.worker_readings import WorkerReadings


def told(readings: WorkerReadings, *, is_alive: bool = True) -> dict[str, float]:
    found = list(readings.told(is_alive=is_alive))
    assert {"test"} == {reading.labels["model"] for reading in found}
    return {reading.name: reading.value for reading in found}


def test_counters_add_up_over_processes_and_gauges_do_not() -> None:
    readings = WorkerReadings("test")
    values = {"local_completion_tokens_total": 5, "local_active_sequences": 3}
    readings.take({"readings": values})
    readings.restart()
    assert told(readings)["local_active_sequences"] == 0
    readings.take({"readings": {**values, "local_completion_tokens_total": 2}})
    assert told(readings)["local_completion_tokens_total"] == 7
    assert told(readings)["local_active_sequences"] == 3
    assert told(readings)["local_worker_restarts_total"] == 1
    assert told(readings, is_alive=False)["local_active_sequences"] == 0
    assert told(readings, is_alive=False)["local_completion_tokens_total"] == 7


@pytest.mark.parametrize(
    "message",
    [{}, {"readings": None}, {"readings": [1]}, {"readings": {"local_active_sequences": "3"}}],
)
def test_what_is_no_numbers_is_refused(message: Any) -> None:
    with pytest.raises(MalformedFrame):
        WorkerReadings("test").take(message)


def test_numbers_of_unknown_names_are_left_out() -> None:
    readings = WorkerReadings("test")
    readings.take({"readings": {"secret": 1, "local_waiting_requests": 2}})
    assert "secret" not in told(readings)
    assert told(readings)["local_waiting_requests"] == 2
