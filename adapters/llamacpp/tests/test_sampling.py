from __future__ import annotations

from typing import Any

import pytest

from adapters.llamacpp.tests.local_models import make_request
from one_api.adapter import CompletionRequest, InvalidRequest
from one_api_llamacpp.sampling import Sampling


def test_without_parameters_the_models_own_distribution_is_sampled() -> None:
    sampling = Sampling.from_request(make_request(), 300)
    assert Sampling(seed=sampling.seed) == sampling
    assert (
        sampling.temperature,
        sampling.top_p,
        sampling.top_k,
        sampling.min_p,
    ) == (1.0, 1.0, 0, 0.0)


def test_parameters_are_taken_over() -> None:
    request = make_request(
        temperature=0,
        top_p=0.5,
        top_k=7,
        min_p=0.1,
        frequency_penalty=-1,
        presence_penalty=2,
        logit_bias={"299": -100},
        seed=42,
    )
    assert Sampling(
        temperature=0,
        top_p=0.5,
        top_k=7,
        min_p=0.1,
        frequency_penalty=-1,
        presence_penalty=2,
        logit_bias={299: -100},
        seed=42,
    ) == Sampling.from_request(request, 300)


def test_requests_without_seed_get_different_ones() -> None:
    seeds = {Sampling.from_request(make_request(), 300).seed for _ in range(8)}
    assert len(seeds) > 1


@pytest.mark.parametrize("seed", [-(2**63), -1, 2**32 - 1, 2**63 - 1])
def test_any_seed_fits_llama_cpp_and_never_means_random(seed: int) -> None:
    assert 0 <= Sampling.from_request(make_request(seed=seed), 300).seed < 2**32 - 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_k", -1),
        ("top_k", 1.5),
        ("top_k", True),
        ("top_k", 2**31),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("min_p", "0.1"),
        ("logit_bias", {"300": 1}),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", {"word": 1}),
        ("logit_bias", {"": 1}),
        ("logit_bias", {"²": 1}),
        ("logit_bias", {"9" * 5000: 1}),
    ],
)
def test_wrong_values_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Sampling.from_request(make_request(**{field: value}), 300)
    assert field == caught.value.param


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, None),
        ({"logprobs": False}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 5}, 5),
    ],
)
def test_logprobs_are_given_when_asked_for(fields: dict[str, Any], count: int | None) -> None:
    assert count == Sampling.from_request(make_request(**fields), 300).logprobs


@pytest.mark.parametrize("count", [None, 0, 5])
def test_a_text_completion_names_its_number_of_alternatives_directly(count: int | None) -> None:
    request = CompletionRequest.from_wire({"prompt": "x", "logprobs": count})
    assert count == Sampling.from_request(request, 300).logprobs


def test_every_choice_has_a_seed_of_its_own_that_llama_cpp_can_take() -> None:
    sampling = Sampling.from_request(make_request(seed=-2), 300)
    seeds = [sampling.for_choice(number).seed for number in range(8)]
    assert sampling.seed == seeds[0]
    assert len(set(seeds)) == 8
    assert all(0 <= seed < 2**32 - 1 for seed in seeds)
