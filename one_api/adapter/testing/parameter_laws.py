"""Laws of the request parameters: what is told of them is what happens on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from one_api.adapter.parameters import ALWAYS, ParameterPolicy
from one_api.adapter.testing.bench import Bench, Subject, open_bench
from one_api.adapter.testing.event_laws import TOOLS
from one_api.adapter.testing.law import Chapter
from one_api.adapter.testing.verdict import require
from one_api.errors import InvalidRequest
from one_api.schemas import JsonObject

_SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
_JSON: Final = {
    "type": "json_schema",
    "json_schema": {"name": "place", "strict": True, "schema": _SCHEMA},
}
_FUNCTION: Final = {"name": "get_weather", "parameters": _SCHEMA}
_NAMED: Final = {"type": "function", "function": {"name": "get_weather"}}

#: What each parameter needs beside it to mean something.
_BASES: Final[Mapping[str, JsonObject]] = {
    "audio": {"modalities": ["text", "audio"]},
    "function_call": {"functions": [_FUNCTION]},
    "parallel_tool_calls": {"tools": TOOLS},
    "tool_choice": {"tools": TOOLS},
    "top_logprobs": {"logprobs": True},
}
#: Values that ask something of a provider: one that has the parameter tells one of them apart.
_VALUES: Final[Mapping[str, tuple[object, ...]]] = {
    "conformance_unknown": ("to all providers",),
    "frequency_penalty": (0.5,),
    "function_call": ("none", {"name": "get_weather"}),
    "functions": ([_FUNCTION],),
    "include_reasoning": (True, False),
    "logit_bias": ({"42": 1},),
    "logprobs": (True,),
    "max_completion_tokens": (77,),
    "max_tokens": (77,),
    "metadata": ({"purpose": "conformance"},),
    "min_p": (0.25,),
    "n": (2,),
    "parallel_tool_calls": (False, True),
    "prediction": ({"type": "content", "content": "Hello"},),
    "presence_penalty": (0.5,),
    "prompt_cache_key": ("conformance",),
    "reasoning_effort": ("low", "high", "none"),
    "response_format": (_JSON, {"type": "json_object"}),
    "safety_identifier": ("someone-7",),
    "seed": (7,),
    "service_tier": ("default", "auto", "flex"),
    "stop": (["END"],),
    "store": (True,),
    "temperature": (0.25, 1.0),
    "thinking": ({"type": "enabled", "budget_tokens": 2048}, {"type": "disabled"}),
    "tool_choice": ("required", "none", _NAMED),
    "tools": (TOOLS,),
    "top_k": (7,),
    "top_logprobs": (2,),
    "top_p": (0.25,),
    "user": ("someone-7",),
    "verbosity": ("low",),
    "web_search_options": ({},),
}

chapter = Chapter()


@chapter.law("parameters-honoured", need="profile")
async def honours_what_it_tells(subject: Subject) -> None:
    """Each parameter told as honoured changes what is sent, or is told as dropped."""
    async with open_bench(subject) as bench:
        policy = bench.adapter.parameters(bench.model)
        given = bench.profile.parameters
        known = {*_VALUES, *given}
        names = known if policy.forwards_unknown else policy.honoured
        for name in sorted(names - policy.emulated - ALWAYS - policy.lacks):
            require(name in known, f"say in `parameters` of the profile what '{name}' may be")
            is_seen = await _is_seen(bench, name, or_dropped=True)
            require(is_seen, f"'{name}' is told as honoured, but changes nothing that is sent")


@chapter.law("parameters-ignored", need="profile")
async def ignores_what_it_tells(subject: Subject) -> None:
    """A parameter told as not honoured changes nothing that is sent."""
    async with open_bench(subject) as bench:
        policy = bench.adapter.parameters(bench.model)
        for name in sorted(_VALUES):
            if _is_left_out(policy, name):
                is_seen = await _is_seen(bench, name)
                require(not is_seen, f"'{name}' is told as not honoured, but changes what is sent")


def _is_left_out(policy: ParameterPolicy, name: str) -> bool:
    return not policy.honours(name) and name not in policy.emulated | ALWAYS


async def _is_seen(bench: Bench, name: str, *, or_dropped: bool = False) -> bool:
    """Whether what is sent tells any value of the parameter from its absence."""
    base = _BASES.get(name, {})
    samples: list[JsonObject] = [{name: value} for value in _VALUES.get(name, ())]
    if name in bench.profile.parameters:
        samples = [bench.profile.parameters[name]]
    plain, _ = await bench.sent(**base)
    for sample in samples:
        try:
            wire, dropped = await bench.sent(**{**base, **sample})
        except InvalidRequest:
            continue
        if wire != plain or (or_dropped and name in dropped):
            return True
    return False
