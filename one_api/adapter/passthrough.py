"""Requests in a provider's own format, passed on as they are: an optional ability of adapters."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from one_api.adapter.http import HTTPModelAdapter

if TYPE_CHECKING:
    from one_api.adapter.base import BaseModelAdapter, Call
    from one_api.adapter.http import WireRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequest:
    """A client's request to be passed on.

    `path` is the one below the API prefix, as the client sent it (`/embeddings`); `query` has no
    question mark. `headers` hold only what may be forwarded, never the client's API key. In a JSON
    body the model's name is the provider's already.
    """

    path: str
    method: str = "POST"
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterable[bytes] | None = None


@runtime_checkable
class SupportsPassthrough(Protocol):
    """An adapter whose provider has endpoints of its own that clients may use as they are."""

    def passthrough(self, request: RawRequest, call: Call) -> WireRequest | None:
        """`request` with the provider's address and credential; None where it has no such path.

        Pure. No part of `request` may decide which host is called.
        """


def secrets_of(adapter: BaseModelAdapter) -> tuple[str, ...]:
    """What no reply may quote: the secrets in its settings, and of what `adapter` fetched last."""
    keeper = adapter._credentials if isinstance(adapter, HTTPModelAdapter) else None
    fetched = () if keeper is None else keeper.secrets()
    return (*adapter.settings.secrets(), *fetched)
