"""The benchmark of local models: what it asks, counts and concludes, and that it runs at all."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import accounting
from benchmarks.local import scenes
from benchmarks.local.claims import CLAIMS, first, speed
from benchmarks.local.contenders import Site
from benchmarks.local.evidence import QUIET_CORES, Evidence, Finding, Subject
from benchmarks.local.machine import busy_s_in
from benchmarks.local.make_model import BOS, FIRST_TEXT, SHAPES, write_model
from benchmarks.local.report import Setting, page
from benchmarks.local.scenes import Name, Pass, Plan, Row, Scene
from benchmarks.local.stints import Answer, Prompt, PromptSource, Result, Stint, Watch, drive

LOUD = 2 * QUIET_CORES


def row(
    number: int,
    tokens_per_s: float,
    *,
    contender: Name = Name.ADAPTER,
    scene: Scene = Scene.STREAMS,
    first_s: float = 1.0,
    others: float = 0.0,
) -> Row:
    return Row(
        pass_number=number,
        scene=scene,
        contender=contender,
        clients=1,
        result=Result(tokens_per_s, first_s, first_s, 0.0),
        own_cores=1.0,
        other_cores=others,
    )


def test_a_stint_survives_its_way_to_another_program() -> None:
    stint = Stint(clients=2, prompts=[[1, 2], [3]], tokens=4)
    assert stint == Stint.from_wire(stint.to_wire())


def test_an_answer_survives_its_way_from_another_program() -> None:
    answer = Answer(first_s=0.5, gaps_s=[0.1], tokens=2)
    assert answer == Answer.from_wire(answer.to_wire())


def test_prompts_begin_differently_and_hold_texts_only() -> None:
    one, other = (PromptSource().stint(clients=1, prompts=2, length=8, tokens=1)).prompts
    assert [8, 8] == [len(one), len(other)]
    assert (BOS, BOS) == (one[0], other[0])
    assert one[1:3] != other[1:3]
    assert all(token >= FIRST_TEXT for token in (*one[1:], *other[1:]))


async def test_each_client_asks_again_only_when_it_is_answered() -> None:
    asked: Counter[int] = Counter()
    running = most = 0

    async def ask(prompt: Prompt, tokens: int, watch: Watch) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        asked[prompt[0]] += 1
        await asyncio.sleep(0)
        watch.see()
        watch.tokens = tokens
        running -= 1

    answers = await drive(ask, Stint(clients=3, prompts=[[n] for n in range(10)], tokens=5))

    assert 3 == most
    assert Counter(range(10)) == asked
    assert [5] * 10 == [answer.tokens for answer in answers]


def test_a_result_counts_the_tokens_of_all_and_the_longest_wait() -> None:
    stint = Stint(clients=2, prompts=[[1], [2], [3]], tokens=4)
    answers = [
        Answer(first_s=first_s, gaps_s=gaps, tokens=4)
        for first_s, gaps in ((1.0, [0.1, 0.1, 0.1]), (5.0, [0.1, 0.1, 0.9]), (2.0, [0.1] * 3))
    ]
    assert Result(6.0, 2.0, 5.0, 0.9) == Result.of(stint, answers, took_s=2.0)


@pytest.mark.parametrize("lengths", [[4], [4, 3], [4, 4, 4]], ids=["missing", "short", "too many"])
def test_a_result_of_answers_that_are_not_what_was_asked_is_refused(lengths: list[int]) -> None:
    stint = Stint(clients=1, prompts=[[1], [2]], tokens=4)
    answers = [Answer(first_s=1.0, gaps_s=[], tokens=length) for length in lengths]
    with pytest.raises(ValueError, match="asked for"):
        Result.of(stint, answers, took_s=1.0)


def test_an_answer_without_text_is_refused() -> None:
    with pytest.raises(ValueError, match="without text"):
        Watch().answer()


def test_what_is_busy_is_neither_idle_nor_waiting_and_no_guest_counts_twice() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    #       user nice system idle iowait irq softirq steal guest guest_nice
    line = "cpu  100  20   30  9999   888   4       5     6   100        20"
    assert 165 / ticks == busy_s_in(line)


def test_rows_beside_which_others_worked_are_dropped() -> None:
    evidence = Evidence([row(0, 10.0), row(1, 90.0, others=LOUD), row(2, 20.0)])
    found = evidence.middle(Subject(Scene.STREAMS, Name.ADAPTER), speed)
    assert Finding(15.0, 2, is_quiet=True) == found


def test_without_a_quiet_row_all_count_and_that_is_said() -> None:
    evidence = Evidence([row(0, 10.0, others=LOUD), row(1, 30.0, others=LOUD)])
    found = evidence.middle(Subject(Scene.STREAMS, Name.ADAPTER), speed)
    assert Finding(20.0, 2, is_quiet=False) == found


def test_ratios_are_taken_within_a_pass() -> None:
    """The machine was twice as fast in the second one; the lock's row of the third is missing."""
    rows = [
        *(row(0, 20.0), row(0, 10.0, contender=Name.LOCK)),
        *(row(1, 44.0), row(1, 20.0, contender=Name.LOCK)),
        *(row(2, 99.0), row(2, 1.0, contender=Name.LOCK, others=LOUD)),
    ]
    upper = Subject(Scene.STREAMS, Name.ADAPTER)
    lower = Subject(Scene.STREAMS, Name.LOCK)
    found = Evidence(rows).ratio(upper, lower, speed)
    assert found is not None
    assert pytest.approx(2.1) == found.value
    assert (2, True) == (found.passes, found.is_quiet)


