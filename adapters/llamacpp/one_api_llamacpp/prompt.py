"""What one answer is generated from: the prompt's tokens and the request's wishes.

A conversation is rendered into text in which the template's own control tokens (`<|im_end|>`)
count and the same texts, written by a user, do not. Before rendering, each of these in a message
gets a mark that no text may contain; after rendering the text is split at the marks, so that the
tokeniser never sees the user's one whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from one_api.adapter import (
    ChatCompletionRequest,
    CompletionRequest,
    ContextWindowExceeded,
    InvalidRequest,
)
from one_api_llamacpp.conversation import map_strings, to_template
from one_api_llamacpp.grammar import Reasoning, answer_grammar
from one_api_llamacpp.language_model import Tokeniser
from one_api_llamacpp.markup import THINK_BEGIN, THINK_END
from one_api_llamacpp.sampling import Sampling
from one_api_llamacpp.template import ChatTemplate
from one_api_llamacpp.tool_choice import ToolChoice
from one_api_llamacpp.tool_formats import ToolUse

#: A Unicode noncharacter: reserved for use inside a program, never for interchange.
_MARK: Final = "\ufdd0"
#: Most answers to one prompt, as many as the gateway itself gives of other models.
_MAX_CHOICES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One answer to generate.

    `limit` is the most completion tokens. `opens_reasoning` says that the template already wrote
    the `<think>` that the answer closes; `tools` which calls in the answer are looked for, if any;
    `is_raw` that the answer is text only, whatever it looks like, and `echo` what is told before
    it. `fallbacks` name what of the request the model is told in another way than by its template.
    """

    tokens: Sequence[int]
    limit: int
    sampling: Sampling
    stops: Sequence[str]
    tools: ToolUse | None = None
    opens_reasoning: bool = False
    is_raw: bool = False
    echo: str = ""
    fallbacks: tuple[str, ...] = ()


class PromptMaker:
    """Makes prompts for one model. Safe from several threads."""

    def __init__(self, model: Tokeniser, template: ChatTemplate) -> None:
        self._model = model
        self._template = template
        # A text of one character cannot be split; tokens like that are no turn markers.
        texts = {re.escape(text) for text in model.vocabulary.control_texts if len(text) > 1}
        longest_first = sorted(texts, key=len, reverse=True)
        # Looking ahead finds overlapping ones too. Without any, the pattern matches nowhere.
        self._control = re.compile(
            f"(?=(?:{'|'.join(longest_first)}))." if texts else r"(?!)", re.S
        )

    def make(self, request: ChatCompletionRequest) -> Prompt:
        """The prompt for `request`. Blocking: milliseconds, more for long conversations.

        Raises: InvalidRequest, UnsupportedParameter, ContextWindowExceeded.
        """
        _check_number(request)
        sampling = Sampling.from_request(request, self._model.vocabulary.size)
        choice = ToolChoice.of(request)
        told = [{"type": "function", "function": function.definition} for function in choice.told]
        rendering = self._template.render(
            self._guard(to_template(request.messages)), self._guard(told)
        )
        tokens = self._model.tokenise([part for part in rendering.text.split(_MARK) if part])
        if not tokens:
            raise InvalidRequest("The model's chat template made no prompt.", param="messages")
        names = frozenset(function.name for function in choice.callable)
        use = ToolUse(rendering.tool_format, names, choice.is_single) if names else None
        reasoning = self._reasoning_after(rendering.text)
        grammar = answer_grammar(
            request.response_format,
            choice.callable,
            use,
            must_call=choice.must_call,
            reasoning=reasoning,
        )
        return Prompt(
            tokens=tokens,
            limit=self._limit(len(tokens), request.completion_limit, "messages"),
            sampling=replace(sampling, grammar=grammar),
            stops=request.stop_sequences,
            tools=use,
            opens_reasoning=reasoning is Reasoning.BEGUN,
            fallbacks=rendering.fallbacks,
        )

    def make_raw(self, request: CompletionRequest, given: str | list[int]) -> Prompt:
        """One prompt of a legacy completion: text in which control tokens count, or tokens.

        Raises: InvalidRequest, ContextWindowExceeded.
        """
        size = self._model.vocabulary.size
        tokens = self._model.tokenise([given]) if isinstance(given, str) else given
        if not tokens or not all(token < size for token in tokens):
            raise InvalidRequest(
                f"Invalid value for 'prompt': it has no tokens of this model, which are numbered "
                f"from 0 to {size - 1}.",
                param="prompt",
                code="invalid_value",
            )
        return Prompt(
            tokens=tokens,
            limit=self._limit(len(tokens), request.completion_limit, "prompt"),
            sampling=Sampling.from_request(request, size),
            stops=request.stop_sequences,
            is_raw=True,
            echo=self._echo(given) if request.echo else "",
        )

    def _reasoning_after(self, text: str) -> Reasoning:
        """Whether the model may reason after the prompt `text`."""
        end = text.rstrip()
        if end.endswith(THINK_BEGIN):
            return Reasoning.BEGUN
        is_over = end.endswith(THINK_END) or not self._template.reasons
        return Reasoning.NEVER if is_over else Reasoning.POSSIBLY

    def _echo(self, given: str | list[int]) -> str:
        if isinstance(given, str):
            return given
        return b"".join(map(self._model.piece, given)).decode("utf-8", "ignore")

    def _guard(self, value: Any) -> Any:
        """`value` with a mark after the first character of every control token's text."""
        return map_strings(
            value, lambda text: self._control.sub(r"\g<0>" + _MARK, text.replace(_MARK, ""))
        )

    def _limit(self, prompt_tokens: int, asked: int | None, param: str) -> int:
        room = self._model.context_tokens - prompt_tokens
        if room < 1:
            raise ContextWindowExceeded(
                f"This model's maximum context length is {self._model.context_tokens} tokens. "
                f"However, your {param} resulted in {prompt_tokens} tokens.",
                param=param,
            )
        return room if asked is None else min(asked, room)


def _check_number(request: ChatCompletionRequest) -> None:
    if (request.n or 1) > _MAX_CHOICES:
        raise InvalidRequest(
            f"Invalid value for 'n': at most {_MAX_CHOICES} choices are given for this model.",
            param="n",
            code="integer_above_max_value",
        )
