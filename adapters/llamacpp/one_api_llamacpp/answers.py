"""One request in the worker: the answers it asked for, told together as the parts of one reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from one_api.adapter import Event, GatewayError, KeepAlive, Relay, Start, Usage, UsageReport
from one_api_llamacpp.frames import Answered, Degraded, Item
from one_api_llamacpp.jobs import Job, Output
from one_api_llamacpp.prompt import Prompt
from one_api_llamacpp.reply import Reply

#: Events that belong to no choice.
_WHOLE: Final = (Start, UsageReport, KeepAlive, Relay)


class Answer:
    """The reply to request `id`: `number` choices for each of `prompts`, numbered through."""

    def __init__(self, id_: int, *, caller: str, prompts: Sequence[Prompt], number: int) -> None:
        self.id = id_
        self.jobs = [_job(prompt, caller, choice) for prompt in prompts for choice in range(number)]
        self._number = number
        self._choices = {job: choice for choice, job in enumerate(self.jobs)}
        self._has_begun = False
        # Before the first event, with which the head of the reply leaves the gateway.
        fallbacks = sorted({name for prompt in prompts for name in prompt.fallbacks})
        self._notes = [Degraded(fallbacks)] if fallbacks else []
        self._left = len(self.jobs)
        self._usage = Usage(prompt_tokens=0, completion_tokens=0)

    def take(self, outputs: Sequence[Output]) -> Answered:
        """What the `outputs` of one step, all of its jobs, add to the reply."""
        items: list[Item] = []
        if not self._has_begun:
            self._has_begun = True
            items += [*self._notes, Start()]
        for output in outputs:
            if output.error is not None:
                return self.fail(output.error, items)
            for event in output.events:
                if isinstance(event, UsageReport):
                    self._add(event.usage, self._choices[output.job])
                else:
                    items.append(self._numbered(event, self._choices[output.job]))
            self._left -= output.is_last
        if self._left:
            return Answered(self.id, items)
        return Answered(self.id, [*items, UsageReport(self._usage)], is_last=True)

    def fail(self, error: GatewayError, items: Sequence[Item] = ()) -> Answered:
        """The end of the reply by `error`, after `items`."""
        return Answered(self.id, items, is_last=True, error=error)

    def _numbered(self, event: Event, choice: int) -> Event:
        return event if isinstance(event, _WHOLE) else replace(event, choice=choice)

    def _add(self, usage: Usage, choice: int) -> None:
        """Count `usage`; a prompt counts once, however often it is answered."""
        total = self._usage
        is_first = choice % self._number == 0
        self._usage = Usage(
            prompt_tokens=total.prompt_tokens + usage.prompt_tokens * is_first,
            completion_tokens=total.completion_tokens + usage.completion_tokens,
            cached_tokens=total.cached_tokens + usage.cached_tokens * is_first,
            reasoning_tokens=total.reasoning_tokens + usage.reasoning_tokens,
        )


def _job(prompt: Prompt, caller: str, choice: int) -> Job:
    return Job(
        caller=caller,
        tokens=prompt.tokens,
        limit=prompt.limit,
        sampling=prompt.sampling.for_choice(choice),
        open=_opener(prompt),
    )


def _opener(prompt: Prompt) -> Callable[[int], Reply]:
    return lambda cached_tokens: Reply(prompt, cached_tokens=cached_tokens)
