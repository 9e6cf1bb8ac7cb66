"""Prompts counted before they are sent: an optional ability of adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from one_api.adapter.base import Call
    from one_api.schemas.chat import ChatCompletionRequest


@runtime_checkable
class SupportsTokenCounting(Protocol):
    """An adapter that can tell how long a prompt is without having it answered.

    Asked where a client wants to know, never on the way to an answer.
    """

    async def count_tokens(self, request: ChatCompletionRequest, call: Call) -> int | None:
        """The prompt tokens of `request`; None where this model's cannot be told.

        The gateway counts itself where this gives None or an UpstreamError is raised.
        Raises: any other GatewayError, for the client to see.
        """
