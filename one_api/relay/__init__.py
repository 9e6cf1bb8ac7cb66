"""Replies that arrive in OpenAI's own format: passed on untouched wherever that is right.

Frames and bodies that need no mending leave as the bytes they were. Providers are read liberally
and mended to what OpenAI itself would have sent. Replies in other formats that are passed on are
only looked at until they have begun (`beginning`).
"""

from __future__ import annotations

from one_api.relay.body import relay_body
from one_api.relay.reading import ChunkReader, read_body
from one_api.relay.stream import StreamRelay

__all__ = ["ChunkReader", "StreamRelay", "read_body", "relay_body"]