def test_several_rows_of_one_pass_count_as_their_median() -> None:
    warm = [row(0, 1.0, scene=Scene.WARM, first_s=first_s) for first_s in (0.02, 0.03, 0.9)]
    evidence = Evidence([row(0, 1.0, scene=Scene.COLD), *warm])
    found = evidence.ratio(
        Subject(Scene.WARM, Name.ADAPTER), Subject(Scene.COLD, Name.ADAPTER), first
    )
    assert Finding(0.03, 1, is_quiet=True) == found


@pytest.mark.parametrize("claim", CLAIMS, ids=[claim.title for claim in CLAIMS])
def test_a_claim_is_met_on_one_side_of_its_bound(claim: object) -> None:
    assert isinstance(claim, type(CLAIMS[0]))
    assert claim.is_met(claim.bound)
    assert claim.is_least == claim.is_met(claim.bound * 1.01)
    assert claim.is_least != claim.is_met(claim.bound * 0.99)


def test_the_page_says_of_each_claim_whether_it_is_met(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"")
    rows = [row(0, 30.0), row(0, 20.0, contender=Name.LOCK), row(0, 31.0, contender=Name.SERVER)]
    setting = Setting(
        machine="a machine", date="2026-11-01", versions="", model="", threads=2, plan=Plan()
    )

    lines = page(rows, setting).splitlines()

    assert "| tokens/s, 1 at once, to llama-cpp-python, lock | ≥ 1.2 | 1.5 | 1 | met |" in lines
    assert "| tokens/s, 1 at once, to llama-server | ≥ 1 | 0.968 | 1 | **missed** |" in lines
    assert len(CLAIMS) - 2 == sum("not measured" in line for line in lines)


@pytest.mark.llamacpp
@pytest.mark.slow
async def test_a_pass_measures_our_adapter_beside_the_lock_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    model = tmp_path / "tiny.gguf"
    write_model(model, SHAPES["tiny"])
    plan = Plan(
        clients=(2,), neighbour_clients=(1,), rounds=1, least_prompts=1,
        prompt=8, answer=4, prefix=16, question=4, warm_asks=2,
    )  # fmt: skip
    rows: list[Row] = []
    before = accounting.process_tree(os.getpid())

    site = Site(model, tmp_path)
    async with scenes.lineup(site, threads=1, program=None, with_gateway=False) as lineup:
        one = Pass(0, lineup, plan, PromptSource(), rows.append)
        await one.warm_up()
        await one.run()

    assert Counter(
        {
            (Scene.STREAMS, Name.ADAPTER): 1,
            (Scene.STREAMS, Name.LOCK): 1,
            (Scene.COLD, Name.ADAPTER): 1,
            (Scene.WARM, Name.ADAPTER): 2,
            (Scene.NEIGHBOUR, Name.ADAPTER): 1,
            (Scene.NEIGHBOUR, Name.ADAPTER_DEFAULT): 1,
        }
    ) == Counter((measured.scene, measured.contender) for measured in rows)
    assert all(measured.result.tokens_per_s > 0 for measured in rows)
    assert before == accounting.process_tree(os.getpid())
