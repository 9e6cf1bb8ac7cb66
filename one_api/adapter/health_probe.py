"""A sign of life from a provider: an optional ability of adapters, and what does without it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from one_api.errors import GatewayError, UpstreamError, UpstreamTimeout

if TYPE_CHECKING:
    from one_api.adapter.base import BaseModelAdapter


@runtime_checkable
class SupportsHealthProbe(Protocol):
    """An adapter that can tell cheaply whether a model would answer."""

    async def probe(self, model_id: str, timeout_s: float) -> None:
        """Return where `model_id` can be expected to answer; costs little and bills nothing.

        The gateway ends it after `timeout_s`, which is told so that it can be shared out.
        Raises: UpstreamError, or any other GatewayError, where it cannot.
        """


async def probe(adapter: BaseModelAdapter, model_id: str, timeout_s: float) -> None:
    """Return where `model_id` can be expected to answer; else the list of models is asked for.

    Raises: GatewayError, of which UpstreamTimeout after `timeout_s`; UpstreamError also for what
    an adapter raises that it should not.
    """
    try:
        async with asyncio.timeout(timeout_s):
            if isinstance(adapter, SupportsHealthProbe):
                await adapter.probe(model_id, timeout_s)
            else:
                await adapter.list_models()
    except TimeoutError as exc:
        raise UpstreamTimeout(f"There was no sign of life within {timeout_s:g} s.") from exc
    except GatewayError as exc:
        exc.conceal(adapter.settings.secrets())
        raise
    # Whatever an adapter's own code raises, it is no sign of life.
    except Exception as exc:
        error = UpstreamError(f"The adapter's probe raised {type(exc).__name__}: {exc}")
        error.conceal(adapter.settings.secrets())
        raise error from exc
