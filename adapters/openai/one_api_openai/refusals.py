"""Which models refuse function tools beside reasoning on chat completions, known and learned.

There OpenAI answers with 400 "Function tools with reasoning_effort are not supported for <model> in
/v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'."
Source, on GitHub: openai/openai-openapi issue 541 (gpt-5.4, 2026-05-18); BerriAI/litellm pull
request 34569 (gpt-5.6, 2026-07-24) and livekit/agents pull request 7169 (gpt-5.6 and gpt-5.4
without an effort, 2026-09-08); charmbracelet/crush issue 2913 and jeffdafoe/llm-memory-api pull
request 178 (gpt-5.5, 2026-05-14 and 2026-04-29).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from one_api.adapter import ChatCompletionRequest, GatewayError

#: By how the model's name begins: whether requests that name no effort are refused too, because
#: the model reasons unless it is told not to.
KNOWN: Final = {"gpt-5.4": False, "gpt-5.5": True, "gpt-5.6": True}

_ADVICE: Final = "use /v1/responses"


def reasons_with_tools(request: ChatCompletionRequest) -> bool:
    """Whether `request` has function tools and does not switch reasoning off."""
    if request.reasoning_effort == "none":
        return False
    return bool(request.functions) or any(
        tool["type"] == "function" for tool in request.tools or ()
    )


def advises_responses(refusal: GatewayError) -> bool:
    """Whether the provider refused a chat because it wants to be asked for a response."""
    return refusal.status == 400 and _ADVICE in refusal.message


class RefusingModels:
    """The models of one provider that refuse function tools beside reasoning.

    `known` has the form of `KNOWN`; what the provider teaches is kept as long as the process runs.
    """

    def __init__(self, known: dict[str, bool]) -> None:
        self._known = known
        self._learned: dict[str, bool] = {}

    def refuses(self, model: str, request: ChatCompletionRequest) -> bool:
        """Whether `model` is known to refuse `request`, which reasons with tools."""
        told = [also for start, also in self._known.items() if model.startswith(start)]
        if model in self._learned:
            told.append(self._learned[model])
        return any(told) or (bool(told) and request.reasoning_effort is not None)

    def learn(self, model: str, request: ChatCompletionRequest) -> None:
        """Remember that `model` refused `request`."""
        also_unasked = request.reasoning_effort is None
        self._learned[model] = self._learned.get(model, False) or also_unasked

    def forget(self, model: str) -> None:
        """Take back what was learned of `model`."""
        self._learned.pop(model, None)
