from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.disturbance import Repetition, Span
from benchmarks.report import page, plot, quick_table
from benchmarks.results import LIMIT, OURS, Results, compare


def taken(ours: float, limit: float = 20.0) -> Results:
    results = Results()
    results.note(LIMIT, chat_cpu_us=limit, chat_per_s=30_000)
    results.note(OURS, chat_cpu_us=ours, chat_per_s=2_500)
    return results


def test_what_counts_is_the_multiple_of_nginx_in_the_same_run() -> None:
    (comparison,) = compare(taken(400, limit=40), taken(200, limit=20))

    assert (10, 10) == (comparison.now, comparison.recorded)
    assert not comparison.is_worse


@pytest.mark.parametrize(("ours", "is_worse"), [(240, False), (260, True)], ids=["noise", "more"])
def test_only_more_than_noise_is_warned_of(ours: float, is_worse: bool) -> None:
    now, recorded = taken(ours), taken(200)

    (comparison,) = compare(now, recorded)

    assert is_worse == comparison.is_worse
    assert is_worse == ("WARNING" in quick_table(now, [comparison]))


def test_without_a_record_there_is_nothing_to_be_worse_than() -> None:
    (comparison,) = compare(taken(200), None)

    assert comparison.recorded is None
    assert not comparison.is_worse


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = taken(200)
    results.missing["other"] = "it is not here"
    results.choose([Repetition(1, Span(machine_s=4, stolen_s=1))])
    results.save(tmp_path / "deep/results.json")

    assert results == Results.load(tmp_path / "deep/results.json")


def test_results_without_disturbance_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text('{"figures": {}, "missing": {}, "taken_at": "then", "machine": "that"}')

    assert (Span(), Span()) == (Results.load(path).measured, Results.load(path).told)


def test_the_page_says_what_others_took() -> None:
    results = taken(240)
    quiet = Span(machine_s=10, stolen_s=0.04, others_s=0.05)
    loud = Span(machine_s=30, stolen_s=2.36, others_s=0.75)

    chosen = results.choose([Repetition("loud", loud), Repetition("quiet", quiet)])

    sentence = (
        "The hypervisor took 6.0% of the machine meanwhile and other programs 2.0%;"
        " in the repetitions that are told, 0.4% and 0.5%."
    )
    assert ["quiet"] == chosen
    assert sentence in page(results)
    assert sentence in quick_table(results, [])


def test_the_page_says_what_could_not_be_had() -> None:
    results = taken(240)
    results.missing["Rival 1.0"] = "npm is\nnot installed"

    told = page(results)

    assert "| Rival 1.0 | not measured |" in told
    assert "- Rival 1.0: npm is not installed" in told
    assert "240 (12.0 x)" in told
    assert "| Whole chat, multiple of nginx | 12 x | at most 12 x |" in told


def test_the_plot_has_a_bar_for_each_that_was_measured() -> None:
    drawn = ElementTree.fromstring(plot(taken(240)))  # noqa: S314 - made here

    texts = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]

    assert [LIMIT, "1.0 x (20 us)", OURS, "12.0 x (240 us)"] == texts
