"""What a model does not honour is dropped and told, or refused; never silently lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.adapter import ChatCompletionRequest, ParameterPolicy, UnsupportedParameter
from one_api.adapter.parameters import ALWAYS, BY_GATEWAY, QUALITY

CLOSED = ParameterPolicy()
FUNCTION = {"type": "function", "function": {"name": "f"}}

#: A value that asks for something, for every parameter of the request.
ASKING: dict[str, Any] = {
    "audio": {"format": "wav", "voice": "v"},
    "frequency_penalty": 0.5,
    "function_call": {"name": "f"},
    "functions": [{"name": "f"}],
    "logit_bias": {"1": 1},
    "logprobs": True,
    "max_completion_tokens": 5,
    "max_tokens": 5,
    "metadata": {"k": "v"},
    "modalities": ["text", "audio"],
    "moderation": {"model": "m"},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 0.5,
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "high",
    "response_format": {"type": "json_object"},
    "safety_identifier": "s",
    "seed": 1,
    "service_tier": "flex",
    "stop": ["x"],
    "store": True,
    "temperature": 0.5,
    "tool_choice": "required",
    "tools": [FUNCTION],
    "top_logprobs": 2,
    "top_p": 0.5,
    "user": "u",
    "verbosity": "low",
    "web_search_options": {},
}
#: Values of shape-changing parameters that ask for nothing.
NEUTRAL: dict[str, Any] = {
    "function_call": "auto",
    "logprobs": False,
    "modalities": ["text"],
    "n": 1,
    "response_format": {"type": "text"},
    "stop": [],
    "tool_choice": "none",
    "tools": [],
}
#: What a field needs beside it to be a request at all.
NEEDED: dict[str, dict[str, Any]] = {
    "top_logprobs": {"logprobs": True},
    "modalities": {"audio": {"format": "wav", "voice": "v"}},
}


def request(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.from_wire(
        {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
    )


def asking(name: str) -> ChatCompletionRequest:
    return request(**{**NEEDED.get(name, {}), name: ASKING[name]})


def honouring_what_is_needed(name: str) -> ParameterPolicy:
    return ParameterPolicy(honoured=frozenset(NEEDED.get(name, {})))


def test_every_parameter_of_the_request_is_judged() -> None:
    assert ChatCompletionRequest.model_fields.keys() == ALWAYS | ASKING.keys()
    assert ChatCompletionRequest.model_fields.keys() >= QUALITY


@pytest.mark.parametrize("name", sorted(QUALITY))
class TestQuality:
    def test_is_dropped_and_told(self, name: str) -> None:
        assert CLOSED.settle(asking(name), strict=False) == (name,)

    def test_is_refused_where_strict(self, name: str) -> None:
        with pytest.raises(UnsupportedParameter) as caught:
            CLOSED.settle(asking(name), strict=True)
        assert (name, "unsupported_parameter") == (caught.value.param, caught.value.code)


@pytest.mark.parametrize("name", sorted(ASKING.keys() - QUALITY - BY_GATEWAY))
@pytest.mark.parametrize("strict", [False, True])
def test_what_changes_the_answer_is_refused(name: str, strict: bool) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        honouring_what_is_needed(name).settle(asking(name), strict=strict)
    assert name == caught.value.param
    assert f"'{name}'" in caught.value.message


@pytest.mark.parametrize("name", sorted(NEUTRAL))
@pytest.mark.parametrize("strict", [False, True])
def test_what_asks_for_nothing_is_no_matter(name: str, strict: bool) -> None:
    assert () == CLOSED.settle(request(**{name: NEUTRAL[name]}), strict=strict)


@pytest.mark.parametrize("name", sorted(ASKING))
@pytest.mark.parametrize("strict", [False, True])
def test_honoured_parameter_is_no_matter(name: str, strict: bool) -> None:
    policy = ParameterPolicy(honoured=frozenset({name, *NEEDED.get(name, {})}))
    assert () == policy.settle(asking(name), strict=strict)


@pytest.mark.parametrize("strict", [False, True])
def test_provider_of_the_same_format_judges_for_itself(strict: bool) -> None:
    policy = ParameterPolicy(forwards_unknown=True)
    assert () == policy.settle(request(n=2, seed=1, of_its_own=1), strict=strict)


def test_streaming_is_the_gateways_own() -> None:
    streamed = request(stream=True, stream_options={"include_usage": True})
    assert () == CLOSED.settle(streamed, strict=True)


def test_unknown_parameter_may_be_honoured_by_name() -> None:
    policy = ParameterPolicy(honoured=frozenset({"top_k"}))
    assert () == policy.settle(request(top_k=5), strict=True)


@pytest.mark.parametrize("name", sorted(ASKING))
@pytest.mark.parametrize(
    "policy",
    [
        CLOSED,
        ParameterPolicy(honoured=frozenset({"n", "seed", "logprobs", "audio"})),
        ParameterPolicy(forwards_unknown=True),
    ],
    ids=["closed", "some", "all"],
)
def test_treatment_foretells_what_settling_does(name: str, policy: ParameterPolicy) -> None:
    needed = ParameterPolicy(
        policy.honoured | NEEDED.get(name, {}).keys(), forwards_unknown=policy.forwards_unknown
    )
    try:
        done = "dropped" if name in needed.settle(asking(name), strict=False) else "yes"
    except UnsupportedParameter:
        done = "refused"
    if name in BY_GATEWAY and not policy.honours(name):
        done = "emulated"
    assert done == policy.treatment(name)
    assert policy.honours(name) == (done == "yes")


@pytest.mark.parametrize("name", sorted(ALWAYS))
def test_gateways_own_parameters_work_with_every_model(name: str) -> None:
    assert "yes" == CLOSED.treatment(name)


@pytest.mark.parametrize("name", sorted(BY_GATEWAY))
@pytest.mark.parametrize("strict", [False, True])
def test_what_the_gateway_brings_about_is_no_matter(name: str, strict: bool) -> None:
    assert () == CLOSED.settle(asking(name), strict=strict)
    assert "emulated" == CLOSED.treatment(name)


@pytest.mark.parametrize(
    ("policy", "most"),
    [
        (CLOSED, 0),
        (ParameterPolicy(forwards_unknown=True), 4),
        (ParameterPolicy(frozenset({"stop"})), 1_000),
        (ParameterPolicy(frozenset({"stop"}), forwards_unknown=True), 1_000),
    ],
    ids=["closed", "OpenAI's format", "by name", "both"],
)
def test_stop_sequences_are_left_to_who_has_room_for_them(
    policy: ParameterPolicy, most: int
) -> None:
    taken = [count for count in (1, 4, 5, 1_000) if policy.takes_stops(count)]
    assert [count for count in (1, 4, 5, 1_000) if count <= most] == taken


def test_emulated_parameter_has_its_effect_and_says_how() -> None:
    policy = ParameterPolicy(honoured=frozenset({"stop"}), emulated=frozenset({"stop"}))
    assert ("emulated", True) == (policy.treatment("stop"), policy.honours("stop"))
    assert () == policy.settle(asking("stop"), strict=True)


@given(
    names=st.sets(st.sampled_from(sorted(QUALITY))),
    honoured=st.frozensets(st.sampled_from(sorted(QUALITY))),
)
@settings(deadline=None)
def test_dropped_is_what_was_given_and_not_honoured(
    names: set[str], honoured: frozenset[str]
) -> None:
    asked = request(**{name: ASKING[name] for name in names})
    dropped = ParameterPolicy(honoured=honoured).settle(asked, strict=False)
    assert tuple(sorted(names - honoured)) == dropped


def test_unknown_parameter_is_dropped_and_told() -> None:
    dropped = CLOSED.settle(request(zeta=1, seed=1, alpha=2), strict=False)
    assert ("alpha", "seed", "zeta") == dropped


def test_unknown_parameter_is_refused_as_unknown_where_strict() -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        CLOSED.settle(request(zeta=1), strict=True)
    assert ("zeta", "unknown_parameter") == (caught.value.param, caught.value.code)


def test_what_a_provider_is_known_to_lack_is_not_left_to_it() -> None:
    policy = ParameterPolicy(forwards_unknown=True, lacks=frozenset({"stop"}))
    assert ("emulated", "yes") == (policy.treatment("stop"), policy.treatment("seed"))
    assert not policy.takes_stops(1)
