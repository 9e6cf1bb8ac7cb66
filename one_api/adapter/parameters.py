"""Which request parameters a model honours, and what happens to the others.

Two kinds of parameter that a provider may lack:

- a **quality knob** tunes an answer that is right without it (`seed`, `temperature`): it is
  dropped and listed in `x-one-api-dropped-params`, or refused where strictness is asked for;
- anything that changes the **meaning or shape** of the reply (`tools`, `n`, `logprobs`) is refused
  with 400 `unsupported_parameter`, unless its value asks for nothing (`n: 1`, `logprobs: false`).

Neither befalls `stop`: the gateway itself enforces what a provider does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from one_api.errors import UnsupportedParameter
from one_api.schemas.chat import MAX_STOPS

if TYPE_CHECKING:
    from one_api.schemas.chat import ChatCompletionRequest

#: Honoured by the gateway itself whichever provider answers.
ALWAYS: Final = frozenset({"messages", "model", "models", "stream", "stream_options"})

#: Brought about by the gateway where the adapter does not see to it.
BY_GATEWAY: Final = frozenset({"stop"})

#: Parameters whose absence leaves a right answer.
QUALITY: Final = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "metadata",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
        "temperature",
        "top_p",
        "user",
        "verbosity",
    }
)

#: Values of shape-changing parameters that ask for nothing.
_NEUTRAL: Final[dict[str, Callable[[Any], bool]]] = {
    "n": lambda value: value == 1,
    "logprobs": lambda value: value is False,
    "top_logprobs": lambda value: value == 0,
    "modalities": lambda value: value == ["text"],
    "response_format": lambda value: value.get("type") == "text",
    "tools": lambda value: not value,
    "tool_choice": lambda value: value in ("none", "auto"),
    "function_call": lambda value: value in ("none", "auto"),
}


@dataclass(frozen=True, slots=True)
class ParameterPolicy:
    """The parameters a model honours.

    `honoured` names them; `emulated` those among them that the adapter brings about where the
    provider has no such thing. `forwards_unknown` says that every other one, known to us or not,
    is sent on for the provider to judge (OpenAI-shaped providers), but for those it is known to
    lack. Who honours `stop` by name is given any number of stop sequences.
    """

    honoured: frozenset[str] = frozenset()
    forwards_unknown: bool = False
    emulated: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()

    def treatment(self, parameter: str) -> Literal["yes", "emulated", "dropped", "refused"]:
        """What becomes of `parameter` in a request that asks something of it."""
        if parameter in self.emulated:
            return "emulated"
        if self.honours(parameter) or parameter in ALWAYS:
            return "yes"
        if parameter in BY_GATEWAY:
            return "emulated"
        return "dropped" if parameter in QUALITY else "refused"

    def honours(self, parameter: str) -> bool:
        """Whether the adapter sees to `parameter`."""
        if parameter in self.lacks:
            return False
        return self.forwards_unknown or parameter in self.honoured

    def takes_stops(self, count: int) -> bool:
        """Whether the adapter sees to so many stop sequences; else the gateway enforces them."""
        if "stop" in self.honoured:
            return True
        return self.honours("stop") and count <= MAX_STOPS

    def settle(self, request: ChatCompletionRequest, *, strict: bool) -> tuple[str, ...]:
        """The parameters of `request` that will have no effect, sorted.

        Raises: UnsupportedParameter for one that may not be dropped.
        """
        if self.forwards_unknown:
            return ()
        known = request.model_fields_set & type(request).model_fields.keys()
        given = known - ALWAYS - BY_GATEWAY - self.honoured
        dropped = []
        for name in sorted(given):
            value = getattr(request, name)
            neutral = _NEUTRAL.get(name)
            if value is None or (neutral is not None and neutral(value)):
                continue
            if name not in QUALITY or strict:
                raise UnsupportedParameter(
                    f"Unsupported parameter: '{name}' is not supported with this model.",
                    param=name,
                )
            dropped.append(name)
        for name in sorted(request.model_extra or ()):
            if name in self.honoured:
                continue
            if strict:
                raise UnsupportedParameter(
                    f"Unrecognized request argument supplied: {name}.",
                    param=name,
                    code="unknown_parameter",
                )
            dropped.append(name)
        return tuple(sorted(dropped))
