"""What clients may take of a server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one process.

    `head_timeout_s` is for all of a request's head, from its first byte (of a new connection: from
    its beginning); `keep_alive_s` for the time between two requests. Both are looked at once a
    second. Bodies have bounds of their own, in the application.
    """

    max_connections: int = 16_384
    head_timeout_s: float = 10.0
    #: Longer than load balancers keep theirs: whoever sends is to be the one who closes.
    keep_alive_s: float = 75.0
    max_head_bytes: int = 64 * 1024
    max_fields: int = 256
