import pytest

from benchmarks.wrk import Target, script, throughput_in

OUTPUT = """Running 2s test @ http://127.0.0.1:8000/v1/chat/completions
  1 threads and 32 connections
Requests/sec:   1000.00
measured {"requests":2000,"duration_us":2500000,"failed":1,"refused":3,"p50_us":1500,"p99_us":9000}
"""


def test_the_report_is_read() -> None:
    told = throughput_in(OUTPUT)

    assert (2000, 2.5, 1, 3) == (told.requests, told.duration_s, told.failed, told.refused)
    assert (1.5, 9.0, 800.0) == (told.p50_ms, told.p99_ms, told.per_s)


def test_output_without_a_report_is_an_error() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        throughput_in("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_a_body_keeps_its_quotes_in_the_script() -> None:
    told = script(Target(url="http://x/", body=b'{"a": "b\\n"}', headers={"X-Key": 'k"1'}))

    assert r'wrk.body = "{\"a\": \"b\\n\"}"' in told
    assert r'wrk.headers["X-Key"] = "k\"1"' in told
    assert 'wrk.headers["Content-Type"] = "application/json"' in told
