"""Several choices as one reply."""

from __future__ import annotations

from dataclasses import replace

from adapters.llamacpp.tests.local_models import make_prompt
from one_api.adapter import (
    Finish,
    InternalError,
    Start,
    TextDelta,
    Usage,
    UsageReport,
)
from one_api_llamacpp.answers import Answer
from one_api_llamacpp.frames import Answered, Degraded
from one_api_llamacpp.jobs import Output


def usage(prompt: int, completion: int, cached: int = 0) -> UsageReport:
    return UsageReport(
        Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)
    )


def test_a_reply_starts_once_and_ends_with_the_usage_of_all_choices() -> None:
    answer = Answer(5, caller="", prompts=[make_prompt("a"), make_prompt("b")], number=2)
    jobs = answer.jobs
    begun = answer.take([Output(job) for job in jobs])
    assert Answered(5, [Start()]) == begun
    ends = [
        answer.take([Output(job, [TextDelta("x"), Finish("stop"), usage(10, 3, 2)], is_last=True)])
        for job in jobs
    ]
    assert [False, False, False, True] == [end.is_last for end in ends]
    assert [TextDelta("x", 2), Finish("stop", 2)] == ends[2].items
    # Two prompts of 10 tokens, four completions of 3.
    assert usage(20, 12, 4) == ends[3].items[-1]


def test_each_choice_of_a_prompt_has_a_seed_of_its_own() -> None:
    jobs = Answer(1, caller="me", prompts=[make_prompt("a"), make_prompt("a")], number=2).jobs
    seeds = [job.sampling.seed for job in jobs]
    assert seeds[:2] == seeds[2:]
    assert seeds[0] != seeds[1]
    assert {"me"} == {job.caller for job in jobs}


def test_an_error_ends_the_reply_after_what_there_was() -> None:
    answer = Answer(5, caller="", prompts=[make_prompt()], number=2)
    error = InternalError("ours")
    first, second = answer.jobs
    told = answer.take([Output(first, [TextDelta("x")]), Output(second, error=error, is_last=True)])
    assert Answered(5, [Start(), TextDelta("x")], is_last=True, error=error) == told


def test_what_the_model_is_told_in_another_way_is_known_before_the_reply_starts() -> None:
    prompt = replace(make_prompt(), fallbacks=("tools",))
    answer = Answer(5, caller="", prompts=[prompt], number=1)
    assert [Degraded(["tools"]), Start()] == answer.take([Output(answer.jobs[0])]).items
