"""What one answer is generated from: the prompt's tokens and the request's wishes.

A conversation is rendered into text in which the template's own control tokens (`<|im_end|>`)
count and the same texts, written by a user, do not. Before rendering, each of these in a message
gets a mark that no text may contain; after rendering the text is split at the marks, so that the
tokeniser never sees the user's one whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from one_api.adapter import (
    ChatCompletionRequest,
    CompletionRequest,
    ContextWindowExceeded,
    InvalidRequest,
    JsonObject,
    UnsupportedParameter,
)
from one_api_llamacpp.conversation import map_strings, to_template
from one_api_llamacpp.language_model import LanguageModel
from one_api_llamacpp.markup import THINK_BEGIN
from one_api_llamacpp.sampling import Sampling
from one_api_llamacpp.template import ChatTemplate

#: A Unicode noncharacter: reserved for use inside a program, never for interchange.
_MARK: Final = "\ufdd0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One answer to generate.

    `limit` is the most completion tokens. `opens_reasoning` says that the template already wrote
    the `<think>` that the answer closes; `parses_tools` that calls in the answer are looked for;
    `is_raw` that the answer is text only, whatever it looks like.
    """

    tokens: Sequence[int]
    limit: int
    sampling: Sampling
    stops: Sequence[str]
    parses_tools: bool
    opens_reasoning: bool
    is_raw: bool = False


class PromptMaker:
    """Makes prompts for one model. Safe from several threads."""

    def __init__(self, model: LanguageModel, template: ChatTemplate) -> None:
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
        sampling = Sampling.from_request(request, self._model.vocabulary.size)
        tools = _tools(request)
        text = self._template.render(
            self._guard(to_template(request.messages)), self._guard(list(tools))
        )
        tokens = self._model.tokenise([part for part in text.split(_MARK) if part])
        if not tokens:
            raise InvalidRequest("The model's chat template made no prompt.", param="messages")
        return Prompt(
            tokens=tokens,
            limit=self._limit(len(tokens), request.completion_limit, "messages"),
            sampling=sampling,
            stops=request.stop_sequences,
            parses_tools=bool(tools),
            opens_reasoning=text.rstrip().endswith(THINK_BEGIN),
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
            parses_tools=False,
            opens_reasoning=False,
            is_raw=True,
        )

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


def _tools(request: ChatCompletionRequest) -> list[JsonObject]:
    """The tools the model is told of; none when it may not call any."""
    choice = request.tool_choice
    if choice not in (None, "auto", "none"):
        raise UnsupportedParameter(
            "Local models choose themselves whether to call a tool: 'tool_choice' may be 'auto' "
            "or 'none'.",
            param="tool_choice",
        )
    if choice == "none":
        return []
    tools: list[JsonObject] = []
    for index, tool in enumerate(request.tools or ()):
        if tool["type"] != "function":
            raise UnsupportedParameter(
                "Local models only know tools of type 'function'.", param=f"tools[{index}]"
            )
        tools.append({"type": "function", "function": dict(tool["function"])})
    return tools
