"""Providers asked for their models, each by itself: what it said, and how long that took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from one_api.adapter.base import BaseModelAdapter
from one_api.errors import GatewayError

#: How long commands wait for a provider's list of models, in seconds.
TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ModelList:
    """The ids of a provider's models, or why there are none; `took_s` in seconds."""

    ids: tuple[str, ...] = ()
    error: str = ""
    took_s: float = 0.0


async def ask_for_models(adapter: BaseModelAdapter) -> ModelList:
    """The models of an adapter that was not started, and is closed in the end; never raises."""
    started_s = time.perf_counter()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await adapter.start()
            try:
                found = await adapter.list_models()
            finally:
                await adapter.close()
        ids = tuple(model.id for model in found)
    except TimeoutError:
        return ModelList(error=f"no answer within {TIMEOUT_S:g} s")
    except GatewayError as exc:
        exc.conceal(adapter.settings.secrets())
        return ModelList(error=f"{exc.code}: {exc.message}")
    except Exception as exc:  # noqa: BLE001 - a plugin's failure is its state, not ours
        return ModelList(error=f"its adapter raised {type(exc).__name__}")
    return ModelList(ids, took_s=time.perf_counter() - started_s)


def shortened(ids: Sequence[str], shown: int = 2) -> str:
    """The first of `ids`, and how many more there are; "none" without any."""
    more = f" +{len(ids) - shown}" if len(ids) > shown else ""
    return ", ".join(ids[:shown]) + more if ids else "none"
