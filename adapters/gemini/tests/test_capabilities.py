"""What is known of each model, and what of a request that leaves to the gateway."""

from __future__ import annotations

import pytest

from one_api.adapter import ChatCompletionRequest, UnsupportedParameter
from one_api_gemini import GeminiAdapter
from one_api_gemini.capabilities import NEWEST, TABLE, KnownModels


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gemini-2.5-pro", "gemini-2.5-pro"),
        ("models/gemini-2.5-flash-lite", "gemini-2.5-flash-lite"),
        ("gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash"),
        ("gemini-3-pro-preview", "gemini-3-pro"),
        ("gemini-3.1-flash-lite", "gemini-3.1-flash-lite"),
        ("gemini-3.5-flash-lite", "gemini-3.5-flash"),
        ("gemma-4-31b-it", "gemma"),
    ],
)
def test_a_model_has_the_row_of_its_family(model: str, family: str) -> None:
    assert TABLE[family] == KnownModels().capabilities(model)


@pytest.mark.parametrize(
    "model", ["gemini-3.8-flash", "gemini-flash-latest", "gemini-4-hydrogen", "gemini-2.50-x", "x"]
)
def test_an_unknown_model_has_the_newest_restrictions(model: str) -> None:
    assert NEWEST == KnownModels().capabilities(model)


def test_the_providers_list_knows_better() -> None:
    known = KnownModels()

    known.take_listing({"name": "models/x", "outputTokenLimit": 500, "thinking": False})

    assert 500 == known.capabilities("x").max_tokens
    assert not known.capabilities("models/x").thinks
    assert known.capabilities("y").thinks


@pytest.mark.parametrize(
    ("model", "dropped"),
    [
        ("gemini-2.0-flash", ("include_reasoning", "reasoning_effort")),
        ("gemini-2.5-pro", ()),
        ("gemini-3.1-pro-preview", ()),
        ("gemini-3.8-flash", ("temperature", "top_p")),
    ],
)
def test_what_a_model_does_not_take_is_dropped_and_told(
    adapter: GeminiAdapter, model: str, dropped: tuple[str, ...]
) -> None:
    request = ChatCompletionRequest.from_wire(
        {
            "messages": [{"role": "user", "content": "Hi"}],
            "temperature": 0.5,
            "top_p": 0.9,
            "reasoning_effort": "low",
            "include_reasoning": True,
            "presence_penalty": 1,
            "parallel_tool_calls": False,
        }
    )

    settled = adapter.parameters(model).settle(request, strict=False)

    assert set(dropped) | {"parallel_tool_calls", "presence_penalty"} == set(settled)


@pytest.mark.parametrize("field", [{"n": 2}, {"logprobs": True}], ids=["n", "logprobs"])
def test_what_no_current_model_can_do_is_refused(
    adapter: GeminiAdapter, field: dict[str, object]
) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], **field}
    request = ChatCompletionRequest.from_wire(body)

    with pytest.raises(UnsupportedParameter) as caught:
        adapter.parameters("gemini-3.8-flash").settle(request, strict=False)

    assert next(iter(field)) == caught.value.param
