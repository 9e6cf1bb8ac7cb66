"""The response object around the output: identity, settings told back, usage.

Source: openai-python 3.52.0, `types/responses/response.py`, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from one_api.converter.form import ReplyForm
from one_api.events import Start, Usage
from one_api.schemas import JsonObject
from one_api.schemas.responses import ResponseRequest

#: Fields told back as they were given; null where they were not.
_ECHOED = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "prompt_cache_key",
    "safety_identifier",
    "temperature",
    "top_p",
    "user",
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """The parts of a response object that do not change while it is made."""

    settings: JsonObject
    #: Reasoning is told as a summary, since the client asked for one.
    summarises: bool = False

    @classmethod
    def of(cls, request: ResponseRequest) -> Envelope:
        """What a response to `request` tells back."""
        reasoning: Mapping[str, Any] = request.reasoning or {}
        summary = reasoning.get("summary") or reasoning.get("generate_summary")
        text: Mapping[str, Any] = request.text or {}
        settings: JsonObject = {
            **{name: getattr(request, name) for name in _ECHOED},
            "background": False,
            "metadata": request.metadata or {},
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": reasoning.get("effort"), "summary": summary},
            "store": False,
            "text": {**text, "format": text.get("format") or {"type": "text"}},
            "tool_choice": request.tool_choice or "auto",
            "tools": [_tool_to_wire(tool) for tool in request.tools or ()],
            "top_logprobs": request.top_logprobs or 0,
            "truncation": "disabled",
        }
        return cls(settings, summarises=summary is not None)

    def response(
        self,
        form: ReplyForm,
        start: Start,
        *,
        status: str,
        output: list[JsonObject],
        usage: Usage | None = None,
        **others: Any,
    ) -> JsonObject:
        """The response object at one moment; `others` replaces what is null otherwise."""
        return {
            "id": response_id(form),
            "object": "response",
            "created_at": form.created,
            "status": status,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "model": form.model,
            "output": output,
            **self.settings,
            "service_tier": start.service_tier,
            "usage": None if usage is None else usage_to_wire(usage),
            **others,
        }


def response_id(form: ReplyForm) -> str:
    """The id of the response to be made in `form`."""
    return f"resp_{identity(form)}"


def identity(form: ReplyForm) -> str:
    """What all ids of one response have in common."""
    return form.id.removeprefix("chatcmpl-")


def usage_to_wire(usage: Usage) -> JsonObject:
    """`usage` in this format's names."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _tool_to_wire(tool: Mapping[str, Any]) -> JsonObject:
    return {"description": None, "parameters": None, "strict": None, **tool}
