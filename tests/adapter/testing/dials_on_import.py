"""An adapter whose module asks for an address when it is imported."""

from __future__ import annotations

import socket

from tests.adapter.testing.plain_adapter import PlainAdapter

ADDRESSES = socket.getaddrinfo("127.0.0.1", 80)


class DialsOnImport(PlainAdapter):
    pass
