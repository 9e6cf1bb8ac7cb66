"""What all errors have in common: how they are told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, TypedDict

from one_api.redaction import redact

#: Longest wait asked of a client, in seconds: OpenAI's SDK gives up above 120, Anthropic's obeys.
MAX_RETRY_AFTER_S = 60.0


class ErrorDetail(TypedDict):
    """The four keys that OpenAI's SDKs read; all are always present."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    """OpenAI's error envelope."""

    error: ErrorDetail


class GatewayError(Exception):
    """Something went wrong that the caller is told about in OpenAI's error format.

    `param` names the offending field in JSON path form (`messages[0].content`). `retry_after_s` is
    capped at `MAX_RETRY_AFTER_S` on the wire; without it, `default_retry_after_s` is told. `code`
    replaces the class's where one is known more exactly. `limit_headers` are told along.

    `retryable` says that another deployment may succeed; `repeatable` that the same one may, asked
    again, without doing work twice. `is_outage` errors count against a deployment's health,
    `blames_credential` ones against all that share its credential. `needs_larger_context` and
    `names_unknown_model` say what a deployment must have to succeed all the same.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str | None = None
    retryable: ClassVar[bool] = False
    repeatable: ClassVar[bool] = False
    is_outage: ClassVar[bool] = False
    blames_credential: ClassVar[bool] = False
    needs_larger_context: ClassVar[bool] = False
    default_retry_after_s: ClassVar[float | None] = None
    names_unknown_model: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        limit_headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message = redact(message)
        super().__init__(self.message)
        self.param = param
        self.limit_headers = dict(limit_headers or {})
        if code is not None:
            self.code = code
        self.retry_after_s = retry_after_s

    def conceal(self, secrets: Iterable[str]) -> None:
        """Take `secrets` out of the message, whatever they look like."""
        for secret in secrets:
            self.message = self.message.replace(secret, "[redacted]")
        self.args = (self.message,)

    def to_wire(self) -> ErrorBody:
        """OpenAI's error body."""
        told = ErrorDetail(message=self.message, type=self.type, param=self.param, code=self.code)
        return {"error": told}

    def headers(self) -> dict[str, str]:
        """Response headers this error needs besides the content type."""
        headers = dict(self.limit_headers)
        told_s = self.retry_after_s
        if told_s is None or math.isnan(told_s):
            told_s = self.default_retry_after_s
        if told_s is not None:
            wait_s = min(max(told_s, 0.0), MAX_RETRY_AFTER_S)
            headers["Retry-After"] = str(-int(-wait_s // 1))
        return headers
