"""Signed reasoning blocks inside `encrypted_content`, the field that clients send back unread.

Nothing is stored here, so what a provider must see again travels with the client. The text is
marked: what another service sealed is told apart, and left alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import orjson

from one_api.errors import InvalidRequest
from one_api.schemas import JsonObject

_MARK = "one_api.1."


def seal(blocks: Sequence[JsonObject]) -> str:
    """`blocks` as one opaque text."""
    return _MARK + base64.urlsafe_b64encode(orjson.dumps(list(blocks))).decode()


def unseal(sealed: str, path: str) -> list[JsonObject]:
    """The blocks in `sealed`; none when another service sealed it.

    Raises: InvalidRequest that names `path` for a text of ours that was changed.
    """
    if not sealed.startswith(_MARK):
        return []
    try:
        blocks = orjson.loads(base64.urlsafe_b64decode(sealed.removeprefix(_MARK)))
    except (binascii.Error, ValueError) as exc:
        raise _changed(path) from exc
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise _changed(path)
    return blocks


def _changed(path: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid value for '{path}': send reasoning back as it was received, or leave it out.",
        param=path,
        code="invalid_value",
    )
