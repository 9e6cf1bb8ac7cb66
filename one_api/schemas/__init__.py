"""OpenAI's wire formats as types; requests are validated here, nothing is done with them."""

from __future__ import annotations

from typing import Any

#: A JSON object as it came off, or goes on, the wire.
JsonObject = dict[str, Any]
