"""A sign of life: the adapter's own, else its list of models."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from typing_extensions import override

from one_api.adapter import (
    AdapterSettings,
    ModelNotFound,
    SupportsHealthProbe,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from one_api.adapter.health_probe import probe
from tests.adapters_in_test import ScriptedAdapter, forever

DOWN = UpstreamUnreachable("The provider cannot be reached.")


class Keyed(AdapterSettings):
    api_key: SecretStr = SecretStr("the-credential")


class ProbedAdapter(ScriptedAdapter, SupportsHealthProbe):
    """Tells what it was probed for, and fails as it is told."""

    def __init__(self, fault: BaseException | None = None, *, is_slow: bool = False) -> None:
        super().__init__()
        self.settings = Keyed()
        self.fault = fault
        self.is_slow = is_slow
        self.probed: list[tuple[str, float]] = []

    @override
    async def probe(self, model_id: str, timeout_s: float) -> None:
        self.probed.append((model_id, timeout_s))
        if self.is_slow:
            await forever()
        if self.fault is not None:
            raise self.fault


async def test_an_adapter_is_asked_in_its_own_way() -> None:
    adapter = ProbedAdapter()
    await probe(adapter, "m", 3.0)
    assert ([("m", 3.0)], 0) == (adapter.probed, adapter.listings)


async def test_others_are_asked_for_their_list() -> None:
    adapter = ScriptedAdapter()
    await probe(adapter, "m", 3.0)
    assert 1 == adapter.listings
    with pytest.raises(UpstreamUnreachable):
        await probe(ScriptedAdapter(list_error=DOWN), "m", 3.0)


@pytest.mark.parametrize("fault", [DOWN, ModelNotFound("no such model")], ids=lambda f: f.code)
async def test_what_is_wrong_is_told_as_it_is(fault: UpstreamError | ModelNotFound) -> None:
    with pytest.raises(type(fault)) as caught:
        await probe(ProbedAdapter(fault), "m", 3.0)
    assert caught.value is fault


async def test_silence_is_a_timeout() -> None:
    with pytest.raises(UpstreamTimeout, match=r"within 0\.01 s"):
        await probe(ProbedAdapter(is_slow=True), "m", 0.01)


@pytest.mark.parametrize(
    "fault", [ValueError("the-credential is odd"), UpstreamError("the-credential")], ids=repr
)
async def test_nothing_tells_the_credential(fault: Exception) -> None:
    with pytest.raises(UpstreamError) as caught:
        await probe(ProbedAdapter(fault), "m", 3.0)
    assert "the-credential" not in caught.value.message
    assert "[redacted]" in caught.value.message
