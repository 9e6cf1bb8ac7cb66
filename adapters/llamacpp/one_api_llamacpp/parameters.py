"""What local models make of a request's parameters."""

from __future__ import annotations

from typing import Final

from one_api.adapter import ParameterPolicy

PARAMETERS: Final = ParameterPolicy(
    honoured=frozenset(
        {
            "frequency_penalty",
            "function_call",
            "functions",
            "logit_bias",
            "logprobs",
            "max_completion_tokens",
            "max_tokens",
            "min_p",
            "n",
            "parallel_tool_calls",
            "presence_penalty",
            "response_format",
            "seed",
            "stop",
            "temperature",
            "tool_choice",
            "tools",
            "top_k",
            "top_logprobs",
            "top_p",
        }
    )
)
