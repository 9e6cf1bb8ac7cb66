"""The model list as both SDKs read it, with every id that providers give."""

from __future__ import annotations

import anthropic
import openai
import pytest

from tests.e2e.conftest import ALL_MODELS, API_KEY, CLAUDE_MODELS, OPENAI_MODELS
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess


def test_models_of_every_adapter_are_listed_once(any_client: openai.OpenAI) -> None:
    ids = [model.id for model in any_client.models.list()]
    assert sorted(ALL_MODELS) == sorted(ids)


@pytest.mark.parametrize(
    "model_id",
    [*ALL_MODELS, "openai/acme/vision:v2", "claude/claude-scripted"],
)
def test_a_model_is_retrieved_by_its_id(client: openai.OpenAI, model_id: str) -> None:
    assert model_id == client.models.retrieve(model_id).id


@pytest.mark.parametrize("model_id", ["acme/vision:v2", "llama3:8b-instruct"])
def test_p44_ids_with_slashes_and_colons_are_reached_on_every_server(
    any_client: openai.OpenAI, any_gateway: GatewayProcess, model_id: str
) -> None:
    """The SDK escapes the slash, people do not."""
    plain = exchange(f"{any_gateway.base_url}/models/{model_id}", key=API_KEY)
    assert model_id == any_client.models.retrieve(model_id).id
    assert model_id == plain.json["id"]


def test_owner_and_adapter_are_told(client: openai.OpenAI) -> None:
    model = client.models.retrieve("gpt-scripted")
    assert ("model", "scripted", 1_790_000_000) == (model.object, model.owned_by, model.created)
    assert {"adapter": "openai"}.items() <= (model.model_extra or {}).items()


def test_p44_the_list_is_read_by_anthropics_sdk_too(gateway: GatewayProcess) -> None:
    with anthropic.Anthropic(
        base_url=gateway.url, auth_token=API_KEY, api_key=None, max_retries=0
    ) as client:
        page = client.models.list()
        models = list(page)
    assert {*OPENAI_MODELS, *CLAUDE_MODELS} <= {model.id for model in models}
    assert (models[0].id, models[-1].id) == (page.first_id, page.last_id)
    assert 2026 == next(m.created_at.year for m in models if m.id == CLAUDE_MODELS[0])


def test_an_unknown_model_is_a_404(any_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        any_client.models.retrieve("no-such/model")
    assert "model_not_found" == caught.value.code
    assert "model" == caught.value.param
