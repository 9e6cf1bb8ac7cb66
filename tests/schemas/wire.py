"""Bodies of chat requests for the tests of the schemas."""

from __future__ import annotations

from typing import Any

import pytest

from one_api.errors import InvalidRequest
from one_api.schemas.chat import ChatCompletionRequest

USER = {"role": "user", "content": "Hi"}


def chat(**fields: Any) -> dict[str, Any]:
    """The body of a minimal request with `fields`."""
    return {"model": "m", "messages": [USER], **fields}


def refusal(body: object) -> InvalidRequest:
    """The error with which `body` is refused; a body that is accepted fails the test."""
    with pytest.raises(InvalidRequest) as caught:
        ChatCompletionRequest.from_wire(body)
    return caught.value
